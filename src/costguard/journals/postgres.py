"""A journal in PostgreSQL 12 or newer, for many hosts.

Batches are written one after another, under an advisory lock that lasts for one transaction: what a batch finds is
still true when it writes, and no two wait for each other.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib import import_module
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ..errors import ConfigError, JournalUnavailableError, MissingExtraError
from ._sql import KEEP_DAYS, Row, Session, SQLJournal, days
from ._tables import MIGRATIONS, MIGRATIONS_TABLE

CONNECTING: Final = 5
PATIENCE: Final = 30
"""Seconds that a batch may take, its waiting for others included."""
READING: Final = 600
"""Seconds that a question may take."""

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class PostgresJournal(SQLJournal):
    """Keeps calls in PostgreSQL, written by every process of every host that names the same database and schema.

    Args:
        url: ``postgresql://``, with libpq's options.
        schema: holds the tables; it may be the ledger's.
        keep: days for which the calls themselves are kept; their sums stay.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigError: an argument is malformed.
    """

    def __init__(self, url: str, *, schema: str = "costguard", keep: float = KEEP_DAYS) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise ConfigError(f"schema={schema!r}: use up to 63 small letters, digits and _")
        self._schema = schema
        self.prefix = f"{schema}."
        self._writer, self._reader = Connection(url, schema, PATIENCE), Connection(url, schema, READING)
        super().__init__(keep)

    def close(self) -> None:
        """Write what is behind, and close the connections; the next step opens them again."""
        super().close()
        self._writer.close()
        self._reader.close()

    def _write(self, work: Callable[[Session], None]) -> None:
        with self._writer.open() as connection, connection.transaction():
            session = _Session(connection)
            session.ask(f"SELECT pg_advisory_xact_lock({lock_key(self._schema)})")
            work(session)

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._reader.open() as connection:
            return _Session(connection).ask(query, values)

    def _tag(self, name: str) -> str:
        return f"coalesce(nullif(tags, '')::jsonb ->> '{name}', '')"


class _Session:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        cursor = self._connection.execute(query.replace("?", "%s"), tuple(values))
        return [] if cursor.description is None else list(cursor.fetchall())

    def each(self, query: str, rows: Any) -> None:
        if rows:
            with self._connection.cursor() as cursor:
                cursor.executemany(query.replace("?", "%s"), rows)


class Connection:
    """One connection to the server, for one thread at a time; a forked child opens its own."""

    def __init__(self, url: str, schema: str, patience: int) -> None:
        try:
            self._psycopg: Any = import_module("psycopg")
        except ImportError as error:
            raise MissingExtraError("postgres") from error
        parts = urlsplit(url)
        # Without user and password, for messages.
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            self._conninfo = self._psycopg.conninfo.make_conninfo(url, fallback_application_name="costguard")
        except self._psycopg.Error as error:
            raise ConfigError(f"journal {self.where}: {' '.join(str(error).split())}") from error
        self._schema, self._patience = schema, patience
        self._inherited: list[Any] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._connection: Any = None
        self._pid = os.getpid()

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The connection, with the tables made.

        Raises:
            JournalUnavailableError: the server cannot be reached, is too slow or refuses.
        """
        if self._pid != os.getpid():
            # The parent's connection is neither used nor closed in a child.
            self._inherited.append((self._connection, self._lock))
            self._begin()
        with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = self._connected()
                yield self._connection
            except self._psycopg.Error as error:
                if isinstance(error, self._psycopg.IntegrityError | self._psycopg.DataError):
                    raise
                self.close()
                raise JournalUnavailableError(
                    f"the journal {self.where} cannot be used: {' '.join(str(error).split())}; check that the server"
                    f" runs, and the address, user, password and database in its URL"
                ) from error

    def close(self) -> None:
        """Close it, if it is open and of this process."""
        if self._pid == os.getpid():
            with self._lock:
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.close()

    def _connected(self) -> Any:
        connection = self._psycopg.connect(self._conninfo, autocommit=True, connect_timeout=CONNECTING)
        try:
            connection.execute(f"SET statement_timeout = {self._patience * 1000}")
            _migrate(connection, self._schema)
        except BaseException:
            connection.close()
            raise
        return connection


def lock_key(schema: str) -> int:
    """The number of the advisory lock of a schema's journal, the same on every host."""
    digest = blake2b(f"costguard\0journal\0{schema}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _migrate(connection: Any, schema: str) -> None:
    """Make the tables, or bring them to this version; processes that start at the same time do it one by one."""
    known, prefix = len(MIGRATIONS), f"{schema}."
    if _version(connection, prefix) == known:
        return
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({lock_key(schema)})")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.execute(MIGRATIONS_TABLE.format(s=prefix))
        version = _version(connection, prefix)
        if version > known:
            raise JournalUnavailableError(
                f"the journal is of a newer costguard (schema {version}, this one knows {known}): upgrade costguard"
            )
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements:
                connection.execute(
                    statement.format(s=prefix, serial="bigserial PRIMARY KEY", text='text COLLATE "C"', whole="bigint")
                )
            connection.execute(f"INSERT INTO {prefix}journal_migrations (number) VALUES ({number})")


def _version(connection: Any, prefix: str) -> int:
    if connection.execute(f"SELECT to_regclass('{prefix}journal_migrations')").fetchone()[0] is None:
        return 0
    return int(connection.execute(f"SELECT max(number) FROM {prefix}journal_migrations").fetchone()[0] or 0)


def open_postgres(url: str) -> PostgresJournal:
    """Open ``postgresql://user:password@host/database``, with ``?schema=acme``, ``keep=62d`` and libpq's options.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigError: it is malformed.
    """
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    schema = options.pop("schema", "costguard")
    try:
        keep = days(options.pop("keep", f"{KEEP_DAYS}d"))
    except ValueError as error:
        raise ConfigError(f"journal's URL: {error}") from error
    # libpq takes a plus sign for itself.
    return PostgresJournal(
        f"{base}?{urlencode(options, quote_via=quote)}" if options else base, schema=schema, keep=keep
    )
