"""What traffic would have cost elsewhere, beside the same sums worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import costguard
from costguard._journal import Bill
from costguard._types import CostEvent, Usage
from costguard.errors import ConfigError
from costguard.journals import open_journal
from costguard.review._candidates import generation
from costguard.review._ladders import Rungs
from costguard.review.what_if import what_if

from .traffic import CATALOG, bills, made, month


def again(events: list[CostEvent], model: str, provider: str = "openai", tier: str | None = None) -> int:
    """These calls priced one by one on another model."""
    total = 0
    for event in events:
        usages = [
            replace(usage, model=None, region=None, reported=None, tier=tier or usage.tier) for usage in event.usages
        ]
        total += CATALOG.cost(provider, model, usages, event.time).nano
    return total


def test_a_move_is_priced_by_hand_with_cached_tokens_at_the_cached_rate() -> None:
    """1,000 plain, 3,000 cached and 500 answered tokens: gpt-4o $0.01125, gpt-4o-mini $0.000675."""
    event = made("a", "2026-10-03", counts={"input": 1_000, "cache_read": 3_000, "output": 500})
    assert event.cost.nano == 11_250_000
    found = what_if(bills([event]), CATALOG, candidates=["openai/gpt-4o-mini"])
    [move] = found.models
    assert (move.model, move.to, move.calls, move.movable) == ("openai/gpt-4o", "openai/gpt-4o-mini", 1, 1)
    assert (move.cost, move.would_cost, move.saved) == (11_250_000, 675_000, 10_575_000)
    assert (found.saved, found.movable) == (10_575_000, 1)


def test_every_figure_of_a_month_is_that_of_the_calls_one_by_one() -> None:
    """A month's features against two candidates: the sums are those of pricing each call by itself."""
    calls = list(month(600))
    candidates = ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"]
    found = what_if(bills(calls), CATALOG, candidates=candidates)
    assert found.calls == len(calls)
    assert found.nano == sum(call.cost.nano for call in calls)
    assert found.models
    for move in found.models:
        theirs = [
            call
            for call in calls
            if call.tags.get("feature", "") == move.feature and f"{call.call.provider}/{call.model}" == move.model
        ]
        provider, _, model = move.to.partition("/")
        assert (move.calls, move.cost) == (len(theirs), sum(call.cost.nano for call in theirs))
        assert move.would_cost == again(theirs, model, provider)


def test_a_batch_stays_a_batch_and_a_tier_is_tried_only_where_nobody_waits() -> None:
    """Of three calls one is streamed and one a user's: only the third could be a batch, at half the price."""
    calls = [
        made("a", "2026-10-03", stream=True),
        made("b", "2026-10-03", tags={"feature": "search", "user": "u"}),
        made("c", "2026-10-03"),
    ]
    found = what_if(bills(calls), CATALOG, candidates=["openai/gpt-4o-mini"])
    [move] = found.tiers
    assert (move.tier, move.to, move.calls, move.movable) == ("batch", "openai/gpt-4o", 3, 1)
    assert move.would_cost == again(calls[2:], "gpt-4o", tier="batch") == move.cost // 2
    batch = made("d", "2026-10-03", tier="batch")
    [moved] = what_if(bills([batch]), CATALOG, candidates=["openai/gpt-4o-mini"]).models
    assert moved.would_cost == again([batch], "gpt-4o-mini")
    assert again([batch], "gpt-4o-mini") < again([batch], "gpt-4o-mini", tier="standard")


def test_a_call_that_is_too_long_for_a_model_stays() -> None:
    """150,000 tokens do not fit into 128,000: the share of calls that could move says so."""
    calls = [made("a", "2026-10-03", "gpt-5.4-mini", {"input": size, "output": 10}) for size in (1_000, 150_000)]
    [move] = what_if(bills(calls), CATALOG, candidates=["openai/gpt-4o-mini"]).models
    assert (move.calls, move.movable) == (2, 1)
    assert move.cost == calls[0].cost.nano


def test_only_models_that_can_do_what_the_traffic_did_are_candidates() -> None:
    """Audio in a bill needs a model that hears; what no record shows is assumed, until somebody says otherwise."""
    heard = made("a", "2026-10-03", "gpt-4o-audio-preview", {"input": 10, "input_audio": 500, "output": 50})
    assert what_if(bills([heard]), CATALOG, candidates=["openai/gpt-4o-mini"]).models == ()
    plain = made("b", "2026-10-03")
    blind = ["openai/gpt-3.5-turbo"]
    assert what_if(bills([plain]), CATALOG, candidates=blind).models == ()
    spared = {"search": ["vision", "schema", "tools"]}
    [move] = what_if(bills([plain]), CATALOG, candidates=blind, without=spared).models
    assert move.assumed == ()
    [assuming] = what_if(bills([plain]), CATALOG, candidates=["openai/gpt-4o-mini"]).models
    assert assuming.assumed == ("schema", "tools", "vision")


def test_without_names_the_cheapest_of_the_same_provider_are_worked_out() -> None:
    """A few for each feature and model, none dearer than now, the largest saving first."""
    calls = list(month(300))
    found = what_if(bills(calls), CATALOG)
    assert found.models
    assert all(move.saved > 0 and move.to.split("/")[0] == move.model.split("/")[0] for move in found.models)
    assert [move.saved for move in found.models] == sorted([move.saved for move in found.models], reverse=True)
    for move in found.models:
        others = [one for one in found.models if (one.feature, one.model) == (move.feature, move.model)]
        assert len(others) <= 3


def test_calls_that_turn_out_differently_later_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first calls small models would do; one of the last is too long for the cheapest, one searched the web."""
    monkeypatch.setattr("costguard.review.what_if.SAMPLE", 2)
    early = [made(f"s{n}", "2026-10-03", "gpt-5.4-mini") for n in range(4)]
    late = [made("l", "2026-10-04", "gpt-5.4-mini", {"input": 300_000, "output": 10}),
            made("w", "2026-10-05", "gpt-5.4-mini", {"input": 10, "web_searches": 1, "output": 50})]  # fmt: skip
    passes = []

    def counted(calls: list[CostEvent]) -> list[Bill]:
        passes.append(len(calls))
        return [*bills(calls)()]

    found = what_if(lambda: counted(early + late), CATALOG)
    monkeypatch.setattr("costguard.review.what_if.SAMPLE", 10**9)
    assert found == what_if(bills(early + late), CATALOG)
    assert passes == [6, 6]
    monkeypatch.setattr("costguard.review.what_if.SAMPLE", 2)
    what_if(lambda: counted(early), CATALOG)
    assert passes == [6, 6, 4]


def test_what_is_added_up_is_one_step_down_and_not_the_cheapest_in_the_lists() -> None:
    """gpt-4.1 steps down to gpt-4.1-mini, however cheap the smallest model of another generation is."""
    calls = [made("a", "2026-10-03", "gpt-4.1"), made("b", "2026-10-04", "gpt-4.1")]
    found = what_if(bills(calls), CATALOG)
    [step] = found.steps
    assert (step.to, step.why, step.movable) == ("openai/gpt-4.1-mini", "smaller", 2)
    assert found.saved == step.saved == step.cost - again(calls, "gpt-4.1-mini") > 0
    assert found.models[0].saved > found.saved
    assert {move.why for move in found.models} == {"smaller", "listed"}


def test_a_ladder_of_the_user_s_says_what_the_step_is() -> None:
    """Which may be another generation, and only for the features it is for."""
    calls = [made("a", "2026-10-03", "gpt-4.1"), made("b", "2026-10-04", "gpt-4.1", tags={"feature": "other"})]
    ladder = Rungs(("openai/gpt-4.1", "openai/gpt-4o-mini"), frozenset({"search"}))
    found = what_if(bills(calls), CATALOG, ladders=[ladder])
    assert {(step.feature, step.to, step.why) for step in found.steps} == {
        ("search", "openai/gpt-4o-mini", "ladder"), ("other", "openai/gpt-4.1-mini", "smaller"),
    }  # fmt: skip


def test_where_no_step_is_known_nothing_is_promised() -> None:
    """Cheaper models are listed; whether one of them would do is anybody's guess."""
    found = what_if(bills([made("a", "2026-10-03", "gpt-4o-mini")]), CATALOG)
    assert (found.steps, found.saved, found.movable) == ((), 0, 0)
    assert found.models


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-4.1", "gpt-4.1-nano", True),
        ("claude-sonnet-4-5-20250929", "claude-haiku-4-5", True),
        ("gemini-2.5-pro", "gemini-2.5-flash-lite", True),
        ("gpt-5.6-sol", "gpt-5.6-luna", True),
        ("mistral-large-latest", "mistral-small-latest", True),
        ("gpt-4.1", "gpt-4o-mini", False),
        ("claude-opus-4-6", "claude-haiku-4-5", False),
        ("gpt-5", "gpt-5-image-mini", False),
        ("gpt-4o", "gpt-4o-mini-audio-preview", False),
        ("gpt-4o", "ft:gpt-4o-mini", False),
    ],
)
def test_models_of_one_generation_differ_by_size_alone(one: str, other: str, same: bool) -> None:
    """Names of the price lists."""
    assert (generation(one) == generation(other)) == same


def test_what_no_model_could_take_over_is_left_alone_and_counted() -> None:
    """Embeddings, and calls of which no usage is known, stay; refused ones cost nothing and are not looked at."""
    calls = [
        made("a", "2026-10-03", "text-embedding-3-small", {"input": 10}, operation="embeddings"),
        made("b", "2026-10-03", outcome="refused"),
        made("c", "2026-10-03"),
        made("d", "2026-10-03", decision="cache_hit"),
        made("e", "2026-10-03", usages=()),
    ]
    found = what_if(bills(calls), CATALOG, candidates=["openai/gpt-4o-mini"])
    assert (found.calls, found.kept) == (3, 2)
    assert [move.calls for move in found.models] == [1]


def test_a_cost_that_a_provider_returned_is_priced_from_its_tokens() -> None:
    """The figure is of that provider's; another model's cost is computed."""
    event = made("a", "2026-10-03", usages=(Usage({"input": 1_000, "output": 100}, reported=5),))
    [move] = what_if(bills([event]), CATALOG, candidates=["openai/gpt-4o-mini"]).models
    assert move.would_cost == 1_000 * 150 + 100 * 600


@pytest.mark.parametrize(
    ("name", "said"), [("gpt-4o", "say whose it is"), ("openai/gpt-4o-mimi", "did you mean"), ("x/y", "price lists")]
)
def test_a_candidate_that_is_not_listed_is_refused(name: str, said: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(ConfigError, match=said):
        what_if(list, CATALOG, candidates=[name])


def test_a_program_asks_for_it_in_dollars(tmp_path: Path) -> None:
    """`costguard.what_if` reads the configured journal, or the one that is named; the figures are those of hand."""
    url = f"sqlite://{tmp_path}/calls.db?keep=all"
    journal = open_journal(url)
    for event in (made("a", "2026-10-03"), made("b", "2026-10-04", tags={"feature": "other"})):
        journal.record(event)
    assert journal.flush(60)
    journal.close()
    asked = {"month": "2026-10", "candidates": ["openai/gpt-4o-mini"], "journal": url}
    found = costguard.what_if(**asked, feature="search")
    assert (found.calls, found.cost) == (1, Decimal("0.0045"))
    assert [(move.saved, move.share) for move in found.models] == [(Decimal("0.00423"), 1.0)]
    assert (found.saved, found.share) == (Decimal("0.00423"), 1.0)
    assert costguard.what_if(**asked).calls == 2
    costguard.configure(exporters=[])
    with pytest.raises(ConfigError, match="needs a journal"):
        costguard.what_if(month="2026-10")
