"""Alerts that were decided and not delivered yet.

The step in which a threshold is reached also notes the alert. Whose step it was delivers it and says so; when that
process died, or never got the answer, another one takes the alert over after a minute. So an alert is decided once and
delivered at least once, under one id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from ._types import Crossing

PATIENCE: Final = 60.0
"""Seconds for which whoever has an alert in hand may take to deliver it."""

AlertKey: TypeAlias = tuple[str, str, float]
"""Budget, window and percent."""


class Pending(NamedTuple):
    """An alert that somebody has in hand: until when, or None while no clock has looked at it."""

    crossing: Crossing
    until: float | None = None


def key_of(crossing: Crossing) -> AlertKey:
    """What tells an alert from every other."""
    return crossing.leg.budget, crossing.leg.window, crossing.percent


def take_over(pending: Iterable[Pending], now: float) -> tuple[list[Crossing], list[AlertKey]]:
    """The alerts that are to be delivered by who asks, and all those whose time begins now; sorted."""
    looked_at = [one for one in pending if one.until is None or one.until <= now]
    overdue = [one.crossing for one in looked_at if one.until is not None]
    return sorted(overdue, key=key_of), sorted(key_of(one.crossing) for one in looked_at)
