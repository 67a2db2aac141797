"""Changing budgets while a program runs: what people write, what is then in force, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import costguard
from costguard import BudgetExceededError, ConfigError, budgets
from costguard._types import Leg, Refusal
from costguard.testing import FakeClock

USERS = "everything, each user, per day"


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A program with a budget of a dollar a day, one for each user, and one in all."""
    clock = FakeClock(datetime(2026, 11, 24, 15, 0, tzinfo=UTC))
    costguard.configure(
        ledger="memory://",
        exporters=[],
        clock=clock,
        budgets=[
            costguard.budget("$1/day", name="daily"),
            costguard.budget("$1/day", per="user"),
            costguard.budget("$100", name="all"),
        ],
    )
    yield clock
    costguard.configure(exporters=[])


def spend(usd: str) -> None:
    """Book a call of which the cost is known."""
    costguard.track("gpt-4o", cost=usd)


def test_a_higher_limit_is_in_force_at_once(clock: FakeClock) -> None:
    """And is shown wherever the limit is."""
    spend("0.90")
    change = budgets.set_limit("daily", "$5", author="ada", reason="the launch")
    daily = costguard.status()["daily"]
    assert (5, Decimal("0.9"), Decimal("4.1"), 18.0) == (daily.limit, daily.spent, daily.remaining, daily.percent)
    assert ("daily", "limit", 5, "ada", "the launch") == (
        change.budget, change.kind, change.amount, change.author, change.reason,
    )  # fmt: skip
    assert change.at == datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
    budgets.set_limit("daily", None)
    assert 1 == costguard.status()["daily"].limit
    assert [5, None] == [one.amount for one in budgets.history("daily")]


@pytest.mark.parametrize(
    "until",
    ["2h", timedelta(hours=2), "2026-11-24T18:00+01:00", datetime(2026, 11, 24, 17, 0, tzinfo=UTC), "120 minutes"],
)
def test_a_top_up_ends_when_it_was_said_to(clock: FakeClock, until: Any) -> None:
    """However its end is written."""
    change = budgets.top_up("daily", "$2.50", until=until)
    assert change.until == datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
    assert Decimal("3.5") == costguard.status()["daily"].limit
    clock.advance(seconds=7199)
    assert Decimal("3.5") == costguard.status()["daily"].limit
    clock.advance(seconds=1)
    assert 1 == costguard.status()["daily"].limit


def test_a_paused_budget_has_nothing_left_until_it_is_resumed(clock: FakeClock) -> None:
    """A user's budget by its own name, or all of them by theirs."""
    with costguard.budgeted(user="ada"):
        spend("0.10")
    for name in (USERS, f"{USERS}, user=ada"):
        budgets.pause(name)
        with costguard.budgeted(user="ada"):
            mine = costguard.status()[f"{USERS}, user=ada"]
            assert (True, 0, "paused") == (mine.paused, mine.remaining, str(mine)[-6:])
            assert not costguard.can_afford("gpt-4o", text="Hello", max_output_tokens=10)
        with costguard.budgeted(user="ben"):
            assert (name == USERS) == costguard.status()[f"{USERS}, user=ben"].paused
        budgets.resume(name)
    with costguard.budgeted(user="ada"):
        assert costguard.can_afford("gpt-4o", text="Hello", max_output_tokens=10)


def test_every_window_that_the_ledger_holds_is_listed(clock: FakeClock) -> None:
    """Those of users too, who are not asking."""
    with costguard.budgeted(user="ada"):
        spend("0.10")
    assert [("all", 100), ("daily", 1), (f"{USERS}, user=ada", 1)] == [(one.name, one.limit) for one in budgets.every()]


def test_a_misspelt_name_is_refused_with_what_was_meant(clock: FakeClock) -> None:
    """A change in force of nothing would not be noticed; `new` is for a budget that has no calls yet."""
    with pytest.raises(ConfigError, match=r"no budget 'dayli'.*there is 'daily'.*new=True"):
        budgets.pause("dayli")
    assert () == budgets.history()
    budgets.pause("dayli", new=True)
    budgets.resume("dayli")
    budgets.set_limit(f"{USERS}, user=never-seen", "$3")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount": "five"}, "amount: 'five'"),
        ({"amount": "-5"}, "amount"),
        ({"until": "soon"}, "give a length such as '24h'"),
        ({"until": "2026-12-01T09:00"}, "with its timezone"),
        ({"until": "2026-11-24T14:00Z"}, "over already"),
        ({"until": 7}, "give a length"),
        ({"author": "a\nb"}, "author"),
        ({"reason": "x" * 501}, "500 printable"),
    ],
)
def test_what_cannot_be_understood_changes_nothing(clock: FakeClock, wrong: dict[str, Any], said: str) -> None:
    """The message names the argument and what is allowed."""
    with pytest.raises(ConfigError, match=said):
        budgets.top_up("daily", **{"amount": "$1", "until": "1h", **wrong})
    assert () == budgets.history()


def test_changes_read_as_sentences(clock: FakeClock) -> None:
    """For a log, or a message to a channel."""
    budgets.set_limit("daily", "$5", author="ada", reason="the launch")
    budgets.set_limit("daily", None)
    budgets.top_up("daily", "$0.5", until="1h")
    budgets.pause("daily", author="ben")
    budgets.resume("daily")
    at = "2026-11-24 15:00 UTC daily: "
    assert [
        f"{at}limit set to $5.00 by ada: the launch",
        f"{at}limit set back to the program's own",
        f"{at}$0.50 added until 2026-11-24 16:00 UTC",
        f"{at}paused by ben",
        f"{at}resumed",
    ] == [str(one) for one in budgets.history()]


def test_the_refusal_of_a_paused_budget_says_how_to_go_on() -> None:
    """What was not done, and which knob to turn."""
    leg = Leg("each user, user=ada", "w", 5 * 10**9, group="each user")
    error = BudgetExceededError((Refusal(leg, 10**9, 0, 10**7, paused=True),))
    assert ("paused", 0) == (error.reason, error.remaining)
    assert str(error) == (
        "budget 'each user, user=ada' is paused, so this call was not sent; $1.00 of $5.00 is spent. Resume it with"
        " costguard.budgets.resume('each user, user=ada') or 'each user', whichever was paused;"
        " costguard.budgets.history() tells who paused it and why."
    )
    assert "the stream was cut off" in str(BudgetExceededError(error.refusals, "partial text"))
