"""One provider's price file: its models, looked up by any spelling of their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import reduce
from statistics import median_low
from typing import Any, Final

from ._match import KINDS, LONGEST, forms, shared, tidy, without_dates, without_stages, without_variant, words
from ._rates import ONE, Price, Rates, Ratio, larger, premium, price_at, read_rate, tier_rates
from ._types import STANDARD

ANYWHERE: Final = "?"
"""The region of a call that nothing is known of: the dearest one."""

OUTLIER: Final = 6
"""A model that costs more than this many times its family's median does not stand in for an unknown one."""


@dataclass(frozen=True, slots=True)
class Model:
    """One priced model.

    Attributes:
        provider: who bills it, as the catalog names it.
        id: its own name there.
        prices: newest first.
        context: the most input tokens it takes, None when unknown.
        max_output: the most output tokens it gives, None when unknown.
        caps: what it can do: ``vision``, ``tools``, ``schema``, ``caching``...
        retired: the day it stops or stopped working as an ISO date, ``past`` when only that it did is known, empty
            when none was announced.
        free: the provider lists it as free.
        regions: uplifts of token rates by region; ``*`` is any region but ``global``.
        url: where the provider publishes the price.
        checked: the day the price was last compared with a source, as an ISO date.
    """

    provider: str
    id: str
    prices: tuple[Price, ...]
    context: int | None = None
    max_output: int | None = None
    caps: tuple[str, ...] = ()
    retired: str = ""
    free: bool = False
    regions: Mapping[str, Ratio] = field(default_factory=dict)
    url: str = ""
    checked: str = ""

    def current(self, at: float) -> bool:
        """Whether it can still be called at `at`."""
        return not self.retired or (self.retired != "past" and at < day(self.retired))

    def entry(self, price: Price, tier: str) -> str:
        """The id a `Cost` carries, ``provider/model@start#tier`` without what goes without saying; own prices are
        marked with ``own:``."""
        start = f"@{price.label}" if price.label else ""
        suffix = f"#{tier[:LONGEST]}" if tier != STANDARD else ""
        return f"{'own:' if price.own else ''}{self.provider}/{self.id}{start}{suffix}"

    def uplift(self, region: str | None) -> Ratio:
        """The factor on token rates when the call is served in `region`, the largest one for `ANYWHERE`."""
        if not region or not self.regions:
            return ONE
        if region == ANYWHERE:
            return reduce(larger, self.regions.values(), ONE)
        own = self.regions.get(region)
        if own is None and region != "global":
            own = self.regions.get("*")
        return own or ONE


@dataclass(frozen=True, slots=True)
class Match:
    """The model that a name was found to mean.

    Attributes:
        model: the model.
        estimated: it is only the nearest kin of an unknown model.
        rolling: the name moves to newer models as the provider releases them.
        why: what was assumed, for people; empty for a plain match.
        closeness: for kin, how many leading words of the names agree.
    """

    model: Model
    estimated: bool = False
    rolling: bool = False
    why: str = ""
    closeness: int = 0


def day(date: str) -> float:
    """The start of an ISO date as UTC epoch seconds."""
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()


def read_rates(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {unit: read_rate(rate) for unit, rate in raw.items()}


def read_price(raw: Mapping[str, Any], fees: Rates) -> Price:
    """One dated entry of a price file; `fees` are the provider's, for units the model does not list."""
    start = raw.get("from") or ""
    hours = raw.get("hours")
    rates = read_rates(raw["rates"])
    return Price(
        rates={**fees, **rates},
        tiers={tier: read_rates(rates) for tier, rates in raw.get("tiers", {}).items()},
        start=start,
        starts=day(start) if start else float("-inf"),
        hours=None if hours is None else (_seconds(hours[0]), _seconds(hours[1])),
    )


def _seconds(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 3600 + int(minute) * 60


class Shelf:
    """One provider's models.

    Attributes:
        provider: its name in the catalog.
        delegates: providers whose models this one also sells at their prices, in order.
        gateway: whether it resells other vendors' models under ``vendor/model``.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.provider: str = raw["provider"]
        self.delegates: tuple[str, ...] = tuple(raw.get("delegates", ()))
        self._raw = raw
        self._fees: Rates = read_rates(raw.get("fees", {}))
        self._models: dict[int, Model] = {}
        self._names: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        for index, entry in enumerate(raw["models"]):
            for name in (entry["id"], *entry.get("names", ())):
                self._names.setdefault(name.lower(), index)
            for stem in entry.get("stems", ()):
                self._stems.setdefault(stem, index)
        self._kinship: list[tuple[tuple[str, ...], Model]] | None = None
        self._rolling: set[str] = set()
        for name, target in raw.get("aliases", {}).items():
            self._names[name] = self._names[target["to"].lower()]
            if target.get("rolling"):
                self._rolling.add(name)

    def every(self) -> list[Model]:
        """All models, in the file's order."""
        return [self._model(index) for index in range(len(self._raw["models"]))]

    def find(self, name: str) -> Match | None:
        """The model that `name` certainly means."""
        every = tuple(forms(tidy(name)))
        for spelling in every:
            if spelling in self._names:
                return Match(self._model(self._names[spelling]), rolling=spelling in self._rolling)
        for table, shorten in ((self._names, without_dates), (self._stems, without_stages)):
            for spelling in every:
                index = next((table[short] for short in shorten(spelling) if short in table), None)
                if index is not None:
                    return Match(self._model(index))
        bare = without_variant(tidy(name))
        if bare != tidy(name):
            found = self.find(bare)
            return found and replace(found, estimated=True, why=f"{name} is not listed, priced as {found.model.id}")
        return None

    def _model(self, index: int) -> Model:
        model = self._models.get(index)
        if model is None:
            model = self._models[index] = self._read(self._raw["models"][index])
        return model

    def _read(self, entry: Mapping[str, Any]) -> Model:
        return Model(
            provider=self.provider,
            id=entry["id"],
            prices=tuple(read_price(raw, self._fees) for raw in entry["prices"]),
            context=entry.get("context"),
            max_output=entry.get("max_output"),
            caps=tuple(entry.get("caps", ())),
            retired=entry.get("retired", ""),
            free=entry.get("free", False),
            regions={region: Ratio(*pair) for region, pair in entry.get("regions", {}).items()},
            url=entry.get("url") or next(iter(self._raw.get("urls", ())), ""),
            checked=self._raw.get("checked", ""),
        )

    def kin(self, name: str, at: float) -> Match | None:
        """The dearest current model of the family of an unknown `name`: the same kind of product, and the longest
        run of leading words in common. One that costs many times its family's median is left out, so that a niche
        model does not make every unknown one look absurdly dear."""
        asked = words(tidy(name))
        pool = self._pool(frozenset(asked) & KINDS, at)
        if not pool:
            return None
        closest = max(shared(theirs, asked) for theirs, _ in pool)
        family = [(weight(model, at), model) for theirs, model in pool if shared(theirs, asked) == closest]
        typical = median_low(weight for weight, _ in family)
        usual = (one for one in family if one[0] <= OUTLIER * typical)
        _, chosen = max(usual, key=lambda one: (one[0], -len(one[1].id), one[1].id))
        why = f"{name[:LONGEST]} is unknown, priced as {chosen.id}, the dearest of its family"
        return Match(chosen, estimated=True, why=why, closeness=closest)

    def _pool(self, kind: frozenset[str], at: float) -> list[tuple[tuple[str, ...], Model]]:
        """Models that can still be called and cost something, of one kind; of any kind when there is none."""
        if self._kinship is None:
            self._kinship = [(words(model.id), model) for model in self.every() if not model.free]
        priced = [one for one in self._kinship if one[1].current(at) and weight(one[1], at)]
        same = [one for one in priced if KINDS.intersection(one[0]) == kind]
        chat = [one for one in same if {"input", "output"} <= price_at(one[1].prices, at).rates.keys()]
        return chat or same or priced

    def premium(self, tier: str) -> Ratio:
        """The largest factor between `tier` and standard that any model of this provider has."""
        best = ONE
        for model in self.every():
            for price in model.prices:
                listed = tier_rates(price, tier)
                if listed is not None:
                    best = larger(best, premium(price.rates, listed))
        return best


def weight(model: Model, at: float) -> int:
    """How dear a model is: a token in and a token out."""
    rates = price_at(model.prices, at).rates
    return sum(rates[unit].base for unit in ("input", "output") if unit in rates)
