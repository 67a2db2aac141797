"""One book for many hosts, in PostgreSQL 12 or newer.

Each step is one transaction. It first takes a lock on every budget it touches (advisory locks, in one order everywhere,
so that no two steps wait for each other), and only then reads: what it read is still true when it writes. Steps on
other budgets go on at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from ..errors import ConfigError, LedgerUnavailableError
from ._pool import LostError
from ._postgres_book import MIGRATE, MIGRATED, MIGRATIONS, VERSION, PostgresTransaction, lock_key
from ._postgres_link import Link
from ._postgres_wire import FailedError, Wire
from ._stepped import KEPT, SteppedLedger, Transaction

T = TypeVar("T")

TIMEOUT: Final = 0.6
PATIENCE: Final = 10.0
CONNECTIONS: Final = 8
STOPPED: Final = 2000
"""Milliseconds after which the server ends the step of a process that does not go on with it."""
SETTING_UP: Final = 10.0
"""Seconds that making the tables may take, once in the life of a schema."""

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class PostgresLedger(SteppedLedger):
    """Counts in PostgreSQL, shared by every process of every host that names the same database and schema.

    Nothing is sent to the server before the first step, which makes the schema and its tables if they are missing.

    Args:
        url: ``postgresql://``, with libpq's options.
        schema: holds the tables; each has books of its own.
        timeout: seconds of silence that a step waits through, its connecting and its second try included, before the
            server is taken to be away.
        patience: seconds that a step may take while the server does answer: for a free connection, and for steps of
            others on the same budgets.
        connections: the most that one process opens.
        keep: seconds that a window's books are kept after its end.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigError: the URL, an option of it or an argument is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "costguard",
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        connections: int = CONNECTIONS,
        keep: float = KEPT,
    ) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise ConfigError(f"schema={schema!r}: use up to 63 small letters, digits and _")
        if not 0.05 <= timeout <= 60:
            raise ConfigError(f"timeout={timeout:g}: allowed are 0.05 to 60 seconds")
        if not 0 <= patience <= 600:
            raise ConfigError(f"patience={patience:g}: allowed are 0 to 600 seconds")
        if connections < 1:
            raise ConfigError(f"connections={connections}: at least 1 is needed")
        super().__init__()
        self._schema = schema
        self._link = Link(url, timeout=timeout, patience=patience, connections=connections)
        self._keep = keep
        self._ready = False

    def close(self) -> None:
        """Close the connections; the next step opens them again."""
        self._link.close()

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        def step(wire: Wire) -> T:
            if not self._ready:
                self._set_up(wire)
            transaction = PostgresTransaction(wire, self._schema, self._begin, self._link.timeout)
            try:
                result = work(transaction)
            except (LostError, FailedError) as error:
                # Tables that were dropped are made again before the step is repeated.
                self._ready = getattr(error, "state", "") not in ("3F000", "42P01")
                raise
            except Exception:
                transaction.undo()
                raise
            transaction.commit()
            return result

        return self._link.run(step)

    @property
    def _begin(self) -> tuple[str, ...]:
        """Opens a transaction in which the server, too, gives up in time, however the database is set up.

        It gives up a little earlier than the caller, who then knows that it is there, and waits on.
        """
        limit = int(self._link.timeout * 800)
        return (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            f"SET LOCAL statement_timeout = {limit}",
            # A process that was stopped in the middle of its step must not keep others out for ever.
            f"SET LOCAL idle_in_transaction_session_timeout = {max(STOPPED, limit)}",
        )

    def _set_up(self, wire: Wire) -> None:
        if self._version(wire) < len(MIGRATIONS):
            turn, wire.turn = wire.turn, self._link.turn(SETTING_UP)
            self._migrate(wire)
            wire.turn = turn
        self._ready = True

    def _version(self, wire: Wire) -> int:
        """How many migrations were applied. Looking needs fewer rights than making."""
        if wire.ask(f"SELECT to_regclass('{self._schema}.migrations')")[-1] == [(None,)]:
            return 0
        version = int(wire.ask(VERSION.format(schema=self._schema))[-1][0][0] or 0)
        if version > len(MIGRATIONS):
            raise LedgerUnavailableError(
                f"the ledger {self._link.where} is of a newer costguard (schema {version}, this one knows"
                f" {len(MIGRATIONS)}): upgrade costguard here"
            )
        return version

    def _migrate(self, wire: Wire) -> None:
        """Apply what is missing; processes that start at the same time do it one after another."""
        schema, lock = self._schema, lock_key(self._schema, "migrations")
        patience = f"SET LOCAL lock_timeout = {int(SETTING_UP * 800)}"
        wire.ask(*[statement.format(schema=schema, lock=lock, patience=patience) for statement in MIGRATE])
        done = self._version(wire)
        for number, statements in enumerate(MIGRATIONS[done:], done + 1):
            wire.ask(*[statement.format(schema=schema, number=number) for statement in (*statements, MIGRATED)])
        wire.ask("COMMIT")


def open_postgres(url: str) -> PostgresLedger:
    """Open ``postgresql://user:password@host/database``, with ``?schema=acme``, ``timeout``, ``patience``,
    ``connections`` and libpq's options.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigError: it is malformed.
    """
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    ours: dict[str, Any] = {}
    for name, kind in (("schema", str), ("timeout", float), ("patience", float), ("connections", int)):
        if name in options:
            try:
                ours[name] = kind(options.pop(name))
            except ValueError as error:
                raise ConfigError(f"{name}= in the ledger's URL: {error}") from error
    # libpq takes a plus sign for itself.
    return PostgresLedger(f"{base}?{urlencode(options, quote_via=quote)}" if options else base, **ours)
