"""Advice on the provider's prompt cache: only where it pays, and by how much, re-priced by hand."""

from __future__ import annotations

import pytest

import costguard
from costguard import CostEvent, Usage
from costguard._config import state
from costguard._types import Call, Cost, Outcome
from costguard.optimize import advise

AT = 1_780_000_000.0


def event(
    number: int, gap: float, usage: dict[str, int], *, feature: str = "faq", model: str = "claude-sonnet-5",
    provider: str = "anthropic", outcome: Outcome = "ok",
) -> CostEvent:  # fmt: skip
    return CostEvent(
        id=str(number),
        time=AT + number * gap,
        duration=1,
        call=Call(provider, model),
        usages=(Usage(usage),),
        cost=Cost(1),
        tags={"feature": feature},
        outcome=outcome,
    )


def by_hand(model: str, provider: str, *usages: dict[str, int]) -> int:
    return sum(costguard.explain(model, Usage(usage), provider=provider).cost.nano for usage in usages)


def test_a_feature_with_a_long_beginning_would_gain() -> None:
    """One call writes the beginning, the others read it: the difference to what was paid, to the nano-dollar."""
    events = [event(number, 60, {"input": 5000, "output": 100}) for number in range(40)]
    (advice,) = advise(reversed(events), state.catalog)
    paid = by_hand("claude-sonnet-5", "anthropic", *[{"input": 5000}] * 40)
    would = by_hand("claude-sonnet-5", "anthropic", {"cache_write": 5000}, *[{"cache_read": 5000}] * 39)
    assert (paid, paid - would) == (advice.paid, advice.saves)
    assert ("faq", 40, 5000, "5m", 0.0) == (
        advice.feature, advice.calls, advice.prefix_tokens, advice.lifetime, advice.cached_share,
    )  # fmt: skip
    assert 39 / 40 == advice.reused_share


def test_calls_that_come_seldom_need_a_longer_life_or_gain_nothing() -> None:
    """Every twenty minutes an hour's cache pays; once a day none does, because writing costs more."""
    seldom = [event(number, 1200, {"input": 5000}) for number in range(40)]
    assert "1h" == advise(seldom, state.catalog)[0].lifetime
    daily = [event(number, 86_400, {"input": 5000}) for number in range(40)]
    assert [] == advise(daily, state.catalog)


@pytest.mark.parametrize(
    "events",
    [
        [event(number, 60, {"input": 900}) for number in range(40)],
        [event(number, 60, {"input": 5000}) for number in range(5)],
        [event(number, 60, {"input": 5000}, outcome="error") for number in range(40)],
        [event(number, 60, {"cache_read": 5000}) for number in range(40)],
    ],
    ids=["short", "few", "failed", "cached already"],
)
def test_nothing_is_said_where_nothing_is_to_be_gained(events: list[CostEvent]) -> None:
    """Beginnings too short, calls too few, or all of it cached by now."""
    assert [] == advise(events, state.catalog)


def test_the_largest_gain_comes_first_and_features_are_apart() -> None:
    """OpenAI caches without being asked: what is to be gained there is a beginning that stays the same."""
    small = [event(number, 60, {"input": 2000}, feature="small") for number in range(40)]
    large = [
        event(number, 60, {"input": 9000}, feature="large", model="gpt-4o", provider="openai") for number in range(40)
    ]
    first, second = advise([*small, *large], state.catalog)
    assert ("large", "small") == (first.feature, second.feature)
    assert (
        by_hand("gpt-4o", "openai", *[{"input": 9000}] * 39) - by_hand("gpt-4o", "openai", *[{"cache_read": 9000}] * 39)
        == first.saves
    )
