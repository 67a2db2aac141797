"""What is asked of a journal, and what it answers: which calls, summed by what."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Final, NamedTuple

from ._types import Cost, CostEvent, Decision, Nano, Outcome, Usage
from .errors import ConfigError

GROUPS: Final = (
    "provider", "model", "asked", "operation", "tier", "feature", "team", "environment", "user", "outcome", "decision",
    "entry",
)  # fmt: skip
"""What calls are summed by; any other tag is ``tag:name``. Nothing of its kind is the empty string."""

QUARTER: Final = 900
"""Seconds of the sums that stay when calls are pruned: every timezone's day begins on a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Result:
    """A piece of work that is done, and what it was worth; see `costguard.outcome`.

    Attributes:
        id: unique.
        time: UTC epoch seconds.
        name: what was done, for example ``ticket_resolved``.
        value: in nano-dollars.
        tags: the attribution it was told in.
        run: the outermost attributed block it was told in, which joins it with its calls.
    """

    id: str
    time: float
    name: str
    value: Nano = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    run: str = ""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a recorded call is charged was corrected, and stays on record.

    Attributes:
        id: its own; a correction of an id that is known already changes nothing.
        call: the call's id.
        time: UTC epoch seconds at which it was corrected.
        before, after: what the call did cost until then, and what it costs since.
        why: in words.
    """

    id: str
    call: str
    time: float
    before: Cost
    after: Cost
    why: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which calls are meant: those that match everything.

    Attributes:
        since, until: UTC epoch seconds, the second exclusive.
        tags: attribution; an empty value means calls without that tag.
        provider, model: who served, and which model.
    """

    since: float = 0.0
    until: float = math.inf
    tags: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over calls. Money is in nano-dollars.

    Attributes:
        calls: how many were made, refused ones not counted, answers from the cache counted.
        nano: what they did cost.
        saved: what they cost less than without costguard's optimisations.
        input_tokens, output_tokens: all of them; the next three are parts of these.
        cache_read, cache_write, reasoning: tokens read from and written to the provider's cache, and thought.
        estimated, estimated_nano: calls of which the cost is a guess, and that cost.
        unpriced: calls of which a part has no price and is not in `nano`.
        failed: calls that ended with an error or were cancelled, whether billed or not.
        refused: calls that a budget refused.
        cache_hits, downgraded: calls that the response cache answered, and that went to a cheaper model.
        would_block: calls that observe mode let through though a budget would have refused them.
        micros: microseconds that they took.
    """

    calls: int = 0
    nano: Nano = 0
    saved: Nano = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: int = 0
    estimated_nano: Nano = 0
    unpriced: int = 0
    failed: int = 0
    refused: int = 0
    cache_hits: int = 0
    downgraded: int = 0
    would_block: int = 0
    micros: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*[getattr(self, name) + getattr(other, name) for name in MEASURES])


@dataclass(frozen=True, slots=True)
class Worth:
    """Sums over the results of one name and feature. Money in nano-dollars.

    The cost of a run, its failed attempts and retries included, is shared equally by its results.

    Attributes:
        name, feature: whose results; the feature is empty where they have none.
        count: how many.
        value: what they were worth.
        cost, calls, failed: their shares of their runs' cost, calls, and calls that failed or were cancelled.
    """

    name: str
    feature: str
    count: int = 0
    value: Nano = 0
    cost: Nano = 0
    calls: int = 0
    failed: int = 0

    @property
    def each(self) -> Nano | None:
        """The cost of one."""
        return self.cost // self.count if self.count else None


class Bill(NamedTuple):
    """What one call was billed, and as much about it as prices and caches depend on.

    Attributes:
        time: UTC epoch seconds at which it was priced.
        duration: seconds until the end of the answer.
        provider, model: who served it, and which model.
        operation, stream: as asked for.
        feature, user: those tags, empty where it has none.
        outcome, decision: as in `CostEvent`.
        nano, saved: what it did cost, and how much less than without costguard's optimisations.
        fingerprint: a keyed hash of the request, or empty.
        usages: what was billed.
    """

    time: float
    duration: float
    provider: str
    model: str
    operation: str
    stream: bool
    feature: str
    user: str
    outcome: Outcome
    decision: Decision
    nano: Nano
    saved: Nano
    fingerprint: str
    usages: tuple[Usage, ...]

    @classmethod
    def of(cls, event: CostEvent) -> Bill:
        """That of a call."""
        call, tags = event.call, event.tags
        return cls(
            event.time, event.duration, call.provider, event.model, call.operation, call.stream,
            tags.get("feature", ""), tags.get("user", ""), event.outcome, event.decision, event.cost.nano, event.saved,
            event.fingerprint, event.usages,
        )  # fmt: skip


_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")

MEASURES: Final = tuple([one.name for one in fields(Sums)])


def total(sums: Iterable[Sums]) -> Sums:
    """All of them together."""
    rows = [[getattr(one, name) for name in MEASURES] for one in sums]
    return Sums(*[sum(column) for column in zip(*rows, strict=True)]) if rows else Sums()


@dataclass(frozen=True, slots=True)
class Group:
    """The sums of the calls that have something in common.

    Attributes:
        key: what that is, in the order asked for.
        starts: where the stretch of time begins that they fall in: the selection's start, or one of the edges.
        sums: over them.
    """

    key: tuple[str, ...]
    starts: float
    sums: Sums


@dataclass(frozen=True, slots=True)
class Extent:
    """How far back a journal goes, as UTC epoch seconds; None when it is empty.

    Attributes:
        since, until: the quarters of an hour in which the first and the last call fall that are counted in sums.
        calls_since: the first call that is still there itself.
    """

    since: float | None = None
    until: float | None = None
    calls_since: float | None = None


def check_groups(by: Sequence[str]) -> None:
    """Raise if calls cannot be summed by one of these.

    Raises:
        ConfigError: it is no name in `GROUPS` and no ``tag:name``.
    """
    for name in by:
        if name not in GROUPS and not (name.startswith("tag:") and _TAG.fullmatch(name[4:])):
            raise ConfigError(f"cannot group by {name!r}: allowed are {', '.join(GROUPS)} and tag:NAME")


def stretches(selection: Selection, edges: Sequence[float]) -> list[Selection]:
    """The selection cut into pieces at these instants."""
    inside = sorted({edge for edge in edges if selection.since < edge < selection.until})
    bounds = [selection.since, *inside, selection.until]
    return [
        Selection(since, until, selection.tags, selection.provider, selection.model)
        for since, until in pairwise(bounds)
    ]
