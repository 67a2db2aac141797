"""Which features would gain from the provider's own prompt cache, read off what was billed.

Usage tells how long requests were and how they followed each other, not what stood in them. So each figure is the most
that can be gained: as if the shortest requests of a feature were all common beginning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from .._catalog import Catalog
from .._types import CostEvent, Nano, Usage

Lifetime = Literal["5m", "1h"]

SHORTEST: Final = 1024
"""Tokens below which no provider caches a beginning."""
FEWEST: Final = 20
"""Calls from which on something is said."""

_LIFETIMES: Final[tuple[tuple[Lifetime, float, str], ...]] = (
    ("5m", 300.0, "cache_write"),
    ("1h", 3600.0, "cache_write_1h"),
)
_INPUT: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "cache_write_12h")


@dataclass(frozen=True, slots=True)
class Advice:
    """What a feature could save with the provider's prompt cache; amounts in nano-dollars, over the calls looked at.

    Attributes:
        feature, provider, model: which calls.
        calls: how many.
        prefix_tokens: tokens of a beginning that all but the shortest of them can have in common.
        cached_share: the part of their input that was read from the cache, between 0 and 1.
        reused_share: the part of the calls that came while the beginning of an earlier one would still be cached.
        lifetime: for how long it pays to have it cached.
        paid: what the input did cost.
        saves: what it would have cost less, at most.
    """

    feature: str
    provider: str
    model: str
    calls: int
    prefix_tokens: int
    cached_share: float
    reused_share: float
    lifetime: Lifetime
    paid: Nano
    saves: Nano


@dataclass(frozen=True, slots=True)
class _Request:
    time: float
    usage: Usage

    @property
    def tokens(self) -> int:
        return sum(self.usage.counts.get(unit, 0) for unit in _INPUT)


def advise(events: Iterable[CostEvent], catalog: Catalog) -> list[Advice]:
    """See `costguard.cache_advice`; the largest gain first, and none where there is no gain."""
    groups: defaultdict[tuple[str, str, str], list[_Request]] = defaultdict(list)
    for event in events:
        # What was guessed, or was several requests in one, says nothing of a beginning.
        if event.outcome == "ok" and len(event.usages) == 1 and not event.usages[0].estimated:
            key = (event.tags.get("feature", ""), event.call.provider, event.model)
            groups[key].append(_Request(event.time, event.usages[0]))
    found = (_of(*key, sorted(requests, key=lambda one: one.time), catalog) for key, requests in groups.items())
    return sorted((one for one in found if one is not None), key=lambda one: -one.saves)


def _of(feature: str, provider: str, model: str, requests: Sequence[_Request], catalog: Catalog) -> Advice | None:
    sizes = sorted(request.tokens for request in requests)
    prefix = sizes[len(sizes) // 20] if len(sizes) >= FEWEST else 0
    if prefix < SHORTEST:
        return None
    price = _Prices(catalog, provider, model, requests[-1].time)
    paid = sum(price.of(request.usage) for request in requests)
    best: Advice | None = None
    for lifetime, seconds, unit in _LIFETIMES:
        warm = [False, *(later.time - earlier.time <= seconds for earlier, later in pairwise(requests))]
        would = sum(
            price.of(_cached(request, min(prefix, request.tokens), unit, hit=hit))
            for request, hit in zip(requests, warm, strict=True)
        )
        if would < paid and (best is None or paid - would > best.saves):
            total = sum(sizes)
            read = sum(request.usage.counts.get("cache_read", 0) for request in requests)
            best = Advice(
                feature, provider, model, len(requests), prefix, read / total, sum(warm) / len(warm), lifetime, paid,
                paid - would,
            )  # fmt: skip
    return best


def _cached(request: _Request, prefix: int, unit: str, *, hit: bool) -> Usage:
    """The input as it would have been billed: never worse than it was."""
    now = request.usage.counts
    if hit and now.get("cache_read", 0) >= prefix:
        return request.usage
    rest = request.tokens - prefix
    counts = {"cache_read" if hit else unit: prefix, "input": rest}
    return Usage({name: count for name, count in counts.items() if count}, tier=request.usage.tier)


class _Prices:
    """What inputs cost at one instant; a write that a provider does not bill extra costs what input does."""

    def __init__(self, catalog: Catalog, provider: str, model: str, at: float) -> None:
        self._catalog = catalog
        self._call = (provider, model)
        self._at = at

    def of(self, usage: Usage) -> Nano:
        counts = {unit: count for unit, count in usage.counts.items() if unit in _INPUT}
        cost = self._catalog.cost(*self._call, [Usage(counts, tier=usage.tier)], self._at)
        if not cost.unpriced:
            return cost.nano
        plain = {"cache_read": counts.pop("cache_read", 0), "input": sum(counts.values())}
        return self._catalog.cost(*self._call, [Usage(plain, tier=usage.tier)], self._at).nano
