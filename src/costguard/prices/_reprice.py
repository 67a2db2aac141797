"""Pricing recorded calls again: the journal is corrected, and the ledger's windows with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .._biller import Biller
from .._book import IdempotencyConflictError
from .._catalog import Catalog
from .._journal import Correction, Selection
from .._types import Cost, CostEvent
from ..ports import Journal, Ledger

WHY = "priced again"


@dataclass(frozen=True, slots=True)
class Repriced:
    """A call whose cost is another one at today's knowledge of the prices.

    Attributes:
        event: as it was recorded.
        cost: what it costs.
        booked: whether the ledger's windows were corrected too; the ledger forgets calls a day after they ended.
    """

    event: CostEvent
    cost: Cost
    booked: bool = False


class Repricing:
    """The recorded calls of a model that are to be priced again.

    Args:
        journal: where they are recorded.
        catalog: what they cost.
        model: the model as asked for, as served, or as the price list calls it.
        selection: the time, and perhaps the provider.

    Attributes:
        left_out: calls of the model whose charge is not from their usage, and stays: refused, cut off, unknown ends.
        same: calls that cost what was recorded.
    """

    def __init__(self, journal: Journal, catalog: Catalog, model: str, selection: Selection) -> None:
        self._journal = journal
        self._catalog = catalog
        self._biller = Biller(catalog)
        self._model = model
        self._selection = selection
        self.left_out = 0
        self.same = 0

    def changes(self) -> list[Repriced]:
        """The calls that cost something else now; nothing is written yet."""
        self.left_out = self.same = 0
        return list(self._changes())

    def apply(self, changes: list[Repriced], ledger: Ledger | None, now: float) -> list[Repriced]:
        """Correct the ledger's windows and then the journal, and return what was done.

        Each correction has an id of its own, so that one that was broken off can be carried out again.

        Raises:
            LedgerUnavailableError, JournalUnavailableError: it cannot be reached; what was done before it stays done.
        """
        counts: dict[str, int] = {}
        for one in self._journal.corrections(Selection()):
            counts[one.call] = counts.get(one.call, 0) + 1
        done = []
        for change in changes:
            event, cost = change.event, change.cost
            id = f"{event.id}/{counts.get(event.id, 0) + 1}/{cost.nano}"
            booked = ledger is not None and _book(ledger, event, id, cost)
            correction = Correction(id, event.id, now, event.cost, cost, WHY)
            if self._journal.correct([correction]):
                done.append(Repriced(event, cost, booked))
        return done

    def _changes(self) -> Iterator[Repriced]:
        for event in self._journal.calls(self._selection):
            provider = self._provider(event)
            if not self._is_meant(event, provider):
                continue
            if not _is_from_usage(event):
                self.left_out += 1
                continue
            cost = self._catalog.cost(provider, event.call.model, event.usages, event.time)
            if cost == event.cost:
                self.same += 1
            else:
                yield Repriced(event, cost)

    def _is_meant(self, event: CostEvent, provider: str) -> bool:
        if self._model in (event.model, event.call.model, event.asked):
            return True
        match = self._catalog.match(provider, event.model, event.time)
        return match is not None and not match.estimated and match.model.id == self._model

    def _provider(self, event: CostEvent) -> str:
        """Who bills the call: for a deployment's name behind an unknown host, whoever sells what served it."""
        name = event.call.provider
        if self._catalog.match(name, event.call.model, event.time) is None and event.model != event.call.model:
            return self._biller.of_model(event.model, event.time) or name
        return name


def _is_from_usage(event: CostEvent) -> bool:
    if event.outcome != "ok" or event.decision in ("cache_hit", "blocked") or not event.usages:
        return False
    return not any(usage.estimated for usage in event.usages)


def _book(ledger: Ledger, event: CostEvent, id: str, cost: Cost) -> bool:
    """Correct the windows the call was made in; False when the ledger does not know the call (any more)."""
    if not event.budgets:
        return False
    try:
        ledger.adjust(event.id, id, cost.nano)
    except (KeyError, IdempotencyConflictError):
        return False
    return True
