"""Where budgets stand, how fast they are used and the day each runs out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import Final

from .._budget import Budget
from .._journal import Selection
from .._types import Nano
from ..ports import Journal
from ._daily import back, daily, day_of, passed_of
from .forecast import Forecast, NotEnough, expected_on, forecast

HORIZON: Final = 366 * 86_400
"""Seconds that are looked ahead where a budget has no end."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One window of one budget. Money in nano-dollars.

    Attributes:
        budget: its name.
        limit, spent: of this window.
        starts, ends: it, as UTC epoch seconds; `ends` is None for a lifetime.
        burn: what a day like today is expected to cost, None without enough data.
        forecast: of the window's end; None where there is no end, or none that can be forecast.
        runs_out: the day on which the limit is reached, if it is expected to be.
    """

    budget: str
    limit: Nano
    spent: Nano
    starts: float
    ends: float | None
    burn: Nano | None
    forecast: Forecast | NotEnough | None
    runs_out: date | None

    @property
    def used(self) -> float | None:
        """The share of the limit that is spent; None for a limit of nothing."""
        return self.spent / self.limit if self.limit else None

    @property
    def over(self) -> bool:
        """Whether more was spent than the limit, or will have been when the window ends."""
        return self.spent > self.limit or self.projected_over

    @property
    def projected_over(self) -> bool:
        """Whether more is expected to be spent than the limit before the window ends."""
        return isinstance(self.forecast, Forecast) and self.forecast.expected > self.limit and self.ends is not None


def outlook(
    journal: Journal, budget: Budget, now: float, *, spent: Nano | None = None, scope: Mapping[str, str] | None = None
) -> Outlook | None:
    """How a budget will go on from here; None for one of single runs, or one for each value of a tag.

    Args:
        spent: what the ledger has booked in this window; what the journal has when left out.
        scope: more tags that calls must have to be counted.
    """
    if budget.period.kind == "run" or budget.per is not None:
        return None
    zone = budget.period.timezone
    window = budget.period.window(now, "")
    tags = {**(scope or {}), **dict(budget.scope)}
    past = daily(journal, back(now), now, zone, tags=tags)[()]
    today = day_of(now, zone)
    rolling = budget.period.kind == "rolling"
    starts = now - budget.period.seconds if rolling else window.starts
    if spent is None:
        spent = sum(one.sums.nano for one in journal.sums(Selection(starts, _after(now), tags)))
    burn = expected_on(past, today)
    if rolling or budget.period.kind == "hour":
        return Outlook(budget.name, budget.limit, spent, starts, window.ends, burn, None, None)
    end = now + HORIZON if window.ends is None else window.ends
    found = forecast(past, spent, today, day_of(end, zone), passed_of(now, zone))
    runs_out = found.reaches(budget.limit) if isinstance(found, Forecast) else None
    if spent >= budget.limit:
        runs_out = today
    return Outlook(
        budget.name, budget.limit, spent, starts, window.ends, burn, None if window.ends is None else found, runs_out
    )


def outlooks(
    journal: Journal, budgets: Iterable[Budget], now: float, scope: Mapping[str, str] | None = None
) -> list[Outlook]:
    """Every budget that has an outlook, the fullest first."""
    found = [one for budget in budgets if (one := outlook(journal, budget, now, scope=scope)) is not None]
    return sorted(found, key=lambda one: (-(one.used or 0.0), one.budget))


def _after(now: float) -> float:
    """The end of this quarter of an hour: the future has no calls, and whole quarters are read quickly."""
    return (now // 900 + 1) * 900 if isfinite(now) else now
