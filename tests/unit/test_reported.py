"""Costs that providers return: whose word is taken, and which figures in an answer are no bill."""

from __future__ import annotations

from typing import Any

import pytest

from costguard._catalog import Catalog
from costguard._snapshot import vendored
from costguard._types import Call
from costguard.providers._openai_media import ImageReader, TranscriptionReader
from costguard.providers._openai_usage import ChatReader, ResponseReader
from costguard.providers._reported import reported

NOW = 1_795_392_000.0


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return vendored()


@pytest.mark.parametrize(
    ("provider", "usage", "nano"),
    [
        ("openrouter", {"cost": 0.00183, "is_byok": False}, 1_830_000),
        ("openrouter", {"cost": 1.4e-07}, 140),
        ("openrouter", {"cost": 0.0004970133333333333}, 497_014),
        ("openrouter", {"cost": 3}, 3_000_000_000),
        (
            "openrouter",
            {"cost": 0.0001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.002}},
            2_100_000,
        ),
        ("openrouter", {"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.002}}, 2_000_000),
        ("openrouter", {"cost": 0.0001, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ("openrouter", {"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.02}}, 10_000_000),
        ("x-ai", {"cost_in_usd_ticks": 5_102_500}, 510_250),
        ("x-ai", {"cost_in_usd_ticks": 5_102_501}, 510_251),
        ("x-ai", {"cost_in_usd_ticks": 0}, None),
        ("azure", {"cost_in_usd_ticks": 5_102_500}, None),
        ("perplexity", {"cost": {"total_cost": 0.00503, "request_cost": 0.005}}, 5_030_000),
        ("perplexity", {"cost": {"total_cost": 1.2e-08, "currency": "USD"}}, 12),
        ("perplexity", {"cost": {"total_cost": 1.2, "currency": "EUR"}}, None),
        ("perplexity", {"cost": 0.5}, None),
        ("vercel", {"cost": 0.000764, "is_byok": False, "market_cost": 0.000764}, 764_000),
        ("vercel", {"cost": 0, "is_byok": True, "market_cost": 0.000764}, 764_000),
        ("avian", {"cost": 0.000231}, 231_000),
        ("openai", {"cost": 0.5}, None),
        ("gateway.example.com", {"cost": 0.5, "pydantic_ai_gateway": {"cost_estimate": 0.5}}, None),
    ],
)
def test_a_returned_cost_is_read_where_it_is_a_bill(provider: str, usage: dict[str, Any], nano: int | None) -> None:
    """Each provider's own field, with its traps: own keys, ticks, currencies, figures that others only pass on."""
    assert reported(provider, usage) == nano


@pytest.mark.parametrize("cost", [0, 0.0, -1, True, "0.5", None, float("nan"), float("inf"), 1e30, [], {}])
def test_what_is_no_amount_is_no_cost(cost: Any) -> None:
    """A zero, a negative, an absurd or a malformed figure is not believed, and nothing is raised."""
    assert reported("openrouter", {"cost": cost}) is None
    assert reported("perplexity", {"cost": {"total_cost": cost}}) is None
    assert reported("x-ai", {"cost_in_usd_ticks": -5}) is None


def chat(provider: str, usage: dict[str, Any], **answer: Any) -> ChatReader:
    reader = ChatReader(Call(provider, "m"))
    reader.feed({"model": "m", "choices": [{"finish_reason": "stop"}], "usage": usage, **answer})
    return reader


def test_a_returned_cost_is_the_calls_cost(catalog: Catalog) -> None:
    """The bill goes before the list: a router's price depends on where it sent the call."""
    usage = {"prompt_tokens": 21, "completion_tokens": 173, "cost": 0.0005738, "is_byok": False}
    usages = chat("openrouter", usage, model="moonshotai/kimi-k2.5-0127").usages()
    cost = catalog.cost("openrouter", "moonshotai/kimi-k2.5", usages, NOW)
    assert (cost.nano, cost.entry) == (573_800, "reported")


def test_a_returned_zero_is_priced_by_the_list(catalog: Catalog) -> None:
    """Never silently free: a reseller that fills the cost with zeros is priced as it lists its models."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0, "is_byok": False}
    usages = chat("openrouter", usage).usages()
    cost = catalog.cost("openrouter", "openai/gpt-4o", usages, NOW)
    assert (cost.nano, cost.unpriced) == (3_500_000, ())


def test_explicitly_free_models_are_free(catalog: Catalog) -> None:
    """A model that is listed as free costs nothing and is not called unpriced."""
    usages = chat("openrouter", {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0}).usages()
    free = next(model.id for model in catalog.models("openrouter") if model.id.endswith(":free"))
    cost = catalog.cost("openrouter", free, usages, NOW)
    assert (cost.nano, cost.unpriced, cost.estimated) == (0, (), False)
    assert cost.entry == f"openrouter/{free}"


@pytest.mark.parametrize(
    ("provider", "usage", "counts"),
    [
        (
            "openai",
            {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19,
             "completion_tokens_details": {"reasoning_tokens": 7}},
            {"input": 10, "output": 2, "reasoning": 7},
        ),
        (
            "x-ai",
            {"prompt_tokens": 213, "completion_tokens": 2, "total_tokens": 471,
             "prompt_tokens_details": {"cached_tokens": 192}, "completion_tokens_details": {"reasoning_tokens": 256}},
            {"input": 21, "cache_read": 192, "output": 2, "reasoning": 256},
        ),
        (
            "x-ai",
            {"prompt_tokens": 100, "completion_tokens": 90, "total_tokens": 219,
             "completion_tokens_details": {"reasoning_tokens": 29}},
            {"input": 100, "output": 90, "reasoning": 29},
        ),
        (
            "vercel",
            {"prompt_tokens": 40, "completion_tokens": 14, "total_tokens": 54,
             "completion_tokens_details": {"reasoning_tokens": 43}},
            {"input": 40, "output": 14, "reasoning": 43},
        ),
        ("google", {"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": 100},
         {"input": 66, "output": 6, "reasoning": 28}),
        ("mistral", {"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": 100}, {"input": 66, "output": 6}),
        ("voyageai", {"total_tokens": 12}, {"input": 12}),
        (
            "openrouter",
            {"prompt_tokens": 1125, "completion_tokens": 1130, "total_tokens": 2255,
             "prompt_tokens_details": {"video_tokens": 1000}, "completion_tokens_details": {"image_tokens": 1120}},
            {"input": 125, "input_video": 1000, "output": 10, "output_image": 1120},
        ),
        (
            "perplexity",
            {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13, "search_context_size": "low"},
            {"input": 8, "output": 5, "requests:low": 1},
        ),
    ],
)  # fmt: skip
def test_each_providers_sums_are_taken_apart(provider: str, usage: dict[str, Any], counts: dict[str, int]) -> None:
    """Reasoning is inside the completion at OpenAI and beside it elsewhere; every token is counted once."""
    reader = chat(provider, usage)
    assert reader.complete
    assert reader.usages()[0].counts == counts


def test_running_figures_are_not_final() -> None:
    """A stream whose every chunk reports usage is complete with its last one only."""
    reader = ChatReader(Call("perplexity", "sonar", stream=True))
    cost = {"total_cost": 0.005}
    reader.feed(
        {"choices": [{"finish_reason": None}], "usage": {"prompt_tokens": 8, "completion_tokens": 1, "cost": cost}}
    )
    assert not reader.complete
    cost = {"total_cost": 0.00501}
    reader.feed(
        {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 8, "completion_tokens": 5, "cost": cost}}
    )
    assert reader.complete
    assert reader.usages()[0].reported == 5_010_000


def test_responses_images_and_transcriptions_return_costs_too() -> None:
    """Every kind of answer of a provider that returns its cost is charged that."""
    response = ResponseReader(Call("openrouter", "m", "responses"))
    response.feed({"status": "completed", "usage": {"input_tokens": 5, "output_tokens": 2, "cost": 0.025265}})
    image = ImageReader(Call("x-ai", "grok-imagine-image", "image_generation", bound={"images": 1}))
    image.feed({"data": [{"url": "https://x"}], "usage": {"cost_in_usd_ticks": 200_000_000}})
    speech = TranscriptionReader(Call("openrouter", "m", "transcription"))
    speech.feed({"text": "", "usage": {"input_tokens": 37, "output_tokens": 12, "cost": 0.00010625}})
    assert [reader.usages()[0].reported for reader in (response, image, speech)] == [25_265_000, 20_000_000, 106_250]
    assert image.usages()[0].counts == {"images": 1}
    assert response.complete
    assert image.complete
    assert speech.complete
