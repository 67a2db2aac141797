"""The vendored price files: well-formed, complete enough to be trusted, small enough to be shipped."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from importlib.resources import files
from typing import Any

import pytest

from costguard._catalog import Catalog
from costguard._rates import TIER_NAMES, TOKEN_UNITS
from costguard._snapshot import load, providers, vendored
from costguard._types import INPUT_UNITS, OTHER_UNITS, OUTPUT_UNITS, Usage

UNITS = {*INPUT_UNITS, *OUTPUT_UNITS, *OTHER_UNITS}
FIRST = ("openai", "anthropic", "google")
NOW = 1_795_392_000.0


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return vendored()


@pytest.fixture(params=providers())
def book(request: pytest.FixtureRequest) -> dict[str, Any]:
    raw = load(request.param)
    assert raw is not None
    assert raw["provider"] == request.param
    return dict(raw)


def rates_of(book: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Every rate of a file with where it stands."""
    return [
        (f"{model['id']} {price.get('from', '')} {tier}", unit, rate)
        for model in book["models"]
        for price in model["prices"]
        for tier, rates in {"": price["rates"], **price.get("tiers", {})}.items()
        for unit, rate in rates.items()
    ]


def test_every_rate_is_a_whole_positive_number_of_a_known_unit(book: dict[str, Any]) -> None:
    """Rates are integers of pico-dollars; zero stands only where the provider lists the model as free."""
    free = {model["id"] for model in book["models"] if model.get("free")}
    for where, unit, rate in rates_of(book):
        assert unit.partition(":")[0] in UNITS, (where, unit)
        plain = (
            [rate] if isinstance(rate, int) else [rate[0], *(part[1] for part in rate[1:] if isinstance(part, list))]
        )
        for pico in plain:
            assert type(pico) is int, (where, unit)
            assert pico > 0 or where.partition(" ")[0] in free, (where, unit)
            assert unit not in TOKEN_UNITS or pico <= 10**9, (where, unit, "above $1,000 a million")
        if isinstance(rate, list) and not isinstance(rate[1], int):
            starts = [start for start, _ in rate[1:]]
            assert starts == sorted(set(starts)), (where, unit)


def test_every_model_is_priced_and_found_by_its_names(book: dict[str, Any], catalog: Catalog) -> None:
    """Each model has rates, its names lead to it, and no name belongs to two models."""
    assert book["models"]
    rolling = book["aliases"]
    for model in book["models"]:
        assert model["prices"], model["id"]
        assert all(price["rates"] for price in model["prices"]), model["id"]
        for name in (model["id"], *model.get("names", ())):
            found = catalog.match(book["provider"], name, NOW)
            assert found is not None, name
            assert found.model.id == model["id"] or name in rolling, name
    names = Counter(name for model in book["models"] for name in (model["id"].lower(), *model.get("names", ())))
    assert [name for name, count in names.items() if count > 1] == []


def test_prices_are_dated_newest_first(book: dict[str, Any]) -> None:
    """The first price that has begun is the one in force, so the order is part of the data."""
    for model in book["models"]:
        days = [price.get("from") or "" for price in model["prices"]]
        assert days == sorted(days, reverse=True), model["id"]
        assert "hours" not in model["prices"][-1], model["id"]
        for day in filter(None, days):
            date.fromisoformat(day)
        for price in model["prices"]:
            assert all(re.fullmatch(r"\d\d:\d\d", clock) for clock in price.get("hours", ())), model["id"]
        if model.get("retired", "past") != "past":
            date.fromisoformat(model["retired"])


def test_a_header_says_where_the_facts_come_from(book: dict[str, Any]) -> None:
    """Version, sources, the day they were checked and the day the file was built."""
    assert book["version"] == 1
    assert [source["licence"] for source in book["sources"]] == ["MIT", "MIT"]
    assert date.fromisoformat(book["checked"]) <= date.fromisoformat(book["built"])
    assert book["urls"]


def test_aliases_point_to_listed_models(book: dict[str, Any], catalog: Catalog) -> None:
    """Each alias of the table resolves, and says whether it moves."""
    for name, alias in book["aliases"].items():
        found = catalog.match(book["provider"], name, NOW)
        assert found is not None, name
        assert (found.estimated, found.rolling) == (False, alias.get("rolling", False)), name


@pytest.mark.parametrize("provider", FIRST)
def test_no_discount_tier_is_dearer_and_no_premium_tier_cheaper(provider: str) -> None:
    """Batch and flex never cost more than standard, priority and fast never less."""
    raw = load(provider)
    assert raw is not None
    for model in raw["models"]:
        for price in model["prices"]:
            for tier, rates in price.get("tiers", {}).items():
                assert tier not in TIER_NAMES, (model["id"], tier)
                for unit, rate in rates.items():
                    mine = rate if isinstance(rate, int) else rate[0]
                    base = price["rates"].get(unit)
                    plain = base if base is None or isinstance(base, int) else base[0]
                    if plain is not None:
                        right = mine <= plain if tier in ("batch", "flex") else mine >= plain
                        assert right, (model["id"], tier, unit)


@pytest.mark.parametrize("provider", FIRST)
def test_every_chat_model_has_its_sizes(provider: str) -> None:
    """A current model that can be capped says how much it can answer, so that a ceiling is not a guess."""
    raw = load(provider)
    assert raw is not None
    live = [model for model in raw["models"] if "tools" in model.get("caps", ()) and not model.get("retired")]
    chat = [model for model in live if "output" in model["prices"][0]["rates"]]
    assert chat
    assert [model["id"] for model in chat if not (model.get("max_output") and model.get("context"))] == []


def test_free_models_cost_nothing_and_only_they(catalog: Catalog) -> None:
    """A free model is free without being unpriced; its paid twin is not."""
    free = (
        ("google", "gemma-3-27b-it"),
        ("openai", "omni-moderation-latest"),
        ("openrouter", "openai/gpt-oss-20b:free"),
    )
    for provider, model in free:
        cost = catalog.cost(provider, model, [Usage({"input": 10**6, "output": 10**6})], NOW)
        assert (cost.nano, cost.unpriced, cost.estimated) == (0, (), False), model
    assert catalog.cost("openrouter", "openai/gpt-oss-20b", [Usage({"input": 10**6})], NOW).nano > 0


def test_the_files_stay_small() -> None:
    """All price files together are shipped with the package."""
    total = sum(len((files("costguard") / "prices" / f"{name}.json").read_bytes()) for name in providers())
    assert total < 1_500_000


def test_every_provider_of_the_main_list_is_there() -> None:
    """The providers that costguard promises are among the files."""
    wanted = {
        "anthropic", "aws", "azure", "cerebras", "cohere", "deepseek", "fireworks", "google", "google-vertex", "groq",
        "mistral", "openai", "openrouter", "perplexity", "together", "x-ai",
    }  # fmt: skip
    assert wanted <= set(providers())
