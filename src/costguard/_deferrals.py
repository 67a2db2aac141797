"""Calls whose answer is billed later, under an id: background responses, running interactions."""

from __future__ import annotations

from typing import Final

from ._meter import Meter

KEPT: Final = 10_000
"""Deferred calls, and ids of charged ones, that are remembered."""


class Deferrals:
    """Keeps deferred calls until their answer is read, and charges each of them once."""

    def __init__(self) -> None:
        self._waiting: dict[str, Meter] = {}
        self._charged: dict[str, None] = {}

    def keep(self, id: str, meter: Meter) -> None:
        """Keep a call until its answer is read; its hold stays. The oldest are left to their lease."""
        self._waiting[id] = meter
        if len(self._waiting) > KEPT:
            self._waiting.pop(next(iter(self._waiting)), None)

    def __contains__(self, id: str) -> bool:
        """Whether an answer is awaited."""
        return id in self._waiting

    def take(self, id: str) -> tuple[Meter | None, bool]:
        """The call that awaits this answer, None when it was made elsewhere; and whether it is to be charged now."""
        meter = self._waiting.pop(id, None)
        if id in self._charged:
            return meter, False
        self._charged[id] = None
        if len(self._charged) > KEPT:
            self._charged.pop(next(iter(self._charged)), None)
        return meter, True
