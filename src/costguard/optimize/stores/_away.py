"""A store that is away costs a call nothing but its hit: it is left alone for a while, and that is said once."""

from __future__ import annotations

import time
from typing import Final

from ..._shield import log

PAUSE: Final = 5.0
"""Seconds without trying after a failure."""


class Away:
    """Whether a store can be asked.

    Args:
        what: the store, for the log.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._until = 0.0

    def __bool__(self) -> bool:
        return time.monotonic() < self._until

    def note(self, error: Exception) -> None:
        """It failed."""
        if not self:
            log.warning("the response cache %s cannot be used, calls are sent without it: %s", self._what, error)
        self._until = time.monotonic() + PAUSE
