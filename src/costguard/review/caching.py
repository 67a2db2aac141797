"""What an exact cache would have answered: the same request again, within its time to live.

Measured from fingerprints, which are equal for equal requests. A request would have been a hit when an answer to the
same request was complete before it was sent, not longer ago than the time to live, and that answer was a good one. What
the cache did answer counts as asked, so that the figures do not depend on whether it was on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from .._journal import Bill
from .._types import Nano

TTLS: Final = (300, 3_600, 86_400, 604_800)
"""Times to live in seconds: five minutes, an hour, a day, a week."""

_READ: Final = ("cache_read", "cache_read_audio", "cache_read_image")


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

    def ask(self, bill: Bill) -> None:
        since = self.ready.get(bill.fingerprint)
        if since is not None and since <= bill.time < since + self.ttl:
            worth = bill.nano + (bill.saved if bill.decision == "cache_hit" else 0)
            hits, nano = self.features.get(bill.feature, (0, 0))
            self.features[bill.feature] = (hits + 1, nano + worth)
        elif bill.outcome == "ok" and (since is None or since + self.ttl <= bill.time):
            self.ready[bill.fingerprint] = bill.time + bill.duration

    def would(self) -> Would:
        features = sorted([(name, *both) for name, both in self.features.items()], key=lambda one: (-one[2], one[0]))
        hits, saved = sum(one[1] for one in features), sum(one[2] for one in features)
        return Would(self.ttl, hits, saved, tuple(features))


class Asked:
    """Goes through bills and remembers what was asked before.

    Args:
        ttls: times to live to measure.
    """

    def __init__(self, ttls: Sequence[int] = TTLS) -> None:
        self._trials = [_Trial(ttl) for ttl in ttls]
        self._requests = self._known = self._hits = self._saved = self._cached = self._tokens = 0

    def add(self, bill: Bill) -> None:
        """The next one by time."""
        if bill.outcome == "refused":
            return
        self._requests += 1
        if bill.decision == "cache_hit":
            self._hits += 1
            self._saved += bill.saved
        else:
            for usage in bill.usages:
                self._tokens += usage.input_tokens
                self._cached += sum([usage.counts.get(unit, 0) for unit in _READ])
        if bill.fingerprint:
            self._known += 1
            for trial in self._trials:
                trial.ask(bill)

    def result(self) -> Caching:
        """What came of it."""
        return Caching(
            self._requests, self._known, self._hits, self._saved, self._cached, self._tokens,
            tuple([trial.would() for trial in self._trials]),
        )  # fmt: skip


def caching(bills: Iterable[Bill], ttls: Sequence[int] = TTLS) -> Caching:
    """Measure what an exact cache did and would have done.

    Args:
        bills: by time.
    """
    asked = Asked(ttls)
    for bill in bills:
        asked.add(bill)
    return asked.result()
