"""Spend of consecutive days, which forecasts and the search for jumps look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from .._types import Nano


@dataclass(frozen=True, slots=True)
class Series:
    """What was spent on each of some days that follow each other.

    Attributes:
        first: the first day.
        nano: one amount for each day, in nano-dollars.
    """

    first: date
    nano: tuple[Nano, ...]

    @property
    def end(self) -> date:
        """The day after the last."""
        return self.first + timedelta(days=len(self.nano))

    def day(self, index: int) -> date:
        """The day at a place."""
        return self.first + timedelta(days=index)

    def before(self, day: date) -> Series:
        """The part before a day."""
        return Series(self.first, self.nano[: max(0, (day - self.first).days)])

    def since(self, day: date) -> Series:
        """The part from a day on."""
        skipped = min(max(0, (day - self.first).days), len(self.nano))
        return Series(self.day(skipped), self.nano[skipped:])

    def trimmed(self) -> Series:
        """Without the days before the first on which anything was spent: they are not days of this spend at all."""
        used = next((index for index, nano in enumerate(self.nano) if nano), len(self.nano))
        return Series(self.day(used), self.nano[used:])


def series(spent: Iterable[tuple[date, Nano]], first: date, end: date) -> Series:
    """A series from `first` up to `end`, out of amounts by day; days without any are zero."""
    nano = [0] * (end - first).days
    for day, amount in spent:
        if first <= day < end:
            nano[(day - first).days] += amount
    return Series(first, tuple(nano))
