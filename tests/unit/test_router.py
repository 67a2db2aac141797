"""Hugging Face's router: one host, and the prices of whichever provider stands behind it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest

from costguard._biller import Biller
from costguard._catalog import Catalog
from costguard._config import state
from costguard._funnels.stainless import request_of
from costguard._hosts import ROUTED, ROUTER, place
from costguard._snapshot import load, providers, vendored
from costguard._types import Call, Cost, Usage

HOST = "router.huggingface.co"
NOW = 1_795_000_000.0
USAGE = Usage({"input": 1_000_000, "output": 1_000_000})


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return vendored()


def listed() -> Iterator[tuple[str, str]]:
    for seller in ROUTED:
        raw = load(seller)
        assert raw is not None
        yield from ((seller, entry["id"]) for entry in raw["models"])


def sold_by_several() -> tuple[str, list[str]]:
    sellers: dict[str, list[str]] = {}
    for seller, model in listed():
        sellers.setdefault(model, []).append(seller)
    return max(sellers.items(), key=lambda one: len(one[1]))


def price(catalog: Catalog, provider: str, model: str) -> Cost:
    return catalog.cost(provider, model, [USAGE], NOW)


def test_every_price_file_of_the_router_can_be_asked_for() -> None:
    """A provider that gets a price file is known by the router's table too."""
    assert [name for name in providers() if name.startswith(ROUTER)] == sorted(ROUTED)


def test_a_suffix_names_the_provider(catalog: Catalog) -> None:
    """``org/model:together`` costs what that provider takes, and is no estimate; every listed model of every one."""
    biller = Biller(catalog)
    for seller, model in listed():
        wish = f"{model}:{seller.removeprefix(ROUTER + '_')}"
        assert biller.of_call("openai", HOST, wish, NOW) == seller
        assert price(catalog, seller, wish) == price(catalog, seller, model) == price(catalog, ROUTER, wish)
        assert not price(catalog, seller, wish).estimated


@pytest.mark.parametrize("suffix", ["", ":fastest", ":cheapest", ":preferred", ":somebody-new"])
def test_a_choice_of_the_router_is_priced_at_the_dearest(catalog: Catalog, suffix: str) -> None:
    """Who served it is not known, so no provider that sells the model costs more, and the figure says it is a guess."""
    model, sellers = sold_by_several()
    assert len(sellers) > 2
    assert Biller(catalog).of_call("openai", HOST, model + suffix, NOW) == ROUTER
    cost = price(catalog, ROUTER, model + suffix)
    assert cost.estimated
    assert not cost.unpriced
    each = [price(catalog, seller, model).nano for seller in sellers]
    assert max(each) <= cost.nano
    for unit in ("input", "output"):
        one = [Usage({unit: 1_000_000})]
        dearest = max(catalog.cost(seller, model, one, NOW).nano for seller in sellers)
        assert catalog.cost(ROUTER, model + suffix, one, NOW).nano == dearest
    ceiling = catalog.ceiling(Call(ROUTER, model + suffix, host=HOST, bound={"input": 1_000_000}), NOW)
    assert ceiling.amount(1_000_000) >= cost.nano
    assert "dearest" in catalog.explain(ROUTER, model + suffix, [USAGE], NOW).assumed[0]


def test_a_model_that_nobody_lists_is_never_free(catalog: Catalog) -> None:
    """It costs what its nearest kin costs, as an estimate."""
    cost = price(catalog, ROUTER, "nobody/never-heard-of-it")
    assert cost.nano > 0
    assert cost.estimated


def test_own_prices_of_the_router_win() -> None:
    """A negotiated rate goes before the guess."""
    catalog = vendored()
    catalog.add("org/model", provider=ROUTER, input=1, output=2)
    cost = price(catalog, ROUTER, "org/model:fastest")
    assert (Decimal(cost.nano).scaleb(-9), cost.estimated) == (Decimal(3), False)


@pytest.mark.parametrize(
    ("base", "bills"),
    [
        ("https://router.huggingface.co/v1", ROUTER),
        ("https://router.huggingface.co/together/v1", "huggingface_together"),
        ("https://router.huggingface.co/fireworks-ai/inference/v1", "huggingface_fireworks-ai"),
        ("https://router.huggingface.co/somebody-new/v1", ROUTER),
        ("https://api.together.xyz/v1", "together"),
    ],
)
def test_the_path_of_the_client_names_the_provider(catalog: Catalog, base: str, bills: str) -> None:
    """The real SDK is pointed at the router with the provider in its base URL."""
    with openai.OpenAI(api_key="x", base_url=base) as client:
        options: Any = openai._models.FinalRequestOptions.construct(method="post", url="/chat/completions")
        request = request_of(client, options, False, state.guard)
    assert Biller(catalog).of_call("openai", request.host, "openai/gpt-oss-120b", NOW) == bills


@pytest.mark.parametrize(
    ("model", "seller"),
    [
        ("openai/gpt-oss-120b:together", "huggingface_together"),
        ("meta-llama/Llama-3.3-70B-Instruct:groq", "huggingface_groq"),
        ("openai/gpt-oss-120b:nobody", "together"),
        ("nobody/model-zz:together", ""),
        ("gpt-4o", "openai"),
    ],
)
def test_a_suffix_that_names_a_provider_says_who_sells_a_model(catalog: Catalog, model: str, seller: str) -> None:
    """Without a host too, as on the command line; one that names nobody, or not a seller of the model, says nothing."""
    found = Biller(catalog).of_model(model, NOW)
    assert found.startswith("huggingface_") == seller.startswith("huggingface_")
    assert not seller.startswith("huggingface_") or found == seller


def test_other_hosts_keep_their_name() -> None:
    """Only the router's paths say who bills."""
    assert place("api.openai.com", "/together/v1") == "api.openai.com"
