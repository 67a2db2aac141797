"""How the PostgreSQL ledger reaches its server: within a bounded time, or not at all.

A step fails when the server has been silent for the time-out: a server that is away costs its callers no more than
that, and after three failures in a row the next steps fail at once, until a probe succeeds. A server that answers
somebody is there, though, and a crowd in front of it is no fault: then a step waits for its turn, for a connection and
for the budgets, as long as its patience lasts. (Only the system's name resolution keeps a time-out of its own.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigError, LedgerUnavailableError, MissingExtraError
from ._breaker import Breaker
from ._pool import CrowdedError, LostError, Pool, TooLateError, Turn
from ._postgres_wire import FailedError, Wire, sentence

T = TypeVar("T")

_REPEATED: Final = ("40001", "40P01", "23505", "25006", "3F000", "42P01", "57P01", "57P02", "57P03")
"""Errors that may not come again: deadlocks, two first steps of one hold, a server that fails over, tables that were
dropped and are made again."""

_CROWDED: Final = ("55P03", "57014")
"""Errors of a server that is there and busy: others held the budgets, or it was slow. Said after a part of the
time-out, so that whoever is alone hears from it."""

_HINTS: Final = {
    "25006": "it is a standby: name the primary in its URL",
    "3F000": "check that its schema is not dropped while it is in use",
    "42501": "its user needs CREATE on the database once, and then USAGE on the schema and SELECT, INSERT, UPDATE and"
    " DELETE on its tables",
    "53100": "its disk is full: free some space",
    "53300": "it is out of connections: raise max_connections, or lower ?connections= in its URL",
    "55P03": "other steps held the same budgets all that time: check its load, and pg_stat_activity for one that hangs",
    "57014": "other steps held the same budgets all that time: check its load, and pg_stat_activity for one that hangs",
}


@dataclass
class _Here:
    """What belongs to one process: a forked child has connections of its own."""

    pool: Pool[Wire]
    pid: int = field(default_factory=os.getpid)


class Link:
    """A few connections to one server. Safe for threads, forks, and interrupts in the middle of a step.

    Args:
        url: as libpq reads it.
        timeout: seconds of silence after which the server is taken to be away.
        patience: seconds that a step may take while the server answers.
        connections: the most that a process keeps.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigError: the URL or one of its options is not understood.
    """

    def __init__(self, url: str, *, timeout: float, patience: float, connections: int) -> None:
        try:
            psycopg: Any = import_module("psycopg")
        except ImportError as error:
            raise MissingExtraError("postgres") from error
        parts = urlsplit(url)
        # Without user and password, for messages.
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            conninfo = psycopg.conninfo.make_conninfo(url, fallback_application_name="costguard")
        except psycopg.Error as error:
            raise ConfigError(f"ledger {self.where}: {sentence(error)}") from error
        self._psycopg: Any = psycopg
        self._conninfo = conninfo.encode()
        self.timeout = timeout
        self.patience = patience
        self._most = connections
        self.breaker = Breaker(self.where, timeout)
        self._inherited: list[_Here] = []
        self._here = self._new()

    def run(self, work: Callable[[Wire], T]) -> T:
        """Do one step on a connection, and once more on another one when the first breaks.

        Raises:
            LedgerUnavailableError: the server cannot be reached, is too slow or answers with an error.
        """
        here = self._mine()
        self.breaker.enter()
        turn = self.turn()
        try:
            answer = self._in_turn(here, work, turn)
        except LostError as error:
            # A crowd says nothing about the server.
            if not isinstance(error, CrowdedError) and (turn.silent or not isinstance(error, TooLateError)):
                self.breaker.failed()
            raise self._unavailable(error, turn) from error
        except FailedError as error:
            # It is there, and says what is wrong.
            self.breaker.succeeded()
            raise self._unavailable(error, turn) from error
        self.breaker.succeeded()
        return answer

    def close(self) -> None:
        """Close what is idle; the next step connects again."""
        self._mine().pool.close()

    def turn(self, timeout: float = 0.0) -> Turn:
        """The clock of a step that begins now."""
        return Turn(self._mine().pool, timeout or self.timeout, self.patience)

    def _in_turn(self, here: _Here, work: Callable[[Wire], T], turn: Turn) -> T:
        again = True
        while True:
            try:
                return self._once(here, work, turn)
            except (LostError, FailedError) as error:
                if isinstance(error, FailedError) and error.state in _CROWDED and turn.allows_another():
                    continue
                if not again or isinstance(error, TooLateError):
                    raise
                if isinstance(error, FailedError) and error.state not in _REPEATED:
                    raise
                again = False
                # The other idle connections are probably as dead as this one.
                here.pool.drop()

    def _once(self, here: _Here, work: Callable[[Wire], T], turn: Turn) -> T:
        wire = here.pool.take(turn)
        try:
            wire.turn = turn
            return work(wire)
        finally:
            here.pool.give(wire)

    def _mine(self) -> _Here:
        here = self._here
        if here.pid != os.getpid():
            # The parent's connections are neither used nor closed in a child.
            self._inherited.append(here)
            here = self._here = self._new()
        return here

    def _new(self) -> _Here:
        return _Here(Pool(lambda: Wire(self._psycopg, self._conninfo), self._most))

    def _unavailable(self, error: LostError | FailedError, turn: Turn) -> LedgerUnavailableError:
        if isinstance(error, FailedError):
            hint = _HINTS.get(error.state, f"look its error {error.state} up in PostgreSQL's list of error codes")
        elif isinstance(error, TooLateError) and turn.silent:
            hint = f"it may take {self.timeout:g} s: check its load and the network, or raise ?timeout= in its URL"
        elif isinstance(error, TooLateError):
            hint = "raise ?connections= or ?patience= in its URL, or check why its steps are slow"
        else:
            hint = "check that the server runs, and the address, user, password and database in its URL"
        unavailable = LedgerUnavailableError(f"the ledger {self.where} cannot be used: {error}; {hint}")
        unavailable.unsure = isinstance(error, LostError) and not isinstance(error, CrowdedError)
        return unavailable
