"""Days on which something cost far more than such days usually do.

A day is compared with the same weekday of the last eight weeks, or with the last two weeks where there are not yet four
such weekdays. It stands out when it is further above their median than `FAR` times their scatter (the median absolute
deviation, made comparable with a standard deviation; at least a twentieth of the median, so that a flat line is not
upset by a cent). Days in a row are told as one, if the difference is worth looking at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Final

from .._types import Nano
from ._series import Series

FAR: Final = 4.0
WEEKS: Final = 8
FEWEST_WEEKS: Final = 4
DAYS: Final = 14
FEWEST_DAYS: Final = 7
WORTH: Final = 50
"""A difference below one part in this many of all that was spent in the period is not worth a line."""
AT_LEAST: Final[Nano] = 10**9

_MAD: Final = 1.4826


@dataclass(frozen=True, slots=True)
class Jump:
    """Days in a row on which something cost more than usual.

    Attributes:
        name: what: a feature, or empty for everything together.
        first, last: the days.
        spent: on these days, in nano-dollars.
        usual: what such days usually cost together.
    """

    name: str
    first: date
    last: date
    spent: Nano
    usual: Nano

    @property
    def excess(self) -> Nano:
        """What they cost more than usual."""
        return self.spent - self.usual


@dataclass(frozen=True, slots=True)
class Watch:
    """What was found.

    Attributes:
        jumps: the dearest first.
        watched: days and names that could be judged.
        unknown: those that could not, because too little was before them.
    """

    jumps: tuple[Jump, ...]
    watched: int
    unknown: int

    @property
    def enough(self) -> bool:
        """Whether anything could be judged at all."""
        return self.watched > 0


def jumps(spent: Mapping[str, Series], since: date, until: date, *, worth: Nano | None = None) -> Watch:
    """Find the days from `since` up to `until` that stand out.

    Args:
        spent: names with their days, as far back as is known.
        worth: the least difference that is told; a fiftieth of what all of them cost in the period when left out.
    """
    if worth is None:
        worth = max(AT_LEAST, sum(sum(one.since(since).before(until).nano) for one in spent.values()) // WORTH)
    found: list[Jump] = []
    watched = unknown = 0
    for name, days in sorted(spent.items()):
        own = days.trimmed()
        new = (own.first - days.first).days >= FEWEST_DAYS
        judged = [_judged(own, index) for index in range(len(own.nano)) if since <= own.day(index) < until]
        watched += sum(1 for one in judged if one is not None)
        unknown += sum(1 for one in judged if one is None)
        if new and own.first >= since and judged:
            found += _newcomer(name, own.before(until), worth)
        found += [
            jump
            for jump in _joined(name, [one for one in judged if one is not None and one.far])
            if jump.excess >= worth
        ]
    return Watch(tuple(sorted(found, key=lambda one: (-one.excess, one.first, one.name))), watched, unknown)


@dataclass(frozen=True, slots=True)
class _Day:
    day: date
    spent: Nano
    usual: Nano
    far: bool


def _judged(days: Series, index: int) -> _Day | None:
    before = _compared(days.nano, index)
    if before is None:
        return None
    usual = median(before)
    scatter = max(_MAD * median([abs(one - usual) for one in before]), usual / 20)
    spent = days.nano[index]
    far = spent - usual > FAR * scatter
    return _Day(days.day(index), spent, round(usual), far)


def _compared(nano: Sequence[Nano], index: int) -> Sequence[Nano] | None:
    weekdays = nano[index % 7 : index : 7][-WEEKS:]
    if len(weekdays) >= FEWEST_WEEKS:
        return weekdays
    before = nano[max(0, index - DAYS) : index]
    return before if len(before) >= FEWEST_DAYS else None


def _newcomer(name: str, days: Series, worth: Nano) -> list[Jump]:
    """What appeared in the period and was nothing before, where it is worth a line."""
    spent = sum(days.nano)
    return [Jump(name, days.first, days.day(len(days.nano) - 1), spent, 0)] if spent >= worth else []


def _joined(name: str, days: Sequence[_Day]) -> list[Jump]:
    found: list[Jump] = []
    for one in days:
        last = found[-1] if found else None
        if last is not None and one.day - last.last == timedelta(days=1):
            found[-1] = Jump(name, last.first, one.day, last.spent + one.spent, last.usual + one.usual)
        else:
            found.append(Jump(name, one.day, one.day, one.spent, one.usual))
    return found
