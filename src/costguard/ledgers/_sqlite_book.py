"""The tables of the SQLite ledger, and its steps in SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from .._book import Entry, Row, Step, WindowKey
from .._types import Leg
from ._stepped import REMEMBERED, adjusted_as_json, entry_from, legs_as_json, slot_range

MIGRATIONS: Final = (
    (
        """CREATE TABLE windows (
            budget TEXT NOT NULL, window TEXT NOT NULL,
            spent INTEGER NOT NULL, held INTEGER NOT NULL, fired REAL NOT NULL, ends REAL,
            PRIMARY KEY (budget, window)
        ) WITHOUT ROWID""",
        """CREATE TABLE holds (
            id TEXT PRIMARY KEY, state TEXT NOT NULL, amount INTEGER NOT NULL, first INTEGER NOT NULL,
            booked INTEGER NOT NULL, expires REAL NOT NULL, legs TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX holds_open ON holds (expires) WHERE state = 'open'",
        "CREATE INDEX holds_ended ON holds (expires) WHERE state != 'open'",
    ),
    ("ALTER TABLE holds ADD COLUMN adjusted TEXT",),
)
"""Each is applied once, in order; ``PRAGMA user_version`` tells how many were. Never edit one: add another."""


class SQLiteTransaction:
    """See `costguard.ledgers._stepped.Transaction`; the whole file is locked while it lasts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._run_each = connection.executemany

    def lock(self, budgets: Iterable[str]) -> None:
        """Nothing to do: ``BEGIN IMMEDIATE`` has locked the book."""

    def rows(self, legs: Sequence[Leg]) -> dict[WindowKey, Row]:
        """The rows that the windows of these legs are made of."""
        found = {}
        for leg in legs:
            first, last = slot_range(leg) if leg.slots else (leg.window, leg.window)
            for row in self._run(
                "SELECT window, spent, held, fired, ends FROM windows WHERE budget = ? AND window BETWEEN ? AND ?",
                (leg.budget, first, last),
            ):
                found[leg.budget, row["window"]] = Row(row["spent"], row["held"], row["fired"], row["ends"])
        return found

    def entry(self, id: str) -> Entry | None:
        """The hold of this id."""
        record = self._run("SELECT * FROM holds WHERE id = ?", (id,)).fetchone()
        return None if record is None else entry_from(record)

    def write(self, id: str, step: Step) -> None:
        """Write what a step changed."""
        entry = step.entry
        assert entry is not None
        self._run_each(
            "INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (budget, window) DO UPDATE SET"
            " spent = excluded.spent, held = excluded.held, fired = excluded.fired",
            [(*key, row.spent, row.held, row.fired, row.ends) for key, row in step.rows.items()],
        )
        self._run(
            "INSERT INTO holds (id, state, amount, first, booked, expires, legs, adjusted)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state, amount = excluded.amount,"
            " booked = excluded.booked, adjusted = excluded.adjusted",
            (id, entry.state.value, entry.hold.amount, entry.first, entry.booked, entry.hold.expires,
             legs_as_json(entry.hold.legs), adjusted_as_json(entry)),
        )  # fmt: skip

    def overdue(self, now: float, limit: int) -> list[str]:
        """Open holds whose lease was over at `now`."""
        query = "SELECT id FROM holds WHERE state = 'open' AND expires <= ? ORDER BY expires LIMIT ?"
        return [record["id"] for record in self._run(query, (now, limit))]

    def forget(self, now: float, keep: float, limit: int) -> None:
        """Delete windows that were over `keep` seconds ago and holds that ended long ago."""
        self._run(
            "DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE state != 'open' AND expires < ? LIMIT ?)",
            (now - REMEMBERED, limit),
        )
        self._run("DELETE FROM windows WHERE ends < ? AND held = 0", (now - keep,))


def migrate(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring them to this version; processes that start at the same time do it one by one."""
    known = len(MIGRATIONS)
    if _version(connection) == known:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = _version(connection)
    if version > known:
        raise sqlite3.OperationalError(f"it is of a newer costguard (schema {version}, this one knows {known})")
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
