"""Answers in an SQLite file, for all processes of one host and across restarts."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ...errors import ConfigError
from ._away import Away
from .memory import VECTORS, entries_of

ENTRIES: Final = 100_000
_PRUNE_EVERY: Final = 100
_DAY: Final = 86_400.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_expires ON answers (expires);
CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
    place INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL, key TEXT NOT NULL, vector TEXT NOT NULL,
    expires REAL NOT NULL, UNIQUE (scope, key) ON CONFLICT REPLACE
);
CREATE INDEX IF NOT EXISTS vectors_scope ON vectors (scope, place);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class SQLiteStore:
    """Keeps answers in a file that only its owner may read.

    Args:
        path: the file; it is made when it does not exist.
        entries: answers kept at most; those that expire first make room.
    """

    inline = False

    def __init__(self, path: str | os.PathLike[str], entries: int = ENTRIES) -> None:
        self._path = Path(path).absolute()
        self._most = entries
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inherited: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._puts = 0
        self._away = Away(str(self._path))
        try:
            with self._lock:
                self._connected()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"store {self._path}: {error}") from error

    def get(self, key: str, now: float) -> str | None:
        """See `costguard.ports.AnswerStore.get`."""
        if self._away:
            return None
        try:
            with self._lock:
                row = self._connected().execute(
                    "SELECT text FROM answers WHERE key = ? AND expires > ?", (key, now)
                ).fetchone()  # fmt: skip
        except (sqlite3.Error, OSError) as error:
            self._away.note(error)
            return None
        return None if row is None else str(row[0])

    def put(self, key: str, text: str, expires: float) -> None:
        """See `costguard.ports.AnswerStore.put`."""
        if self._away:
            return
        try:
            with self._lock:
                connection = self._connected()
                connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, expires))
                self._puts += 1
                if self._puts % _PRUNE_EVERY == 1 or self._most < _PRUNE_EVERY:
                    connection.execute(
                        "DELETE FROM answers WHERE key IN"
                        " (SELECT key FROM answers ORDER BY expires DESC LIMIT -1 OFFSET ?)",
                        (self._most,),
                    )
                    # What a process that ended early left. Its own clock wrote it, so a day is enough for all clocks.
                    connection.execute("DELETE FROM leases WHERE expires < ?", (time.time() - _DAY,))
        except (sqlite3.Error, OSError) as error:
            self._away.note(error)

    def note(self, scope: str, key: str, vector: str, expires: float) -> None:
        """See `costguard.ports.Vectors.note`."""
        if self._away:
            return
        try:
            with self._lock:
                connection = self._connected()
                row = (scope, key, vector, expires)
                connection.execute("INSERT INTO vectors (scope, key, vector, expires) VALUES (?, ?, ?, ?)", row)
                connection.execute(
                    "DELETE FROM vectors WHERE place <= (SELECT max(place) FROM vectors) - ? OR expires < ?",
                    (min(self._most, VECTORS), time.time() - _DAY),
                )
        except (sqlite3.Error, OSError) as error:
            self._away.note(error)

    def notes(self, scope: str, after: str) -> Sequence[tuple[str, str, str]]:
        """See `costguard.ports.Vectors.notes`."""
        if self._away:
            return ()
        try:
            with self._lock:
                rows = self._connected().execute(
                    "SELECT place, key, vector FROM vectors WHERE scope = ? AND place > ? ORDER BY place",
                    (scope, int(after or 0)),
                ).fetchall()  # fmt: skip
        except (sqlite3.Error, OSError) as error:
            self._away.note(error)
            return ()
        return [(str(place), str(key), str(vector)) for place, key, vector in rows]

    def lease(self, key: str, owner: str, now: float, seconds: float) -> bool:
        """See `costguard.ports.Leases.lease`."""
        if self._away:
            return True
        try:
            with self._lock:
                done = self._connected().execute(
                    "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
                    " SET owner = excluded.owner, expires = excluded.expires"
                    " WHERE leases.expires <= ? OR leases.owner = excluded.owner",
                    (key, owner, now + seconds, now),
                )
                return done.rowcount == 1
        except (sqlite3.Error, OSError) as error:
            self._away.note(error)
            return True

    def give_up(self, key: str, owner: str) -> None:
        """See `costguard.ports.Leases.give_up`."""
        if self._away:
            return
        try:
            with self._lock:
                self._connected().execute("DELETE FROM leases WHERE key = ? AND owner = ?", (key, owner))
        except (sqlite3.Error, OSError) as error:
            self._away.note(error)

    def clear(self) -> None:
        """See `costguard.ports.AnswerStore.clear`."""
        with self._lock:
            self._connected().executescript("DELETE FROM answers; DELETE FROM vectors")

    def secret(self) -> bytes | None:
        """See `costguard.ports.AnswerStore.secret`."""
        if self._away:
            return None
        try:
            with self._lock:
                connection = self._connected()
                fresh = secrets.token_bytes(32)
                connection.execute("INSERT OR IGNORE INTO settings VALUES ('secret', ?)", (fresh,))
                row = connection.execute("SELECT value FROM settings WHERE name = 'secret'").fetchone()
        except (sqlite3.Error, OSError) as error:
            self._away.note(error)
            return None
        return bytes(row[0])

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _connected(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # A connection must not be used on both sides of a fork, nor closed on the child's.
            self._inherited, self._connection, self._pid = self._connection, None, os.getpid()
        if self._connection is None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path, timeout=2.0, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            self._connection = connection
        return self._connection


def open_sqlite(url: str) -> SQLiteStore:
    """``sqlite:///absolute/path.db`` or ``sqlite:relative.db``, as ledgers have it, with ``?entries=1000``.

    Raises:
        ConfigError: there is no path, or the file cannot be opened.
    """
    path = unquote(urlsplit(url).path)
    if not path.strip("/"):
        raise ConfigError(f"store={url!r}: write sqlite:///absolute/path.db or sqlite:relative.db")
    if path.startswith("//"):
        path = path[1:]
    return SQLiteStore(path, entries_of(url, ENTRIES))
