"""Prices that a user sets: own rates, negotiated discounts and aliases. They win over the vendored ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Final

from ._match import tidy
from ._models import Match, Model, day
from ._money import parse_rate, parse_usd
from ._rates import ONE, TOKEN_UNITS, Price, Rate, Rates, Ratio
from ._types import INPUT_UNITS, OTHER_UNITS, OUTPUT_UNITS
from .errors import ConfigError

Number = str | int | float | Decimal

UNITS: Final = frozenset((*INPUT_UNITS, *OUTPUT_UNITS, *OTHER_UNITS))
_PICO_PER_NANO: Final = 1000
FREE: Final[Rates] = {unit: Rate(0) for unit in (*INPUT_UNITS, *OUTPUT_UNITS, *OTHER_UNITS)}


class OwnPrices:
    """Everything a user said about prices; the listed ones stay as they are.

    Args:
        under: what was said in a weaker place, such as a configuration file; what is said here goes before it.
    """

    def __init__(self, under: OwnPrices | None = None) -> None:
        self.under = under
        self._models: dict[tuple[str, str], Model] = {}
        self._discounts: dict[tuple[str, str | None], Ratio] = {}
        self._aliases: dict[tuple[str, str], tuple[str, str]] = {}

    def copy(self) -> OwnPrices:
        """The same prices, to be added to on their own."""
        other = OwnPrices(self.under)
        other._models, other._discounts, other._aliases = dict(self._models), dict(self._discounts), dict(self._aliases)
        return other

    def find(self, provider: str, name: str) -> Model | None:
        """The model with own prices under exactly this name."""
        return self._models.get((provider, name)) or (self.under.find(provider, name) if self.under else None)

    def models(self, provider: str) -> list[Model]:
        """Every model of a provider that has own prices."""
        below = self.under.models(provider) if self.under else []
        own = [model for (owner, _), model in self._models.items() if owner == provider]
        return [*own, *(model for model in below if model.id not in {mine.id for mine in own})]

    def target(self, provider: str, name: str) -> tuple[str, str]:
        """Where an alias points to, or the name itself."""
        below = self.under.target(provider, name) if self.under else (provider, name)
        return self._aliases.get((provider, name), below)

    def alias(self, provider: str, name: str, owner: str, model: str) -> None:
        """Let `name` at `provider` mean `model` at `owner`."""
        if not name or not model:
            raise ConfigError(f"an alias needs a name and a model, got {name!r} and {model!r}")
        self._aliases[provider, tidy(name)] = (owner, tidy(model))

    def discount(self, provider: str, percent: Number, model: str | None) -> None:
        """Take `percent` off the listed prices of a provider or of one of its models."""
        self._discounts[provider, None if model is None else tidy(model)] = _off(percent)

    def discounted(self, provider: str, names: Iterable[str], rates: Rates) -> Rates:
        """`rates` after the most specific discount that was said."""
        ratio = self.factor(provider, names)
        return rates if ratio.plain else {unit: rate.times(ratio) for unit, rate in rates.items()}

    def factor(self, provider: str, names: Iterable[str]) -> Ratio:
        """What the most specific discount that was said leaves of a price."""
        said = (self._discount_of(provider, name) for name in (*names, None))
        return next((ratio for ratio in said if ratio is not None), ONE)

    def _discount_of(self, provider: str, name: str | None) -> Ratio | None:
        below = self.under._discount_of(provider, name) if self.under else None
        return self._discounts.get((provider, name), below)

    def add(
        self,
        provider: str,
        name: str,
        listed: Match | None,
        *,
        start: str | None,
        free: bool,
        discount: Number | None,
        sizes: Mapping[str, int | None],
        rates: Mapping[str, Number],
    ) -> None:
        """Put an own price before every other price of a model."""
        if free and rates:
            raise ConfigError(f"prices for {name!r}: give either free=True or rates, not both")
        if not free and not rates:
            raise ConfigError(f"prices for {name!r}: give at least one rate, such as input=..., or free=True")
        table = FREE if free else {unit: _rate(name, unit, value) for unit, value in rates.items()}
        if discount is not None:
            off = _off(discount)
            table = {unit: rate.times(off) for unit, rate in table.items()}
        first = "" if start is None else _date(name, start)
        price = Price(rates=table, tiers={}, start=first, starts=day(first) if first else float("-inf"), own=True)
        key = tidy(name)
        model = self.find(provider, key) or (
            replace(listed.model, provider=provider, id=key) if listed else Model(provider, key, ())
        )
        kept = [old for old in model.prices if not (old.own and old.start == price.start)]
        own = sorted((price, *(old for old in kept if old.own)), key=lambda one: one.starts, reverse=True)
        self._models[provider, key] = replace(
            model,
            prices=(*own, *(old for old in kept if not old.own)),
            context=sizes.get("context") or model.context,
            max_output=sizes.get("max_output") or model.max_output,
            free=free,
        )


def _rate(model: str, unit: str, value: Number) -> Rate:
    """A rate as users write it: dollars per million tokens, or dollars for one unit of anything else."""
    if unit.partition(":")[0] not in UNITS:
        raise ConfigError(f"prices for {model!r}: {unit!r} is no unit; known ones are {', '.join(sorted(UNITS))}")
    try:
        return Rate(parse_rate(value) if unit in TOKEN_UNITS else parse_usd(value) * _PICO_PER_NANO)
    except ValueError as error:
        raise ConfigError(f"prices for {model!r}: {unit}={value!r}: {error}") from None


def _date(model: str, start: str) -> str:
    try:
        return date.fromisoformat(start).isoformat()
    except (TypeError, ValueError):
        raise ConfigError(f"prices for {model!r}: start={start!r} is no ISO date such as '2026-12-01'") from None


def _off(percent: Number) -> Ratio:
    try:
        left = (100 - Decimal(str(percent).strip().removesuffix("%"))) / 100
    except InvalidOperation:
        raise ConfigError(f"a discount of {percent!r} is no percentage") from None
    if not left.is_finite() or not 0 <= left <= 1:
        raise ConfigError(f"a discount of {percent!r} is not between 0 and 100 percent")
    return Ratio(*left.as_integer_ratio())
