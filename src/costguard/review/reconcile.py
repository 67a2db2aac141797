"""Our books beside a provider's: its own export of usage or cost, and where the two drift apart by day and model.

Read are OpenAI's and Anthropic's cost reports and token usage as their admin APIs answer them (JSON, one page or many,
one after the other), and as their consoles download them (CSV). What an export says in tokens only is compared in
tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from .._catalog import Catalog
from .._types import CostEvent, Nano
from ._exports import Billed

Key = tuple[date, str]
"""A day in UTC, as providers count them, and a model; empty where the export does not say which."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One day of one model in both books. Money in nano-dollars; None where a side has no such figure.

    Attributes:
        day: in UTC.
        model: as the provider spells it; empty for everything of the day.
        ours, theirs: what it cost.
        our_tokens, their_tokens: input and output together.
    """

    day: date
    model: str
    ours: Nano | None
    theirs: Nano | None
    our_tokens: int | None = None
    their_tokens: int | None = None

    @property
    def nano(self) -> Nano | None:
        """What the provider has more than we; None without both amounts."""
        return None if self.ours is None or self.theirs is None else self.theirs - self.ours

    @property
    def percent(self) -> Decimal | None:
        """The difference in percent of the provider's amount, to a hundredth."""
        if self.nano is None or not self.theirs:
            return None
        return (Decimal(self.nano) * 100 / Decimal(self.theirs)).quantize(Decimal("0.01"))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Both books side by side.

    Attributes:
        provider: whose export it is.
        first, last: the days it covers.
        by_model: whether it tells models apart.
        drifts: by day and model.
        total: all of it together.
        calls: how many of ours were compared.
        rest: lines of the export that are no model's, such as storage, with their amounts.
    """

    provider: str
    first: date
    last: date
    by_model: bool
    drifts: tuple[Drift, ...]
    total: Drift
    calls: int
    rest: tuple[tuple[str, Nano], ...] = ()

    def beyond(self, percent: Decimal) -> list[Drift]:
        """The days and models that are further apart than this."""
        far = [one for one in self.drifts if one.percent is not None and abs(one.percent) > percent]
        return far + [one for one in self.drifts if one.nano is None and (one.ours or one.theirs)]


def reconcile(billed: Sequence[Billed], events: Iterable[CostEvent], catalog: Catalog) -> Reconciled:
    """Compare a provider's lines with our calls of the same days; calls of others are left out.

    Args:
        billed: the export's lines; see `read_export`. All are of one provider, and there is at least one.
        events: our calls, at least of the days that the export covers.
        catalog: knows that ``gpt-4o-2024-08-06`` and ``gpt-4o`` are one model.
    """
    provider = billed[0].provider
    days = [line.day for line in billed]
    first, last = min(days), max(days)
    by_model = any(line.model for line in billed)
    told = [line for line in billed if line.model or not by_model]
    rest = Counter[str]()
    for line in billed:
        if by_model and not line.model:
            rest[line.item or "unnamed"] += line.nano or 0
    names = _Names(catalog, provider, by_model)
    theirs, their_tokens, ours, our_tokens = _Columns(), _Columns(), _Columns(), _Columns()
    for line in told:
        key = (line.day, names.of(line.model, line.day))
        theirs.add(key, line.nano)
        their_tokens.add(key, line.tokens)
    calls = 0
    for event in events:
        day = datetime.fromtimestamp(event.time, UTC).date()
        if event.call.provider == provider and event.outcome != "refused" and first <= day <= last:
            calls += 1
            key = (day, names.of(event.model, day))
            ours.add(key, event.cost.nano)
            our_tokens.add(key, sum([usage.input_tokens + usage.output_tokens for usage in event.usages]))
    if not their_tokens:
        our_tokens.clear()
    every = (ours, theirs, our_tokens, their_tokens)
    keys = sorted({key for column in every for key in column})
    drifts = [Drift(day, model, *[column.get((day, model)) for column in every]) for day, model in keys]
    total = Drift(first, "", *[sum(column.values()) if column else None for column in every])
    return Reconciled(provider, first, last, by_model, tuple(drifts), total, calls, tuple(sorted(rest.items())))


class _Columns(dict[Key, int]):
    """Sums by day and model; what is not known adds nothing, and makes no row."""

    def add(self, key: Key, amount: int | None) -> None:
        if amount is not None:
            self[key] = self.get(key, 0) + amount


class _Names:
    """Models' own names, so that a dated and a plain spelling are one row; empty where models are not told apart."""

    def __init__(self, catalog: Catalog, provider: str, by_model: bool) -> None:
        self._catalog, self._provider, self._by_model = catalog, provider, by_model
        self._known: dict[str, str] = {}

    def of(self, model: str, day: date) -> str:
        if not self._by_model:
            return ""
        name = self._known.get(model)
        if name is None:
            match = self._catalog.match(self._provider, model, _start(day))
            name = self._known[model] = model.lower() if match is None or match.estimated else match.model.id
        return name


def span(billed: Iterable[Billed]) -> tuple[float, float]:
    """The time that an export covers, as UTC epoch seconds, the second exclusive."""
    days = [line.day for line in billed]
    first, last = min(days), max(days)
    return _start(first), _start(last) + 86_400


def _start(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
