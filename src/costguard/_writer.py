"""Settlements written behind: only a reservation is waited for.

Until a settlement lands the book counts the whole hold, which is never too little, so a call need not wait for it. A
thread carries the settlements of a ledger that is not in this process; when the ledger is away they stay here and are
tried again with the same ids. When too many are waiting the oldest are given up: their leases charge them as held.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakMethod, WeakSet

from ._forks import forks
from ._shield import log, shielded
from .errors import LedgerUnavailableError

KEPT: Final = 10_000
"""Settlements that wait for a ledger that is away."""
RETRY: Final = (0.1, 5.0)
"""Seconds between tries, doubling from the first to the second."""

_THREADS: Final = frozenset({"enable-threads", "threads", "gevent"})
"""Options of uWSGI, with any of which threads go on between requests."""

Deed = Callable[[], object]


class Writer:
    """A queue of settlements and the thread that carries them out, in order.

    Args:
        look: what the thread does, too, when it had nothing to do for so many seconds.
        after: those seconds.
        tend: what the thread does besides, once `watch` asked for it, until it returns False.
        every: seconds between two times.
    """

    def __init__(
        self,
        look: Deed | None = None,
        after: float | None = None,
        tend: Callable[[], bool] | None = None,
        every: float = 1.0,
    ) -> None:
        # Weak, and so is what waits below: the thread outlives a guard that was replaced.
        self._look, self._after = None if look is None else WeakMethod(look), after
        self._tend, self._every = None if tend is None else WeakMethod(tend), every
        self.begin()
        _writers.add(self)

    def begin(self) -> None:
        """Start with nothing; also in a forked child: the parent settles its own calls."""
        self._deeds: deque[Deed] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._given_up = 0
        self._tend_at: float | None = None
        self._stands_still = _stands_still()

    @property
    def waiting(self) -> int:
        """Settlements not yet carried out."""
        return len(self._deeds)

    def put(self, deed: Deed) -> None:
        """Have `deed` carried out soon; at once where a thread might be stopped in the middle of it."""
        if self._stands_still and not self._deeds and self._done(deed):
            return
        with self._changed:
            self._deeds.append(deed)
            if len(self._deeds) > KEPT:
                self._deeds.popleft()
                self._given_up += 1
                if self._given_up in (1, 1000, 1_000_000):
                    log.error("%d settlements given up: their holds are charged when they expire", self._given_up)
            self._begin_thread()
            self._changed.notify_all()

    def watch(self) -> None:
        """There is something to tend from now on."""
        if self._stands_still:
            self._tended()
            return
        if self._tend is None or self._tend_at is not None:
            return
        with self._changed:
            self._tend_at = time.monotonic() + self._every
            self._begin_thread()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until everything put so far was tried; False when `timeout` seconds were not enough."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._deeds:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is threading.current_thread():
                    return False
                self._changed.wait(left)
        return True

    def _begin_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="costguard-writer", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        pause = RETRY[0]
        while True:
            deed = self._next()
            if self._left() == 0:
                self._tended()
            if deed is None:
                continue
            if self._done(deed):
                pause = RETRY[0]
                with self._changed:
                    if self._deeds and self._deeds[0] is deed:
                        self._deeds.popleft()
                    self._changed.notify_all()
                del deed
            else:
                time.sleep(pause)
                pause = min(RETRY[1], 2 * pause)

    def _next(self) -> Deed | None:
        """Wait for something to do; returns the next deed, None where there is only something to tend."""
        with self._changed:
            look_at = None if self._after is None else time.monotonic() + self._after
            while not self._deeds and self._left() != 0:
                ends = [one for one in (look_at, self._tend_at) if one is not None]
                self._changed.wait(max(0.0, min(ends) - time.monotonic()) if ends else None)
                if look_at is not None and self._look is not None and time.monotonic() >= look_at:
                    self._deeds.extend(filter(None, [self._look()]))
                    look_at = None if self._after is None else time.monotonic() + self._after
            return self._deeds[0] if self._deeds else None

    def _left(self) -> float | None:
        """Seconds until there is something to tend; None where there is nothing."""
        return None if self._tend_at is None else max(0.0, self._tend_at - time.monotonic())

    def _tended(self) -> None:
        # Before it, because somebody may ask for it again while it is done.
        self._tend_at = None
        if self._done(self._tend_on):
            return
        self._tend_at = time.monotonic() + self._every

    def _tend_on(self) -> None:
        tend = None if self._tend is None else self._tend()
        if tend is not None and tend():
            self._tend_at = time.monotonic() + self._every

    @staticmethod
    def _done(deed: Deed) -> bool:
        try:
            with shielded("writing a settlement"):
                deed()
        except LedgerUnavailableError:
            return False
        except Exception:  # only where bugs are loud: the thread must outlive them all the same
            log.exception("a settlement could not be written")
        return True


def _stands_still() -> bool:
    """Whether threads only run while a request is served: without an option of its own uWSGI stops them in between."""
    host = sys.modules.get("uwsgi")
    return host is not None and _THREADS.isdisjoint(map(str, getattr(host, "opt", ())))


_writers: Final[WeakSet[Writer]] = WeakSet()


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer.begin()


forks.register(after_in_child=_after_fork_in_child)
