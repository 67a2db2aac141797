"""Days and features that jump, and those that do not."""

from __future__ import annotations

import random
from datetime import date, timedelta

from costguard.review._series import Series
from costguard.review.anomalies import Jump, jumps

FIRST = date(2026, 8, 24)
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
DOLLAR = 10**9


def usual(seed: int = 1, scatter: float = 0.1) -> list[int]:
    """Days from the end of August to the end of October, quiet at weekends."""
    chance = random.Random(seed)
    days = [FIRST + timedelta(days=index) for index in range((NOVEMBER - FIRST).days)]
    return [int(100 * DOLLAR * (0.3 if day.weekday() > 4 else 1) * chance.gauss(1, scatter)) for day in days]


def test_a_day_that_costs_three_times_the_usual_is_told_with_what_was_usual() -> None:
    """One Thursday at three times a Thursday's spend: one line, and the excess is the difference to the median."""
    days = usual(scatter=0)
    place = (date(2026, 10, 22) - FIRST).days
    days[place] *= 3
    found = jumps({"onboarding": Series(FIRST, tuple(days))}, OCTOBER, NOVEMBER)
    thursday = date(2026, 10, 22)
    assert found.jumps == (Jump("onboarding", thursday, thursday, 300 * DOLLAR, 100 * DOLLAR),)
    assert found.jumps[0].excess == 200 * DOLLAR


def test_ordinary_scatter_and_weekends_are_no_jumps() -> None:
    """Fifty months of ordinary scatter: hardly a line."""
    found = [jumps({"a": Series(FIRST, tuple(usual(seed)))}, OCTOBER, NOVEMBER) for seed in range(50)]
    assert sum(len(one.jumps) for one in found) <= 5


def test_a_saturday_as_dear_as_a_tuesday_stands_out() -> None:
    """It is compared with Saturdays."""
    days = usual(scatter=0)
    days[(date(2026, 10, 17) - FIRST).days] = 100 * DOLLAR
    [jump] = jumps({"a": Series(FIRST, tuple(days))}, OCTOBER, NOVEMBER).jumps
    assert (jump.first, jump.usual) == (date(2026, 10, 17), 30 * DOLLAR)


def test_days_in_a_row_are_one_line() -> None:
    """A feature that costs twice as much from the 22nd on is told once."""
    days = usual(scatter=0)
    start = (date(2026, 10, 22) - FIRST).days
    days[start:] = [2 * one for one in days[start:]]
    [jump] = jumps({"a": Series(FIRST, tuple(days))}, OCTOBER, NOVEMBER).jumps
    assert (jump.first, jump.last) == (date(2026, 10, 22), date(2026, 10, 31))
    assert jump.spent == sum(days[start:])


def test_a_feature_that_is_new_is_told_as_new() -> None:
    """It was nothing for weeks, and then something."""
    days = [0] * len(usual())
    for day in range((date(2026, 10, 29) - FIRST).days, len(days)):
        days[day] = 50 * DOLLAR
    found = jumps({"new": Series(FIRST, tuple(days)), "old": Series(FIRST, tuple(usual(scatter=0)))}, OCTOBER, NOVEMBER)
    assert found.jumps == (Jump("new", date(2026, 10, 29), date(2026, 10, 31), 150 * DOLLAR, 0),)


def test_cents_are_not_worth_a_line() -> None:
    """A tiny feature that triples is left out beside a large one."""
    small = [one // 1000 for one in usual(scatter=0)]
    small[-3] *= 3
    both = {"large": Series(FIRST, tuple(usual(scatter=0))), "small": Series(FIRST, tuple(small))}
    assert jumps(both, OCTOBER, NOVEMBER).jumps == ()


def test_without_a_past_it_says_that_it_could_not_judge() -> None:
    """A journal that began with the month knows nothing of its first week."""
    found = jumps({"a": Series(OCTOBER, (DOLLAR,) * 5)}, OCTOBER, NOVEMBER)
    assert (found.jumps, found.watched, found.unknown, found.enough) == ((), 0, 5, False)
