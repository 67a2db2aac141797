"""The time by which windows begin and end: the host's, kept from going back and from leaping ahead.

A budget refills when its window ends, so a clock that is set forward by mistake would open it. Time here never goes
back, and a leap ahead of the host's own steady counter is believed only when it has stood for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from ._shield import log

LEAP: Final = 60.0
"""Seconds by which the clock may run ahead of the steady counter before it is doubted."""
BELIEVED_AFTER: Final = 5.0
"""Seconds that a leap must stand to be believed: a machine that slept, or a clock that was set right."""


class SteadyClock:
    """UTC epoch seconds.

    Args:
        wall: the host's clock.
        steady: a counter that nobody sets, in seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()
        self._offset = wall() - steady()
        self._last = wall()
        self._leapt_at: float | None = None

    def __call__(self) -> float:
        """The time now."""
        wall, steady = self._wall(), self._steady()
        expected = steady + self._offset
        if abs(wall - expected) < LEAP and self._leapt_at is None and wall >= self._last:
            # The usual case takes no lock: two threads may write in either order, and both values are right.
            self._last = wall
            return wall
        with self._lock:
            return self._doubted(wall, steady, expected)

    def _doubted(self, wall: float, steady: float, expected: float) -> float:
        if wall - expected < LEAP:
            # Back where it was, or gone back: time stands still until the clock has caught up.
            self._leapt_at = None
            self._last = max(self._last, min(wall, expected + LEAP))
        elif self._leapt_at is None:
            self._leapt_at = steady
            log.warning(
                "the clock leapt %.0f s ahead; budgets keep their windows until that has stood", wall - expected
            )
            self._last = max(self._last, expected)
        elif steady - self._leapt_at < BELIEVED_AFTER:
            self._last = max(self._last, expected)
        else:
            self._offset, self._leapt_at = wall - steady, None
            self._last = max(self._last, wall)
        return self._last
