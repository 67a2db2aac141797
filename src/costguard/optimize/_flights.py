"""Equal calls under way: the first one is sent, the others wait for its answer.

Without locks, because a flight may end in a finaliser: dictionaries and lists change in one step each.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from ._entries import Entry


class Flight:
    """A call under way and those that wait for its answer.

    Attributes:
        done: whether waiting is over.
        entry: the answer, None when there is none to share.
    """

    __slots__ = ("_task", "_thread", "_waiting", "done", "entry")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._task = _task()
        self._waiting: list[Callable[[], object]] = []
        self.done = False
        self.entry: Entry | None = None

    def is_mine(self, *, blocking: bool) -> bool:
        """Whether waiting here would be waiting for oneself: in the same task, or blocking the thread it needs."""
        return self._thread == threading.get_ident() and (blocking or self._task is _task())

    def join(self, wake: Callable[[], object]) -> bool:
        """Have `wake` called when waiting is over; False when it is already."""
        self._waiting.append(wake)
        return not self.done

    def land(self, entry: Entry | None, *, quietly: bool = False) -> None:
        """Waiting is over. `quietly`, in a finaliser that may wake nobody: those who wait look again by themselves."""
        self.entry, self.done = entry, True
        while self._waiting and not quietly:
            try:
                self._waiting.pop()()
            except IndexError:
                return


class Flights:
    """The flights of this process, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def board(self, key: str) -> tuple[Flight, bool]:
        """The flight of a key, and whether it is the caller's own to carry out."""
        mine = Flight()
        flight = self._flights.setdefault(key, mine)
        return flight, flight is mine

    def over(self, key: str) -> None:
        """Take a flight off the list: the next call is a new one."""
        self._flights.pop(key, None)


def _task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
