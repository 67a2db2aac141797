"""``costguard prices show MODEL``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from .._models import Match
from .._rates import TOKEN_UNITS, Price, Rate, price_at, tier_rates
from .._types import INPUT_UNITS, OUTPUT_UNITS, STANDARD
from ..errors import ConfigError
from ._document import document, rate_usd
from ._prices_common import add_model, model_of, percent_off

MILLION = 1_000_000
ORDER = (*INPUT_UNITS, *OUTPUT_UNITS)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_model(parser)


def run(options: argparse.Namespace) -> int:
    """Show the prices of a model."""
    catalog, provider, at = model_of(options)
    match = catalog.match(provider, options.model, at)
    if match is None:
        raise ConfigError(f"{provider!r} has no price list, and no own prices name {options.model!r}")
    about = _about(match, options.model, at, percent_off(catalog, provider, options.model, at))
    if options.json:
        document("costguard.prices.show/1", about)
    else:
        from ._prices_tables import show

        show(about)
    return 0


def _about(match: Match, asked: str, at: float, off: str | None) -> dict[str, Any]:
    model = match.model
    return {
        "asked": asked,
        "provider": model.provider,
        "model": model.id,
        "estimated": match.estimated,
        "moves": match.rolling,
        "why": match.why,
        "context": model.context,
        "max_output": model.max_output,
        "capabilities": list(model.caps),
        "retired": model.retired or None,
        "current": model.current(at),
        "discount_percent": off,
        "free": model.free,
        "regions": {name: f"{ratio.num}/{ratio.den}" for name, ratio in model.regions.items()},
        "source": model.url or None,
        "checked": model.checked or None,
        "prices": [_price(price, price is price_at(model.prices, at)) for price in model.prices],
    }


def _price(price: Price, holds: bool) -> dict[str, Any]:
    tiers: dict[str, Mapping[str, Rate]] = {STANDARD: price.rates}
    for tier in price.tiers:
        listed = tier_rates(price, tier) or {}
        tiers[tier] = {unit: rate for unit, rate in listed.items() if rate != price.rates.get(unit)}
    return {
        "from": price.start or None,
        "hours": None if price.hours is None else [_clock(second) for second in price.hours],
        "holds": holds,
        "own": price.own,
        "tiers": {tier: {unit: _rate(unit, rates[unit]) for unit in _ordered(rates)} for tier, rates in tiers.items()},
    }


def _ordered(rates: Mapping[str, Rate]) -> list[str]:
    """Tokens first, as people read them."""
    return sorted(rates, key=lambda unit: (ORDER.index(unit) if unit in ORDER else len(ORDER), unit))


def _rate(unit: str, rate: Rate) -> dict[str, Any]:
    """A rate as the price of a million tokens, or of one unit or as many as it is listed for."""
    units = MILLION if unit in TOKEN_UNITS else 1
    found: dict[str, Any] = {"usd": rate_usd(rate.base, units), "for": units * rate.per}
    if rate.steps:
        found["above"] = [{"input_tokens": start, "usd": rate_usd(pico, units)} for start, pico in rate.steps]
    return found


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}"
