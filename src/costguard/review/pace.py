"""How quickly a budget is used up, and when it runs out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from .._journal import Selection
from .._types import Balance, Nano
from ..ports import Journal
from ._series import Series
from .forecast import HISTORY, Forecast, expected_on, forecast

DAY: Final = 86_400
YOUNG: Final = 0.02
"""The part of a window below which its average says nothing."""
FAR: Final = 366
"""Days that a budget which never resets is projected for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly a window is used up.

    Attributes:
        a_day: nano-dollars that a day costs, None where nothing is known.
        runs_out: the instant or the day at which the limit is reached, as UTC epoch seconds, None when that is not
            expected before the window ends.
        basis: ``forecast``, out of the days that a journal has; ``average``, of the window so far; or empty.
    """

    a_day: Nano | None = None
    runs_out: float | None = None
    basis: Literal["forecast", "average", ""] = ""


def pace(balance: Balance, now: float, history: Series | None = None) -> Pace:
    """How quickly a window is used up.

    Args:
        balance: its books.
        now: UTC epoch seconds.
        history: what the days before this one did cost in the budget's scope, where a journal knows.
    """
    leg = balance.leg
    if leg.slots:
        return Pace()
    over = now if balance.spent >= leg.limit else None
    if history is not None and (leg.ends is None or leg.ends - leg.starts > DAY):
        today = datetime.fromtimestamp(now, UTC).date()
        last = today + timedelta(days=FAR) if leg.ends is None else datetime.fromtimestamp(leg.ends - 1, UTC).date()
        projected = forecast(history, balance.spent, today, last + timedelta(days=1), now % DAY / DAY)
        if isinstance(projected, Forecast):
            day = projected.reaches(leg.limit)
            ends = None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
            return Pace(expected_on(history, today), over if over is not None else _later(ends, now), "forecast")
    return _average(balance, now, over)


def _average(balance: Balance, now: float, over: float | None) -> Pace:
    leg, elapsed = balance.leg, now - balance.leg.starts
    young = leg.ends is None or elapsed < YOUNG * (leg.ends - leg.starts)
    if young or not balance.spent:
        return Pace(None, over)
    rate = balance.spent / elapsed
    out = now + (leg.limit - balance.spent) / rate
    assert leg.ends is not None  # one without an end is never old enough
    return Pace(round(rate * DAY), over if over is not None else out if out < leg.ends else None, "average")


def _later(at: float | None, now: float) -> float | None:
    return None if at is None else max(at, now)


def history_of(journal: Journal, scope: Mapping[str, str], now: float) -> Series:
    """What the last days did cost in a scope, today not counted."""
    today = now // DAY * DAY
    days = [today - DAY * back for back in range(HISTORY, 0, -1)]
    spent = dict.fromkeys(days, 0)
    for group in journal.sums(Selection(days[0], today, scope), (), days[1:]):
        spent[group.starts] += group.sums.nano
    return Series(datetime.fromtimestamp(days[0], UTC).date(), tuple(spent.values()))
