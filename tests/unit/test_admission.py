"""Admission: which windows a call touches, each once, and the strictest of what shares a name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import costguard
from costguard._admission import Admission
from costguard._budget import Budget, budget
from costguard._period import RUN
from costguard._scope import Scope, declarations
from costguard.errors import ConfigError

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()


def names(admission: Admission, scope: Scope | None = None, at: float = NOON) -> list[str]:
    return [leg.budget for _, leg in admission.legs(scope or Scope(), at)]


def test_a_call_touches_the_budgets_whose_tags_it_carries() -> None:
    """Budgets of other features, and of tags it lacks, are left alone."""
    admission = Admission([budget("$5/day"), budget("$5/day", feature="x"), budget("$5/day", per="user")])
    assert ["everything, per day"] == names(admission)
    assert ["everything, per day", "feature=x, per day"] == names(admission, Scope({"feature": "x"}))
    assert "everything, each user, per day, user=u1" in names(admission, Scope({"user": "u1"}))


def test_declared_and_enclosing_budgets_count_too() -> None:
    """A limit of a decorator holds for its scope everywhere, one of a block around for what happens inside."""
    declarations.add(budget("$5/day", feature="declared"))
    around = (budget("$1", name="block", default_period=RUN), "r1")
    scope = Scope({"feature": "declared"}, (around,), "outermost")
    assert ["feature=declared, per day", "block"] == names(Admission(), scope)
    assert "run:r1" == Admission().legs(scope, NOON)[1][1].window


def test_a_budget_set_up_later_is_seen() -> None:
    """`add` and `drop` take effect at the next call."""
    admission = Admission()
    assert [] == names(admission)
    admission.add(budget("$5", name="late"))
    assert ["late"] == names(admission)
    admission.drop("late")
    assert [] == names(admission)


def test_two_different_budgets_of_one_name_are_a_mistake() -> None:
    """One of them would silently not hold; the same one twice is fine."""
    with pytest.raises(ConfigError, match="another name="):
        Admission([budget("$5/day"), budget("$9/day")])
    assert 1 == len(Admission([budget("$5/day"), budget("$5/day")]).budgets)


@pytest.mark.parametrize(
    ("strict", "lax"),
    [
        ({}, {"limit": "$9/day"}),
        ({"limit": "$9/day"}, {"enforcement": "soft"}),
        ({"limit": "$9/day"}, {"enforcement": "expected"}),
        ({"limit": "$9/day"}, {"on_exceeded": "warn"}),
        ({"enforcement": "expected", "limit": "$9/day"}, {"enforcement": "soft"}),
    ],
)
def test_of_budgets_that_share_their_books_the_strictest_holds(strict: dict[str, Any], lax: dict[str, Any]) -> None:
    """A limit that only watches, or is higher, never stands in for one that refuses."""
    firm, loose = (budget(**{"limit": "$5/day", "name": "shared", **knobs}) for knobs in (strict, lax))
    for configured, enclosing in ((firm, loose), (loose, firm)):
        ((holds, leg),) = Admission([configured]).legs(Scope(enclosing=((enclosing, "r"),)), NOON)
        assert firm == holds
        assert (firm.limit, firm.enforcement != "soft") == (leg.limit, leg.hard)


def test_a_window_is_used_until_it_ends_and_no_longer() -> None:
    """Midnight opens the next one, also when the clock then goes back."""
    admission = Admission([budget("$5/day")])
    windows = [admission.legs(Scope(), at)[0][1].window for at in (NOON, NOON + 43199.9, NOON + 43200, NOON)]
    assert ["2026-05-04T00:00Z", "2026-05-04T00:00Z", "2026-05-05T00:00Z", "2026-05-04T00:00Z"] == windows


def test_a_replaced_budget_is_not_remembered() -> None:
    """The same name with another limit: the next call sees the new one."""
    admission = Admission([budget("$5/day", name="b")])
    assert 5 * 10**9 == admission.legs(Scope(), NOON)[0][1].limit
    admission.add(budget("$6/day", name="b"))
    assert 6 * 10**9 == admission.legs(Scope(), NOON)[0][1].limit


def test_values_from_strangers_do_not_fill_the_memory() -> None:
    """A budget for each user keeps a bounded number of windows at hand."""
    admission = Admission([budget("$5/day", per="user")])
    for number in range(20_000):
        admission.legs(Scope({"user": f"u{number}"}), NOON)
    assert len(admission._legs) <= 8192


def test_a_lifetime_and_a_run_of_one_name_are_two_windows() -> None:
    """They count the same calls in books of their own."""
    total, run = budget("$5", feature="x"), budget("$1", feature="x", default_period=RUN)
    scope = Scope({"feature": "x"}, ((run, "r1"),))
    found: list[tuple[Budget, Any]] = list(Admission([total]).legs(scope, NOON))
    assert {"lifetime", "run:r1"} == {leg.window for _, leg in found}


def test_only_the_budgets_of_a_call_decide_whether_it_can_be_afforded() -> None:
    """A spent budget of another feature stands in nobody else's way; one of its own does."""
    costguard.configure(ledger="memory://", exporters=[], budgets=[budget("$0", feature="spent"), budget("$5/day")])
    asked = {"input_tokens": 10, "max_output_tokens": 10}
    assert costguard.can_afford("gpt-4o", **asked)
    assert costguard.can_afford("gpt-4o", **asked, feature="other")
    refused = costguard.can_afford("gpt-4o", **asked, feature="spent")
    assert (refused.allowed, refused.budget) == (False, "feature=spent")
