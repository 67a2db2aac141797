"""A few connections that many threads take turns on, first come, first served, and when a server is taken to be away.

A server that answers somebody is there, and a crowd in front of it is no fault: a step waits for its turn. Only silence
towards everybody counts.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar
from weakref import WeakSet

LOOK: Final = 0.25
"""Seconds after which a thread in the queue looks by itself: a connection that an interrupt dropped is announced by
nobody."""


class LostError(Exception):
    """The connection is gone or gives no answer. What was asked may have been done or not."""


class TooLateError(LostError):
    """The deadline of the step is over."""


class CrowdedError(TooLateError):
    """No connection became free, so nothing was asked."""


class Connection(Protocol):
    """What a pool keeps."""

    @property
    def idle(self) -> bool:
        """Whether the next step may use it: connected, and in the middle of nothing."""
        ...

    def close(self) -> None:
        """Let go of it."""


C = TypeVar("C", bound=Connection)


class Turn:
    """How long one step may go on.

    Args:
        pool: tells when the server was last heard, by whichever thread.
        timeout: seconds of silence that end the step.
        patience: seconds that end it in any case.
    """

    __slots__ = ("_began", "_patience", "_pool", "_timeout")

    def __init__(self, pool: Pool[Any], timeout: float, patience: float) -> None:
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

    def others_heard(self, since: float | None = None) -> bool:
        """Whether the server said something to anybody since an instant of `time.monotonic`, else since it began."""
        return self._pool.heard > (self._began if since is None else since)

    def late(self, why: type[TooLateError] = TooLateError) -> TooLateError:
        """What a step ends with when its time is over."""
        if self.silent:
            return why("it gave no answer in time")
        busy = "its connections were all busy" if why is CrowdedError else "it answers, but this step was not done"
        return why(f"{busy} for {self._patience:g} s")


class Pool(Generic[C]):
    """Connections of one process. Whatever an interrupt leaves half done makes room by itself.

    Args:
        connect: makes one.
        most: how many there may be.

    Attributes:
        heard: when the server last said something, by `time.monotonic`.
    """

    def __init__(self, connect: Callable[[], C], most: int) -> None:
        self._connect = connect
        self._most = most
        self._lock = threading.Lock()
        self._idle: deque[C] = deque()
        self._queue: deque[queue.SimpleQueue[C | None]] = deque()
        # Weak, so that a connection dropped by an interrupt at any point makes room for another.
        self._all: WeakSet[C] = WeakSet()
        self._closed = False
        self.heard = 0.0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def take(self, turn: Turn) -> C:
        """A connection that nobody else uses.

        Raises:
            CrowdedError: none became free in time.
        """
        with self._lock:
            one = None if self._queue else self._free()
        return one or self._in_line(turn)

    def give(self, one: C) -> None:
        """Put one back. What an interrupt or an error left on it, nobody may take for his own: then it is closed."""
        usable = one.idle and not self._closed
        if not usable:
            self._all.discard(one)
            one.close()
        with self._lock:
            if self._queue:
                # A seat is handed over all the same, to connect anew.
                self._queue.popleft().put(one if usable else None)
            elif usable:
                self._idle.append(one)

    def close(self) -> None:
        """Close those that nobody uses, and the others when they are given back. Who takes one opens it again."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Close those that nobody uses."""
        while True:
            try:
                one = self._idle.popleft()
            except IndexError:
                return
            self._all.discard(one)
            one.close()

    def _in_line(self, turn: Turn) -> C:
        place: queue.SimpleQueue[C | None] = queue.SimpleQueue()
        try:
            with self._lock:
                one = None if self._queue else self._free()
                if one is None:
                    self._queue.append(place)
            return one or self._waited_for(place, turn)
        except BaseException:
            self._leave(place)
            raise

    def _waited_for(self, place: queue.SimpleQueue[C | None], turn: Turn) -> C:
        while True:
            left = turn.left()
            one = _handed(place, min(LOOK, left))
            if one is not None:
                return one
            with self._lock:
                one = _handed(place) or self._free()
                if one is None and place not in self._queue:
                    # Handed a seat that somebody else was quicker to take.
                    self._queue.appendleft(place)
                elif one is not None and place in self._queue:
                    self._queue.remove(place)
            if one is not None:
                return one
            if left <= 0:
                raise turn.late(CrowdedError)

    def _leave(self, place: queue.SimpleQueue[C | None]) -> None:
        with self._lock:
            if place in self._queue:
                self._queue.remove(place)
        one = _handed(place)
        if one is not None:
            self.give(one)

    def _free(self) -> C | None:
        if self._idle:
            return self._idle.pop()
        if len(self._all) >= self._most:
            return None
        one = self._connect()
        self._closed = False
        self._all.add(one)
        return one


def _handed(place: queue.SimpleQueue[C | None], seconds: float = 0.0) -> C | None:
    try:
        return place.get(timeout=seconds) if seconds > 0 else place.get_nowait()
    except queue.Empty:
        return None
