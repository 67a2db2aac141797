"""What an exact cache would have answered: the same request again, within its time to live.

Measured from fingerprints, which are equal for equal requests. A request would have been a hit when an answer to the
same request was complete before it was sent, not longer ago than the time to live, and that answer was a good one. What
the cache did answer counts as asked, so that the figures do not depend on whether it was on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from .._types import CostEvent, Nano

TTLS: Final = (300, 3_600, 86_400, 604_800)
"""Times to live in seconds: five minutes, an hour, a day, a week."""


@dataclass(frozen=True, slots=True)
class Would:
    """What a cache with one time to live would have done.

    Attributes:
        ttl: in seconds.
        hits: requests that it would have answered.
        saved: what these cost, in nano-dollars.
        features: feature, hits and what they cost, for each that would have had any; the dearest first.
    """

    ttl: int
    hits: int
    saved: Nano
    features: tuple[tuple[str, int, Nano], ...] = ()


@dataclass(frozen=True, slots=True)
class Caching:
    """How often the same was asked, and what it cost.

    Attributes:
        requests: that were answered, by a model or by the cache.
        known: of which have a fingerprint; nothing can be said of the others.
        hits, saved: what costguard's cache did answer, and what that saved, in nano-dollars.
        cached_tokens, input_tokens: what providers read from their own caches, of all that was sent to them.
        would: for each time to live, what an exact cache would have done, real hits included.
    """

    requests: int
    known: int
    hits: int
    saved: Nano
    cached_tokens: int
    input_tokens: int
    would: tuple[Would, ...]


@dataclass(slots=True)
class _Trial:
    ttl: int
    ready: dict[str, float] = field(default_factory=dict)
    features: dict[str, tuple[int, Nano]] = field(default_factory=dict)

    def ask(self, event: CostEvent) -> None:
        since = self.ready.get(event.fingerprint)
        if since is not None and since <= event.time < since + self.ttl:
            worth = event.cost.nano + (event.saved if event.decision == "cache_hit" else 0)
            feature = event.tags.get("feature", "")
            hits, nano = self.features.get(feature, (0, 0))
            self.features[feature] = (hits + 1, nano + worth)
        elif event.outcome == "ok" and (since is None or since + self.ttl <= event.time):
            self.ready[event.fingerprint] = event.time + event.duration

    def would(self) -> Would:
        features = sorted([(name, *both) for name, both in self.features.items()], key=lambda one: (-one[2], one[0]))
        hits, saved = sum(one[1] for one in features), sum(one[2] for one in features)
        return Would(self.ttl, hits, saved, tuple(features))


def caching(events: Iterable[CostEvent], ttls: Sequence[int] = TTLS) -> Caching:
    """Measure what an exact cache did and would have done.

    Args:
        events: by time.
    """
    trials = [_Trial(ttl) for ttl in ttls]
    requests = known = hits = saved = cached = tokens = 0
    for event in events:
        if event.outcome == "refused":
            continue
        requests += 1
        if event.decision == "cache_hit":
            hits += 1
            saved += event.saved
        else:
            tokens += sum(usage.input_tokens for usage in event.usages)
            cached += sum(_read_from_cache(event))
        if event.fingerprint:
            known += 1
            for trial in trials:
                trial.ask(event)
    return Caching(requests, known, hits, saved, cached, tokens, tuple([trial.would() for trial in trials]))


def _read_from_cache(event: CostEvent) -> Iterable[int]:
    return [
        usage.counts.get(unit, 0)
        for usage in event.usages
        for unit in ("cache_read", "cache_read_audio", "cache_read_image")
    ]
