"""A server that is away costs its callers little: after a few failures in a row they are told at once.

Then one step at a time is let through to find out, after a pause that begins short, because a machine that was busy for
a moment is no dead server, and doubles with every such probe that fails. A success of any step ends it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple
from weakref import WeakSet

from .._forks import forks
from ..errors import LedgerUnavailableError

FAILURES: Final = 3
"""So many failures in a row and the next steps fail at once."""
PAUSES: Final = (0.25, 5.0)
"""Seconds until a probe: the first time, and at most."""


class _State(NamedTuple):
    """In one tuple, so that one assignment changes all of it."""

    failures: int = 0
    pause: float = 0.0
    until: float = 0.0
    """Nobody tries before; 0.0 while everybody may."""
    probe: int | None = None
    """The thread that tries now."""


class Breaker:
    """Whether a server can be asked. Safe for threads; a forked child begins with its own.

    Args:
        where: the server, for messages.
        longest: seconds that a probe may take; one that an interrupt ended is forgotten after them.
        clock: what the pauses are counted by.
    """

    def __init__(self, where: str, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._longest = longest
        self.clock = clock
        self.begin()
        _breakers.add(self)

    def begin(self) -> None:
        """Start with no failure."""
        self._lock = threading.Lock()
        self._state = _State()

    @property
    def failures(self) -> int:
        """How many there were since somebody was answered."""
        return self._state.failures

    def enter(self) -> None:
        """Begin a step.

        Raises:
            LedgerUnavailableError: the server has failed too often, and it is nobody's turn to try.
        """
        if not self._state.until:
            return
        with self._lock:
            state, now = self._state, self.clock()
            if not state.until:
                return
            if now >= state.until:
                self._state = state._replace(until=now + self._longest, probe=threading.get_ident())
                return
        again = "is being tried again" if state.probe else f"is tried again in {state.until - now:.2f} s"
        raise LedgerUnavailableError(
            f"the ledger {self._where} failed {state.failures} times in a row and {again};"
            " check that the server runs and can be reached from here"
        )

    def succeeded(self) -> None:
        """The server answered."""
        if self._state.failures:
            with self._lock:
                self._state = _State()

    def failed(self) -> None:
        """The server was silent, or could not be reached."""
        first, most = PAUSES
        with self._lock:
            state = self._state
            failures = state.failures + 1
            if failures < FAILURES:
                self._state = _State(failures)
            elif not state.until or state.probe == threading.get_ident():
                pause = min(2 * state.pause, most) if state.pause else first
                self._state = _State(failures, pause, self.clock() + pause)
            else:
                # A step that was under way when the others gave up says nothing new.
                self._state = state._replace(failures=failures)


_breakers: Final[WeakSet[Breaker]] = WeakSet()


def _after_fork_in_child() -> None:
    for breaker in list(_breakers):
        breaker.begin()


forks.register(after_in_child=_after_fork_in_child)
