"""A few connections that many threads take turns on, first come, first served."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final
from weakref import WeakSet

from ._postgres_wire import TooLateError, Wire

LOOK: Final = 0.25
"""Seconds after which a thread in the queue looks by itself: a connection that an interrupt dropped is announced by
nobody."""


class CrowdedError(TooLateError):
    """No connection became free, so nothing was asked."""


class Turn:
    """How long one step may go on.

    Args:
        pool: tells when the server was last heard, by whichever thread.
        timeout: seconds of silence that end the step.
        patience: seconds that end it in any case.
    """

    __slots__ = ("_began", "_patience", "_pool", "_timeout")

    def __init__(self, pool: Pool, timeout: float, patience: float) -> None:
        self._pool, self._timeout, self._patience = pool, timeout, max(timeout, patience)
        self._began = time.monotonic()

    def left(self) -> float:
        """Seconds until it is over, if nothing more is heard."""
        silence = max(self._began, self._pool.heard) + self._timeout
        return min(silence, self._began + self._patience) - time.monotonic()

    def allows_another(self) -> bool:
        """Whether a server that answers may be asked once more."""
        return time.monotonic() + self._timeout <= self._began + self._patience

    @property
    def silent(self) -> bool:
        """Whether the server has said nothing to anybody for the whole time-out."""
        return time.monotonic() >= max(self._began, self._pool.heard) + self._timeout

    def heard(self) -> None:
        """Note that the server said something."""
        self._pool.heard = time.monotonic()

    def late(self, why: type[TooLateError] = TooLateError) -> TooLateError:
        """What a step ends with when its time is over."""
        if self.silent:
            return why("it gave no answer in time")
        busy = "its connections were all busy" if why is CrowdedError else "it answers, but this step was not done"
        return why(f"{busy} for {self._patience:g} s")


class Pool:
    """Connections of one process. Whatever an interrupt leaves half done makes room by itself.

    Args:
        connect: makes one.
        most: how many there may be.

    Attributes:
        heard: when the server last said something, by `time.monotonic`.
    """

    def __init__(self, connect: Callable[[], Wire], most: int) -> None:
        self._connect = connect
        self._most = most
        self._lock = threading.Lock()
        self._idle: deque[Wire] = deque()
        self._queue: deque[SimpleQueue[Wire | None]] = deque()
        # Weak, so that a connection dropped by an interrupt at any point makes room for another.
        self._all: WeakSet[Wire] = WeakSet()
        self.heard = 0.0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def take(self, turn: Turn) -> Wire:
        """A connection that nobody else uses.

        Raises:
            CrowdedError: none became free in time.
        """
        place: SimpleQueue[Wire | None] = SimpleQueue()
        try:
            with self._lock:
                wire = None if self._queue else self._free()
                if wire is None:
                    self._queue.append(place)
            return wire or self._waited_for(place, turn)
        except BaseException:
            self._leave(place)
            raise

    def give(self, wire: Wire) -> None:
        """Put one back. What an interrupt or an error left on it, nobody may take for his own: then it is closed."""
        usable = wire.idle
        if not usable:
            self._all.discard(wire)
            wire.close()
        with self._lock:
            if self._queue:
                # A seat is handed over all the same, to connect anew.
                self._queue.popleft().put(wire if usable else None)
            elif usable:
                self._idle.append(wire)

    def drop(self) -> None:
        """Close those that nobody uses."""
        while True:
            try:
                wire = self._idle.popleft()
            except IndexError:
                return
            self._all.discard(wire)
            wire.close()

    def _waited_for(self, place: SimpleQueue[Wire | None], turn: Turn) -> Wire:
        while True:
            left = turn.left()
            wire = _handed(place, min(LOOK, left))
            if wire is not None:
                return wire
            with self._lock:
                wire = _handed(place) or self._free()
                if wire is None and place not in self._queue:
                    # Handed a seat that somebody else was quicker to take.
                    self._queue.appendleft(place)
                elif wire is not None and place in self._queue:
                    self._queue.remove(place)
            if wire is not None:
                return wire
            if left <= 0:
                raise turn.late(CrowdedError)

    def _leave(self, place: SimpleQueue[Wire | None]) -> None:
        with self._lock:
            if place in self._queue:
                self._queue.remove(place)
        wire = _handed(place)
        if wire is not None:
            self.give(wire)

    def _free(self) -> Wire | None:
        if self._idle:
            return self._idle.pop()
        if len(self._all) >= self._most:
            return None
        wire = self._connect()
        self._all.add(wire)
        return wire


def _handed(place: SimpleQueue[Wire | None], seconds: float = 0.0) -> Wire | None:
    try:
        return place.get(timeout=seconds) if seconds > 0 else place.get_nowait()
    except Empty:
        return None
