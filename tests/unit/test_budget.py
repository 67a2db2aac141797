"""Budgets: what people write is understood or refused with what is allowed, and tells calls apart."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard._budget import Budget, budget, clean_tags, renamed
from costguard._money import MAX_NANO, NANO
from costguard._period import LIFETIME, RUN, Period
from costguard.errors import ConfigError


@pytest.mark.parametrize(
    ("limit", "nano", "period"),
    [
        ("$500/month", 500, "month"), ("$500 / month", 500, "month"), ("5 USD per day", 5, "day"),
        ("$5 a day", 5, "day"), ("$5 an hour", 5, "hour"), ("$2/24h", 2, "24h"), ("$2 per rolling 7d", 2, "7d"),
        ("$1,000.00/year", 1000, "year"), ("$5 Per Day", 5, "day"), ("$5/Day", 5, "day"), (" 5/week ", 5, "week"),
        ("$5/lifetime", 5, "lifetime"), ("$5/run", 5, "run"), ("$5", 5, "lifetime"), (5, 5, "lifetime"),
        (5.0, 5, "lifetime"), (Decimal(5), 5, "lifetime"),
    ],
)  # fmt: skip
def test_a_limit_is_read_with_its_period(limit: Any, nano: int, period: str) -> None:
    """The period may follow the amount after a slash, "per" or "a"."""
    made = budget(limit)
    assert (nano * NANO, Period.parse(period)) == (made.limit, made.period)


@pytest.mark.parametrize(
    "limit",
    ["", "abc", "-1", "$", "$5/", "/day", "$5//day", "$5/fortnight", "$5 per", "5,50/day", "nan", "5 EUR/day",
     None, True, -1, float("inf"), [], b"5", 10**7, "$5/day/user", "$5 day"],
)  # fmt: skip
def test_a_malformed_limit_is_refused(limit: Any) -> None:
    """Every such mistake is a ConfigError with a message worth reading."""
    with pytest.raises(ConfigError) as caught:
        budget(limit)
    assert 30 < len(str(caught.value)) < 300


def test_the_largest_limit_is_named() -> None:
    """Beyond nine million dollars a ledger would no longer count exactly."""
    assert budget("9007199.254740991").limit == MAX_NANO
    with pytest.raises(ConfigError, match=r"\$9,007,199"):
        budget("$10,000,000/month")


def test_a_period_is_said_once() -> None:
    """A period in the limit and another beside it is a contradiction, not a choice."""
    with pytest.raises(ConfigError, match="again"):
        budget("$5/day", period="month")
    assert budget("$5", period="month").period.kind == "month"
    assert budget("$5", default_period=RUN).period == RUN


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"timezone": "Europe/Atlantis"}, "Europe/Berlin"),
        ({"week_start": "someday"}, "monday"),
        ({"period": 24}, "'24h'"),
        ({"enforcement": "strict"}, "'hard', 'expected', 'soft'"),
        ({"enforcement": None}, "'hard'"),
        ({"on_exceeded": "stop"}, "'raise', 'warn'"),
        ({"on_exceeded": None}, "'raise'"),
        ({"wait": -1}, "seconds, 0 or more"),
        ({"wait": float("nan")}, "seconds"),
        ({"wait": float("inf")}, "seconds"),
        ({"wait": "5s"}, "seconds"),
        ({"wait": True}, "seconds"),
        ({"wait": None}, "seconds"),
        ({"per": ""}, "no tag name"),
        ({"per": 5}, "no tag name"),
        ({"per": "a b"}, "no tag name"),
        ({"name": ""}, "name="),
        ({"name": "  "}, "name="),
        ({"name": "a\nb"}, "name="),
        ({"name": 5}, "name="),
        ({"alert_at": "80"}, "alert_at='80'"),
        ({"alert_at": ("80%",)}, "50, 80, 95"),
        ({"alert_at": None}, "50, 80, 95"),
        ({"alert_at": True}, "50, 80, 95"),
        ({"alert_at": (True,)}, "50, 80, 95"),
        ({"alert_at": 0}, "above 0"),
        ({"alert_at": (50, -1)}, "above 0"),
        ({"alert_at": 1001}, "up to 1000"),
        ({"alert_at": (float("nan"),)}, "above 0"),
        ({"alert_at": float("inf")}, "up to 1000"),
        ({"user": 17}, r"user=str\(...\)"),
        ({"user": ""}, "printable"),
        ({"user": "x" * 257}, "1 to 256"),
        ({"user": "a\x1b[31m"}, "printable"),
        ({"a b": "x"}, "no tag name"),
        ({"1a": "x"}, "no tag name"),
        ({"x" * 65: "x"}, "no tag name"),
    ],
)
def test_a_malformed_knob_is_refused_with_what_is_allowed(knobs: dict[str, Any], said: str) -> None:
    """The message names the knob and what it takes, whether the budget would have looked at it or not."""
    with pytest.raises(ConfigError, match=said):
        budget("$5", **knobs)


@pytest.mark.parametrize(
    ("alert_at", "marks"),
    [
        ((50, 80, 95), (50.0, 80.0, 95.0)), ([95, 50, 95], (50.0, 95.0)), (80, (80.0,)), (99.5, (99.5,)),
        (Decimal("12.5"), (12.5,)), ((mark for mark in (10, 20)), (10.0, 20.0)), ({100}, (100.0,)), ((), ()),
        (range(10, 30, 10), (10.0, 20.0)), (1000, (1000.0,)),
    ],
)  # fmt: skip
def test_alerts_are_percentages_in_any_order(alert_at: Any, marks: tuple[float, ...]) -> None:
    """A number, a list, a generator: sorted, each once."""
    assert marks == budget("$5", alert_at=alert_at).marks


@given(st.integers(0, MAX_NANO), st.integers(1, 100_000))
def test_a_mark_is_the_smallest_amount_that_reaches_its_percentage(limit: int, basis_points: int) -> None:
    """No rounding of floats moves a threshold, at no limit a ledger can count."""
    percent = basis_points / 100
    ((said, nano),) = Budget("b", limit, marks=(percent,)).leg({}, 0.0, "r").marks
    exact = Fraction(limit * basis_points, 10_000)
    assert percent == said
    assert max(1, -(-exact.numerator // exact.denominator)) == nano


def test_a_full_budget_reaches_a_hundred_percent_exactly() -> None:
    """The last nano-dollar of the largest limit is the one that reaches 100 %."""
    assert Budget("b", MAX_NANO, marks=(100.0,)).leg({}, 0.0, "r").marks == ((100.0, MAX_NANO),)


DAY = {"feature": "x"}
DIFFERENT: list[Callable[[], Budget]] = [
    lambda: budget("$5/day", **DAY),
    lambda: budget("$5/day", **DAY, timezone="Asia/Tokyo"),
    lambda: budget("$5/week", **DAY),
    lambda: budget("$5/week", **DAY, week_start="sunday"),
    lambda: budget("$5/week", **DAY, week_start="sunday", timezone="Asia/Tokyo"),
    lambda: budget("$5/24h", **DAY),
    lambda: budget("$5/hour", **DAY),
    lambda: budget("$5", **DAY),
    lambda: budget("$5/day", **DAY, per="user"),
    lambda: budget("$5/day", **DAY, per="team"),
    lambda: budget("$5/day", **DAY, enforcement="soft"),
    lambda: budget("$5/day", **DAY, enforcement="expected"),
    lambda: budget("$5/day", **DAY, on_exceeded="warn"),
    lambda: budget("$5/day"),
    lambda: budget("$5/day", feature="x", team="y"),
    lambda: budget("$5/day", feature="x team=y"),
    lambda: budget("$5/day", feature="x, per day"),
    lambda: budget("$5/day", feature="'x team=y'"),
]


def test_budgets_that_differ_have_books_of_their_own() -> None:
    """No two of these share a name, and so none shares its books with another."""
    assert len(DIFFERENT) == len({make().name for make in DIFFERENT})


def test_a_name_says_scope_and_period() -> None:
    """What is printed in errors and reports reads like the call that made it."""
    assert (
        budget("$5/day", team="y", feature="x", timezone="Asia/Tokyo").name == "feature=x team=y, per day (Asia/Tokyo)"
    )
    assert budget("$5").name == "everything"
    assert budget("$5/month", per="user").name == "everything, each user, per month"
    assert budget("$5/month", name="mine").name == "mine"
    assert str(budget("$5/day", name="x")) == "x: $5.00 per day"


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12))
def test_no_value_of_a_tag_can_pose_as_another_budget(value: str) -> None:
    """A user id that comes from a stranger cannot name the books of someone else."""
    try:
        made = budget("$5/day", user=value)
    except ConfigError:
        return
    assert made.name not in {make().name for make in DIFFERENT}
    plain = budget("$5/day", user="plain", team="t")
    assert made.name != plain.name
    per = budget("$5/day", per="user")
    assert per.leg({"user": value}, 0, "").budget != per.leg({"user": value + "."}, 0, "").budget


def test_a_budget_counts_the_calls_of_its_scope() -> None:
    """Every tag of the scope must be there with its value; others do not matter."""
    made = budget("$5/day", feature="x", team="y")
    assert made.matches({"feature": "x", "team": "y", "user": "u"})
    assert not made.matches({"feature": "x"})
    assert not made.matches({"feature": "x", "team": "z"})
    assert budget("$5/day").matches({})


def test_a_budget_for_each_value_of_a_tag_counts_them_apart() -> None:
    """Calls without the tag are not counted; each value has a window and a scope of its own."""
    made = budget("$5/day", per="user", feature="x")
    assert not made.matches({"feature": "x"})
    assert made.matches({"feature": "x", "user": "u1"})
    one, two = (made.leg({"feature": "x", "user": user}, 0.0, "r") for user in ("u1", "u2"))
    assert one.budget != two.budget
    assert one.scope == (("feature", "x"), ("user", "u1"))
    assert one.budget == "feature=x, each user, per day, user=u1"


def test_a_leg_carries_what_a_ledger_needs() -> None:
    """Limit, window, thresholds and whether it refuses; a ledger knows no budgets."""
    leg = budget("$10/24h", enforcement="soft", alert_at=(50,)).leg({}, 86400.0 * 3, "r")
    assert (leg.limit, leg.slots, leg.hard, leg.marks) == (10 * NANO, 60, False, ((50.0, 5 * NANO),))
    run = budget("$1", default_period=RUN).leg({}, 5.0, "r7")
    assert (run.window, run.ends) == ("run:r7", None)


def test_tags_without_a_value_are_left_out() -> None:
    """None means not tagged, so that an optional user id can be passed on as it is."""
    assert clean_tags({"feature": None, "team": "t"}) == {"team": "t"}
    assert budget("$5", feature=None).scope == ()


def test_a_renamed_budget_keeps_everything_but_its_books() -> None:
    """Only the name differs."""
    made = budget("$5/day", feature="x")
    assert made == renamed(renamed(made, "other"), made.name)


def test_equal_descriptions_make_equal_budgets() -> None:
    """A budget is a value: setting the same one up twice is setting it up once."""
    assert budget("$5/day", feature="x") == budget(5, period="daily", feature="x")
    assert budget("$5", timezone="Asia/Tokyo").period == LIFETIME
