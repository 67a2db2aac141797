"""Where a month will end, on months that are simulated and whose end is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from statistics import median

import pytest

from costguard.review._series import Series, series
from costguard.review.forecast import LEAST, Forecast, NotEnough, expected_on, forecast

OCTOBER = date(2026, 10, 1)
NOVEMBER = date(2026, 11, 1)
DOLLAR = 10**9
WEEK = (1.0, 1.1, 1.05, 1.0, 0.9, 0.3, 0.25)

Day = Callable[[random.Random, int, date], float]


def simulated(day: Day, seed: int, before: int = 42) -> Series:
    """`before` days and then October, in whole nano-dollars."""
    chance = random.Random(seed)
    first = OCTOBER - timedelta(days=before)
    days = [first + timedelta(days=index) for index in range(before + 31)]
    return Series(first, tuple(int(max(0.0, day(chance, index, one)) * DOLLAR) for index, one in enumerate(days)))


def seen(all_days: Series, today: date) -> Forecast:
    """The forecast on a day of October."""
    spent = sum(all_days.since(OCTOBER).before(today).nano)
    found = forecast(all_days.before(today), spent, today, NOVEMBER)
    assert isinstance(found, Forecast)
    return found


def test_the_same_each_day_is_projected_to_the_cent() -> None:
    """Ten dollars a day make 310 in October, with no range at all."""
    days = Series(date(2026, 9, 1), (10 * DOLLAR,) * 40)
    found = forecast(days, 100 * DOLLAR, date(2026, 10, 11), NOVEMBER)
    assert isinstance(found, Forecast)
    assert (found.expected, found.low, found.high, found.rising) == (310 * DOLLAR, 310 * DOLLAR, 310 * DOLLAR, 0)


def test_weekdays_are_told_apart() -> None:
    """Nothing at weekends stays nothing at weekends: 22 working days are left of ten dollars each."""
    first = date(2026, 8, 31)
    days = Series(first, tuple(0 if (first + timedelta(days=i)).weekday() > 4 else 10 * DOLLAR for i in range(31)))
    found = forecast(days, 0, OCTOBER, NOVEMBER)
    assert isinstance(found, Forecast)
    assert found.expected == 22 * 10 * DOLLAR
    assert found.days[2:4] == (0, 0)  # the third and fourth of October are a weekend


@pytest.mark.parametrize("basis", range(LEAST))
def test_too_few_days_are_said_to_be_too_few(basis: int) -> None:
    """A forecast of four days would be a guess, and is none."""
    found = forecast(Series(OCTOBER, (DOLLAR,) * basis), basis * DOLLAR, OCTOBER + timedelta(days=basis), NOVEMBER)
    assert isinstance(found, NotEnough)
    assert str(found).startswith("not enough data for a forecast")
    assert found.spent == basis * DOLLAR


def test_days_before_the_first_call_are_no_data() -> None:
    """A journal that began yesterday does not prove that nothing was spent before."""
    days = Series(date(2026, 8, 1), (0,) * 70 + (DOLLAR,) * 3)
    assert isinstance(forecast(days, 0, days.end, NOVEMBER), NotEnough)
    assert expected_on(days, days.end) is None


@pytest.mark.parametrize(
    ("day", "least"),
    [
        (lambda chance, index, one: 100 * chance.gauss(1, 0.2), 0.72),
        (lambda chance, index, one: 100 * WEEK[one.weekday()] * chance.gauss(1, 0.2), 0.72),
        (lambda chance, index, one: 100 * WEEK[one.weekday()] * chance.lognormvariate(0, 0.3), 0.70),
        (lambda chance, index, one: 100 * WEEK[one.weekday()] * (1 + index / 50) * chance.gauss(1, 0.1), 0.70),
    ],
    ids=["noise", "weekdays", "skewed", "growing"],
)
def test_the_range_holds_about_four_times_out_of_five(day: Day, least: float) -> None:
    """On the sixteenth of simulated months the end is inside the range nearly as often as is promised."""
    inside, off = 0, []
    for seed in range(120):
        days = simulated(day, seed)
        found = seen(days, date(2026, 10, 16))
        truth = sum(days.since(OCTOBER).nano)
        inside += found.low <= truth <= found.high
        off.append(abs(found.expected - truth) / truth)
    assert inside / 120 >= least
    assert median(off) < 0.06


def test_one_extraordinary_day_does_not_move_what_is_expected() -> None:
    """A hundred times the usual on one day of last week: expected is what the other days say, and the range tells."""
    days = simulated(lambda chance, index, one: 100 * chance.gauss(1, 0.05), 3)
    spike = days.nano[50] * 100
    spiked = Series(days.first, (*days.nano[:50], spike, *days.nano[51:]))
    today = date(2026, 10, 16)
    calm, upset = seen(days, today), seen(spiked, today)
    assert abs((upset.expected - upset.spent) - (calm.expected - calm.spent)) < (calm.expected - calm.spent) // 20
    assert upset.high - upset.expected > calm.high - calm.expected


def test_steady_growth_is_carried_on() -> None:
    """Two percent of the first day more every day: the end is met within two percent, and it is said to rise."""
    days = simulated(lambda chance, index, one: 100 * (1 + index / 50), 0)
    found = seen(days, date(2026, 10, 16))
    truth = sum(days.since(OCTOBER).nano)
    assert found.rising == 1
    assert abs(found.expected - truth) < truth // 50


def test_the_day_a_budget_runs_out_is_the_day_its_sum_is_reached() -> None:
    """$10 a day and $230 to spend: it is exhausted on the 23rd, and $311 last."""
    days = Series(date(2026, 9, 1), (10 * DOLLAR,) * 40)
    found = forecast(days, 100 * DOLLAR, date(2026, 10, 11), NOVEMBER)
    assert isinstance(found, Forecast)
    assert found.reaches(230 * DOLLAR) == date(2026, 10, 23)
    assert found.reaches(311 * DOLLAR) is None
    assert found.reaches(100 * DOLLAR) == date(2026, 10, 11)


def test_what_is_over_of_today_is_not_expected_again() -> None:
    """At noon half a day is left."""
    days = Series(date(2026, 9, 1), (10 * DOLLAR,) * 40)
    found = forecast(days, 105 * DOLLAR, date(2026, 10, 11), NOVEMBER, passed=0.5)
    assert isinstance(found, Forecast)
    assert found.expected == 310 * DOLLAR


def test_a_series_adds_up_by_day_and_knows_its_empty_days() -> None:
    """Two amounts of a day are one, a day without any is zero, and others are left out."""
    spent = [(OCTOBER, 1), (OCTOBER, 2), (date(2026, 10, 3), 4), (date(2026, 9, 30), 8), (date(2026, 10, 4), 16)]
    assert series(spent, OCTOBER, date(2026, 10, 4)) == Series(OCTOBER, (3, 0, 4))
