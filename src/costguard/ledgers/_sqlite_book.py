"""The tables of the SQLite ledger, and its steps in SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from .._book import Entry, Row, Step, WindowKey
from .._outbox import AlertKey, Pending, key_of
from .._terms import PLAIN, Terms
from .._types import Amendment, Crossing, Leg
from ._records import (
    adjusted_as_json,
    amendment_as_json,
    amendment_from_json,
    entry_from,
    leg_from_json,
    leg_text,
    legs_as_json,
    terms_as_text,
    terms_from_text,
)
from ._stepped import REMEMBERED, decided, slot_range

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
    (
        "ALTER TABLE holds ADD COLUMN at REAL NOT NULL DEFAULT 0",
        "ALTER TABLE windows ADD COLUMN leg TEXT",
        "CREATE TABLE terms (budget TEXT PRIMARY KEY, terms TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE amendments (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, budget TEXT NOT NULL,
            record TEXT NOT NULL
        )""",
    ),
    (
        """CREATE TABLE alerts (
            budget TEXT NOT NULL, window TEXT NOT NULL, percent REAL NOT NULL, spent INTEGER NOT NULL,
            leg TEXT NOT NULL, until REAL, PRIMARY KEY (budget, window, percent)
        ) WITHOUT ROWID""",
    ),
    (
        # The books of single runs had no end before; those that are still used get one at their next call.
        "UPDATE windows SET ends = strftime('%s', 'now') + 366 * 86400.0 WHERE ends IS NULL AND window LIKE 'run:%'",
        "CREATE INDEX windows_ends ON windows (ends) WHERE ends IS NOT NULL",
    ),
)
"""Each is applied once, in order; ``PRAGMA user_version`` tells how many were. Never edit one: add another."""


_ROWS: Final = "SELECT budget, window, spent, held, fired, ends, leg FROM windows WHERE"
_WINDOW: Final = "(budget = ? AND window BETWEEN ? AND ?)"
_TERMS: Final = "SELECT budget, terms FROM terms WHERE budget IN"
_AT_ONCE: Final = 100


@cache
def _rows_of(legs: int) -> str:
    return f"{_ROWS} {' OR '.join([_WINDOW] * legs)}"


@cache
def _terms_of(budgets: int) -> str:
    return f"{_TERMS} ({', '.join('?' * budgets)})"


_ADD_ROW: Final = (
    "INSERT INTO windows (budget, window, spent, held, fired, ends, leg) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (budget, window) DO UPDATE SET spent = excluded.spent, held = excluded.held,"
    " fired = excluded.fired, ends = excluded.ends, leg = coalesce(excluded.leg, leg)"
)
_CHANGE_ROW: Final = "UPDATE windows SET spent = ?, held = ?, fired = ? WHERE budget = ? AND window = ?"
_ADD_HOLD: Final = (
    "INSERT INTO holds (id, state, amount, first, booked, expires, legs, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_CHANGE_HOLD: Final = "UPDATE holds SET state = ?, amount = ?, booked = ?, adjusted = ? WHERE id = ?"


class SQLiteTransaction:
    """See `costguard.ledgers._stepped.Transaction`; the whole file is locked while it lasts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._run_each = connection.executemany
        # What was read: of each row its end and its leg, and the holds.
        self._rows: dict[WindowKey, tuple[float | None, str | None]] = {}
        self._holds: set[str] = set()

    def lock(self, budgets: Iterable[str], steady: Iterable[str] = ()) -> None:
        """Nothing to do: ``BEGIN IMMEDIATE`` has locked the book."""

    def read(self, legs: Sequence[Leg]) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """The rows that the windows of these legs are made of, and what is in force of their budgets."""
        found, every = {}, {}
        # All of a call's legs in one query, but not so many that SQLite would refuse it.
        for start in range(0, len(legs), _AT_ONCE):
            these = legs[start : start + _AT_ONCE]
            windows = [(leg.budget, *(slot_range(leg) if leg.slots else (leg.window, leg.window))) for leg in these]
            for row in self._run(_rows_of(len(windows)), [one for window in windows for one in window]):
                budget, window, spent, held, fired, ends, leg = row
                found[budget, window] = Row(spent, held, fired, ends)
                self._rows[budget, window] = (ends, leg)
            names = list({name for leg in these for name in (leg.budget, leg.group) if name})
            for budget, text in self._run(_terms_of(len(names)), names):
                every[budget] = terms_from_text(text)
        return found, every

    def look(self, id: str, legs: Sequence[Leg]) -> tuple[Entry | None, dict[WindowKey, Row], dict[str, Terms]]:
        """The hold of this id and what `read` says of these legs."""
        return self.entry(id), *self.read(legs)

    def windows(self, at: float) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """Every row that is not over at an instant, with its leg, and what is in force of every budget."""
        rows = self._run("SELECT * FROM windows WHERE leg IS NOT NULL AND (ends IS NULL OR ends > ?)", (at,))
        books = {
            (row["budget"], row["window"]): Row(
                row["spent"], row["held"], row["fired"], row["ends"], leg_from_json(row["leg"])
            )
            for row in rows
        }
        return books, {budget: terms_from_text(text) for budget, text in self._run("SELECT budget, terms FROM terms")}

    def terms(self, budget: str) -> Terms:
        """What is in force of a budget."""
        found = self._run("SELECT terms FROM terms WHERE budget = ?", (budget,)).fetchone()
        return PLAIN if found is None else terms_from_text(found["terms"])

    def amended(self, *, id: str | None = None, budget: str | None = None) -> list[Amendment]:
        """The amendment of this id, those of a budget, or all."""
        rows = self._run(
            "SELECT record FROM amendments WHERE id = coalesce(?, id) AND budget = coalesce(?, budget) ORDER BY number",
            (id, budget),
        )
        return [amendment_from_json(row["record"]) for row in rows]

    def amend(self, amendment: Amendment, terms: Terms) -> None:
        """Write an amendment, and what is in force after it."""
        self._run(
            "INSERT INTO amendments (id, budget, record) VALUES (?, ?, ?)",
            (amendment.id, amendment.budget, amendment_as_json(amendment)),
        )
        self._run("REPLACE INTO terms VALUES (?, ?)", (amendment.budget, terms_as_text(terms)))

    def entry(self, id: str) -> Entry | None:
        """The hold of this id."""
        record = self._run("SELECT * FROM holds WHERE id = ?", (id,)).fetchone()
        if record is None:
            return None
        self._holds.add(id)
        return entry_from(record)

    def write(self, id: str, step: Step) -> None:
        """Write what a step changed."""
        entry = step.entry
        assert entry is not None
        changed = []
        for key, row in step.rows.items():
            leg = row.leg and leg_text(row.leg)
            ends, known = self._rows.get(key, (None, None))
            if key in self._rows and ends == row.ends and leg in (None, known):
                changed.append((row.spent, row.held, row.fired, *key))
            else:
                self._run(_ADD_ROW, (*key, row.spent, row.held, row.fired, row.ends, leg))
        self._run_each(_CHANGE_ROW, changed)
        hold, state = entry.hold, entry.state.value
        if id in self._holds:
            self._run(_CHANGE_HOLD, (state, hold.amount, entry.booked, adjusted_as_json(entry), id))
        else:
            legs = legs_as_json(hold.legs)
            self._run(_ADD_HOLD, (id, state, hold.amount, entry.first, entry.booked, hold.expires, legs, hold.at))
        if alerts := decided(step):
            self._run_each(
                "REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, NULL)",
                [(*key_of(one), one.spent, leg_text(one.leg)) for one in alerts],
            )

    def pending(self, now: float, limit: int) -> list[Pending]:
        """Alerts that nobody has in hand at `now`."""
        rows = self._run("SELECT * FROM alerts WHERE until IS NULL OR until <= ? LIMIT ?", (now, limit))
        return [
            Pending(Crossing(leg_from_json(row["leg"]), row["percent"], row["spent"]), row["until"]) for row in rows
        ]

    def hand_out(self, alerts: Sequence[AlertKey], until: float) -> None:
        """Note until when somebody has these alerts in hand."""
        self._run_each(
            "UPDATE alerts SET until = ? WHERE budget = ? AND window = ? AND percent = ?",
            [(until, *key) for key in alerts],
        )

    def delivered(self, alerts: Sequence[AlertKey]) -> None:
        """Delete these alerts."""
        self._run_each("DELETE FROM alerts WHERE budget = ? AND window = ? AND percent = ?", alerts)

    def overdue(self, now: float, limit: int) -> list[str]:
        """Open holds whose lease was over at `now`."""
        query = "SELECT id FROM holds WHERE state = 'open' AND expires <= ? ORDER BY expires LIMIT ?"
        return [record["id"] for record in self._run(query, (now, limit))]

    def forget(self, now: float, keep: float, limit: int) -> int:
        """Delete windows that were over `keep` seconds ago, and so many holds that ended long ago."""
        holds = self._run(
            "DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE state != 'open' AND expires < ? LIMIT ?)",
            (now - REMEMBERED, limit),
        )
        self._run("DELETE FROM windows WHERE ends < ? AND held = 0", (now - keep,))
        return holds.rowcount


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
