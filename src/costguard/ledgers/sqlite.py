"""One book for all processes of one host, in an SQLite file.

WAL mode and ``BEGIN IMMEDIATE``: a step holds the only write lock from its first look to its commit, so what it read
is still true when it writes. In front of that stands a lock on a file beside the book, because SQLite's own waiting
sleeps and starves: with it the waiting processes queue in the kernel, which also lets go when one dies.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from .._book import Entry, Row, Step, WindowKey
from .._types import Leg
from ..errors import ConfigError, LedgerUnavailableError
from ._stepped import REMEMBERED, SteppedLedger, entry_from, legs_as_json, slot_range

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no fcntl; SQLite's own waiting stands in
    fcntl = None  # type: ignore[assignment]

Durability = Literal["process", "power"]

BUSY_MS: Final = 5000

MIGRATIONS: Final = (
    """
    CREATE TABLE windows (
        budget TEXT NOT NULL, window TEXT NOT NULL,
        spent INTEGER NOT NULL, held INTEGER NOT NULL, fired REAL NOT NULL, ends REAL,
        PRIMARY KEY (budget, window)
    ) WITHOUT ROWID;
    CREATE TABLE holds (
        id TEXT PRIMARY KEY, state TEXT NOT NULL, amount INTEGER NOT NULL, first INTEGER NOT NULL,
        booked INTEGER NOT NULL, expires REAL NOT NULL, legs TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX holds_open ON holds (expires) WHERE state = 'open';
    CREATE INDEX holds_ended ON holds (expires) WHERE state != 'open';
    """,
)
"""Each is applied once, in order; ``PRAGMA user_version`` tells how many were. Never edit one: add another."""


class SQLiteLedger(SteppedLedger):
    """Counts in an SQLite file on a local disk, shared by every process that opens it.

    Args:
        path: the file; it is made when it does not exist. Two more, ``-wal`` and ``-lock``, stand beside it.
        durability: ``process`` survives any crash of programs; ``power`` also survives a power failure, at the
            price of waiting for the disk in each step.

    Raises:
        LedgerUnavailableError: the file cannot be opened, is no book, or is of a newer costguard.
    """

    def __init__(self, path: str | os.PathLike[str], *, durability: Durability = "process") -> None:
        if durability not in ("process", "power"):
            raise ConfigError(f"durability={durability!r}: allowed are 'process' and 'power'")
        self._path = Path(path)
        self._durability = durability
        self._lock = threading.Lock()
        self._pid = 0
        self._connection: sqlite3.Connection | None = None
        self._queue: int | None = None
        self._inherited: list[Any] = []
        with self._transaction():
            pass

    def close(self) -> None:
        """Close the file; the next step opens it again."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def _transaction(self) -> Iterator[_SQLiteTransaction]:
        if self._pid != os.getpid():
            self._forked()
        with self._lock, self._translated():
            connection = self._connected()
            self._queue_up()
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield _SQLiteTransaction(connection)
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.Error:
                # A commit that failed, on a full disk say, leaves the transaction open: start afresh.
                self._disconnect()
                raise
            finally:
                self._step_aside()

    def _forked(self) -> None:
        """A child must neither use nor close what it inherited: it keeps the connection and opens its own."""
        self._inherited.append((self._connection, self._queue))
        self._lock = threading.Lock()
        self._pid, self._connection, self._queue = os.getpid(), None, None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durability == 'power' else 'NORMAL'}")
            if fcntl is not None:
                self._queue = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._queue_up()
            try:
                _migrate(connection)
            finally:
                self._step_aside()
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, queue = self._connection, self._queue
        self._connection = self._queue = None
        if queue is not None:
            os.close(queue)
        if connection is not None:
            connection.close()

    def _queue_up(self) -> None:
        if self._queue is not None:
            fcntl.lockf(self._queue, fcntl.LOCK_EX)

    def _step_aside(self) -> None:
        if self._queue is not None:
            fcntl.lockf(self._queue, fcntl.LOCK_UN)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerUnavailableError(
                f"the ledger {self._path} cannot be used: {error}; check the path, its disk and its permissions"
            ) from error


class _SQLiteTransaction:
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
            "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " state = excluded.state, amount = excluded.amount, booked = excluded.booked",
            (id, entry.state.value, entry.hold.amount, entry.first, entry.booked, entry.hold.expires,
             legs_as_json(entry.hold.legs)),
        )  # fmt: skip

    def overdue(self, now: float, limit: int) -> list[str]:
        """Open holds whose lease was over at `now`."""
        query = "SELECT id FROM holds WHERE state = 'open' AND expires <= ? ORDER BY expires LIMIT ?"
        return [record["id"] for record in self._run(query, (now, limit))]

    def forget(self, now: float, limit: int) -> None:
        """Delete windows that are over and holds that ended long ago."""
        self._run(
            "DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE state != 'open' AND expires < ? LIMIT ?)",
            (now - REMEMBERED, limit),
        )
        self._run("DELETE FROM windows WHERE ends < ? AND held = 0", (now,))


def _migrate(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(f"it is of a newer costguard (schema {version}, this one knows {len(MIGRATIONS)})")
    for number, migration in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {migration} PRAGMA user_version = {number}; COMMIT;")


def open_sqlite(url: str) -> SQLiteLedger:
    """Open ``sqlite:///absolute/path.db`` or ``sqlite:relative.db``, with ``?durability=power`` if wanted.

    Raises:
        ConfigError: it names no file.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if not path.strip("/") or parts.netloc:
        raise ConfigError(f"ledger {url!r}: write sqlite:///absolute/path.db or sqlite:relative.db")
    if path.startswith("//"):
        path = path[1:]
    durability: Any = parse_qs(parts.query).get("durability", ["process"])[0]
    return SQLiteLedger(path, durability=durability)
