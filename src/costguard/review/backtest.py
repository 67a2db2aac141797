"""Recorded calls against another policy: what it would have refused, sent elsewhere or answered from a cache.

The calls are replayed in the order and with the overlap in which they were made, through a real ledger with empty
books.
A call asks for what was reserved for it, or where the budget may shorten answers for what it did cost. What is not
simulated is what a program does when it is refused: its retries, its waiting, the calls it would not have made.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from .._budget import Budget
from .._catalog import Catalog
from .._types import CostEvent, Hold, Leg, Nano, Refused
from ..ledgers.memory import MemoryLedger

REAP: Final = 5_000
"""Calls after which windows that are over are forgotten."""


@dataclass(frozen=True, slots=True)
class Rungs:
    """Models that stand in for one another at a limit.

    Attributes:
        models: ``provider/model``, each dearer than the next.
        features: the features it is for; empty for all.
    """

    models: tuple[str, ...]
    features: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """What calls are replayed against.

    Attributes:
        budgets: limits.
        ladders: a call that is refused on one model is tried on those below it.
        cache_ttl: seconds for which an exact cache keeps an answer; None without a cache.
    """

    budgets: tuple[Budget, ...] = ()
    ladders: tuple[Rungs, ...] = ()
    cache_ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """What one window of one budget would have refused.

    Attributes:
        budget: its name.
        starts: the window's, as UTC epoch seconds.
        limit: in nano-dollars.
        first: when the first call would have been refused.
        calls: how many.
        nano: what they did cost.
        features: feature and refused calls, the most first.
    """

    budget: str
    starts: float
    limit: Nano
    first: float
    calls: int
    nano: Nano
    features: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Backtest:
    """The same traffic under another policy. Money in nano-dollars.

    Attributes:
        calls: that were replayed.
        cost: what they did cost.
        would_cost: what they would have cost.
        blocked, blocked_nano: calls that would have been refused, and what they did cost.
        warned: calls that would have passed a limit that only warns.
        shortened: calls that would have passed only with a lower output cap than they had room for.
        downgraded, downgraded_saved: calls that would have gone to another model, and what that would have saved.
        hits, hits_saved: calls that a cache would have answered, and what that would have saved.
        not_replayed: calls that were refused when they were made, of which nothing is known.
        stops: windows that would have refused something, by time.
    """

    calls: int
    cost: Nano
    would_cost: Nano
    blocked: int
    blocked_nano: Nano
    warned: int
    shortened: int
    downgraded: int
    downgraded_saved: Nano
    hits: int
    hits_saved: Nano
    not_replayed: int
    stops: tuple[Stop, ...]


def backtest(events: Iterable[CostEvent], policy: Policy, catalog: Catalog) -> Backtest:
    """Replay calls against a policy.

    Args:
        events: by time.
    """
    replay = _Replay(policy, catalog)
    for event in events:
        replay.call(event)
    return replay.result()


@dataclass(slots=True)
class _Stopped:
    leg: Leg
    first: float
    calls: int = 0
    nano: Nano = 0
    features: dict[str, int] = field(default_factory=dict)


class _Replay:
    """One run through the calls."""

    def __init__(self, policy: Policy, catalog: Catalog) -> None:
        self._policy, self._catalog = policy, catalog
        self._ledger = MemoryLedger()
        self._open: list[tuple[float, int, str, Nano]] = []
        self._ready: dict[str, float] = {}
        self._stopped: dict[tuple[str, str], _Stopped] = {}
        self._said: dict[str, int] = dict.fromkeys(
            ("calls", "cost", "would_cost", "blocked", "blocked_nano", "warned", "shortened", "downgraded",
             "downgraded_saved", "hits", "hits_saved", "not_replayed"), 0
        )  # fmt: skip

    def call(self, event: CostEvent) -> None:
        said = self._said
        if event.outcome == "refused":
            said["not_replayed"] += 1
            return
        number = said["calls"]
        said["calls"] += 1
        said["cost"] += event.cost.nano
        self._settle_until(event.time)
        if number % REAP == REAP - 1:
            self._ledger.reap(event.time)
        # What our cache did answer is asked once more: it cost nothing, and nobody knows what it would have cost.
        if event.decision == "cache_hit":
            return
        if self._from_cache(event):
            said["hits"] += 1
            said["hits_saved"] += event.cost.nano
            return
        spent = self._send(event, number)
        if spent is None:
            return
        said["would_cost"] += spent
        if event.fingerprint and event.outcome == "ok":
            self._ready[event.fingerprint] = event.time + event.duration

    def result(self) -> Backtest:
        """What came of it."""
        stops = [
            Stop(
                one.leg.budget, one.leg.starts, one.leg.limit, one.first, one.calls, one.nano,
                tuple(sorted(one.features.items(), key=lambda item: (-item[1], item[0]))),
            )
            for one in self._stopped.values()
        ]  # fmt: skip
        return Backtest(**self._said, stops=tuple(sorted(stops, key=lambda stop: (stop.first, stop.budget))))

    def _from_cache(self, event: CostEvent) -> bool:
        if self._policy.cache_ttl is None or not event.fingerprint:
            return False
        since = self._ready.get(event.fingerprint)
        return since is not None and since <= event.time < since + self._policy.cache_ttl

    def _send(self, event: CostEvent, number: int) -> Nano | None:
        """Reserve, on the model it went to or one further down; None when every one is refused."""
        budgets = [budget for budget in self._policy.budgets if budget.matches(event.tags)]
        legs = [budget.leg(event.tags, event.time, event.run) for budget in budgets]
        gentle = {leg.budget for leg, budget in zip(legs, budgets, strict=True) if not _refuses(budget)}
        legs = [replace(leg, hard=leg.hard and leg.budget not in gentle) for leg in legs]
        short = all(budget.clamp or budget.enforcement == "expected" for budget in budgets)
        refused: Refused | None = None
        needed = max(event.held, event.cost.nano)
        for cost, fewer in self._ways(event):
            for amount in (needed if not fewer else cost, cost) if short else (max(needed, cost),):
                answer = self._ledger.reserve(Hold(str(number), amount, tuple(legs), math.inf))
                if not isinstance(answer, Refused):
                    heapq.heappush(self._open, (event.time + event.duration, number, str(number), cost))
                    self._passed(event, cost, legs, fewer=fewer, shortened=amount < needed and not fewer)
                    return cost
                refused = refused or answer
        assert refused is not None  # there is at least one way
        self._refuse(event, refused)
        return None

    def _ways(self, event: CostEvent) -> Iterable[tuple[Nano, bool]]:
        """What the call costs on its own model, and on those that may stand in for it."""
        yield event.cost.nano, False
        match = self._catalog.match(event.call.provider, event.model, event.time)
        own = f"{event.call.provider}/{match.model.id}" if match else ""
        for other in self._below(own, event.tags.get("feature")):
            provider, _, model = other.partition("/")
            usages = [replace(usage, model=None, region=None, reported=None) for usage in event.usages]
            cost = self._catalog.cost(provider, model, usages, event.time)
            if usages and not cost.unpriced:
                yield cost.nano, True

    def _below(self, model: str, feature: str | None) -> tuple[str, ...]:
        for ladder in self._policy.ladders:
            if model in ladder.models and (not ladder.features or feature in ladder.features):
                return ladder.models[ladder.models.index(model) + 1 :]
        return ()

    def _passed(self, event: CostEvent, cost: Nano, legs: Sequence[Leg], *, fewer: bool, shortened: bool) -> None:
        said = self._said
        said["shortened"] += int(shortened)
        if fewer:
            said["downgraded"] += 1
            said["downgraded_saved"] += event.cost.nano - cost
        soft = [leg for leg in legs if not leg.hard]
        over = [one for one in self._ledger.balances(soft) if one.spent + cost > one.leg.limit]
        said["warned"] += int(bool(over))

    def _refuse(self, event: CostEvent, refused: Refused) -> None:
        self._said["blocked"] += 1
        self._said["blocked_nano"] += event.cost.nano
        leg = refused.refusals[0].leg
        stopped = self._stopped.setdefault((leg.budget, leg.window), _Stopped(leg, event.time))
        stopped.calls += 1
        stopped.nano += event.cost.nano
        feature = event.tags.get("feature", "")
        stopped.features[feature] = stopped.features.get(feature, 0) + 1

    def _settle_until(self, now: float) -> None:
        while self._open and self._open[0][0] <= now:
            _, _, id, cost = heapq.heappop(self._open)
            self._ledger.settle(id, cost)


def _refuses(budget: Budget) -> bool:
    return budget.enforcement != "soft" and budget.on_exceeded != "warn"


def ladders_of(text: Iterable[str]) -> tuple[Rungs, ...]:
    """Ladders out of ``openai/gpt-4o, openai/gpt-4o-mini``."""
    return tuple(
        [Rungs(tuple([name.strip().replace(":", "/", 1) for name in one.split(",") if name.strip()])) for one in text]
    )
