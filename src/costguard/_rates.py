"""Prices of one model as integers: a rate, a dated price, and the sheet that multiplies fast.

Everything counts in pico-dollars (1e-12 USD) per unit. A `Rate` is what a price file holds, a `Sheet` is what one
provider, model, tier and region cost during one stretch of time, with every fallback already resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, dropwhile
from typing import Any, Final, NamedTuple

from ._types import INPUT_UNITS, OUTPUT_UNITS, Unit, input_of

TOKEN_UNITS: Final = frozenset((*INPUT_UNITS, *OUTPUT_UNITS))

FALLBACKS: Final[Mapping[Unit, tuple[Unit, ...]]] = {
    "reasoning": ("output",),
    "output_audio": ("output",),
    "output_image": ("output",),
    "cache_read": ("input",),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write", "input"),
    "cache_write_12h": ("cache_write_1h", "cache_write", "input"),
    "input_audio": ("input",),
    "input_image": ("input",),
    "input_video": ("input",),
    "cache_read_audio": ("input_audio", "cache_read", "input"),
    "cache_read_image": ("input_image", "cache_read", "input"),
}
"""Where a unit without a rate of its own takes one from: the first of these that has one.

A missing rate is never zero. A cached token of a medium that has its own rate costs that medium's full rate when
the provider publishes no cached one, because no discount was promised. Units that are not here (searches, images,
characters...) have no stand-in: without a rate they are reported as unpriced.
"""

PREMIUM: Final = frozenset({"priority", "fast"})
"""Tiers that cost more than standard; a missing premium rate is scaled up, every other missing one is the standard."""

TIER_NAMES: Final[Mapping[str, str]] = {
    "": "standard",
    "auto": "standard",
    "default": "standard",
    "standard_only": "standard",
    "on_demand": "standard",
    "on-demand": "standard",
    "on_demand_priority": "priority",
    "on_demand_flex": "flex",
    "batches": "batch",
}
"""Providers' own words for the tiers that prices are filed under."""


class Ratio(NamedTuple):
    """An exact factor, so that 1.1 is 11/10 and never a float."""

    num: int
    den: int

    def up(self, pico: int) -> int:
        """`pico` times this factor, rounded up to whole pico-dollars."""
        return -(-pico * self.num // self.den)

    @property
    def plain(self) -> bool:
        """Whether it changes nothing."""
        return self.num == self.den

    def exceeds(self, other: Ratio) -> bool:
        """Whether it is the larger factor."""
        return self.num * other.den > other.num * self.den


ONE: Final = Ratio(1, 1)


def larger(one: Ratio, other: Ratio) -> Ratio:
    """The larger of two factors."""
    return other if other.exceeds(one) else one


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit costs.

    Attributes:
        base: pico-dollars for `per` units.
        steps: long-context rates as (threshold, pico-dollars), ascending: a request with more input tokens
            than the threshold pays that rate for all of its tokens.
        per: how many units `base` is for; 1 but for a few rates, such as dollars per hour, that do not divide evenly.
    """

    base: int
    steps: tuple[tuple[int, int], ...] = ()
    per: int = 1

    def above(self, threshold: int) -> int:
        """The rate of a request whose input just passed `threshold` (-1 for the smallest request)."""
        return next((pico for start, pico in reversed(self.steps) if start <= threshold), self.base)

    def times(self, ratio: Ratio) -> Rate:
        """The rate scaled by `ratio`, rounded up."""
        return Rate(ratio.up(self.base), tuple((start, ratio.up(pico)) for start, pico in self.steps), self.per)


def read_rate(raw: int | list[Any]) -> Rate:
    """A rate as price files write it: ``pico``, ``[pico, per]`` or ``[base, [threshold, pico], ...]``."""
    if isinstance(raw, int):
        return Rate(raw)
    if isinstance(raw[1], int):
        return Rate(raw[0], per=raw[1])
    return Rate(raw[0], tuple((start, pico) for start, pico in raw[1:]))


Rates = Mapping[Unit, Rate]


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs from one day on.

    Attributes:
        start: the first day as an ISO date, empty when it always held.
        starts: the same as UTC epoch seconds.
        hours: seconds of the UTC day (from, until) during which it holds, None for the whole day.
        rates: the standard tier's rates.
        tiers: the other tiers' rates, only the units that differ from standard.
        own: whether a user set it.
    """

    rates: Rates
    tiers: Mapping[str, Rates]
    start: str = ""
    starts: float = float("-inf")
    hours: tuple[int, int] | None = None
    own: bool = False

    def holds(self, at: float) -> bool:
        """Whether this is in force at `at` (UTC epoch seconds), as far as this price alone can tell."""
        if at < self.starts:
            return False
        if self.hours is None:
            return True
        begin, end = self.hours
        second = at % 86_400
        return begin <= second < end if begin < end else second >= begin or second < end

    @property
    def label(self) -> str:
        """How an entry id names it."""
        if self.hours is None:
            return self.start
        return f"{self.start}T{self.hours[0] // 3600:02}:{self.hours[0] // 60 % 60:02}"


def price_at(prices: tuple[Price, ...], at: float) -> Price:
    """The first of `prices` (newest first) that holds at `at`; before the first known day, the oldest one."""
    return next((price for price in prices if price.holds(at)), prices[-1])


def stretch(prices: tuple[Price, ...], at: float) -> tuple[float, float]:
    """The time around `at` during which the choice among `prices` cannot change."""
    midnight = at - at % 86_400
    turns = {price.starts for price in prices}
    for price in prices:
        if price.hours is not None:
            turns.update(midnight + day * 86_400 + second for day in (-1, 0, 1) for second in price.hours)
    return (
        max((turn for turn in turns if turn <= at), default=float("-inf")),
        min((turn for turn in turns if turn > at), default=float("inf")),
    )


def premium(standard: Rates, tier: Rates) -> Ratio:
    """The largest factor between a tier's token rates and the standard ones."""
    best = ONE
    for unit, rate in tier.items():
        base = standard.get(unit)
        if unit in TOKEN_UNITS and base is not None and base.base:
            best = larger(best, Ratio(rate.base, base.base))
    return best


def tier_rates(price: Price, tier: str) -> Rates | None:
    """The rates of `tier`, completed from the standard ones; None when `price` does not list the tier."""
    listed = price.tiers.get(tier)
    if listed is None and tier == "fast":
        listed = price.tiers.get("priority")
    if listed is None:
        return None
    if tier not in PREMIUM:
        return {**price.rates, **listed}
    return {**scaled(price.rates, premium(price.rates, listed)), **listed}


def scaled(rates: Rates, ratio: Ratio) -> Rates:
    """`rates` with every token rate times `ratio`; fees stay."""
    if ratio.plain:
        return rates
    return {unit: rate.times(ratio) if unit in TOKEN_UNITS else rate for unit, rate in rates.items()}


def dearest(tables: Iterable[Rates]) -> Rates:
    """For every unit the dearer of the tables' rates, band by band."""
    joined: dict[Unit, Rate] = {}
    for unit, rate in chain.from_iterable(table.items() for table in tables):
        known = joined.get(unit)
        joined[unit] = rate if known is None else _dearer(known, rate)
    return joined


def _dearer(one: Rate, other: Rate) -> Rate:
    if one.per != other.per:
        return max(one, other, key=lambda rate: rate.base * (other.per if rate is one else one.per))
    starts = sorted({start for start, _ in (*one.steps, *other.steps)})
    steps = tuple((start, max(one.above(start), other.above(start))) for start in starts)
    return Rate(max(one.base, other.base), steps, one.per)


def filled(rates: Rates) -> dict[Unit, tuple[Unit, Rate]]:
    """Every unit that can be priced, with the unit whose rate it takes and that rate."""
    full = {unit: (unit, rate) for unit, rate in rates.items()}
    for unit, stand_ins in FALLBACKS.items():
        if unit not in full:
            source = next((name for name in stand_ins if name in rates), None)
            if source is not None:
                full[unit] = (source, rates[source])
    return full


class Sheet:
    """All rates of one provider, model, tier and region during one stretch of time, ready to multiply.

    Attributes:
        entry: the id a `Cost` carries.
        starts, ends: when it is valid, UTC epoch seconds.
        rates: pico-dollars per unit of a request below every long-context threshold.
        bands: (threshold, rates) from the highest threshold down, empty for a model without long-context rates.
        lowest: the lowest of those thresholds.
        by_request: each request has a fee, which no usage counts.
        odd: rates that are not whole per unit, as (pico-dollars, units).
        sources: for every unit the unit whose rate it takes.
        context, max_output: the model's sizes in tokens, None when unknown.
        estimated: the price is a guess on the dear side.
        why: what was guessed, for `explain`.
    """

    __slots__ = (
        "_worst", "bands", "by_request", "context", "ends", "entry", "estimated", "lowest", "max_output", "odd",
        "rates", "sources", "starts", "why",
    )  # fmt: skip

    def __init__(
        self,
        entry: str,
        rates: Rates,
        within: tuple[float, float],
        *,
        sizes: tuple[int | None, int | None] = (None, None),
        estimated: bool = False,
        why: str = "",
    ) -> None:
        full = filled(rates)
        self.entry = entry
        self.starts, self.ends = within
        self.context, self.max_output = sizes
        self.estimated = estimated
        self.why = why
        self.sources = {unit: source for unit, (source, _) in full.items()}
        self.odd = {unit: (rate.base, rate.per) for unit, (_, rate) in full.items() if rate.per != 1}
        whole = {unit: rate for unit, (_, rate) in full.items() if rate.per == 1}
        starts = sorted({start for rate in whole.values() for start, _ in rate.steps}, reverse=True)
        self.rates = {unit: rate.base for unit, rate in whole.items()}
        self.bands = tuple((start, {unit: rate.above(start) for unit, rate in whole.items()}) for start in starts)
        self.lowest = starts[-1] if starts else 0
        self.by_request = "requests" in full
        self._worst: dict[tuple[tuple[Unit, ...], int], int] = {}

    def billed(self, counts: Mapping[Unit, int]) -> Mapping[Unit, int]:
        """`counts` with the one request they are of, where requests have a fee and none is counted."""
        if not self.by_request or not counts or any(unit.startswith("requests") for unit in counts):
            return counts
        return {**counts, "requests": 1}

    def band(self, counts: Mapping[Unit, int]) -> tuple[int, dict[Unit, int]]:
        """The threshold passed (0 for none) and the rates for one request's whole input."""
        return self._reached(input_of(counts))[0]

    def _reached(self, tokens: int) -> tuple[tuple[int, dict[Unit, int]], ...]:
        """Every band that a request of up to `tokens` input tokens can pay, the highest first."""
        if not self.bands:
            return ((0, self.rates),)
        return (*(band for band in self.bands if tokens > band[0]), (0, self.rates))

    def worst(self, units: tuple[Unit, ...], tokens: int) -> int | None:
        """The dearest of these units in a request of up to `tokens` input tokens; None when none has a whole rate."""
        bands = self._reached(tokens)
        key = (units, len(bands))
        known = self._worst.get(key)
        if known is None:
            known = max([rates[unit] for _, rates in bands for unit in units if unit in rates], default=None)
            if known is not None:  # a unit without a rate has a name that a caller made up, and is not remembered
                self._worst[key] = known
        return known

    def odd_cost(self, unit: Unit, count: int) -> int | None:
        """What `count` of a unit costs whose rate is not whole per unit, or is filed under a variant's plain name.

        A variant (``images:hd``) without a rate costs what the plain unit costs, or else the dearest variant.
        None when there is no rate at all.
        """
        if unit in self.odd:
            pico, per = self.odd[unit]
            return -(-pico * count // per)
        plain, _, variant = unit.partition(":")
        if variant and (plain in self.rates or plain in self.odd):
            return self.rates[plain] * count if plain in self.rates else self.odd_cost(plain, count)
        kin = [rate for name, rate in self.rates.items() if name.startswith(plain + ":")]
        return max(kin) * count if kin else None

    def rest(self, rates: Mapping[Unit, int], counts: Mapping[Unit, int], first: Unit, missing: set[Unit]) -> int:
        """What `counts` cost from the unit `first` on, which has no whole rate; units without any go to `missing`."""
        pico = 0
        for unit, count in dropwhile(lambda item: item[0] != first, counts.items()):
            cost = rates[unit] * count if unit in rates else self.odd_cost(unit, count)
            if cost is None:
                missing.add(unit)
            else:
                pico += cost
        return pico
