"""How quickly a budget is used up: plain figures first, then the ones a forecast makes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from costguard._money import NANO
from costguard._types import Balance, Call, Cost, CostEvent, Leg
from costguard.journals.memory import MemoryJournal
from costguard.review.outlook import outlook_of

DAY = 86_400
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
NOW = NOVEMBER + 10 * DAY


def month(spent: int, limit: int = 300 * NANO) -> Balance:
    return Balance(Leg("b", "w", limit, NOVEMBER, DECEMBER), spent, 0)


def told(balance: Balance, journal: MemoryJournal | None = None, zone: str = "UTC") -> tuple[object, ...]:
    found = outlook_of(balance, NOW, journal, zone)
    return found.burn, found.runs_out, found.basis


def spending(days: range, **dollars: int) -> MemoryJournal:
    """Calls a minute after midnight of so many days ago, in UTC."""
    journal = MemoryJournal()
    for back in days:
        for feature, amount in dollars.items():
            call, tags = Call("openai", "m"), {"feature": feature}
            at = NOW - back * DAY + 60
            journal.record(CostEvent(f"{feature}{back}", at, 1, call, (), Cost(amount * NANO), tags=tags))
    return journal


def test_without_a_journal_it_is_the_average_of_the_window() -> None:
    """A third of the month, half of the limit: it runs out after twenty days."""
    assert (15 * NANO, date(2026, 11, 21), "average") == told(month(150 * NANO))
    assert (5 * NANO, None, "average") == told(month(50 * NANO))


def test_what_is_spent_ran_out_today() -> None:
    """However it got there, in the budget's days."""
    assert date(2026, 11, 11) == told(month(300 * NANO))[1]
    assert (None, date(2026, 11, 11), "") == told(month(0, limit=0))
    assert date(2026, 11, 10) == told(month(0, limit=0), zone="America/New_York")[1]


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
    assert (None, None, "") == told(balance)


def test_a_journal_s_days_make_a_forecast() -> None:
    """Twenty dollars every day: the last hundred dollars are gone in five days, whatever the average of the month is."""
    leg = Leg("b", "w", 300 * NANO, NOVEMBER, DECEMBER, scope=(("feature", "search"),))
    found = told(Balance(leg, 200 * NANO, 0), spending(range(1, 40), search=20, other=90))
    assert (20 * NANO, date(2026, 11, 15), "forecast") == found


def test_a_few_days_make_no_forecast() -> None:
    """The average stands in, and why is still said."""
    found = outlook_of(month(150 * NANO), NOW, spending(range(1, 3), search=1))
    assert ("average", date(2026, 11, 21)) == (found.basis, found.runs_out)
    assert "not enough data" in str(found.forecast)
