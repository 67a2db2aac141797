"""A provider's export beside our calls: every shape that OpenAI and Anthropic export, and the difference by hand."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from costguard.errors import ConfigError
from costguard.review._exports import Billed, read_export
from costguard.review.reconcile import Drift, reconcile, span

from .traffic import CATALOG, at, made

DAY = date(2026, 10, 3)
START = int(at("2026-10-03"))


def openai_costs(*results: tuple[Any, str | None]) -> str:
    """A page of /v1/organization/costs."""
    told = [
        {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}, "line_item": item}
        for value, item in results
    ]
    bucket = {"object": "bucket", "start_time": START, "end_time": START + 86_400, "results": told}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False, "next_page": None})


def anthropic_page(**result: Any) -> str:
    """A page of an Anthropic report."""
    bucket = {"starting_at": "2026-10-03T00:00:00Z", "ending_at": "2026-10-04T00:00:00Z", "results": [result]}
    return json.dumps({"data": [bucket], "has_more": False, "next_page": None})


SHAPES = {
    "openai-costs": (
        openai_costs(("0.0105", "gpt-4o-2024-08-06, input"), (0.5, "web search tool calls")),
        [
            Billed("openai", DAY, "gpt-4o-2024-08-06", 10_500_000),
            Billed("openai", DAY, "", 500_000_000, None, "web search tool calls"),
        ],
    ),
    "openai-priority": (
        openai_costs(("0.02", "priority | gpt-5.4-mini, output, long context"), ("0E-6176", "gpt-4o, cached input")),
        [Billed("openai", DAY, "gpt-5.4-mini", 20_000_000), Billed("openai", DAY, "gpt-4o", 0)],
    ),
    "openai-costs-ungrouped": (openai_costs((1.25, None)), [Billed("openai", DAY, "", 1_250_000_000)]),
    "openai-costs-csv": (
        (
            "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
            f'{START},0,2026-10-03T00:00:00+00:00,,0.0105000000000000000000,usd,"gpt-4o, input",p\n'
            f"{START + 86_400},0,2026-10-04T00:00:00+00:00,,,,,\n"
        ),
        [Billed("openai", DAY, "gpt-4o", 10_500_000)],
    ),
    "openai-usage-csv": (
        (
            "start_time,start_time_iso,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n"
            f"{START},2026-10-03T00:00:00,3,gpt-4o-2024-08-06,1000,200,600\n"
        ),
        [Billed("openai", DAY, "gpt-4o-2024-08-06", None, 1_200)],
    ),
    "anthropic-cost": (
        anthropic_page(amount="123.45", currency="USD", model="claude-haiku-4-5-20251001", cost_type="tokens"),
        [Billed("anthropic", DAY, "claude-haiku-4-5-20251001", 1_234_500_000)],
    ),
    "anthropic-usage": (
        anthropic_page(
            model="claude-haiku-4-5",
            uncached_input_tokens=10,
            cache_read_input_tokens=20,
            cache_creation={"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40},
            output_tokens=50,
        ),
        [Billed("anthropic", DAY, "claude-haiku-4-5", None, 150)],
    ),
    "anthropic-cost-csv": (
        (
            "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type\n"
            "2026-10-03,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.05,token\n"
        ),
        [Billed("anthropic", DAY, "claude-haiku-4.5", 50_000_000)],
    ),
    "anthropic-usage-csv": (
        (
            "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_read,usage_output_tokens\n"
            "2026-10-03,claude-haiku-4-5-20251001,5,6,7\n"
        ),
        [Billed("anthropic", DAY, "claude-haiku-4-5-20251001", None, 18)],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_of_export_is_read(shape: str) -> None:
    """Amounts to the nano-dollar, cents where the provider counts in cents, days in UTC."""
    text, lines = SHAPES[shape]
    assert read_export(text, "export") == lines


def test_pages_may_follow_each_other_in_one_file() -> None:
    """As they come out of a loop over `next_page`, or as one list of pages."""
    page = openai_costs(("0.01", "gpt-4o, input"))
    assert len(read_export(f"{page}\n{page}\n", "export")) == 2
    assert len(read_export(f"[{page},{page}]", "export")) == 2


def test_the_difference_is_told_by_day_and_model() -> None:
    """Ours $0.0045 and theirs $0.0050 on one model: 10% of theirs, a dated and a plain name being one model."""
    event = made("a", "2026-10-03T12:00", counts={"input": 1_000, "output": 200})
    assert event.cost.nano == 4_500_000
    text = openai_costs(("0.0030", "gpt-4o-2024-08-06, input"), ("0.0020", "gpt-4o-2024-08-06, output"))
    found = reconcile(read_export(text, "export"), [event], CATALOG)
    assert found.drifts == (Drift(DAY, "gpt-4o", 4_500_000, 5_000_000),)
    assert (found.drifts[0].nano, found.drifts[0].percent) == (500_000, Decimal("10.00"))
    assert (found.total.ours, found.total.theirs) == (4_500_000, 5_000_000)
    assert found.beyond(Decimal(5)) == list(found.drifts)
    assert found.beyond(Decimal(10)) == []


def test_what_only_one_side_has_is_told_and_counts_as_drift() -> None:
    """A model we never saw, and one that the provider does not bill."""
    event = made("a", "2026-10-03", "gpt-4o-mini")
    found = reconcile(read_export(openai_costs(("1", "gpt-4o, input")), "export"), [event], CATALOG)
    assert [(one.model, one.ours, one.theirs) for one in found.drifts] == [
        ("gpt-4o", None, 10**9),
        ("gpt-4o-mini", event.cost.nano, None),
    ]
    assert len(found.beyond(Decimal(99))) == 2


def test_other_providers_other_days_and_refused_calls_are_not_compared() -> None:
    """Only what the export can be about."""
    calls = [
        made("a", "2026-10-03", "claude-haiku-4-5", provider="anthropic"),
        made("b", "2026-10-04"),
        made("c", "2026-10-03", outcome="refused"),
        made("d", "2026-10-03"),
    ]
    lines = read_export(openai_costs(("0.0045", "gpt-4o, input")), "export")
    assert span(lines) == (START, START + 86_400)
    [drift] = reconcile(lines, calls, CATALOG).drifts
    assert drift.nano == 0


def test_an_export_without_models_is_compared_by_day() -> None:
    """One row for the day, whatever the models."""
    calls = [made("a", "2026-10-03"), made("b", "2026-10-03", "gpt-4o-mini")]
    found = reconcile(read_export(openai_costs((0.01, None)), "export"), calls, CATALOG)
    assert [(one.model, one.ours) for one in found.drifts] == [("", sum(call.cost.nano for call in calls))]


def test_an_export_of_tokens_is_compared_in_tokens() -> None:
    """There is no amount to compare."""
    text, _ = SHAPES["openai-usage-csv"]
    [drift] = reconcile(read_export(text, "export"), [made("a", "2026-10-03")], CATALOG).drifts
    assert (drift.our_tokens, drift.their_tokens, drift.theirs, drift.nano) == (1_200, 1_200, None, None)


def test_lines_of_no_model_are_told_apart_from_models() -> None:
    """Storage and tools have amounts that none of our models has."""
    text = openai_costs(("0.0045", "gpt-4o, input"), (2, "file search storage"))
    found = reconcile(read_export(text, "export"), [made("a", "2026-10-03")], CATALOG)
    assert found.rest == (("file search storage", 2 * 10**9),)
    assert len(found.drifts) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no column"),
        ("{", "no export"),
        ('{"data": []}', "no line"),
        (openai_costs(("1", "gpt-4o")).replace('"usd"', '"eur"'), "eur"),
        (openai_costs(("NaN", "gpt-4o")), "no amount"),
        (openai_costs(("1", "gpt-4o")) + anthropic_page(amount="1", currency="USD"), "two providers"),
    ],
)
def test_what_is_no_export_is_refused_with_the_reason(text: str, said: str) -> None:
    """A file with another content, in another currency, or of two providers."""
    with pytest.raises(ConfigError, match=said):
        read_export(text, "export")
