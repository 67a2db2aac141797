"""Every dimension that a provider bills, with a cost that is worked out by hand beside it.

Amounts are US dollars as a person would reckon them: the list price for a million, times how many. Each is exact.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from costguard._catalog import Catalog
from costguard._snapshot import vendored
from costguard._types import Call, Cost, Usage
from costguard.providers.anthropic import MessageReader

M = Decimal(1_000_000)
K = Decimal(1_000)


class Case(NamedTuple):
    """What was used, and what that costs by hand."""

    provider: str
    model: str
    counts: dict[str, int]
    usd: Decimal
    tier: str = "standard"
    region: str | None = None
    day: str = "2026-11-23"


CASES = {
    "input and output": Case("openai", "gpt-4o", {"input": 1234, "output": 567}, (1234 * 25 + 567 * 100) / M / 10),
    "cache read": Case("openai", "gpt-4o", {"cache_read": 1000}, 1000 * Decimal("1.25") / M),
    "cache write of 5 minutes": Case("anthropic", "claude-haiku-4-5", {"cache_write": 999}, 999 * Decimal("1.25") / M),
    "cache write of an hour": Case("anthropic", "claude-haiku-4-5", {"cache_write_1h": 999}, 999 * 2 / M),
    "OpenAI's cache write": Case("openai", "gpt-6-sol", {"cache_write": 800}, 800 * Decimal("2.5") / M),
    "OpenAI's cache write of 12 hours": Case("openai", "gpt-6-sol", {"cache_write_12h": 800}, 800 * 5 / M),
    "reasoning at the output's rate": Case("openai", "gpt-5.4", {"output": 10, "reasoning": 900}, 910 * 15 / M),
    "reasoning at its own rate": Case(
        "perplexity", "sonar-deep-research", {"output": 100, "reasoning": 900}, (100 * 8 + 900 * 3) / M
    ),
    "audio in and out": Case(
        "openai", "gpt-realtime", {"input_audio": 300, "output_audio": 200, "input": 10}, (300 * 32 + 200 * 64 + 40) / M
    ),
    "cached audio": Case("openai", "gpt-realtime", {"cache_read_audio": 500}, 500 * Decimal("0.4") / M),
    "image tokens in and out": Case(
        "openai", "gpt-image-1", {"input": 10, "input_image": 100, "output_image": 4160}, (50 + 1000 + 4160 * 40) / M
    ),
    "cached image tokens": Case("openai", "gpt-image-1", {"cache_read_image": 100}, 100 * Decimal("2.5") / M),
    "video tokens in": Case("google", "gemini-live-2.5-flash", {"input_video": 258}, 258 * 3 / M),
    "a picture": Case("google", "imagen-4.0-generate-001", {"images": 3}, 3 * Decimal("0.04")),
    "a picture by quality and size": Case(
        "openai", "dall-e-3", {"images:hd-1024x1792": 2}, 2 * Decimal("0.12")
    ),
    "a second of sound": Case("openai", "whisper-1", {"audio_seconds": 90}, 90 * Decimal("0.0001")),
    "a second of video by size": Case(
        "google", "veo-3.1-generate-preview", {"video_seconds": 4, "video_seconds:4k": 2}, 4 * Decimal("0.4") + 2 * Decimal("0.6")
    ),
    "a character": Case("openai", "tts-1", {"characters": 420}, 420 * 15 / M),
    "a page": Case("mistral", "mistral-ocr-2505", {"pages": 7}, 7 / K),
    "a page with annotations": Case("mistral", "mistral-ocr-2505", {"pages:annotated": 7}, 7 * 3 / K),
    "a query": Case("cohere", "rerank-v3.5", {"rerank_searches": 3}, 3 * 2 / K),
    "embeddings": Case("openai", "text-embedding-3-small", {"input": 8000}, 8000 * Decimal("0.02") / M),
    "a long request, all of it": Case(
        "openai", "gpt-5.4", {"input": 272_001, "output": 100}, (272_001 * 5 + 100 * Decimal("22.5")) / M
    ),
    "a long request, cached parts counted": Case(
        "anthropic", "claude-sonnet-4-5", {"input": 1, "cache_read": 200_000, "output": 10},
        (6 + 200_000 * Decimal("0.6") + 225) / M,
    ),
    "a request as long as the threshold": Case(
        "openai", "gpt-5.4", {"input": 272_000, "output": 100}, (272_000 * Decimal("2.5") + 1500) / M
    ),
    "batch": Case("openai", "gpt-5", {"input": 1000, "output": 100}, (625 + 500) / M, "batch"),
    "flex": Case("openai", "gpt-5.4", {"cache_read": 1000, "output": 10}, (130 + 75) / M, "flex"),
    "priority": Case("openai", "gpt-5", {"input": 8, "output": 11}, (20 + 220) / M, "priority"),
    "fast mode": Case("anthropic", "claude-opus-5-5", {"input": 100, "output": 10}, (800 + 400) / M, "fast"),
    "batch of a long request": Case("openai", "gpt-5.4", {"input": 300_000}, 300_000 * Decimal("2.5") / M, "batch"),
    "a pinned region": Case("anthropic", "claude-sonnet-5", {"input": 1000}, 1000 * 2 * Decimal("1.1") / M, region="us"),
    "a region of a batch": Case(
        "anthropic", "claude-sonnet-5", {"output": 1000}, 1000 * 5 * Decimal("1.1") / M, "batch", "us"
    ),
    "a region has no part in fees": Case(
        "anthropic", "claude-sonnet-5", {"input": 10, "web_searches": 1}, 22 / M + Decimal("0.01"), region="us"
    ),
    "web searches": Case("anthropic", "claude-haiku-4-5", {"web_searches": 5}, 5 * 10 / K),
    "preview searches": Case("openai", "gpt-4.1", {"web_searches:preview": 2}, 2 * 25 / K),
    "grounded prompts": Case("google", "gemini-2.5-flash", {"web_searches": 1}, 35 / K),
    "file searches": Case("openai", "gpt-4.1", {"file_searches": 4}, 4 * Decimal("2.5") / K),
    "containers": Case("openai", "gpt-5", {"code_sessions": 1}, Decimal("0.03")),
    "maps": Case("google", "gemini-2.5-flash", {"maps_queries": 2}, 2 * 25 / K),
    "a fee for each request": Case(
        "perplexity", "sonar-pro", {"input": 17, "output": 6, "requests:low": 1}, (17 * 3 + 6 * 15) / M + 6 / K
    ),
    "a fee for each request that nothing counts": Case("perplexity", "sonar", {"input": 10}, 10 / M + 12 / K),
    "a fine-tuned model": Case(
        "openai", "ft:gpt-4o-2024-08-06:acme::AbC", {"input": 100, "cache_read": 100, "output": 10},
        (375 + Decimal("187.5") + 150) / M,
    ),
    "peak hours": Case("deepseek", "deepseek-reasoner", {"output": 1000}, Decimal("0.00219"), day="2025-03-01"),
}  # fmt: skip


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return vendored()


def price(catalog: Catalog, case: Case) -> Cost:
    at = datetime.fromisoformat(f"{case.day}T12:00").replace(tzinfo=UTC).timestamp()
    usage = Usage(case.counts, tier=case.tier, region=case.region)
    return catalog.cost(case.provider, case.model, [usage], at)


@pytest.mark.parametrize("name", CASES)
def test_each_dimension_costs_what_it_does_by_hand(catalog: Catalog, name: str) -> None:
    """To the nano-dollar, rounded up, with nothing left unpriced or guessed."""
    cost = price(catalog, CASES[name])
    exact = CASES[name].usd * 10**9
    assert cost.nano == -(-exact // 1)
    assert (cost.unpriced, cost.estimated) == ((), False)
    assert cost.entry


def message(usage: dict[str, Any]) -> tuple[Usage, ...]:
    reader = MessageReader(Call("anthropic", "claude-sonnet-5"))
    reader.feed({"type": "message", "model": "claude-opus-4-8", "usage": usage})
    assert reader.complete
    return tuple(reader.usages())


def test_iterations_inside_one_answer_cost_at_their_own_models_rates(catalog: Catalog) -> None:
    """Compaction, an advisor and a model that was fallen back from are no part of the total, and each has its price."""
    usages = message(
        {
            "input_tokens": 100,
            "output_tokens": 10,
            "iterations": [
                {"type": "message", "model": "claude-fable-5", "input_tokens": 90, "output_tokens": 4},
                {"type": "message", "model": "claude-fable-5", "input_tokens": 90, "output_tokens": 0},
                {"type": "compaction", "input_tokens": 1000, "output_tokens": 50},
                {"type": "advisor_message", "model": "claude-haiku-4-5", "input_tokens": 200, "output_tokens": 20},
                {"type": "message", "input_tokens": 40, "output_tokens": 2},
                {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 60, "output_tokens": 8},
            ],
        }
    )
    assert [usage.model for usage in usages] == [
        "claude-opus-4-8",
        "claude-fable-5",
        "claude-opus-4-8",
        "claude-haiku-4-5",
    ]
    opus = 100 * 5 + 10 * 25 + 1000 * 5 + 50 * 25
    fable = 90 * 10 + 4 * 50
    haiku = 200 * 1 + 20 * 5
    cost = catalog.cost("anthropic", "claude-fable-5", usages, 1_795_392_000.0)
    assert cost.nano == (opus + fable + haiku) * 1000
    assert cost.entry == "anthropic/claude-opus-4-8,anthropic/claude-fable-5,anthropic/claude-haiku-4-5"


def test_the_tier_that_was_served_is_paid_not_the_one_asked_for(catalog: Catalog) -> None:
    """A request for priority that was served as standard costs the standard rate."""
    assert price(catalog, CASES["priority"]).nano == 2 * price(catalog, CASES["priority"]._replace(tier="default")).nano
