"""How the PostgreSQL ledger reaches its server: within a bounded time, or not at all.

A step has one deadline for everything: a free connection, connecting, its statements and a second try on a new
connection. After three failures in a row the next steps fail at once, until a probe succeeds. (Only the system's name
resolution keeps a time-out of its own.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

from ..errors import ConfigError, LedgerUnavailableError, MissingExtraError
from ._postgres_wire import FailedError, LostError, TooLateError, Wire, sentence

T = TypeVar("T")

FAILURES: Final = 3
PAUSE: Final = 5.0
"""After so many failures in a row, so many seconds without trying."""

_REPEATED: Final = ("40001", "40P01", "23505", "25006", "3F000", "42P01", "57P01", "57P02", "57P03")
"""Errors that may not come again: deadlocks, two first steps of one hold, a server that fails over, tables that were
dropped and are made again."""

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


class CrowdedError(LostError):
    """All connections are busy with other steps, which says nothing about the server."""


@dataclass
class _Here:
    """What belongs to one process: a forked child has connections, locks and failures of its own."""

    pid: int = field(default_factory=os.getpid)
    idle: SimpleQueue[Wire] = field(default_factory=SimpleQueue)
    # Weak, so that a connection dropped by an interrupt at any point makes room for another by itself.
    all: WeakSet[Wire] = field(default_factory=WeakSet)
    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: int = 0
    shut_until: float = 0.0


class Link:
    """A few connections to one server. Safe for threads, forks, and interrupts in the middle of a step.

    Args:
        url: as libpq reads it.
        timeout: seconds that a step may take.
        connections: the most that a process keeps.

    Raises:
        MissingExtraError: psycopg is not installed.
        ConfigError: the URL or one of its options is not understood.
    """

    def __init__(self, url: str, *, timeout: float, connections: int) -> None:
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
        self._most = connections
        self._inherited: list[_Here] = []
        self._here = _Here()

    def run(self, work: Callable[[Wire], T]) -> T:
        """Do one step on a connection, and once more on another one when the first breaks.

        Raises:
            LedgerUnavailableError: the server cannot be reached, is too slow or answers with an error.
        """
        here = self._mine()
        self._enter(here)
        until = time.monotonic() + self.timeout
        try:
            try:
                answer = self._once(here, work, until)
            except (LostError, FailedError) as error:
                if isinstance(error, TooLateError | CrowdedError):
                    raise
                if isinstance(error, FailedError) and error.state not in _REPEATED:
                    raise
                # The other idle connections are probably as dead as this one.
                self._drop(here)
                answer = self._once(here, work, until)
        except CrowdedError as error:
            raise self._unavailable(error) from error
        except LostError as error:
            with here.lock:
                here.failures += 1
                if here.failures >= FAILURES:
                    here.shut_until = time.monotonic() + PAUSE
            raise self._unavailable(error) from error
        except FailedError as error:
            raise self._unavailable(error) from error
        here.failures = 0
        return answer

    def close(self) -> None:
        """Close what is idle; the next step connects again."""
        self._drop(self._mine())

    def _once(self, here: _Here, work: Callable[[Wire], T], until: float) -> T:
        wire = self._taken(here, until)
        try:
            wire.until = until
            return work(wire)
        finally:
            # Whatever an interrupt or an error left on it, nobody may take for his own.
            if wire.idle:
                here.idle.put(wire)
            else:
                here.all.discard(wire)
                wire.close()

    def _taken(self, here: _Here, until: float) -> Wire:
        wait = 0.0
        while True:
            try:
                return here.idle.get(timeout=wait) if wait else here.idle.get_nowait()
            except Empty:
                pass
            with here.lock:
                if len(here.all) < self._most:
                    wire = Wire(self._psycopg, self._conninfo)
                    here.all.add(wire)
                    return wire
            # In short turns: a connection that an interrupt dropped is announced by nobody.
            wait = min(0.05, until - time.monotonic())
            if wait <= 0:
                raise CrowdedError(f"its {self._most} connections were all busy for {self.timeout:g} s")

    def _drop(self, here: _Here) -> None:
        while True:
            try:
                wire = here.idle.get_nowait()
            except Empty:
                return
            here.all.discard(wire)
            wire.close()

    def _mine(self) -> _Here:
        here = self._here
        if here.pid != os.getpid():
            # The parent's connections are neither used nor closed in a child.
            self._inherited.append(here)
            here = self._here = _Here()
        return here

    def _enter(self, here: _Here) -> None:
        """Fail at once while the server is given up; let one probe through when the pause is over."""
        if not here.shut_until:
            return
        with here.lock:
            now = time.monotonic()
            if here.failures >= FAILURES and now < here.shut_until:
                raise LedgerUnavailableError(
                    f"the ledger {self.where} failed {here.failures} times in a row and is tried again in"
                    f" {here.shut_until - now:.1f} s; check that the server runs and can be reached from here"
                )
            here.shut_until = now + PAUSE if here.failures >= FAILURES else 0.0

    def _unavailable(self, error: LostError | FailedError) -> LedgerUnavailableError:
        if isinstance(error, FailedError):
            hint = _HINTS.get(error.state, f"look its error {error.state} up in PostgreSQL's list of error codes")
        elif isinstance(error, CrowdedError):
            hint = "raise ?connections= in its URL, or check why its steps are slow"
        elif isinstance(error, TooLateError):
            hint = f"it may take {self.timeout:g} s: check its load and the network, or raise ?timeout= in its URL"
        else:
            hint = "check that the server runs, and the address, user, password and database in its URL"
        unavailable = LedgerUnavailableError(f"the ledger {self.where} cannot be used: {error}; {hint}")
        unavailable.unsure = isinstance(error, LostError) and not isinstance(error, CrowdedError)
        return unavailable
