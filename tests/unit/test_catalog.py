"""The price engine: which price a name, a day, a tier and a region mean, and what it adds up to."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from costguard._catalog import CACHED, Catalog, host_provider
from costguard._hosts import host_region
from costguard._snapshot import load, vendored
from costguard._types import Call, Usage
from costguard.errors import ConfigError

MILLION = 10**6
TODAY = "2026-11-23"


def at(day: str, clock: str = "12:00") -> float:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC).timestamp()


NOW = at(TODAY)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return vendored()


def usd(catalog: Catalog, provider: str, model: str, when: float = NOW, **counts: int) -> Decimal:
    """The price of one standard usage in dollars; nothing of it may be left unpriced."""
    cost = catalog.cost(provider, model, [Usage(counts)], when)
    assert cost.unpriced == ()
    return Decimal(cost.nano).scaleb(-9)


def small(**prices: Any) -> Catalog:
    """A catalog of one made-up provider with one model ``m``."""
    raw = {"provider": "acme", "models": [{"id": "m", "prices": [prices]}]}
    return Catalog(lambda name: raw if name == "acme" else None)


# -- golden figures


@pytest.mark.parametrize(
    ("provider", "model", "input_usd", "output_usd"),
    [
        ("openai", "gpt-3.5", "0.50", "1.50"),
        ("openai", "gpt-3.5-turbo-0613", "1.50", "2"),
        ("openai", "gpt-3.5-turbo-1106", "1", "2"),
        ("openai", "gpt-4", "30", "60"),
        ("openai", "gpt-4-0613", "30", "60"),
        ("openai", "gpt-4-turbo", "10", "30"),
        ("openai", "gpt-4.1", "2", "8"),
        ("openai", "gpt-4o", "2.50", "10"),
        ("openai", "gpt-4o-2024-05-13", "5", "15"),
        ("openai", "gpt-4o-mini", "0.15", "0.60"),
        ("openai", "o1", "15", "60"),
        ("openai", "o1-pro", "150", "600"),
        ("google", "gemini-flash", "0.75", "3.75"),
        ("google", "gemini-3.8-flash", "0.75", "3.75"),
        ("google", "gemini-3.8-flash-cyber", "1.50", "7.50"),
        ("google", "gemini-2.5-flash", "0.30", "2.50"),
        ("google-vertex", "gemini-2.0-flash", "0.15", "0.60"),
        ("google", "gemini-2.0-flash", "0.10", "0.40"),
        ("anthropic", "claude-3-opus", "15", "75"),
        ("anthropic", "claude-3-opus-20240229", "15", "75"),
        ("anthropic", "claude-opus", "4", "20"),
        ("anthropic", "claude-sonnet-4-20250514", "3", "15"),
        ("anthropic", "claude-fable-5-2", "8", "40"),
        ("anthropic", "claude-mythos-5-2", "8", "40"),
        ("mistral", "mistral-large-latest", "0.50", "1.50"),
        ("x-ai", "grok-code-fast-1", "0.20", "1.50"),
    ],
)
def test_a_million_tokens_cost_what_the_provider_lists(
    catalog: Catalog, provider: str, model: str, input_usd: str, output_usd: str
) -> None:
    """Every name that people use costs a million tokens' list price, in short requests."""
    thousandth = MILLION // 1000
    assert 1000 * usd(catalog, provider, model, input=thousandth) == Decimal(input_usd)
    assert 1000 * usd(catalog, provider, model, output=thousandth) == Decimal(output_usd)


@pytest.mark.parametrize(
    ("provider", "model", "day", "counts", "nano"),
    [
        ("openai", "gpt-4o-2024-08-06", "2025-12-04", {"input": 1177, "output": 37}, 3_312_500),
        ("openai", "o4-mini-2025-04-16", "2026-01-23", {"input": 709, "output": 67, "reasoning": 192}, 1_919_500),
        ("openai", "gpt-4.1-mini-2025-04-14", "2026-01-22", {"input": 355, "output": 22}, 177_200),
        (
            "google",
            "gemini-2.5-flash",
            "2026-08-19",
            {"input": 20, "input_audio": 119, "output": 10, "reasoning": 26},
            215_000,
        ),
        ("google", "gemini-2.5-pro", "2026-08-19", {"input": 121, "output": 36, "reasoning": 193}, 2_441_250),
        ("x-ai", "grok-4.3", "2026-08-10", {"input": 177, "cache_read": 320, "output": 90}, 510_250),
        (
            "x-ai",
            "grok-code-fast-1",
            "2026-03-12",
            {"input": 21, "cache_read": 192, "output": 2, "reasoning": 256},
            395_040,
        ),
        (
            "x-ai",
            "grok-4.3",
            "2026-08-10",
            {"input": 3641, "cache_read": 2048, "output": 444, "web_searches": 2},
            16_070_850,
        ),
        (
            "deepseek",
            "deepseek-v4-flash",
            "2026-08-10",
            {"input": 13_514, "cache_read": 15_872, "output": 1450},
            2_342_402,
        ),
        ("openrouter", "anthropic/claude-4.5-haiku-20251001", "2026-04-27", {"input": 690, "output": 120}, 1_290_000),
        ("perplexity", "pplx-embed-v1-0.6b", "2026-08-10", {"input": 3}, 12),
    ],
)
def test_recorded_answers_cost_what_was_billed(
    catalog: Catalog, provider: str, model: str, day: str, counts: dict[str, int], nano: int
) -> None:
    """Usage figures of recorded answers come to the cost the provider returned, or two libraries agree on."""
    assert catalog.cost(provider, model, [Usage(counts)], at(day)).nano == nano


def test_cache_writes_cost_by_their_lifetime(catalog: Catalog) -> None:
    """A cache write of an hour costs more than one of five minutes."""
    assert usd(catalog, "anthropic", "claude-3-opus", cache_write=1000) == Decimal("0.01875")
    assert usd(catalog, "anthropic", "claude-3-opus", cache_write_1h=1000) == Decimal("0.03")
    assert usd(catalog, "anthropic", "claude-3-opus", cache_read=1000) == Decimal("0.0015")
    assert usd(catalog, "openai", "gpt-6-sol", cache_write_12h=1000) == Decimal("0.005")


def test_fees_are_priced(catalog: Catalog) -> None:
    """Searches and sessions cost their fee even where the model lists none."""
    assert usd(catalog, "anthropic", "claude-haiku-4-5", web_searches=1) == Decimal("0.01")
    assert usd(catalog, "google", "gemini-2.5-flash", web_searches=1) == Decimal("0.035")
    assert usd(catalog, "google", "gemini-3.8-flash", web_searches=1) == Decimal("0.014")
    assert usd(catalog, "openai", "gpt-5.4", code_sessions=1) == Decimal("0.03")
    assert usd(catalog, "anthropic", "claude-opus-5-5", web_fetches=3) == 0
    assert usd(catalog, "openai", "whisper-1", audio_seconds=3600) == Decimal("0.36")
    assert usd(catalog, "openai", "tts-1", characters=MILLION) == 15
    assert usd(catalog, "mistral", "mistral-ocr-2512", pages=1000) == 2


# -- dates


@pytest.mark.parametrize(
    ("provider", "model", "before", "after", "units", "old", "new"),
    [
        ("openai", "o3", "2025-06-09", "2025-06-10", {"output": 1000}, "0.040", "0.008"),
        ("google", "gemini-flash", "2026-12-31", "2027-01-01", {"input": 1000}, "0.00075", "0.0015"),
        ("google", "gemini-4-argon", "2026-11-30", "2026-12-01", {"output": 1000}, "0.010", "0.020"),
        ("google-vertex", "gemini-4-argon", "2026-11-30", "2026-12-01", {"output": 1000}, "0.010", "0.020"),
        ("anthropic", "claude-opus-4-6", "2026-03-12", "2026-03-13", {"input": 300_000}, "3", "1.5"),
        ("openai", "gpt-5.6-luna", "2026-07-29", "2026-07-30", {"input": 1000}, "0.001", "0.0002"),
    ],
)
def test_a_price_holds_from_its_day_on(
    catalog: Catalog, provider: str, model: str, before: str, after: str, units: dict[str, int], old: str, new: str
) -> None:
    """Midnight UTC is where the price changes, in either order of asking."""
    assert usd(catalog, provider, model, at(before, "23:59"), **units) == Decimal(old)
    assert usd(catalog, provider, model, at(after, "00:00"), **units) == Decimal(new)
    assert usd(catalog, provider, model, at(before, "23:59"), **units) == Decimal(old)


PEAK = {
    "00:59": "0.00015",
    "01:00": "0.0003",
    "03:59": "0.0003",
    "04:00": "0.00015",
    "06:00": "0.0003",
    "10:00": "0.00015",
}


@pytest.mark.parametrize(("clock", "expected"), PEAK.items())
def test_peak_hours_cost_more(catalog: Catalog, clock: str, expected: str) -> None:
    """DeepSeek's peak hours are UTC windows; the remembered sheet ends where the window does."""
    assert usd(catalog, "deepseek", "deepseek-v4-flash", at(TODAY, clock), input=1000) == Decimal(expected)
    assert usd(catalog, "deepseek", "deepseek-v4-flash", at("2026-09-01", clock), input=1000) == Decimal("0.00022")


def test_the_entry_names_the_price(catalog: Catalog) -> None:
    """The entry id says provider, model, first day and tier, so that a call can be priced again."""
    assert catalog.cost("openai", "o3", [Usage({"input": 1})], NOW).entry == "openai/o3@2025-06-10"
    assert catalog.cost("openai", "gpt-4o", [Usage({"input": 1}, tier="batch")], NOW).entry == "openai/gpt-4o#batch"


# -- long context


def test_a_long_request_pays_the_long_rate_for_all_of_it(catalog: Catalog) -> None:
    """The threshold is passed by one token more, cached tokens count, and output costs more too."""
    long = {"input": 71_999, "cache_read": 200_000}
    assert usd(catalog, "openai", "gpt-6-sol", **long, cache_write=1) == Decimal("0.1840005")
    assert usd(catalog, "openai", "gpt-6-sol", **long, cache_write=2) == Decimal("0.368006")
    assert usd(catalog, "openai", "gpt-6-sol", input=272_001, output=1000) == Decimal("1.103004")


def test_each_request_of_a_call_is_measured_on_its_own(catalog: Catalog) -> None:
    """Two answers inside one call do not add up to a long request."""
    short = Usage({"input": 200_000})
    assert catalog.cost("anthropic", "claude-sonnet-4-5", [short, short], NOW).nano == 1_200_000_000
    assert catalog.cost("anthropic", "claude-sonnet-4-5", [Usage({"input": 400_000})], NOW).nano == 2_400_000_000


# -- tiers and regions


@pytest.mark.parametrize(
    ("provider", "model", "tier", "expected", "estimated"),
    [
        ("openai", "gpt-4o", "default", "12.5", False),
        ("openai", "gpt-4o", "batch", "6.25", False),
        ("openai", "gpt-4o", "priority", "21.25", False),
        ("openai", "gpt-4o", "fast", "21.25", False),
        ("openai", "gpt-4o", "flex", "12.5", True),
        ("openai", "gpt-5", "flex", "5.625", False),
        ("anthropic", "claude-opus-5-5", "fast", "48", False),
        ("anthropic", "claude-3-opus", "batch", "90", True),
        ("google", "gemini-2.5-flash", "PRIORITY", "5.04", False),
        ("google", "gemini-2.5-flash", "flex", "1.4", False),
        ("openai", "gpt-4o", "mystery", "21.25", True),
    ],
)
def test_the_served_tier_decides(
    catalog: Catalog, provider: str, model: str, tier: str, expected: str, estimated: bool
) -> None:
    """A tier without a price is never cheaper than standard, and says that it was guessed."""
    usage = Usage({"input": 100_000, "output": 100_000}, tier=tier)
    cost = catalog.cost(provider, model, [usage], NOW)
    assert (Decimal(cost.nano).scaleb(-8), cost.estimated) == (Decimal(expected), estimated)


def test_a_missing_priority_price_takes_the_dearest_factor_of_the_provider(catalog: Catalog) -> None:
    """Without a priority price of its own a model costs at least as much as the dearest ratio known."""
    standard = catalog.cost("openai", "gpt-4-turbo", [Usage({"input": 1000})], NOW)
    priority = catalog.cost("openai", "gpt-4-turbo", [Usage({"input": 1000}, tier="priority")], NOW)
    assert priority.estimated
    assert priority.nano >= 2 * standard.nano


def test_a_tier_keeps_its_factor_under_an_older_price(catalog: Catalog) -> None:
    """A batch call before a price cut costs half of the price of its day, not of today's."""
    batch = Usage({"output": 1000}, tier="batch")
    assert catalog.cost("openai", "o3", [batch], at("2025-06-01")).nano == 20_000_000
    assert catalog.cost("openai", "o3", [batch], NOW).nano == 4_000_000


@pytest.mark.parametrize(
    ("provider", "model", "region", "expected"),
    [
        ("openai", "gpt-6-sol", None, "0.002"),
        ("openai", "gpt-6-sol", "eu", "0.0022"),
        ("openai", "gpt-4o", "eu", "0.0025"),
        ("anthropic", "claude-opus-5-5", "us", "0.0044"),
        ("anthropic", "claude-fable-5-2", "us", "0.0088"),
        ("anthropic", "claude-haiku-4-5", "us", "0.001"),
        ("google-vertex", "claude-opus-5-5@default", "global", "0.004"),
        ("google-vertex", "claude-opus-5-5", "europe-west1", "0.0044"),
    ],
)
def test_regions_cost_their_uplift(
    catalog: Catalog, provider: str, model: str, region: str | None, expected: str
) -> None:
    """Processing in a region costs the model's uplift on tokens, and only for the models that have one."""
    cost = catalog.cost(provider, model, [Usage({"input": 1000, "web_fetches": 0}, region=region)], NOW)
    assert Decimal(cost.nano).scaleb(-9) == Decimal(expected)


# -- names


@pytest.mark.parametrize(
    ("provider", "name", "found"),
    [
        ("openai", "o1-pro", "openai/o1-pro"),
        ("openai", "o1-2024-12-17", "openai/o1"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("openai", "gpt-4o-2031-01-01", "openai/gpt-4o"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "GPT-4o ", "openai/gpt-4o"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", "openai/ft:gpt-4o-mini"),
        ("openai", "ft:gpt-4.1-2025-04-14:acme:name:abc", "openai/ft:gpt-4.1-2025-04-14"),
        ("openai", "text-moderation-latest", "openai/moderation"),
        ("google", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google", "publishers/google/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google", "projects/p/locations/us/publishers/google/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google", "gemini-2.5-flash-001", "google/gemini-2.5-flash"),
        ("google", "gemini-2.5-pro-preview-03-25", "google/gemini-2.5-pro"),
        ("google", "gemini-2.5-flash-lite", "google/gemini-2.5-flash-lite"),
        ("google", "gemini-1.5-flash-8b", "google/gemini-flash-1.5-8b"),
        ("google", "gemma-3-27b-it", "google/gemma-3"),
        ("google-vertex", "claude-haiku-4-5@20251001", "google-vertex/claude-haiku-4-5"),
        ("google-vertex", "gemini-2.5-pro", "google-vertex/gemini-2.5-pro"),
        ("anthropic", "claude-3-5-sonnet-latest", "anthropic/claude-3-5-sonnet"),
        ("anthropic", "claude-opus-4-20250514", "anthropic/claude-opus-4-0"),
        ("anthropic", "claude-2.1", "anthropic/claude-2"),
        ("aws", "anthropic.claude-3-5-sonnet-20241022-v2:0", "aws/regional.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("aws", "us.anthropic.claude-opus-5-5", "aws/regional.anthropic.claude-opus-5-5"),
        ("aws", "global.anthropic.claude-opus-5-5", "aws/global.anthropic.claude-opus-5-5"),
        ("aws", "eu.anthropic.claude-sonnet-4-20250514-v1:0", "aws/regional.anthropic.claude-sonnet-4-20250514-v1:0"),
        (
            "aws",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0",
            "aws/regional.anthropic.claude-opus-4-1-20250805-v1:0",
        ),
        ("aws", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
        ("azure", "gpt-4o-2024-11-20", "openai/gpt-4o"),
        ("azure", "gpt-35-turbo", "openai/gpt-3.5-turbo"),
        ("azure", "claude-opus-5-5", "anthropic/claude-opus-5-5"),
        ("fireworks", "accounts/fireworks/models/deepseek-v3p1", "fireworks/deepseek-v3p1"),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"),
        ("vertex_ai", "gemini-2.5-pro", "google-vertex/gemini-2.5-pro"),
        ("xai", "grok-4.3-latest", "x-ai/grok-4.3"),
    ],
)
def test_a_name_means_its_model(catalog: Catalog, provider: str, name: str, found: str) -> None:
    """Routing prefixes, dates and listed suffixes are taken off; nothing else is."""
    match = catalog.match(provider, name, NOW)
    assert match is not None
    assert (f"{match.model.provider}/{match.model.id}", match.estimated) == (found, False)


@pytest.mark.parametrize(
    ("provider", "name", "kin"),
    [
        ("openai", "gpt-4o-mini-turbo", "gpt-4o-mini"),
        ("openai", "gpt-9-mini", "gpt-5.4-mini"),
        ("openai", "o9", "o3"),
        ("openai", "text-embedding-9-large", "text-embedding-3-large"),
        ("openai", "ft:gpt-9:acme::x", "ft:gpt-4o"),
        ("anthropic", "claude-opus-9", "claude-opus-5"),
        ("google", "gemini-3.8-flash-pirate", "gemini-3.5-flash"),
        ("google", "gemini-9-flash-lite", "gemini-3.5-flash-lite"),
        ("azure", "gpt-9-mini", "gpt-5.4-mini"),
    ],
)
def test_an_unknown_model_costs_what_its_dearest_kin_costs(
    catalog: Catalog, provider: str, name: str, kin: str
) -> None:
    """An unknown name is priced in its own family, marked as estimated, and never as another model by its prefix."""
    cost = catalog.cost(provider, name, [Usage({"input": 1})], NOW)
    assert cost.estimated
    assert cost.entry.partition("/")[2].partition("@")[0] == kin
    assert cost.nano > 0


def test_an_unknown_flagship_is_dear_but_not_absurd(catalog: Catalog) -> None:
    """A new name of a known provider costs at least the flagship, and not sixty times as much."""
    for name in ("gpt-9-quantum", "zephyr"):
        nano = catalog.cost("openai", name, [Usage({"output": MILLION})], NOW).nano
        assert 50 * 10**9 <= nano <= 100 * 10**9


def test_kin_can_still_be_called(catalog: Catalog) -> None:
    """A retired model stands in for nothing after its day."""
    early = catalog.match("anthropic", "claude-opus-9", at("2025-09-01"))
    late = catalog.match("anthropic", "claude-opus-9", NOW)
    assert early is not None
    assert late is not None
    assert late.model.id == "claude-opus-5"


def test_an_unknown_provider_leaves_everything_unpriced(catalog: Catalog) -> None:
    """Tokens nobody can price are named, not counted as zero."""
    cost = catalog.cost("nowhere.example", "x", [Usage({"output": 5, "input": 7})], NOW)
    assert (cost.nano, cost.entry, cost.unpriced) == (0, "", ("input", "output"))


@pytest.mark.parametrize("provider", ["../openai", "open/ai", "", "OPENAI", "prices/openai", "__init__"])
def test_a_provider_name_cannot_leave_the_folder(provider: str) -> None:
    """A provider's name is never a path."""
    assert load(provider) is None


def test_the_served_model_goes_before_the_one_asked_for(catalog: Catalog) -> None:
    """An alias or a deployment is billed as the model that answered, unless nobody knows that."""
    served = Usage({"input": MILLION // 10}, model="gpt-4o-mini-2024-07-18")
    odd = Usage({"input": MILLION // 10}, model="internal-build-77")
    assert catalog.cost("azure", "prod-chat", [served], NOW).entry == "openai/gpt-4o-mini"
    assert catalog.cost("openai", "gpt-4o", [odd], NOW).entry == "openai/gpt-4o"


def test_rolling_names_say_so(catalog: Catalog) -> None:
    """A name that moves is flagged with what it stands for now."""
    match = catalog.match("google", "gemini-flash", NOW)
    assert match is not None
    assert (match.rolling, match.model.id) == (True, "gemini-3.8-flash")
    explanation = catalog.explain("google", "gemini-flash", [Usage({"input": 1})], NOW)
    assert explanation.rolling == "gemini-3.8-flash"
    fixed = catalog.match("google", "gemini-3.8-flash", NOW)
    assert fixed is not None
    assert not fixed.rolling


def test_a_moving_name_and_an_old_list_are_worth_a_warning() -> None:
    """A list is old 45 days after it was last checked; own prices are never too old."""
    model = {"id": "m-2", "prices": [{"rates": {"input": 1}}]}
    raw = {
        "provider": "acme",
        "checked": "2026-11-10",
        "models": [model],
        "aliases": {"m": {"to": "m-2", "rolling": True}},
    }
    catalog = Catalog(lambda name: raw if name == "acme" else None)
    assert catalog.caveats("acme", "m-2", at("2026-12-24")) == []
    assert [about for about, _ in catalog.caveats("acme", "m", at("2026-12-24"))] == ["rolling acme/m"]
    (about, words), *more = catalog.caveats("acme", "m-2", at("2026-12-25"))
    assert (about, more) == ("stale acme", [])
    assert "45 days ago, on 2026-11-10" in words
    assert "costguard prices update" in words
    catalog.add("m-2", provider="acme", input=1)
    assert catalog.caveats("acme", "m-2", at("2027-12-25")) == []
    assert catalog.caveats("nowhere", "m-2", NOW) == []


def test_a_request_that_has_a_fee_is_one_request() -> None:
    """A fee for each request is charged although no usage counts requests; a variant that is counted goes before it."""
    acme = small(rates={"input": 10, "requests": 7000, "requests:low": 5000})
    assert acme.cost("acme", "m", [Usage({"input": 100})], NOW).nano == 8
    assert acme.cost("acme", "m", [Usage({"input": 100, "requests:low": 1})], NOW).nano == 6
    assert acme.cost("acme", "m", [Usage({"input": 100, "requests": 2})], NOW).nano == 15
    assert acme.cost("acme", "m", [Usage()], NOW).nano == 0
    assert [line.unit for line in acme.explain("acme", "m", [Usage({"input": 1})], NOW).lines] == ["input", "requests"]
    assert acme.ceiling(Call("acme", "m", bound={"input": 100}, max_output=0), NOW).input_pico == 8000


def test_strangers_names_do_not_fill_the_memory(catalog: Catalog) -> None:
    """What is remembered of names that callers make up is bounded."""
    fresh = small(rates={"input": 1})
    for number in range(CACHED + 10):
        fresh.cost("acme", f"name-{number}", [Usage({"input": 1})], NOW)
    assert len(fresh._sheets) <= CACHED
    fresh.cost("acme", "x" * 100_000, [Usage({"input": 1})], NOW)
    assert all(len(key[1]) < 100_000 for key in fresh._sheets)


# -- missing rates


def test_a_missing_rate_is_never_zero() -> None:
    """Sub-kinds of tokens fall back to the plain rate, other units are reported."""
    one = small(rates={"input": 10_000, "output": 30_000})
    counts = {"reasoning": 1000, "cache_read": 1000, "cache_write_12h": 1000, "input_audio": 1000, "output_image": 1000}
    assert one.cost("acme", "m", [Usage(counts)], NOW).nano == 30_000 + 10_000 * 3 + 30_000
    cost = one.cost("acme", "m", [Usage({"input": 1000, "web_searches": 2, "images": 1})], NOW)
    assert (cost.nano, cost.unpriced) == (10_000, ("images", "web_searches"))


def test_a_cached_token_of_a_medium_without_cached_rate_costs_the_full_rate() -> None:
    """No discount is assumed for audio; without an audio rate the text discount holds."""
    audio = small(rates={"input": 10, "cache_read": 1, "input_audio": 80})
    text = small(rates={"input": 10, "cache_read": 1})
    assert audio.explain("acme", "m", [Usage({"cache_read_audio": 1})], NOW).lines[0].rate == 80
    assert text.explain("acme", "m", [Usage({"cache_read_audio": 1})], NOW).lines[0].rate == 1


def test_variants_have_their_own_price_or_the_dearest() -> None:
    """An image of an unlisted size costs the plain rate, or else the dearest size known."""
    sizes = small(rates={"images:small": 10_000, "images:large": 90_000})
    plain = small(rates={"images": 50_000, "images:small": 10_000})
    odd = small(rates={"audio_seconds": [1_000_001, 3600]})
    assert sizes.cost("acme", "m", [Usage({"images:small": 1})], NOW).nano == 10
    assert sizes.cost("acme", "m", [Usage({"images:other": 1})], NOW).nano == 90
    assert sizes.cost("acme", "m", [Usage({"images": 1})], NOW).nano == 90
    assert plain.cost("acme", "m", [Usage({"images:other": 2})], NOW).nano == 100
    assert odd.explain("acme", "m", [Usage({"audio_seconds": 3600})], NOW).lines[0].pico == 1_000_001
    assert odd.explain("acme", "m", [Usage({"audio_seconds:hd": 1})], NOW).lines[0].pico == 278


def test_a_call_is_rounded_up_once() -> None:
    """Two answers of a third of a nano-dollar cost one nano-dollar together."""
    tiny = small(rates={"input": 333})
    assert tiny.cost("acme", "m", [Usage({"input": 1})] * 3, NOW).nano == 1
    assert tiny.cost("acme", "m", [Usage({"input": 1})] * 4, NOW).nano == 2


# -- what the provider returned


def test_a_returned_cost_goes_before_every_price(catalog: Catalog) -> None:
    """The provider's own figure is taken; a returned zero proves nothing."""
    told = Usage({"input": 1000}, reported=123)
    nothing = Usage({"input": 1000}, reported=0)
    assert catalog.cost("openai", "gpt-4o", [told], NOW).nano == 123
    assert catalog.cost("openai", "gpt-4o", [told], NOW).entry == "reported"
    assert catalog.cost("openai", "gpt-4o", [nothing], NOW).nano == 2_500_000
    assert catalog.cost("openai", "gpt-4o", [told, nothing], NOW).entry == "reported,openai/gpt-4o"
    assert catalog.cost("nowhere", "x", [told], NOW).unpriced == ()


def test_a_guessed_usage_makes_a_guessed_cost(catalog: Catalog) -> None:
    """What a reader had to guess stays marked."""
    assert catalog.cost("openai", "gpt-4o", [Usage({"input": 1}, estimated=True)], NOW).estimated
    assert catalog.cost("openai", "gpt-4o", [Usage({}, estimated=True, reported=5)], NOW).estimated


# -- the ceiling


def test_a_ceiling_is_the_bound_and_the_dearest_output(catalog: Catalog) -> None:
    """Input at the dearer of reading and writing the cache, output at the cap times the choices."""
    call = Call("openai", "gpt-4o", host="api.openai.com", bound={"input": 1000}, choices=2)
    ceiling = catalog.ceiling(call, NOW)
    assert ceiling.amount(100) == 2_500_000 + 2 * 100 * 10_000
    assert ceiling.amount(None) == 2_500_000 + 2 * 16_384 * 10_000
    assert ceiling.amount(-5) == 2_500_000
    assert ceiling.affordable(ceiling.amount(100)) == 100
    assert ceiling.affordable(ceiling.amount(100) - 1) == 99
    assert ceiling.affordable(0) < 0
    assert (ceiling.estimated, ceiling.unpriced, ceiling.entry) == (False, (), "openai/gpt-4o")


def test_a_ceiling_reaches_the_long_context_rate(catalog: Catalog) -> None:
    """A bound above the threshold is priced at the long rate, input and output."""
    short = catalog.ceiling(Call("openai", "gpt-6-sol", host="api.openai.com", bound={"input": 272_000}), NOW)
    long = catalog.ceiling(Call("openai", "gpt-6-sol", host="api.openai.com", bound={"input": 272_001}), NOW)
    assert short.input_pico == 272_000 * 2_500_000
    assert long.input_pico == 272_001 * 5_000_000
    assert (short.output_pico, long.output_pico) == (10_000_000, 15_000_000)


def test_a_ceiling_of_unknown_input_is_the_context_window(catalog: Catalog) -> None:
    """A stored conversation can fill the window, at the long-context rate."""
    call = Call("openai", "gpt-6-sol", host="api.openai.com", bound={"input": 10}, input_known=False)
    assert catalog.ceiling(call, NOW).input_pico == 1_050_000 * 5_000_000


def test_a_ceiling_takes_the_dearest_tier_and_region(catalog: Catalog) -> None:
    """The served tier may be standard although batch was asked for, and the region any that is not pinned."""
    plain = Call("openai", "gpt-6-sol", host="api.openai.com", bound={"input": 1000})
    assert catalog.ceiling(plain, NOW).output_pico == 10_000_000
    batch = Call("openai", "gpt-6-sol", host="api.openai.com", bound={"input": 1000}, tier="batch")
    assert catalog.ceiling(batch, NOW).output_pico == 10_000_000
    priority = Call("openai", "gpt-6-sol", host="api.openai.com", bound={"input": 1000}, tier="priority")
    assert catalog.ceiling(priority, NOW).output_pico == 20_000_000
    assert catalog.ceiling(Call("openai", "gpt-6-sol", host="eu.api.openai.com"), NOW).output_pico == 11_000_000
    assert catalog.ceiling(Call("openai", "gpt-6-sol"), NOW).output_pico == 11_000_000
    assert (
        catalog.ceiling(Call("anthropic", "claude-opus-5-5", host="api.anthropic.com"), NOW).output_pico == 22_000_000
    )


def test_a_ceiling_counts_fees_and_names_what_it_cannot_price(catalog: Catalog) -> None:
    """Tool calls are in the ceiling; units without a price are named."""
    call = Call("anthropic", "claude-opus-5-5", host="api.anthropic.com", bound={"web_searches": 5, "pages": 1})
    ceiling = catalog.ceiling(call, NOW)
    assert ceiling.input_pico == 5 * 10_000_000_000
    assert ceiling.unpriced == ("pages",)


def test_a_ceiling_without_output_or_price(catalog: Catalog) -> None:
    """Embeddings have no output to cap, and an unknown provider has nothing to multiply."""
    embed = Call("openai", "text-embedding-3-small", bound={"input": 1000}, output_unit=None)
    ceiling = catalog.ceiling(embed, NOW)
    assert (ceiling.amount(None), ceiling.output_pico) == (20_000, 0)
    assert ceiling.affordable(20_000) == ceiling.model_max
    assert ceiling.affordable(19_999) == -1
    unknown = catalog.ceiling(Call("nowhere", "x", bound={"input": 5}), NOW)
    assert (unknown.input_pico, unknown.output_pico, unknown.unpriced) == (0, 0, ("input", "output"))


def test_a_longer_cache_lifetime_is_named_in_the_bound(catalog: Catalog) -> None:
    """Plain input is bounded by the default cache write; an hour's costs twice the input and has to be asked for."""
    plain = catalog.ceiling(Call("anthropic", "claude-haiku-4-5", bound={"input": 1000}), NOW)
    hour = catalog.ceiling(Call("anthropic", "claude-haiku-4-5", bound={"cache_write_1h": 1000}), NOW)
    assert (plain.input_pico, hour.input_pico) == (1_250_000_000, 2_000_000_000)


# -- what a user says


def test_own_prices_win(catalog: Catalog) -> None:
    """Own rates replace the listed ones from their day on, also for the model's dated names."""
    own = vendored()
    own.add("gpt-4o", provider="openai", input="2", output=Decimal(8), start="2026-06-01")
    assert usd(own, "openai", "gpt-4o", at("2026-05-31"), input=1000) == Decimal("0.0025")
    assert usd(own, "openai", "gpt-4o", at("2026-06-01"), input=1000) == Decimal("0.002")
    assert usd(own, "openai", "gpt-4o-2024-08-06", NOW, output=1000) == Decimal("0.008")
    assert usd(own, "openai", "gpt-4o-2024-05-13", NOW, output=1000) == Decimal("0.015")
    assert usd(own, "openai", "gpt-4o", NOW, cache_read=1000) == Decimal("0.002")
    assert own.cost("openai", "gpt-4o", [Usage({"input": 1})], NOW).entry == "own:openai/gpt-4o@2026-06-01"
    own.add("gpt-4o", provider="openai", input="1", start="2026-10-01")
    assert usd(own, "openai", "gpt-4o", at("2026-09-30"), input=1000) == Decimal("0.002")
    assert usd(own, "openai", "gpt-4o", NOW, input=1000) == Decimal("0.001")


def test_own_models_of_unlisted_providers_are_priced(catalog: Catalog) -> None:
    """A private host's model costs what its user says, and other models of it stay unpriced."""
    own = vendored()
    own.add("llama", provider="gpu.internal", input="0.1", output="0.2", images="0.02", context=8192, max_output=1024)
    own.add("toy", provider="gpu.internal", free=True)
    assert usd(own, "gpu.internal", "llama", input=MILLION, output=MILLION, images=1) == Decimal("0.32")
    assert usd(own, "gpu.internal", "toy", input=MILLION, images=7) == 0
    assert own.cost("gpu.internal", "other", [Usage({"input": 1})], NOW).unpriced == ("input",)
    ceiling = own.ceiling(Call("gpu.internal", "llama", input_known=False), NOW)
    assert (ceiling.model_max, ceiling.input_pico) == (1024, 8192 * 100_000)
    assert [model.id for model in own.models("gpu.internal")] == ["llama", "toy"]


def test_discounts_come_off_listed_prices(catalog: Catalog) -> None:
    """The most specific discount counts, own rates are already net."""
    own = vendored()
    own.discount("openai", "10%")
    own.discount("openai", 20, model="gpt-4o")
    assert usd(own, "openai", "gpt-4o-mini", input=1000) == Decimal("0.000135")
    assert usd(own, "openai", "gpt-4o-2024-08-06", input=1000) == Decimal("0.002")
    own.add("gpt-4o", provider="openai", discount="50")
    assert usd(own, "openai", "gpt-4o", input=1000) == Decimal("0.00125")
    own.add("gpt-4.1", provider="openai", input=1, discount="0.5")
    assert usd(own, "openai", "gpt-4.1", input=1000) == Decimal("0.000995")


def test_aliases_name_deployments(catalog: Catalog) -> None:
    """A deployment is priced as its model, of the same provider or another."""
    own = vendored()
    own.alias("azure", "Prod-Chat", "gpt-4o-mini")
    own.alias("azure", "writer", "anthropic:claude-opus-5-5")
    own.alias("azure", "painter", "google-vertex:gemini-2.5-pro")
    own.alias("azure", "tuned", "ft:gpt-4o-2024-08-06:acme::x")
    assert own.cost("azure", "prod-chat", [Usage({"input": 1})], NOW).entry == "openai/gpt-4o-mini"
    assert own.cost("azure", "writer", [Usage({"input": 1})], NOW).entry == "anthropic/claude-opus-5-5"
    assert own.cost("azure", "painter", [Usage({"input": 1})], NOW).entry == "google-vertex/gemini-2.5-pro"
    assert own.cost("azure", "tuned", [Usage({"input": 1})], NOW).entry == "openai/ft:gpt-4o"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"input": "-1"}, "input='-1'"),
        ({"input": "cheap"}, "cheap"),
        ({"input": float("nan")}, "finite"),
        ({"input": True}, "no amount"),
        ({"tokens": 1}, "'tokens' is no unit"),
        ({"input": 1, "start": "soon"}, "start='soon'"),
        ({"input": 1, "free": True}, "not both"),
        ({}, "at least one rate"),
        ({"input": 1, "discount": "120"}, "between 0 and 100"),
        ({"discount": "much"}, "no percentage"),
        ({"discount": "nan"}, "between 0 and 100"),
    ],
)
def test_bad_prices_are_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    """A malformed price names what was wrong with it."""
    with pytest.raises(ConfigError, match=words.replace("'", ".")):
        vendored().add("m", provider="openai", **arguments)


def test_an_empty_alias_is_refused() -> None:
    """An alias needs both sides."""
    with pytest.raises(ConfigError, match="alias"):
        vendored().alias("azure", "prod", "")


# -- explanations and lists


def test_an_explanation_shows_the_arithmetic(catalog: Catalog) -> None:
    """Every line is a quantity times a rate with its reason, and the lines add up to the cost."""
    usage = Usage({"input": 300_000, "reasoning": 10, "web_searches": 1, "pages": 3})
    explanation = catalog.explain("openai", "gpt-6-sol", [usage, Usage({}, reported=7)], NOW)
    assert [line.rate for line in explanation.lines] == [4_000_000, 15_000_000, 10**10, None, None]
    assert "272,000" in explanation.lines[0].note
    assert "priced as output" in explanation.lines[1].note
    assert explanation.lines[3].note == "no price is known"
    assert explanation.nano == explanation.cost.nano == -(-sum(line.pico for line in explanation.lines) // 1000)
    assert explanation.cost.unpriced == ("pages",)
    assert explanation.source.startswith("https://")
    assert explanation.checked < TODAY
    guessed = catalog.explain("openai", "gpt-99", [Usage({"input": 1}, tier="odd")], NOW)
    assert "unknown" in guessed.assumed[0]
    assert catalog.explain("nowhere", "x", [Usage({"input": 1})], NOW).source == ""


def test_models_are_listed(catalog: Catalog) -> None:
    """A provider's models come with sizes and abilities; an own price appears once."""
    own = vendored()
    listed = {model.id: model for model in own.models("openai")}
    assert "vision" in listed["gpt-4o"].caps
    assert listed["gpt-4o"].max_output == 16_384
    own.add("gpt-4o", provider="openai", input=1)
    assert sorted(model.id for model in own.models("openai")) == sorted(listed)
    assert own.models("nowhere") == []


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("API.OPENAI.COM:443", "openai"),
        ("eu.api.openai.com", "openai"),
        ("acme.openai.azure.com", "azure"),
        ("acme.services.ai.azure.com", "azure"),
        ("acme.cognitiveservices.azure.com", "azure"),
        ("api.anthropic.com", "anthropic"),
        ("generativelanguage.googleapis.com", "google"),
        ("europe-west1-aiplatform.googleapis.com", "google-vertex"),
        ("aiplatform.googleapis.com", "google-vertex"),
        ("openrouter.ai", "openrouter"),
        ("api.groq.com", "groq"),
        ("api.together.xyz", "together"),
        ("api.deepseek.com", "deepseek"),
        ("api.x.ai", "x-ai"),
        ("api.mistral.ai", "mistral"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "aws"),
        ("localhost", None),
        ("api.openai.com.evil.example", None),
        ("evil-api.openai.com", None),
        ("", None),
    ],
)
def test_a_host_names_who_bills(host: str, provider: str | None) -> None:
    """Only a provider's own hosts count as the provider."""
    assert host_provider(host) == provider


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("api.openai.com", ""),
        ("eu.api.openai.com", "eu"),
        ("europe-west1-aiplatform.googleapis.com", "europe-west1"),
        ("aiplatform.googleapis.com", "global"),
        ("bedrock-runtime.sa-east-1.amazonaws.com", "sa-east-1"),
        ("api.anthropic.com", None),
    ],
)
def test_a_host_can_pin_the_region(host: str, region: str | None) -> None:
    """A regional host says where the answer comes from; Anthropic's says nothing."""
    assert host_region(host) == region


def test_a_file_is_read_once_and_only_when_asked_for() -> None:
    """Loading is lazy, one provider at a time."""
    asked: list[str] = []

    def counting(provider: str) -> Any:
        asked.append(provider)
        return load(provider)

    fresh = Catalog(counting)
    assert asked == []
    for _ in range(3):
        fresh.cost("openai", "gpt-4o", [Usage({"input": 1})], NOW)
        fresh.cost("openai", "o3", [Usage({"input": 1})], NOW)
    assert asked == ["openai"]
