"""How long a small piece of work takes, on a machine that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable


def least(work: Callable[[], object], times: int = 5_000, batches: int = 15) -> float:
    """Microseconds of CPU for one call of `work`."""
    best = float("inf")
    for _ in range(batches):
        began = time.thread_time()
        for _ in range(times):
            work()
        best = min(best, (time.thread_time() - began) / times)
    return best * 1e6
