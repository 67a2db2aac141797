"""A journal in an SQLite file, for all processes of one host.

Its own file, not the ledger's: writing calls must not make a reservation wait. WAL mode: who reads a report keeps no
process from writing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit
from weakref import WeakSet

from .._forks import forks
from ..errors import ConfigError, JournalUnavailableError
from ._sql import KEEP_DAYS, Row, Session, SQLJournal, days
from ._tables import MIGRATIONS, MIGRATIONS_TABLE

PATIENCE: Final = 10.0
"""Seconds that a batch waits for other processes' batches."""


class SQLiteJournal(SQLJournal):
    """Keeps calls in an SQLite file on a local disk, written by every process that opens it.

    Args:
        path: the file; it is made when it does not exist.
        keep: days for which the calls themselves are kept; their sums stay.

    Raises:
        ConfigError: `keep` is not above zero.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: float = KEEP_DAYS) -> None:
        self.path = Path(path).absolute()
        # Two connections, so that reading a long report delays no batch.
        self._writer, self._reader = Connection(self.path), Connection(self.path)
        super().__init__(keep)

    def close(self) -> None:
        """Write what is behind, and close the file; the next step opens it again."""
        super().close()
        self._writer.close()
        self._reader.close()

    def _write(self, work: Callable[[Session], None]) -> None:
        with self._writer.open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                work(_Session(connection))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._reader.open() as connection:
            return connection.execute(query, tuple(values)).fetchall()

    def _tag(self, name: str) -> str:
        return f"coalesce(json_extract(nullif(tags, ''), '$.\"{name}\"'), '')"


class _Session:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(query, tuple(values)).fetchall()

    def each(self, query: str, rows: Any) -> None:
        self._connection.executemany(query, rows)


class Connection:
    """One connection to the file, for one thread at a time, and closed while the process forks.

    SQLite keeps its locks by process and file: a child that only inherited a connection would take the locks in its
    memory for its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inherited: list[Any] = []
        self.begin()
        _connections.add(self)

    def begin(self) -> None:
        """Start without one; also in a forked child."""
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """The connection, with the tables made.

        Raises:
            JournalUnavailableError: the file cannot be used.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connected()
                yield self._connection
            except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
                if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError):
                    raise
                self.close()
                raise JournalUnavailableError(
                    f"the journal {self._path} cannot be used: {error}; check its path, its disk and its permissions"
                ) from error

    def close(self) -> None:
        """Close it, if it is open."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def before_fork(self) -> None:
        """Close it and let nobody open it."""
        if self._lock.acquire(timeout=PATIENCE):
            self.close()

    def after_fork_in_parent(self) -> None:
        """Let it be opened again."""
        try:
            self._lock.release()
        except RuntimeError:  # it was not ours: somebody has been reading for long
            return

    def after_fork_in_child(self) -> None:
        """Neither use nor close what was inherited."""
        self._inherited.append((self._connection, self._lock))
        self.begin()

    def _connected(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring them to this version; processes that start at the same time do it one by one."""
    known = len(MIGRATIONS)
    if _version(connection) == known:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(MIGRATIONS_TABLE.format(s=""))
    version = _version(connection)
    if version > known:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError(f"it is of a newer costguard (schema {version}, this one knows {known})")
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        for statement in statements:
            connection.execute(statement.format(s="", serial="INTEGER PRIMARY KEY", text="TEXT", whole="INTEGER"))
        connection.execute("INSERT INTO journal_migrations (number) VALUES (?)", (number,))
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal_migrations'").fetchone()
    found = connection.execute("SELECT max(number) FROM journal_migrations").fetchone() if there else None
    return 0 if found is None or found[0] is None else int(found[0])


_connections: Final[WeakSet[Connection]] = WeakSet()


def _before_fork() -> None:
    for connection in list(_connections):
        connection.before_fork()


def _after_fork_in_parent() -> None:
    for connection in list(_connections):
        connection.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for connection in list(_connections):
        connection.after_fork_in_child()


forks.register(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def open_sqlite(url: str) -> SQLiteJournal:
    """Open ``sqlite:///absolute/path.db`` or ``sqlite:relative.db``, with ``?keep=62d`` or ``?keep=all`` if wanted.

    Raises:
        ConfigError: it names no file, or an option that there is not.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if not path.strip("/") or parts.netloc:
        raise ConfigError(f"journal {url!r}: write sqlite:///absolute/path.db or sqlite:relative.db")
    if path.startswith("//"):
        path = path[1:]
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - {"keep"}:
        raise ConfigError(f"journal {url!r}: there is no option {min(unknown)!r}, only keep")
    try:
        return SQLiteJournal(path, keep=days(options.get("keep", f"{KEEP_DAYS}d")))
    except ValueError as error:
        raise ConfigError(f"journal {url!r}: {error}") from error
