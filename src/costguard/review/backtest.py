"""Recorded calls against another policy: what it would have refused, sent elsewhere or answered from a cache.

The calls are replayed in the order and with the overlap in which they were made, through a real ledger with empty
books.
A call asks for what was reserved for it, or where the budget may shorten answers for what it did cost. What is not
simulated is what a program does when it is refused: its retries, its waiting, the calls it would not have made.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from .._budget import Budget
from .._catalog import Catalog
from .._types import CostEvent, Hold, Leg, Nano, Refused
from ..ledgers.memory import MemoryLedger
from ._ladders import Rungs, ladder_of, rungs_below

What = Literal["refused", "downgraded", "cached"]

REAP: Final = 5_000
"""Calls after which windows that are over are forgotten."""
_CACHE: Final = Leg("", "", 0)


@dataclass(frozen=True, slots=True)
class Policy:
    """What calls are replayed against.

    Attributes:
        budgets: limits.
        ladders: a call that is refused on one model is tried on those below it, where its budgets or the ladder say so.
        cache_ttl: seconds for which an exact cache keeps an answer; None without a cache.
        cached: the features that it is for; empty for all.
    """

    budgets: tuple[Budget, ...] = ()
    ladders: tuple[Rungs, ...] = ()
    cache_ttl: float | None = None
    cached: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stop:
    """What one window of one budget would have done to calls, or the cache.

    Attributes:
        what: whether it would have refused them, sent them to a cheaper model, or answered them from the cache.
        budget: its name; empty for the cache.
        starts: the window's, as UTC epoch seconds.
        limit: in nano-dollars.
        first: when the first call would have been.
        calls: how many.
        nano: what they did cost.
        saved: how much less they would have cost; nothing for refused ones, which would not have been made.
        features: feature and calls, the most first.
    """

    what: What
    budget: str
    starts: float
    limit: Nano
    first: float
    calls: int
    nano: Nano
    saved: Nano
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
        early: of which before the limit was reached, by ``downgrade_at``.
        hits, hits_saved: calls that a cache would have answered, and what that would have saved.
        not_replayed: calls that were refused when they were made, of which nothing is known.
        stops: windows that would have refused something or sent it elsewhere, and the cache, by time.
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
    early: int
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
    what: What
    leg: Leg
    first: float
    calls: int = 0
    nano: Nano = 0
    saved: Nano = 0
    features: dict[str, int] = field(default_factory=dict)

    def stop(self) -> Stop:
        leg, features = self.leg, sorted(self.features.items(), key=lambda item: (-item[1], item[0]))
        return Stop(
            self.what, leg.budget, leg.starts, leg.limit, self.first, self.calls, self.nano, self.saved, tuple(features)
        )


class _Replay:
    """One run through the calls."""

    def __init__(self, policy: Policy, catalog: Catalog) -> None:
        self._policy, self._catalog = policy, catalog
        self._ledger = MemoryLedger()
        self._open: list[tuple[float, int, str, Nano]] = []
        self._ready: dict[str, float] = {}
        self._stopped: dict[tuple[What, str, str], _Stopped] = {}
        self._said: dict[str, int] = dict.fromkeys(
            ("calls", "cost", "would_cost", "blocked", "blocked_nano", "warned", "shortened", "downgraded",
             "downgraded_saved", "early", "hits", "hits_saved", "not_replayed"), 0
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
            self._note("cached", _CACHE, event, event.cost.nano)
            return
        spent = self._send(event, number)
        if spent is None:
            return
        said["would_cost"] += spent
        if event.fingerprint and event.outcome == "ok":
            self._ready[event.fingerprint] = event.time + event.duration

    def result(self) -> Backtest:
        """What came of it."""
        stops = [one.stop() for one in self._stopped.values()]
        return Backtest(**self._said, stops=tuple(sorted(stops, key=lambda one: (one.first, one.budget, one.what))))

    def _from_cache(self, event: CostEvent) -> bool:
        if self._policy.cache_ttl is None or not event.fingerprint:
            return False
        if self._policy.cached and event.tags.get("feature") not in self._policy.cached:
            return False
        since = self._ready.get(event.fingerprint)
        return since is not None and since <= event.time < since + self._policy.cache_ttl

    def _send(self, event: CostEvent, number: int) -> Nano | None:
        """Reserve, on the model it went to or one further down; None when every one is refused."""
        budgets = [budget for budget in self._policy.budgets if budget.matches(event.tags)]
        legs = [budget.leg(event.tags, event.time, event.run) for budget in budgets]
        gentle = {leg.budget for leg, budget in zip(legs, budgets, strict=True) if not _refuses(budget)}
        legs = [replace(leg, hard=leg.hard and leg.budget not in gentle) for leg in legs]
        of = {(leg.budget, leg.window): budget for leg, budget in zip(legs, budgets, strict=True)}
        short = all(budget.clamp or budget.enforcement == "expected" for budget in budgets)
        spared = self._spared(budgets, legs)
        ways = self._ways(event)
        own = cost, _ = next(ways)
        way: tuple[Nano, bool] | None = own if spared is None else next(ways, own)
        cause, refused = spared, None
        while way is not None:
            cost, fewer = way
            # On another model less is reserved, by as much as it is cheaper.
            needed = max(event.held, event.cost.nano)
            held = -(-needed * cost // event.cost.nano) if fewer and event.cost.nano else needed
            for amount in (held, cost) if short else (max(held, cost),):
                answer = self._ledger.reserve(Hold(str(number), amount, tuple(legs), math.inf))
                if not isinstance(answer, Refused):
                    heapq.heappush(self._open, (event.time + event.duration, number, str(number), cost))
                    self._passed(cost, legs, shortened=amount < held)
                    if fewer:
                        assert cause is not None  # a call steps down because of some budget
                        self._stepped_down(event, cost, cause, early=refused is None)
                    return cost
                refused = answer
            assert refused is not None  # it was, or the call would have been sent
            cause = cause or refused.refusals[0].leg
            over = [of[refusal.leg.budget, refusal.leg.window] for refusal in refused.refusals]
            way = next(ways, None) if self._steps_down(event, over) else None
        assert refused is not None  # there is at least one way
        self._said["blocked"] += 1
        self._said["blocked_nano"] += event.cost.nano
        self._note("refused", refused.refusals[0].leg, event, 0)
        return None

    def _spared(self, budgets: Sequence[Budget], legs: Sequence[Leg]) -> Leg | None:
        """The window that wants cheaper models by now, before its limit is reached."""
        marked = [
            (one.downgrade_at, leg) for one, leg in zip(budgets, legs, strict=True) if one.downgrade_at is not None
        ]
        if not marked:
            return None
        books = self._ledger.balances([leg for _, leg in marked])
        for (at, leg), balance in zip(marked, books, strict=True):
            if 100 * balance.spent >= at * leg.limit:
                return leg
        return None

    def _steps_down(self, event: CostEvent, over: Sequence[Budget]) -> bool:
        """Whether a refused call is tried on a cheaper model."""
        ladder = ladder_of(self._policy.ladders, self._name(event), event.tags.get("feature"))
        return ladder is not None and (ladder.always or all(one.on_exceeded == "downgrade" for one in over))

    def _name(self, event: CostEvent) -> str:
        match = self._catalog.match(event.call.provider, event.model, event.time)
        return f"{event.call.provider}/{match.model.id}" if match else ""

    def _ways(self, event: CostEvent) -> Iterator[tuple[Nano, bool]]:
        """What the call costs on its own model, and then on those that may stand in for it, each cheaper."""
        yield event.cost.nano, False
        least = event.cost.nano
        for other in rungs_below(self._policy.ladders, self._name(event), event.tags.get("feature")):
            provider, _, model = other.partition("/")
            usages = [replace(usage, model=None, region=None, reported=None) for usage in event.usages]
            cost = self._catalog.cost(provider, model, usages, event.time)
            if usages and not cost.unpriced and cost.nano < least:
                least = cost.nano
                yield cost.nano, True

    def _passed(self, cost: Nano, legs: Sequence[Leg], *, shortened: bool) -> None:
        self._said["shortened"] += int(shortened)
        soft = [leg for leg in legs if not leg.hard]
        over = [one for one in self._ledger.balances(soft) if one.spent + cost > one.leg.limit]
        self._said["warned"] += int(bool(over))

    def _stepped_down(self, event: CostEvent, cost: Nano, cause: Leg, *, early: bool) -> None:
        saved = event.cost.nano - cost
        self._said["downgraded"] += 1
        self._said["downgraded_saved"] += saved
        self._said["early"] += int(early)
        self._note("downgraded", cause, event, saved)

    def _note(self, what: What, leg: Leg, event: CostEvent, saved: Nano) -> None:
        stopped = self._stopped.setdefault((what, leg.budget, leg.window), _Stopped(what, leg, event.time))
        stopped.calls += 1
        stopped.nano += event.cost.nano
        stopped.saved += saved
        feature = event.tags.get("feature", "")
        stopped.features[feature] = stopped.features.get(feature, 0) + 1

    def _settle_until(self, now: float) -> None:
        while self._open and self._open[0][0] <= now:
            _, _, id, cost = heapq.heappop(self._open)
            self._ledger.settle(id, cost)


def _refuses(budget: Budget) -> bool:
    return budget.enforcement != "soft" and budget.on_exceeded != "warn"
