"""Callers that wait until other callers' holds end: first come, first served for each budget of one process."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

POLL: Final = 1.0
"""Seconds after which a waiter looks again though nobody woke it: leases end and windows begin without a word."""
SHARED_POLL: Final = (0.02, 0.2)
"""The same for a ledger that other processes use, whose settlements nobody tells of; drawn anew each time, so that
processes do not ask in step."""


class Ticket:
    """One caller's place in the lines of the budgets that refused it."""

    __slots__ = ("budgets", "wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.budgets: set[str] = set()
        self.wake = wake


class Lines:
    """The lines of waiting callers, one for each budget.

    Args:
        shared: whether other processes use the same ledger.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._lines: dict[str, deque[Ticket]] = {}

    def has(self, budgets: Iterable[str]) -> bool:
        """Whether somebody waits for one of these budgets."""
        lines = self._lines
        return bool(lines) and any(budget in lines for budget in budgets)

    def join(self, ticket: Ticket, budgets: Iterable[str]) -> None:
        """Take a place at the end of these lines; a place already taken is kept."""
        with self._lock:
            for budget in budgets:
                if budget not in ticket.budgets:
                    ticket.budgets.add(budget)
                    self._lines.setdefault(budget, deque()).append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Give the places up, and let the next ones have a try."""
        with self._lock:
            budgets, ticket.budgets = ticket.budgets, set()
            for budget in budgets:
                line = self._lines[budget]
                line.remove(ticket)
                if not line:
                    del self._lines[budget]
        self.wake(budgets)

    def wake(self, budgets: Iterable[str]) -> None:
        """Room may have become free on these budgets: the first in each line tries again."""
        if not self._lines:
            return
        with self._lock:
            first = {line[0] for budget in budgets if (line := self._lines.get(budget))}
        for ticket in first:
            ticket.wake()

    def is_next(self, ticket: Ticket) -> bool:
        """Whether nobody stands before this caller in any of its lines."""
        with self._lock:
            return all(self._lines[budget][0] is ticket for budget in ticket.budgets)

    def pause(self, seconds: float) -> float:
        """How long to wait at most before looking again."""
        return min(seconds, random.uniform(*SHARED_POLL) if self._shared else POLL)  # noqa: S311 - no secret


class ThreadPlace:
    """A thread that waits in line."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.ticket = Ticket(self._event.set)

    def wait(self, seconds: float) -> None:
        """Wait until woken, or for so long."""
        self._event.wait(seconds)
        self._event.clear()


class TaskPlace:
    """An asyncio task that waits in line; cancelling it is as good as ever."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.ticket = Ticket(lambda: None if loop.is_closed() else loop.call_soon_threadsafe(self._event.set))

    async def wait(self, seconds: float) -> None:
        """Wait until woken, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()


def pause(seconds: float, join: Callable[[Callable[[], object]], bool]) -> float:
    """Wait in this thread for another call; returns the seconds that passed.

    Args:
        seconds: the longest wait.
        join: takes what is to be called when the wait is over; False when it is over already.
    """
    began, place = time.monotonic(), ThreadPlace()
    if join(place.ticket.wake):
        place.wait(seconds)
    return time.monotonic() - began


async def apause(seconds: float, join: Callable[[Callable[[], object]], bool]) -> float:
    """`pause` for a task."""
    began, place = time.monotonic(), TaskPlace()
    if join(place.ticket.wake):
        await place.wait(seconds)
    return time.monotonic() - began
