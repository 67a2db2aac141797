"""One book for all processes of one host, in an SQLite file.

WAL mode and ``BEGIN IMMEDIATE``: a step holds the only write lock from its first look to its commit, so what it read
is still true when it writes. In front of that stands a lock on a file beside the book, because SQLite's own waiting
sleeps longer and longer and starves: with it the waiting processes take turns. It only orders them; the book is safe
without it, so a process that hangs there keeps nobody out.

The file belongs on a local disk. On NFS and the like neither locks nor WAL's shared memory can be relied on: use the
PostgreSQL or the Redis ledger for several hosts.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit
from weakref import WeakSet

from .._forks import forks
from ..errors import ConfigError, LedgerUnavailableError
from ._sqlite_book import SQLiteTransaction
from ._sqlite_tables import migrate
from ._stepped import KEPT, SteppedLedger, Transaction

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no fcntl; SQLite's own waiting stands in
    fcntl = None  # type: ignore[assignment]

Durability = Literal["process", "power"]
T = TypeVar("T")

PATIENCE: Final = 5.0
"""Seconds that a step waits for others while nobody in its process is served."""
TURN: Final = 1.0
"""Seconds of those that it waits for its turn, before it tries without."""

_HINTS: Final = {
    "SQLITE_BUSY": "another program has kept it locked all that time: end it, or see why it hangs",
    "SQLITE_FULL": "its disk is full: free some space",
    "SQLITE_CORRUPT": "it is damaged: move it away together with its -wal and -shm, or restore it from a backup",
    "SQLITE_NOTADB": "it is another file: name one that does not exist yet, or an earlier ledger",
}


class SQLiteLedger(SteppedLedger):
    """Counts in an SQLite file on a local disk, shared by every process that opens it.

    Args:
        path: the file; it is made when it does not exist. Beside it stand others with ``-wal``, ``-shm`` and ``-lock``
            at the end of their names.
        durability: ``process`` survives any crash of programs; ``power`` also survives a power failure, at the
            price of waiting for the disk in each step.
        keep: seconds that a window's books are kept after its end.

    Raises:
        LedgerUnavailableError: the file cannot be opened, is no book, or is of a newer costguard.
    """

    def __init__(self, path: str | os.PathLike[str], *, durability: Durability = "process", keep: float = KEPT) -> None:
        if durability not in ("process", "power"):
            raise ConfigError(f"durability={durability!r}: allowed are 'process' and 'power'")
        super().__init__()
        # Absolute, because a program may change its directory later.
        self._path = Path(path).absolute()
        self._file = str(self._path)
        self._durability = durability
        self._keep = keep
        self._lock = threading.Lock()
        self._served = 0.0
        self._pid = os.getpid()
        self._patience = 0
        self._connection: sqlite3.Connection | None = None
        self._queue: int | None = None
        self._place: tuple[int, int] | None = None
        self._inherited: list[Any] = []
        self._transact(lambda _: None)
        _ledgers.add(self)

    def close(self) -> None:
        """Close the file; the next step opens it again."""
        with self._lock:
            self._disconnect()

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        began = time.monotonic()
        if self._pid != os.getpid():
            self._forked()
        with self._lock:
            # Who waited here for threads that were served has his patience before him, else it began with theirs.
            until = max(began, self._served) + PATIENCE
            try:
                return self._alone(work, until)
            except (sqlite3.Error, OSError) as error:
                raise self._away(error) from error

    def _alone(self, work: Callable[[Transaction], T], until: float) -> T:
        connection = self._connected(until)
        try:
            self._queue_up(until)
            self._check_place()
            self._wait_at_most(connection, until)
            connection.execute("BEGIN IMMEDIATE")
            result = work(SQLiteTransaction(connection))
            connection.execute("COMMIT")
        except BaseException:
            self._undo(connection)
            raise
        else:
            self._served = time.monotonic()
            return result
        finally:
            self._step_aside()

    def _wait_at_most(self, connection: sqlite3.Connection, until: float) -> None:
        """Have SQLite itself wait no longer than this; told anew only where it differs by a fifth of a second."""
        patience = -(-_milliseconds(until) // 200) * 200
        if patience != self._patience:
            connection.execute(f"PRAGMA busy_timeout = {patience}")
            self._patience = patience

    def _undo(self, connection: sqlite3.Connection) -> None:
        """Leave no transaction open, whatever went wrong: a commit that failed, on a full disk say, leaves one."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()

    # -- the file

    def _connected(self, until: float) -> sqlite3.Connection:
        connection = self._connection
        if connection is None:
            try:
                connection = self._connect(until)
            except BaseException:
                self._disconnect()
                raise
            finally:
                self._step_aside()
        elif connection.in_transaction:
            # An interrupt struck so that not even its own clean-up was run.
            connection.execute("ROLLBACK")
        return connection

    def _connect(self, until: float) -> sqlite3.Connection:
        if self._place is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        else:
            self._check_place()
        if fcntl is not None:
            self._queue = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # Two processes that make the file at once would else fail to change its mode.
        self._queue_up(until)
        patience = _milliseconds(until) / 1000
        connection = sqlite3.connect(self._path, timeout=patience, isolation_level=None, check_same_thread=False)
        self._connection, self._patience = connection, 0
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"its disk does not support WAL mode (it is in mode {mode})")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'power' else 'NORMAL'}")
        migrate(connection)
        found = self._path.stat()
        self._place = (found.st_dev, found.st_ino)
        return connection

    def _disconnect(self) -> None:
        connection, queue = self._connection, self._queue
        self._connection = self._queue = None
        if queue is not None:
            os.close(queue)
        if connection is not None:
            connection.close()

    def _check_place(self) -> None:
        """SQLite would go on counting in a file that was deleted, while others begin a new one beside it."""
        try:
            found = os.stat(self._file)
        except (FileNotFoundError, NotADirectoryError) as error:
            self._disconnect()
            raise LedgerUnavailableError(
                f"the ledger {self._path} was deleted while it was in use, and what it counted with it; restore it, or"
                f" restart this program to begin a new one"
            ) from error
        if (found.st_dev, found.st_ino) != self._place:
            self._disconnect()
            self._place = None
            raise LedgerUnavailableError(
                f"the ledger {self._path} was replaced by another file while it was in use; the next calls count in"
                f" that one"
            )

    # -- other processes

    def _queue_up(self, until: float) -> None:
        if self._queue is None or fcntl is None:
            return
        pause = 0.0
        while True:
            try:
                # Not waiting in the kernel, where nothing but a signal would end it.
                fcntl.flock(self._queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                if not pause:
                    until, pause = min(until, now + TURN), 0.0002
                if now >= until:
                    return
                time.sleep(pause)
                pause = min(0.0008, pause * 1.5)
            else:
                return

    def _step_aside(self) -> None:
        if self._queue is not None and fcntl is not None:
            fcntl.flock(self._queue, fcntl.LOCK_UN)

    def _before_fork(self) -> None:
        """Close the file. SQLite keeps its locks by process and file: a child that only inherited a connection, even
        one it never used, would take the locks in its memory for its own."""
        if self._lock.acquire(timeout=PATIENCE + TURN):
            self._disconnect()

    def _after_fork_in_parent(self) -> None:
        if self._lock.locked():
            self._lock.release()

    def _forked(self) -> None:
        """Where a child inherited a connection all the same, it must neither use nor close it."""
        self._inherited.append((self._connection, self._queue))
        self._lock = threading.Lock()
        self._pid, self._connection, self._queue = os.getpid(), None, None

    def _away(self, error: sqlite3.Error | OSError) -> LedgerUnavailableError:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            # The tables are others: a newer version has migrated them, which opening the file again will tell.
            self._disconnect()
        name = getattr(error, "sqlite_errorname", "")
        hint = next((hint for prefix, hint in _HINTS.items() if name.startswith(prefix)), None)
        hint = hint or "check the path, its disk and its permissions"
        return LedgerUnavailableError(f"the ledger {self._path} cannot be used: {error}; {hint}")


def _milliseconds(until: float) -> int:
    return max(1, int(1000 * (until - time.monotonic())))


_ledgers: Final[WeakSet[SQLiteLedger]] = WeakSet()


def _before_fork() -> None:
    for ledger in list(_ledgers):
        ledger._before_fork()


def _after_fork_in_parent() -> None:
    for ledger in list(_ledgers):
        ledger._after_fork_in_parent()


def _after_fork_in_child() -> None:
    for ledger in list(_ledgers):
        ledger._forked()


forks.register(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def open_sqlite(url: str) -> SQLiteLedger:
    """Open ``sqlite:///absolute/path.db`` or ``sqlite:relative.db``, with ``?durability=power`` if wanted.

    Raises:
        ConfigError: it names no file, or an option that there is not.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if not path.strip("/") or parts.netloc:
        raise ConfigError(f"ledger {url!r}: write sqlite:///absolute/path.db or sqlite:relative.db")
    if path.startswith("//"):
        path = path[1:]
    options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - {"durability"}:
        raise ConfigError(f"ledger {url!r}: there is no option {min(unknown)!r}, only durability")
    return SQLiteLedger(path, **options)
