"""Properties of the price engine that hold for every model, usage, tier and day."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from costguard._catalog import Catalog
from costguard._rates import FALLBACKS
from costguard._snapshot import load, vendored
from costguard._types import INPUT_UNITS, OUTPUT_UNITS, Call, Usage

CATALOG = vendored()
PROVIDERS = ("openai", "anthropic", "google", "google-vertex", "aws", "deepseek", "x-ai", "mistral")
NAMES = [(provider, model.id) for provider in PROVIDERS for model in CATALOG.models(provider)]
patient = settings(deadline=None)
"""The first look at a provider reads its price file, which a busy machine may take a while for."""
thorough = settings(deadline=None, max_examples=400)


def _names(model: dict[str, Any]) -> set[str]:
    return {model["id"].lower(), *(name.lower() for name in model.get("names", ()))}


FIRST_DAY, LAST_DAY = 1_700_000_000, 1_830_000_000

models = st.sampled_from(NAMES)
times = st.integers(FIRST_DAY, LAST_DAY).map(float)
tiers = st.sampled_from(["standard", "default", "batch", "flex", "priority", "fast", "ultrafast", "surprise"])
amounts = st.one_of(st.integers(0, 2_000_000), st.integers(0, 300))
tokens = st.sampled_from([*INPUT_UNITS, *OUTPUT_UNITS])
units = st.one_of(tokens, st.sampled_from(["web_searches", "file_searches", "images", "audio_seconds", "pages", "odd"]))
usages = st.builds(
    Usage,
    counts=st.dictionaries(units, amounts, max_size=6),
    tier=tiers,
    region=st.sampled_from([None, "us", "eu", "global", "europe-west1"]),
    reported=st.one_of(st.none(), st.integers(0, 10**9)),
)


def expected_rate(rates: dict[str, Any], unit: str, size: int) -> Fraction | None:
    """A rate looked up the slow way, straight from the price file."""
    source = next((name for name in (unit, *FALLBACKS.get(unit, ())) if name in rates), None)
    if source is None:
        return None
    rate = rates[source]
    if isinstance(rate, int):
        return Fraction(rate)
    if isinstance(rate[1], int):
        return Fraction(rate[0], rate[1])
    return Fraction(next((pico for start, pico in reversed(rate[1:]) if size > start), rate[0]))


@patient
@given(st.data())
def test_a_cost_is_the_exact_sum_rounded_up_once(data: st.DataObject) -> None:
    """Recomputed in `Decimal` from the raw file, every standard cost is the same nano-dollar."""
    provider = data.draw(st.sampled_from(["openai", "anthropic", "google"]))
    raw = load(provider)
    assert raw is not None
    model = data.draw(st.sampled_from([model for model in raw["models"] if model["id"] not in raw["aliases"]]))
    price = data.draw(st.sampled_from(model["prices"]))
    day = price.get("from") or "2023-11-15"
    at = _start(day)
    counts = data.draw(st.dictionaries(tokens, st.integers(1, 900_000), min_size=1, max_size=6))
    size = sum(counts.get(unit, 0) for unit in INPUT_UNITS)
    priced = {unit: expected_rate(price["rates"], unit, size) for unit in counts}
    cost = CATALOG.cost(provider, model["id"], [Usage(counts)], at)
    assert set(cost.unpriced) == {unit for unit, rate in priced.items() if rate is None}
    exact = sum(
        (
            Decimal(rate.numerator) / rate.denominator * counts[unit]
            for unit, rate in priced.items()
            if rate is not None
        ),
        Decimal(0),
    )
    assert cost.nano == int((exact / 1000).to_integral_value(ROUND_CEILING))


def _start(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


@patient
@given(models, st.lists(usages, max_size=4), times)
def test_an_explanation_adds_up_to_the_cost(model: tuple[str, str], used: list[Usage], at: float) -> None:
    """The lines a user sees are the cost a budget is charged."""
    cost = CATALOG.cost(*model, used, at)
    explanation = CATALOG.explain(*model, used, at)
    assert explanation.cost == cost
    assert cost.nano == -(-sum(line.pico for line in explanation.lines) // 1000)
    assert {line.unit for line in explanation.lines if line.note == "no price is known"} == set(cost.unpriced)


@patient
@given(models, usages, tokens, st.integers(1, 500_000), times)
def test_more_tokens_never_cost_less(model: tuple[str, str], used: Usage, unit: str, more: int, at: float) -> None:
    """A cost grows with every unit, across long-context thresholds too."""
    counts = {**used.counts, unit: used.counts.get(unit, 0) + more}
    larger = Usage(counts, tier=used.tier, region=used.region, reported=used.reported)
    assert CATALOG.cost(*model, [used], at).nano <= CATALOG.cost(*model, [larger], at).nano


@patient
@given(models, st.lists(usages, max_size=3), st.lists(usages, max_size=3), times)
def test_parts_never_cost_less_than_the_whole(
    model: tuple[str, str], some: list[Usage], more: list[Usage], at: float
) -> None:
    """Rounding happens once for a call: splitting it can add at most one nano-dollar for each extra part."""
    whole = CATALOG.cost(*model, some + more, at).nano
    parts = CATALOG.cost(*model, some, at).nano + CATALOG.cost(*model, more, at).nano
    assert whole <= parts <= whole + 1


SPLITS: dict[str, tuple[str, ...]] = {
    "input": ("input", "cache_read", "cache_write"),
    "cache_write_1h": ("input", "cache_read", "cache_write", "cache_write_1h"),
    "cache_write_12h": ("input", "cache_read", "cache_write", "cache_write_1h", "cache_write_12h"),
    "input_audio": ("input_audio", "cache_read_audio", "input", "cache_read"),
    "input_image": ("input_image", "cache_read_image", "input", "cache_read"),
    "input_video": ("input_video", "input", "input_image", "input_audio"),
}


@st.composite
def bounded_calls(draw: st.DrawFn) -> tuple[Call, Usage]:
    """A call with a bound, and a usage that stays within it however the provider counts the tokens."""
    provider, model = draw(models)
    tier = draw(tiers)
    bound = draw(st.dictionaries(st.sampled_from([*SPLITS, "web_searches", "images"]), amounts, max_size=4))
    counts: dict[str, int] = {}
    for unit, count in bound.items():
        left = count
        for part in SPLITS.get(unit, (unit,)):
            used = draw(st.integers(0, left))
            left -= used
            counts[part] = counts.get(part, 0) + used
    choices = draw(st.integers(1, 3))
    cap = draw(st.integers(0, 100_000))
    out = draw(st.integers(0, cap * choices))
    thought = draw(st.integers(0, out))
    kind = draw(st.sampled_from(["output", "output_audio", "output_image"]))
    counts[kind] = out - thought
    counts["reasoning"] = thought
    call = Call(
        provider,
        model,
        host=draw(st.sampled_from(["", "api.example.com"])),
        bound=bound,
        max_output=cap,
        choices=choices,
        output_unit=kind,
        tier=tier,
    )
    served = draw(st.sampled_from([tier, "standard"]))
    region = draw(st.sampled_from([None, "us", "eu", "europe-west1"]))
    return call, Usage({unit: count for unit, count in counts.items() if count}, tier=served, region=region)


@thorough
@given(bounded_calls(), times)
def test_no_call_costs_more_than_its_ceiling(pair: tuple[Call, Usage], at: float) -> None:
    """Whatever of the bound is cached, whichever tier and region serves it: the hold covers the charge."""
    call, used = pair
    ceiling = CATALOG.ceiling(call, at)
    cost = CATALOG.cost(call.provider, call.model, [used], at)
    assert cost.nano <= ceiling.amount(call.max_output)


@patient
@given(bounded_calls(), times, st.integers(0, 10**12))
def test_the_affordable_cap_is_the_largest_that_fits(pair: tuple[Call, Usage], at: float, nano: int) -> None:
    """One token more than affordable does not fit, the affordable number does."""
    ceiling = CATALOG.ceiling(pair[0], at)
    cap = ceiling.affordable(nano)
    if cap >= 0:
        assert ceiling.amount(cap) <= nano
    if ceiling.output_pico and cap >= -1:
        assert ceiling.amount(cap + 1) > nano


@patient
@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(PROVIDERS), times)
def test_any_name_is_priced_or_said_to_be_unpriced(model: str, tier: str, provider: str, at: float) -> None:
    """No name makes the engine fail or gives a token away: it costs something, or it is named as unpriced."""
    cost = CATALOG.cost(provider, model, [Usage({"input": 1000, "output": 1000}, tier=tier, model=model)], at)
    free = CATALOG.match(provider, model, at)
    assert cost.nano > 0 or cost.unpriced or (free is not None and free.model.free)
    assert CATALOG.ceiling(Call(provider, model, tier=tier), at).amount(None) >= 0


@patient
@given(st.lists(st.tuples(models, times, tiers), min_size=1, max_size=8))
def test_what_was_asked_before_changes_nothing(asked: list[tuple[tuple[str, str], float, str]]) -> None:
    """A remembered sheet gives the cost a fresh catalog gives."""
    usage = {"input": 1234, "output": 567, "cache_read": 89}
    fresh = Catalog(_remembered)
    for model, at, tier in asked:
        used = [Usage(usage, tier=tier)]
        fresh._sheets.clear()
        assert CATALOG.cost(*model, used, at) == fresh.cost(*model, used, at)


_FILES: dict[str, Any] = {}


def _remembered(provider: str) -> Any:
    if provider not in _FILES:
        _FILES[provider] = load(provider)
    return _FILES[provider]


SUFFIXES = (
    "pro", "mini", "nano", "max", "ultra", "turbo", "large", "fast", "lite", "plus", "flash", "instruct", "audio",
    "image", "cyber", "thinking", "high", "vision", "search", "code", "2", "x",
)  # fmt: skip
SELLERS = ("openai", "anthropic", "google", "x-ai", "mistral", "deepseek", "groq", "cohere")
LISTED = {seller: {name for model in (load(seller) or {})["models"] for name in _names(model)} for seller in SELLERS}


@patient
@given(st.data(), st.sampled_from(SUFFIXES), st.sampled_from(["-", "", "."]), times)
def test_no_name_is_priced_by_its_beginning(data: st.DataObject, word: str, joint: str, at: float) -> None:
    """A listed name with a word more is another model: listed under that name, or a guess that says so, never the
    price of the shorter name (``o1-pro`` is not ``o1``)."""
    seller = data.draw(st.sampled_from(SELLERS))
    name = f"{data.draw(st.sampled_from(sorted(LISTED[seller])))}{joint}{word}"
    match = CATALOG.match(seller, name, at)
    assert match is not None
    assert name in LISTED[seller] or match.estimated
    assert name not in LISTED[seller] or not match.estimated
