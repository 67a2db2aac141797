"""Ids of calls."""

from __future__ import annotations

import itertools
import os
import time
from typing import Final

from ._forks import forks


class Ids:
    """Ids that sort by time and never repeat, not in a forked child either."""

    def __init__(self) -> None:
        self._begin()
        forks.register(after_in_child=self._begin)

    def _begin(self) -> None:
        self._prefix = f"{time.time_ns():016x}{os.urandom(5).hex()}"
        self._count = itertools.count()

    def __call__(self) -> str:
        """A new id."""
        return f"{self._prefix}{next(self._count):010x}"


ids: Final = Ids()
