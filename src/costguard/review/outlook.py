"""Where budgets stand, how fast they are used and the day each runs out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal

from .._budget import Budget
from .._journal import Selection
from .._types import Balance, Leg, Nano
from ..ports import Journal
from ._daily import back, daily, day_of, passed_of
from .forecast import Forecast, NotEnough, expected_on, forecast

HORIZON: Final = 366 * 86_400
"""Seconds that are looked ahead where a budget has no end."""
_SHORTEST: Final = 20 * 3_600
"""Windows that are shorter than a day are over before days tell anything."""
_DAY: Final = 86_400
_YOUNG: Final = 0.02
"""The part of a window below which its average says nothing."""

Basis = Literal["forecast", "average", ""]


@dataclass(frozen=True, slots=True)
class Outlook:
    """One window of one budget. Money in nano-dollars.

    Attributes:
        budget: its name.
        limit, spent: of this window.
        starts, ends: it, as UTC epoch seconds; `ends` is None for one that never resets.
        burn: what a day like today is expected to cost, None without enough data.
        forecast: of the window's end; None where there is no end, or none that can be forecast.
        runs_out: the day on which the limit is reached, if it is expected to be.
        basis: what tells the day: ``forecast``, of the days that a journal has; ``average``, of the window so far; or
            empty, where nothing does.
    """

    budget: str
    limit: Nano
    spent: Nano
    starts: float
    ends: float | None
    burn: Nano | None
    forecast: Forecast | NotEnough | None
    runs_out: date | None
    basis: Basis = ""

    @property
    def used(self) -> float | None:
        """The share of the limit that is spent; None for a limit of nothing."""
        return self.spent / self.limit if self.limit else None

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left of it."""
        return self.spent >= self.limit

    @property
    def over(self) -> bool:
        """Whether more was spent than the limit."""
        return self.spent > self.limit

    @property
    def projected_over(self) -> bool:
        """Whether more is expected to be spent than the limit before the window ends."""
        return isinstance(self.forecast, Forecast) and self.forecast.expected > self.limit


def outlook(
    journal: Journal, leg: Leg, now: float, *, spent: Nano, zone: str = "UTC", scope: Mapping[str, str] | None = None
) -> Outlook:
    """How a window of a budget will go on from here.

    Args:
        leg: the window, with the tags that calls must have.
        spent: in it so far, by the ledger or the journal.
        zone: where days begin.
        scope: more tags that calls must have to be counted.
    """
    past = daily(journal, back(now), now, zone, tags={**(scope or {}), **dict(leg.scope)})[()]
    today = day_of(now, zone)
    burn = expected_on(past, today)
    rolling = leg.slots > 0
    if rolling or (leg.ends is not None and leg.ends - leg.starts < _SHORTEST):
        return Outlook(leg.budget, leg.limit, spent, leg.starts, leg.ends, burn, None, None)
    end = now + HORIZON if leg.ends is None else leg.ends
    found = forecast(past, spent, today, _after(day_of(end - 1, zone)), passed_of(now, zone))
    runs_out = found.reaches(leg.limit) if isinstance(found, Forecast) else None
    ahead = None if leg.ends is None else found
    basis: Basis = "forecast" if isinstance(found, Forecast) else ""
    return Outlook(
        leg.budget,
        leg.limit,
        spent,
        leg.starts,
        leg.ends,
        burn,
        ahead,
        today if spent >= leg.limit else runs_out,
        basis,
    )


def outlook_of(balance: Balance, now: float, journal: Journal | None = None, zone: str = "UTC") -> Outlook:
    """How a window of a ledger will go on; by its own average so far where there is no journal, or too little in it."""
    leg, spent = balance.leg, balance.spent
    today = day_of(now, zone)
    over = today if spent >= leg.limit and not leg.slots else None
    known = Outlook(leg.budget, leg.limit, spent, leg.starts, leg.ends, None, None, over)
    if journal is not None:
        known = outlook(journal, leg, now, spent=spent, zone=zone)
    elapsed = now - leg.starts
    old = leg.ends is not None and not leg.slots and elapsed >= _YOUNG * (leg.ends - leg.starts)
    if known.basis or not old or spent <= 0:
        return known
    assert leg.ends is not None  # it would not be old
    out = now + (leg.limit - spent) * elapsed / spent
    runs_out = over or (day_of(out, zone) if out < leg.ends else None)
    return replace(known, burn=round(spent * _DAY / elapsed), runs_out=runs_out, basis="average")


def outlooks(
    journal: Journal, budgets: Iterable[Budget], now: float, scope: Mapping[str, str] | None = None
) -> list[Outlook]:
    """Every budget with windows of its own, as the journal has its spend, the fullest first.

    Those of single runs and those for each value of a tag are left out.
    """
    found = []
    for budget in budgets:
        if budget.period.kind == "run" or budget.per is not None:
            continue
        leg = budget.leg({}, now, "")
        starts = now - budget.period.seconds if leg.slots else leg.starts
        tags = {**(scope or {}), **dict(budget.scope)}
        # The future has no calls, and whole quarters of an hour are read quickly.
        groups = journal.sums(Selection(starts, (now // 900 + 1) * 900, tags))
        spent = sum(group.sums.nano for group in groups)
        found.append(outlook(journal, leg, now, spent=spent, zone=budget.period.timezone, scope=scope))
    return sorted(found, key=lambda one: (-(one.used or 0.0), one.budget))


def _after(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)
