"""What is done when a process leaves: at exit, or when a worker of `multiprocessing` ends, which goes past `atexit`."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable

from ._forks import forks


class Leaving:
    """Has something done when this process, or a forked worker that it began, ends in good order.

    Args:
        do: what is done, once in each.
    """

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do
        self._armed = False

    def arm(self) -> None:
        """From now on."""
        if self._armed:
            return
        self._armed = True
        atexit.register(self._do)
        forks.register(after_in_child=self._forked)

    def _forked(self) -> None:
        """A worker forgets the finalisers it inherits, then runs these hooks, and its own finalisers in the end."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(self, Leaving._in_worker)

    def _in_worker(self) -> None:
        sys.modules["multiprocessing.util"].Finalize(None, self._do, exitpriority=0)
