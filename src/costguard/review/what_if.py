"""What a period's real traffic would have cost on other models and other tiers, call by call.

Each call is priced again from the units that it was billed for: what was read from a cache is priced as read from a
cache, a batch stays a batch, a long request pays the long-context rate. A model is a candidate where it can do what the
calls did (see `_candidates`) and is listed; a call moves where it fits the model's sizes. Which model is good enough is
for people to say: a saving is what the money says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final

from .._catalog import Catalog
from .._models import Model
from .._types import STANDARD, CostEvent, Nano, Unit, Usage
from . import _candidates
from ._candidates import Candidate

Calls = Callable[[], Iterable[CostEvent]]
"""Gives the calls of the period, each time anew: they are gone through twice."""

KEPT: Final = 3
"""Candidates that are worked out call by call, for each feature and model: those that look cheapest by the sums."""
CHEAP_TIERS: Final = ("batch", "flex")


@dataclass(frozen=True, slots=True)
class Move:
    """What some calls would have cost elsewhere. Money in nano-dollars.

    Attributes:
        feature: whose they are, empty for calls without one.
        model: where they were answered, ``provider/model``.
        to: where they would be, ``provider/model``, the same where only the tier is another.
        tier: the tier they would be on; empty for the one each was on.
        calls: all of the feature's that this model answered.
        movable: of which could move.
        cost: what the movable ones did cost.
        would_cost: what they would have cost.
        assumed: capabilities that the records do not show and that were taken as needed.
    """

    feature: str
    model: str
    to: str
    tier: str
    calls: int
    movable: int
    cost: Nano
    would_cost: Nano
    assumed: tuple[str, ...] = ()

    @property
    def saved(self) -> Nano:
        """What moving them would have saved; negative when it would have cost more."""
        return self.cost - self.would_cost


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What moving would have saved, the largest saving first.

    Attributes:
        calls: that were looked at, refused ones and answers from the cache left out.
        nano: what they did cost.
        models: moves to another model. For each feature and model several may be told: they exclude each other.
        tiers: moves of calls that nobody waits for to a cheaper tier of the same model.
        kept: calls that no model could take over: embeddings, images, a cost that only the provider knows.
        best: what the best move of each feature and model saves together; a tier and a model are not added up.
    """

    calls: int
    nano: Nano
    models: tuple[Move, ...]
    tiers: tuple[Move, ...]
    kept: int
    best: Nano


@dataclass(slots=True)
class _Group:
    """One feature's calls to one model."""

    feature: str
    provider: str
    model: str
    calls: int = 0
    nano: Nano = 0
    last: float = 0.0
    units: Counter[Unit] = field(default_factory=Counter)
    largest: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.feature, self.provider, self.model)

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(slots=True)
class _Trial:
    """One candidate for one group, added up call by call."""

    group: _Group
    to: Candidate
    tier: str
    assumed: tuple[str, ...] = ()
    movable: int = 0
    cost: Nano = 0
    would_cost: Nano = 0

    def move(self) -> Move:
        group = self.group
        return Move(
            group.feature, group.name, self.to.name, self.tier, group.calls, self.movable, self.cost, self.would_cost,
            self.assumed,
        )  # fmt: skip


def what_if(
    calls: Calls,
    catalog: Catalog,
    *,
    candidates: Sequence[str] | None = None,
    without: Mapping[str, Sequence[str]] | None = None,
    tiers: Sequence[str] = CHEAP_TIERS,
    kept: int = KEPT,
) -> WhatIf:
    """Price calls again on other models and tiers.

    Args:
        candidates: ``provider/model`` to try; every current model of the same provider when left out.
        without: for features, what they certainly do not use: ``{"search": ["vision"]}``; ``*`` for all features.
        tiers: cheaper tiers to try for calls that nobody waits for.
        kept: how many candidates to work out for each feature and model when none are named.

    Raises:
        ConfigError: a candidate is not listed.
    """
    groups, others = _groups(calls())
    last = max([group.last for group in groups.values()], default=0.0)
    asked = None if candidates is None else _candidates.named(catalog, candidates, last)
    trials: dict[tuple[str, str, str], list[_Trial]] = {}
    for key, group in groups.items():
        spared = [*(without or {}).get("*", ()), *(without or {}).get(group.feature, ())]
        found = _trials(catalog, group, asked, spared)
        trials[key] = found if asked is not None else _cheapest(catalog, found, kept)
        trials[key] += _tier_trials(catalog, group, tiers)
    for event in calls():
        if _counts(event) and _candidates.is_text(event):
            _try_all(catalog, trials[_key(event)], event)
    moves = [trial.move() for found in trials.values() for trial in found if trial.movable]
    worth = sorted([move for move in moves if asked is not None or move.saved > 0], key=_order)
    models = tuple([move for move in worth if not move.tier])
    return WhatIf(
        calls=sum(group.calls for group in groups.values()) + others[0],
        nano=sum(group.nano for group in groups.values()) + others[1],
        models=models,
        tiers=tuple([move for move in worth if move.tier]),
        kept=others[0],
        best=_best(models),
    )


def _counts(event: CostEvent) -> bool:
    """Whether it was sent and billed."""
    return event.outcome != "refused" and event.decision != "cache_hit"


def _key(event: CostEvent) -> tuple[str, str, str]:
    return (event.tags.get("feature", ""), event.call.provider, event.model)


def _groups(events: Iterable[CostEvent]) -> tuple[dict[tuple[str, str, str], _Group], tuple[int, Nano]]:
    groups: dict[tuple[str, str, str], _Group] = {}
    others, others_nano = 0, 0
    for event in filter(_counts, events):
        if not _candidates.is_text(event):
            others, others_nano = others + 1, others_nano + event.cost.nano
            continue
        key = _key(event)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(*key)
        group.calls += 1
        group.nano += event.cost.nano
        group.last = max(group.last, event.time)
        for usage in event.usages:
            group.units.update(usage.counts)
            group.largest = max(group.largest, usage.input_tokens + usage.output_tokens)
    return dict(sorted(groups.items())), (others, others_nano)


def _trials(catalog: Catalog, group: _Group, asked: Sequence[Candidate] | None, spared: Sequence[str]) -> list[_Trial]:
    match = catalog.match(group.provider, group.model, group.last)
    served = match.model if match else None
    wanted = _candidates.needs(group.units, served, spared)
    pool = _candidates.current(catalog, group.provider, group.last) if asked is None else asked
    assumed = tuple(sorted(wanted.intersection(_candidates.UNSEEN)))
    return [
        _Trial(group, candidate, "", assumed)
        for candidate in pool
        if wanted <= set(candidate.model.caps) and not _same(candidate.model, served)
    ]


def _same(one: Model, other: Model | None) -> bool:
    return other is not None and (one.provider, one.id) == (other.provider, other.id)


def _cheapest(catalog: Catalog, trials: list[_Trial], kept: int) -> list[_Trial]:
    """Those that would cost least if all calls were one, which none is: enough to leave out the hopeless ones."""

    def rough(trial: _Trial) -> tuple[int, str]:
        usage = Usage(dict(trial.group.units))
        cost = catalog.cost(trial.to.provider, trial.to.model.id, [usage], trial.group.last)
        return (cost.nano, trial.to.name)

    roomy = [trial for trial in trials if (trial.to.model.context or 0) >= trial.group.largest]
    return sorted(roomy or trials, key=rough)[:kept]


def _tier_trials(catalog: Catalog, group: _Group, tiers: Sequence[str]) -> list[_Trial]:
    match = catalog.match(group.provider, group.model, group.last)
    if match is None or match.estimated:
        return []
    listed = {tier for price in match.model.prices for tier in price.tiers}
    return [_Trial(group, Candidate(group.provider, match.model), tier) for tier in tiers if tier in listed]


def _try_all(catalog: Catalog, trials: Sequence[_Trial], event: CostEvent) -> None:
    """Add one call to the trials that it could have been part of."""
    elsewhere = [replace(usage, model=None, region=None, reported=None) for usage in event.usages]
    patient = waits_for_nobody(event)
    for trial in trials:
        if not trial.tier:
            usages = elsewhere if _candidates.fits(event, trial.to.model) else None
        else:
            usages = [replace(one, tier=trial.tier, reported=None) for one in event.usages] if patient else None
        if usages is None:
            continue
        cost = catalog.cost(trial.to.provider, trial.to.model.id, usages, event.time)
        if not cost.unpriced:
            trial.movable += 1
            trial.cost += event.cost.nano
            trial.would_cost += cost.nano


def waits_for_nobody(event: CostEvent) -> bool:
    """Whether nobody seems to wait for an answer: it was not streamed, is no user's, and was on the standard tier."""
    standard = all(usage.tier == STANDARD for usage in event.usages)
    return standard and not event.call.stream and "user" not in event.tags


def _order(move: Move) -> tuple[int, str, str, str, str]:
    return (-move.saved, move.feature, move.model, move.to, move.tier)


def _best(moves: Sequence[Move]) -> Nano:
    best: dict[tuple[str, str], Nano] = {}
    for move in sorted(moves, key=attrgetter("saved")):
        best[move.feature, move.model] = max(0, move.saved)
    return sum(best.values())
