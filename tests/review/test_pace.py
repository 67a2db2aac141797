"""How quickly a budget is used up: plain figures first, then the ones a forecast makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from costguard._money import NANO
from costguard._types import Balance, Call, Cost, CostEvent, Leg
from costguard.journals.memory import MemoryJournal
from costguard.review._series import Series
from costguard.review.pace import DAY, Pace, history_of, pace

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
NOW = NOVEMBER + 10 * DAY


def month(spent: int, limit: int = 300 * NANO) -> Balance:
    return Balance(Leg("b", "w", limit, NOVEMBER, DECEMBER), spent, 0)


def test_without_a_journal_it_is_the_average_of_the_window() -> None:
    """A third of the month, half of the limit: it runs out after twenty days."""
    assert Pace(15 * NANO, NOVEMBER + 20 * DAY, "average") == pace(month(150 * NANO), NOW)
    assert Pace(5 * NANO, None, "average") == pace(month(50 * NANO), NOW)


def test_what_is_spent_ran_out_now() -> None:
    """However it got there."""
    assert NOW == pace(month(300 * NANO), NOW).runs_out
    assert NOW == pace(month(0, limit=0), NOW).runs_out


@pytest.mark.parametrize(
    "balance",
    [
        month(0),
        Balance(Leg("b", "w", 9, 0, None), 5, 0),
        Balance(Leg("b", "w", 9, NOW - 60, NOW + 60, slots=60), 5, 0),
        Balance(Leg("b", "w", 9, NOW - 60, NOW + 30 * DAY), 5, 0),
    ],
)
def test_nothing_is_said_where_nothing_is_known(balance: Balance) -> None:
    """Nothing spent yet, a lifetime, a rolling window, the first minute of a month."""
    assert Pace() == pace(balance, NOW)


def test_a_journal_s_days_make_a_forecast() -> None:
    """Twenty dollars every day: the last hundred dollars are gone in five days, whatever the average of the month is."""
    journal = MemoryJournal()
    for back in range(1, 40):
        at = NOW - back * DAY + 60
        for feature, dollars in (("search", 20), ("other", 90)):
            cost = Cost(dollars * NANO)
            journal.record(
                CostEvent(f"{feature}{back}", at, 1, Call("openai", "m"), (), cost, tags={"feature": feature})
            )
    history = history_of(journal, {"feature": "search"}, NOW)
    assert (20 * NANO,) * 39 == history.nano[-39:]
    found = pace(month(200 * NANO), NOW, history)
    assert (20 * NANO, "forecast") == (found.a_day, found.basis)
    assert found.runs_out is not None
    assert datetime(2026, 11, 15, tzinfo=UTC).date() == datetime.fromtimestamp(found.runs_out, UTC).date()


def test_a_few_days_make_no_forecast() -> None:
    """The average stands in."""
    today = datetime.fromtimestamp(NOW, UTC).date()
    history = Series(today - timedelta(days=2), (NANO, NANO))
    assert "average" == pace(month(150 * NANO), NOW, history).basis
