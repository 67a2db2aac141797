"""What a call cost, and the most it can cost.

The catalog finds the model that a name means, the price that was in force, the tier, region and long-context rate
that apply, and multiplies integers. A name is looked up in this order: the user's aliases and own prices, the price
file, a provider whose models this one resells, the nearest kin (marked `estimated`), nothing (`unpriced`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from . import _ceiling
from ._ceiling import Ceiling
from ._explain import Explanation, Line, lines, reported_line
from ._hosts import ROUTER, host_provider, host_region, provider_name, routed
from ._match import LONGEST, forms, tidy, vendor
from ._models import ANYWHERE, Match, Model, Shelf, day
from ._money import PICO_PER_NANO
from ._own import Number, OwnPrices
from ._rates import ONE, PREMIUM, TIER_NAMES, Price, Rates, Ratio, Sheet, dearest, price_at, scaled, stretch, tier_rates
from ._router import choices, unrouted
from ._types import STANDARD, Call, Cost, Unit, Usage, input_of, quick_cost

__all__ = ["Catalog", "Ceiling", "Explanation", "Line", "host_provider"]

_Key = tuple[str, str, str | None, str, str | None]
"""Provider, model as asked for, model as served, tier and region: what decides on rates."""

STALE: Final = 45
"""Days after which a price list that nobody has checked is warned of."""
CACHED: Final = 4096
"""Resolved names that are kept; a model name can come from a stranger, so the memory for them is bounded."""


class Catalog:
    """Prices of every known model.

    Args:
        load: gives the raw price file of a provider, or None when there is none.
    """

    def __init__(self, load: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._load = load
        self._shelves: dict[str, Shelf] = {}
        self._own = OwnPrices()
        self._sheets: dict[tuple[str, str, str | None, str, str | None], Sheet] = {}

    # -- what a call cost

    def cost(self, provider: str, model: str, usages: Sequence[Usage], at: float) -> Cost:
        """Price `usages` at the prices in force at `at` (UTC epoch seconds).

        Added up exactly and rounded up once. A usage is priced as the model it names, else as `model`. A positive
        cost that the provider itself returned goes before any price; a returned zero proves nothing and is ignored.
        """
        pico = 0
        entry = ""
        estimated = False
        missing: set[Unit] | None = None
        for usage in usages:
            if usage.reported:
                pico += usage.reported * PICO_PER_NANO
                estimated = estimated or usage.estimated
                entry = _joined(entry, "reported")
                continue
            key = (provider, model, usage.model, usage.tier, usage.region)
            sheet = self._sheets.get(key)
            if sheet is None or not sheet.starts <= at < sheet.ends:
                sheet = self._sheet(key, at)
            counts, rates = usage.counts, sheet.rates
            if sheet.by_request:
                counts = sheet.billed(counts)
            if sheet.bands and sum(counts.values()) > sheet.lowest:
                rates = sheet.band(counts)[1]
            unit = ""
            try:
                for unit, count in counts.items():
                    pico += rates[unit] * count
            except KeyError:
                missing = set() if missing is None else missing
                pico += sheet.rest(rates, counts, unit, missing)
            if usage.estimated or sheet.estimated:
                estimated = True
            entry = sheet.entry if not entry else _joined(entry, sheet.entry)
        return quick_cost(-(-pico // PICO_PER_NANO), entry, estimated, tuple(sorted(missing)) if missing else ())

    def explain(self, provider: str, model: str, usages: Sequence[Usage], at: float) -> Explanation:
        """The lines that `cost` adds up, for people."""
        added: list[Line] = []
        assumed: dict[str, None] = {}
        for usage in usages:
            if usage.reported:
                added.append(reported_line(usage))
                continue
            sheet = self._sheet((provider, model, usage.model, usage.tier, usage.region), at)
            added += lines(sheet, sheet.billed(usage.counts))
            if sheet.why:
                assumed[sheet.why] = None
        match = self.match(provider, model, at)
        return Explanation(
            lines=tuple(added),
            cost=self.cost(provider, model, usages, at),
            source=match.model.url if match else "",
            checked=match.model.checked if match else "",
            assumed=tuple(assumed),
            rolling=match.model.id if match and match.rolling else "",
        )

    # -- the most a call can cost

    def ceiling(self, call: Call, at: float) -> Ceiling:
        """The most `call` can cost: no usage within its bound and output cap costs more.

        Priced at the dearer of the tier asked for and standard, because a provider may serve another one than asked,
        at the dearest long-context rate the input can reach, and in the dearest region unless the host pins one.
        """
        region = host_region(call.host) if call.host else None
        place = ANYWHERE if region is None else region
        asked = self._sheet((call.provider, call.model, None, call.tier, place), at)
        sheets = [asked]
        if call.tier != STANDARD:
            sheets.append(self._sheet((call.provider, call.model, None, STANDARD, place), at))
        tokens = input_of(call.bound)
        if not call.input_known:
            tokens = max(tokens, asked.context or _ceiling.CONTEXT)
        pico, unpriced = _ceiling.input_pico(sheets, asked.billed(call.bound or {"input": 0}), tokens)
        if not asked.entry and call.output_unit is not None:
            unpriced.add(call.output_unit)
        return Ceiling(
            input_pico=pico,
            output_pico=_ceiling.output_pico(sheets, call.output_unit, tokens),
            model_max=asked.max_output or asked.context or _ceiling.MAX_OUTPUT,
            choices=max(1, call.choices),
            entry=asked.entry,
            estimated=any(sheet.estimated for sheet in sheets),
            unpriced=tuple(sorted(unpriced)),
        )

    # -- what a user says

    def add(
        self,
        model: str,
        *,
        provider: str,
        start: str | None = None,
        free: bool = False,
        discount: Number | None = None,
        context: int | None = None,
        max_output: int | None = None,
        **rates: Number,
    ) -> None:
        """Set own prices of a model from `start` (an ISO date) on, or always; they win over every other price.

        Args:
            model: the model or deployment as calls name it.
            provider: who bills it.
            start: the first day; without one the price always held.
            free: the model costs nothing; any rates are then refused.
            discount: percent off these rates, or off the listed ones when no rates are given.
            context, max_output: sizes in tokens, when they differ from the listed ones.
            rates: US dollars for a million tokens (``input``, ``output``, ``cache_read``, ``cache_write``,
                ``input_audio``...), or for one unit of what is no token (``web_searches``, ``images``...).

        Raises:
            ConfigError: a rate, a unit, a date or a percentage is malformed.
        """
        name = provider_name(provider)
        if discount is not None and not rates and not free:
            self.discount(name, discount, model)
            return
        listed = self._listed(name, model)
        sizes = {"context": context, "max_output": max_output}
        self._own.add(name, model, listed, start=start, free=free, discount=discount, sizes=sizes, rates=rates)
        self._sheets.clear()

    def discount(self, provider: str, percent: Number, model: str | None = None) -> None:
        """Take a negotiated percentage off a provider's listed prices, or off one model's; the last one said counts."""
        self._own.discount(provider_name(provider), percent, model)
        self._sheets.clear()

    def alias(self, provider: str, name: str, target: str) -> None:
        """Price `name`, such as an Azure deployment, as `target`: a model of the provider, or ``provider:model``."""
        seller = provider_name(provider)
        head, _, model = target.partition(":")
        other = provider_name(head)
        owner, wanted = (other, model) if model and self._shelf(other) else (seller, target)
        self._own.alias(seller, name, owner, wanted)
        self._sheets.clear()

    def lay_under(
        self,
        add: Iterable[Mapping[str, Any]] = (),
        discount: Iterable[Mapping[str, Any]] = (),
        alias: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Set what a configuration file says of prices, each as arguments of the method; what a program says wins.

        Raises:
            ConfigError: as for the methods; nothing is changed then.
        """
        said = Catalog(self._load)
        for prices in add:
            said.add(**prices)
        for less in discount:
            said.discount(**less)
        for name in alias:
            said.alias(**name)
        self._own.under = said._own
        self._sheets.clear()

    def scratch(self) -> Catalog:
        """A catalog of the same lists and own prices; what is said to it changes nothing here until it is adopted."""
        other = Catalog(self._load)
        other._own = self._own.copy()
        return other

    def adopt(self, other: Catalog) -> None:
        """Take over another catalog's own prices, all at once."""
        self._own = other._own
        self._sheets.clear()

    # -- what a reader of the figures has to know

    def caveats(self, provider: str, model: str, at: float) -> list[tuple[str, str]]:
        """What to warn of once, as (what it is about, the words): a name that moves, a list that has become old."""
        match = self.match(provider, model, at)
        if match is None:
            return []
        found, said = match.model, list[tuple[str, str]]()
        if match.rolling:
            words = (
                f"the model {model!r} moves as its maker releases new ones: priced as {found.id!r}; that name pins it"
            )
            said.append((f"rolling {found.provider}/{model}", words))
        age = at - day(found.checked) if found.checked else 0
        if age >= STALE * 86_400 and not any(price.own for price in found.prices):
            words = (
                f"the prices of {found.provider} were last checked {int(age // 86_400)} days ago, on {found.checked}: "
                "upgrade costguard-ai, or run `costguard prices update`"
            )
            said.append((f"stale {found.provider}", words))
        return said

    def negotiated(self, provider: str, model: str, at: float) -> Ratio:
        """What a discount leaves of the listed prices of a model; all where none was said or it is an own price."""
        match = self.match(provider, model, at)
        if match is None or price_at(match.model.prices, at).own:
            return ONE
        name, asked = self._own.target(provider_name(provider), tidy(model))
        return self._own.factor(name, (asked, match.model.id.lower()))

    # -- lookup

    def models(self, provider: str) -> list[Model]:
        """Every listed model of a provider, own ones included."""
        name = provider_name(provider)
        shelf = self._shelf(name)
        listed = shelf.every() if shelf else []
        own = self._own.models(name)
        return [*own, *(model for model in listed if model.id not in {mine.id for mine in own})]

    def match(self, provider: str, model: str, at: float) -> Match | None:
        """The model that a name means at a provider, None when the provider is unknown too."""
        name, wanted = self._own.target(provider_name(provider), tidy(model))
        if name.startswith(ROUTER):
            name, wanted, _ = routed(name, wanted)
            if name == ROUTER and self._own.find(name, wanted) is None:
                return next(iter(choices(self._listed, self._kin, wanted, at)), None)
        return self._certain(name, wanted) or self._kin(name, wanted, at)

    def _listed(self, provider: str, name: str) -> Match | None:
        """The listed model that a name certainly means, at the provider or at one whose models it resells."""
        shelf = self._shelf(provider)
        if shelf is None:
            return None
        found = shelf.find(name)
        if found is not None:
            return found
        maker, bare = vendor(name)
        for other in (*shelf.delegates, *((provider_name(maker),) if maker else ())):
            resold = self._shelf(other) if other != provider else None
            found = resold.find(bare) if resold else None
            if found is not None:
                sure = other in shelf.delegates
                why = "" if sure else f"{name} is not listed for {provider}, priced as {other} sells it"
                return replace(found, estimated=found.estimated or not sure, why=found.why or why)
        return None

    def _certain(self, provider: str, name: str) -> Match | None:
        """The own or listed model that a name certainly means; own prices go before listed ones of the same model."""
        for spelling in forms(name):
            own = self._own.find(provider, spelling)
            if own is not None:
                return Match(own)
        listed = self._listed(provider, name)
        if listed is None:
            return None
        own = self._own.find(provider, listed.model.id.lower())
        return listed if own is None else replace(listed, model=own, estimated=False, why="")

    def _kin(self, provider: str, name: str, at: float) -> Match | None:
        shelf = self._shelf(provider)
        if shelf is None:
            return None
        found = shelf.kin(name, at)
        for other in shelf.delegates:
            resold = self._shelf(other)
            kin = resold.kin(name, at) if resold else None
            if kin is not None and (found is None or kin.closeness > found.closeness):
                found = kin
        return found

    def _shelf(self, provider: str) -> Shelf | None:
        shelf = self._shelves.get(provider)
        if shelf is None and len(provider) < LONGEST:
            raw = self._load(provider)
            if raw is not None:
                shelf = self._shelves[provider] = Shelf(raw)
        return shelf

    # -- sheets

    def _sheet(self, key: _Key, at: float) -> Sheet:
        """The rates for one way of being called and served at `at`, remembered until they change."""
        sheet = self._sheets.get(key)
        if sheet is not None and sheet.starts <= at < sheet.ends:
            return sheet
        sheet = self._resolve(key, at)
        if sum(len(part) for part in key if part) <= 4 * LONGEST:
            if len(self._sheets) >= CACHED:
                self._sheets.clear()
            self._sheets[key] = sheet
        return sheet

    def _resolve(self, key: _Key, at: float) -> Sheet:
        provider, model, served, tier, region = key
        name, asked = self._own.target(provider_name(provider), tidy(model))
        if name.startswith(ROUTER):
            name, asked, _ = routed(name, asked)
            if name == ROUTER and self._own.find(name, asked) is None:
                return self._unrouted(asked, tier, at)
        match = self._certain(*self._own.target(name, tidy(served))) if served else None
        match = match or self._certain(name, asked) or self._kin(name, asked, at)
        if match is None:
            return Sheet("", {}, (float("-inf"), float("inf")))
        found = match.model
        price = price_at(found.prices, at)
        wanted = TIER_NAMES.get(tier.lower(), tier.lower())
        rates, guess = self._at_tier(found, price, wanted)
        if not price.own:
            rates = self._own.discounted(name, (asked, found.id.lower()), rates)
        return Sheet(
            found.entry(price, wanted),
            scaled(rates, found.uplift(region)),
            stretch(found.prices, at),
            sizes=(found.context, found.max_output),
            estimated=match.estimated or bool(guess),
            why="; ".join(part for part in (match.why, guess) if part),
        )

    def _unrouted(self, name: str, tier: str, at: float) -> Sheet:
        found = choices(self._listed, self._kin, name, at)
        if not found:
            return Sheet("", {}, (float("-inf"), float("inf")))
        names = (name, found[0].model.id.lower())
        wanted = TIER_NAMES.get(tier.lower(), tier.lower())
        return unrouted(found, wanted, at, self._at_tier, lambda rates: self._own.discounted(ROUTER, names, rates))

    def _at_tier(self, model: Model, price: Price, tier: str) -> tuple[Rates, str]:
        """The rates of a tier, and what had to be assumed: always on the dear side."""
        if tier == STANDARD:
            return price.rates, ""
        listed = tier_rates(price, tier)
        if listed is not None:
            return listed, ""
        if tier in ("batch", "flex"):
            return price.rates, f"no {tier} price is listed, priced as standard"
        if tier in PREMIUM:
            shelf = self._shelf(model.provider)
            ratio = shelf.premium(tier) if shelf else ONE
            times = f"{ratio.num}/{ratio.den}"
            return scaled(price.rates, ratio), f"no {tier} price is listed, priced at {times} of standard"
        tables = (rates for name in price.tiers if (rates := tier_rates(price, name)) is not None)
        return dearest((price.rates, *tables)), f"the tier {tier[:40]!r} is unknown, priced at the dearest known one"


def _joined(entry: str, more: str) -> str:
    """Entry ids of a call with several usages, each once."""
    if not entry or not more or more in entry.split(","):
        return entry or more
    return f"{entry},{more}"
