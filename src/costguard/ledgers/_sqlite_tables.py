"""The tables of the SQLite ledger, and how an older book is brought up to date."""

from __future__ import annotations

import sqlite3
from typing import Final

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
    (
        # What most holds share, their legs, was written in each of them. The name `holds` is a view's now, so that a
        # program of the version before, which still has the file open, can write nothing that this one overlooks.
        "CREATE TABLE legs (number INTEGER PRIMARY KEY, legs TEXT NOT NULL, until REAL NOT NULL)",
        "CREATE UNIQUE INDEX legs_told ON legs (legs)",
        """INSERT INTO legs (legs, until) SELECT legs, expires FROM holds WHERE true
            ON CONFLICT (legs) DO UPDATE SET until = max(until, excluded.until)""",
        """CREATE TABLE reservations (
            id TEXT PRIMARY KEY, state TEXT NOT NULL, amount INTEGER NOT NULL, first INTEGER NOT NULL,
            booked INTEGER NOT NULL, expires REAL NOT NULL, legs INTEGER NOT NULL, at REAL NOT NULL, adjusted TEXT,
            noted INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID""",
        """INSERT INTO reservations
            SELECT id, state, amount, first, booked, expires, number, at, adjusted, state != 'open'
            FROM holds CROSS JOIN legs ON legs.legs = holds.legs""",
        "DROP INDEX legs_told",
        "DROP TABLE holds",
        # Who ends a hold changes no index: that it ended is noted later, of many at a time, after its lease.
        "CREATE INDEX reservations_due ON reservations (expires) WHERE noted = 0",
        "CREATE INDEX reservations_noted ON reservations (expires) WHERE noted = 1",
        "CREATE INDEX legs_until ON legs (until)",
        """CREATE VIEW holds AS
            SELECT id, state, amount, first, booked, expires, legs.legs AS legs, at, adjusted
            FROM reservations JOIN legs ON legs.number = reservations.legs""",
    ),
)
"""Each is applied once, in order; ``PRAGMA user_version`` tells how many were. Never edit one: add another.

Programs of the version before may have the file open when one is applied, and look at the version only when they open
it: what their statements would get wrong has to get another name, so that those fail."""


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
