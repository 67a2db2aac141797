"""What a period's real traffic would have cost on other models and other tiers, call by call.

Each call is priced again from the units that it was billed for: what was read from a cache is priced as read from a
cache, a batch stays a batch, a long request pays the long-context rate. A model is a candidate where it can do what the
calls did (see `_candidates`) and is listed; a call moves where it fits the model's sizes.

Which model is good enough is for people to say: a saving is what the money says. So what is added up is the smallest
step only, down the ladder that was configured, else to the next smaller model of the same generation, and not what the
cheapest model in the price lists would make of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from .._catalog import Catalog
from .._journal import Bill
from .._models import Model
from .._types import STANDARD, Nano, Unit, Usage
from . import _candidates
from ._candidates import Candidate
from ._ladders import Rungs, rungs_below

Bills = Callable[[], Iterable[Bill]]
"""Gives the bills of the period's calls, by time and each time anew: they are gone through once or twice."""

_Key = tuple[str, str, str]

Why = Literal["ladder", "smaller", "listed", "named", "tier"]
"""What makes a model a candidate: the next one down a ladder of the user's; the next smaller one of the same
generation; it is among the cheapest in the price lists; the user named it; it is the same model on another tier."""

KEPT: Final = 3
"""Candidates that are worked out call by call, for each feature and model: those that look cheapest by the sums."""
SAMPLE: Final = 500
"""Calls of a feature and model by which it is guessed what to try, so that mostly one pass is enough."""
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
        why: what makes `to` a candidate.
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
    why: Why = "listed"

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
        steps: the move of each feature and model that can be answered for: the smallest step down, or the best of the
            models that were named. Tiers are not among them.
    """

    calls: int
    nano: Nano
    models: tuple[Move, ...]
    tiers: tuple[Move, ...]
    kept: int
    steps: tuple[Move, ...]

    @property
    def saved(self) -> Nano:
        """What the steps save together."""
        return sum(move.saved for move in self.steps)

    @property
    def movable(self) -> int:
        """How many calls they move."""
        return sum(move.movable for move in self.steps)


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
    def name(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def usual(self) -> Usage:
        """A call of average size."""
        return Usage({unit: -(-count // self.calls) for unit, count in self.units.items()})

    def add(self, bill: Bill, size: int) -> None:
        self.calls += 1
        self.nano += bill.nano
        self.last = max(self.last, bill.time)
        self.largest = max(self.largest, size)
        units = self.units
        for usage in bill.usages:
            for unit, count in usage.counts.items():
                units[unit] += count


@dataclass(slots=True)
class _Trial:
    """One candidate for one group, added up call by call."""

    to: Candidate
    tier: str
    assumed: tuple[str, ...] = ()
    why: Why = "listed"
    movable: int = 0
    cost: Nano = 0
    would_cost: Nano = 0

    @property
    def same(self) -> tuple[str, ...]:
        """What has to be the same for two trials to be of one thing."""
        return (self.to.name, self.tier, self.why, *self.assumed)

    def move(self, group: _Group) -> Move:
        return Move(
            group.feature, group.name, self.to.name, self.tier, group.calls, self.movable, self.cost, self.would_cost,
            self.assumed, self.why,
        )  # fmt: skip


def what_if(
    bills: Bills,
    catalog: Catalog,
    *,
    candidates: Sequence[str] | None = None,
    without: Mapping[str, Sequence[str]] | None = None,
    tiers: Sequence[str] = CHEAP_TIERS,
    kept: int = KEPT,
    ladders: Sequence[Rungs] = (),
    at: float | None = None,
    seen: Callable[[Bill], object] | None = None,
) -> WhatIf:
    """Price calls again on other models and tiers.

    Args:
        candidates: ``provider/model`` to try; every current model of the same provider when left out.
        without: for features, what they certainly do not use: ``{"search": ["vision"]}``; ``*`` for all features.
        tiers: cheaper tiers to try for calls that nobody waits for.
        kept: how many candidates to work out for each feature and model when none are named.
        ladders: models that stand in for one another by the user's own choice, the dearest first.
        at: the instant at which models have to be there still; the last call of each group when left out.
        seen: told of each bill, once.

    Raises:
        ConfigError: a candidate is not listed.
    """
    _candidates.named(catalog, candidates or (), 0.0)

    def chosen(group: _Group) -> list[_Trial]:
        if at is not None:
            group.last = at
        asked = None if candidates is None else _candidates.named(catalog, candidates, group.last)
        spared = [*(without or {}).get("*", ()), *(without or {}).get(group.feature, ())]
        found = _trials(catalog, group, asked, spared)
        trials = found if asked is not None else _worth_trying(catalog, group, found, kept, ladders)
        return trials + _tier_trials(catalog, group, tiers)

    walk = _Walk(catalog, chosen)
    for bill in bills():
        walk.add(bill)
        if seen is not None:
            seen(bill)
    walk.end()
    true = {key: chosen(group) for key, group in walk.groups.items()}
    if any({one.same for one in true[key]} != {one.same for one in walk.trials[key]} for key in true):
        # The first calls of a group were not like the others: now it is known what to try.
        walk = _Walk(catalog, chosen, true)
        for bill in bills():
            walk.add(bill)
    moves = [trial.move(walk.groups[key]) for key, found in walk.trials.items() for trial in found if trial.movable]
    worth = sorted([move for move in moves if candidates is not None or move.saved > 0], key=_order)
    models = tuple([move for move in worth if not move.tier])
    return WhatIf(
        calls=sum(group.calls for group in walk.groups.values()) + walk.others,
        nano=sum(group.nano for group in walk.groups.values()) + walk.others_nano,
        models=models,
        tiers=tuple([move for move in worth if move.tier]),
        kept=walk.others,
        steps=_steps(models),
    )


class _Walk:
    """Once through the bills: what groups they make, and what each would have cost elsewhere.

    Args:
        chosen: says what to try for a group; asked when there are `SAMPLE` calls of it, and again at the end.
        trials: what to try, where that is known.
    """

    def __init__(
        self, catalog: Catalog, chosen: Callable[[_Group], list[_Trial]], trials: dict[_Key, list[_Trial]] | None = None
    ) -> None:
        self._catalog, self._chosen = catalog, chosen
        self._waiting: dict[_Key, list[Bill]] = {}
        self.trials = {} if trials is None else trials
        self.groups: dict[_Key, _Group] = {}
        self.others, self.others_nano = 0, 0

    def add(self, bill: Bill) -> None:
        if bill.outcome == "refused" or bill.decision == "cache_hit":
            return
        if not _candidates.is_text(bill):
            self.others, self.others_nano = self.others + 1, self.others_nano + bill.nano
            return
        key = (bill.feature, bill.provider, bill.model)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _Group(*key)
        size, output = _size(bill)
        group.add(bill, size)
        trials = self.trials.get(key)
        if trials is not None:
            _try_all(self._catalog, trials, bill, size, output)
            return
        waiting = self._waiting.setdefault(key, [])
        waiting.append(bill)
        if len(waiting) >= SAMPLE:
            self._begin(key)

    def end(self) -> None:
        """Try those of which there are few."""
        for key in list(self._waiting):
            self._begin(key)

    def _begin(self, key: _Key) -> None:
        trials = self.trials[key] = self._chosen(self.groups[key])
        for bill in self._waiting.pop(key):
            _try_all(self._catalog, trials, bill, *_size(bill))


def _size(bill: Bill) -> tuple[int, int]:
    """The tokens of the largest answer with its request, and of the longest answer."""
    size = output = 0
    for usage in bill.usages:
        out = usage.output_tokens
        output = max(output, out)
        size = max(size, out + usage.input_tokens)
    return size, output


def _trials(catalog: Catalog, group: _Group, asked: Sequence[Candidate] | None, spared: Sequence[str]) -> list[_Trial]:
    match = catalog.match(group.provider, group.model, group.last)
    served = match.model if match else None
    wanted = _candidates.needs(group.units, served, spared)
    pool = _candidates.current(catalog, group.provider, group.last) if asked is None else asked
    assumed = tuple(sorted(wanted.intersection(_candidates.UNSEEN)))
    return [
        _Trial(candidate, "", assumed, "listed" if asked is None else "named")
        for candidate in pool
        if wanted <= set(candidate.model.caps) and not _same(candidate.model, served)
    ]


def _same(one: Model, other: Model | None) -> bool:
    return other is not None and (one.provider, one.id) == (other.provider, other.id)


def _worth_trying(
    catalog: Catalog, group: _Group, trials: list[_Trial], kept: int, ladders: Sequence[Rungs]
) -> list[_Trial]:
    """Those that would cost least if all calls were one, which none is, and the next step down."""
    usages = [group.usual]

    def rough(trial: _Trial) -> tuple[int, str]:
        cost = catalog.cost(trial.to.provider, trial.to.model.id, usages, group.last)
        return (cost.nano, trial.to.name)

    roomy = [trial for trial in trials if (trial.to.model.context or 0) >= group.largest]
    ordered = sorted(roomy or trials, key=rough)
    now = catalog.cost(group.provider, group.model, usages, group.last).nano
    step = _next(catalog, group, [trial for trial in ordered if rough(trial)[0] < now], ladders)
    return ordered[:kept] + ([step] if step is not None and step not in ordered[:kept] else [])


def _next(catalog: Catalog, group: _Group, cheaper: list[_Trial], ladders: Sequence[Rungs]) -> _Trial | None:
    """The smallest step among these, which are ordered by cost; None where there is none that is known to be one."""
    match = catalog.match(group.provider, group.model, group.last)
    if match is None or match.estimated:
        return None
    below = rungs_below(ladders, f"{group.provider}/{match.model.id}", group.feature)
    by_name = {trial.to.name: trial for trial in cheaper}
    for name in below:
        if name in by_name:
            by_name[name].why = "ladder"
            return by_name[name]
    own = _candidates.generation(match.model.id)
    for trial in reversed(cheaper):
        if _candidates.generation(trial.to.model.id) == own:
            trial.why = "smaller"
            return trial
    return None


def _tier_trials(catalog: Catalog, group: _Group, tiers: Sequence[str]) -> list[_Trial]:
    match = catalog.match(group.provider, group.model, group.last)
    if match is None or match.estimated:
        return []
    listed = {tier for price in match.model.prices for tier in price.tiers}
    return [_Trial(Candidate(group.provider, match.model), tier, why="tier") for tier in tiers if tier in listed]


def _try_all(catalog: Catalog, trials: Sequence[_Trial], bill: Bill, size: int, output: int) -> None:
    """Add one call to the trials that it could have been part of."""
    elsewhere = [Usage(one.counts, None, one.tier, None, None, one.estimated) for one in bill.usages]
    for trial in trials:
        model = trial.to.model
        if trial.tier:
            if not waits_for_nobody(bill):
                continue
            usages = [replace(one, tier=trial.tier, reported=None) for one in bill.usages]
        elif size > (model.context or size) or output > (model.max_output or output):
            continue
        else:
            usages = elsewhere
        cost = catalog.cost(trial.to.provider, model.id, usages, bill.time)
        if not cost.unpriced:
            trial.movable += 1
            trial.cost += bill.nano
            trial.would_cost += cost.nano


def waits_for_nobody(bill: Bill) -> bool:
    """Whether nobody seems to wait for an answer: it was not streamed, is no user's, and was on the standard tier."""
    return not bill.stream and not bill.user and all([usage.tier == STANDARD for usage in bill.usages])


def _order(move: Move) -> tuple[int, str, str, str, str]:
    return (-move.saved, move.feature, move.model, move.to, move.tier)


def _steps(moves: Sequence[Move]) -> tuple[Move, ...]:
    """Of each feature and model one, out of moves of which the largest saving comes first."""
    steps: dict[tuple[str, str], Move] = {}
    for move in moves:
        if move.why != "listed" and move.saved > 0:
            steps.setdefault((move.feature, move.model), move)
    return tuple(steps.values())
