"""Cost as metrics, of few dimensions: who pays for it, never which user or call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from .._types import Balance, CostEvent
from . import _otel_names as names
from ._otel_spans import provider_name

_NANO: Final = 1e9
_FRESH: Final = 1.0
"""Seconds for which one reading of the books serves all gauges."""

_BY: Final = {"cache_hit": "cache", "downgraded": "tiering"}

Books = Callable[[], Sequence[Balance]]


class Metrics:
    """The instruments.

    Args:
        meter: makes them.
        tags: attribution that is a dimension.
    """

    def __init__(self, meter: Meter, tags: Sequence[str]) -> None:
        self._tags = tuple(tags)
        self._cost = meter.create_counter(names.METRIC_COST, "USD", "What calls of language models did cost")
        self._saved = meter.create_counter(names.METRIC_SAVED, "USD", "What they would have cost more")
        self._calls = meter.create_counter(names.METRIC_CALLS, "{call}", "Calls, refused ones too")
        self._books: Books | None = None
        self._read: tuple[float, Sequence[Balance]] = (float("-inf"), ())
        gauges: dict[str, tuple[Callable[[Balance], float], str, str]] = {
            names.METRIC_LIMIT: (lambda one: one.leg.limit / _NANO, "USD", "The limit of a budget"),
            names.METRIC_SPENT: (lambda one: one.spent / _NANO, "USD", "What was spent in a budget's present window"),
            names.METRIC_UTILIZATION: (_utilization, "1", "Spent as a part of the limit"),
        }
        for name, (read, unit, about) in gauges.items():
            meter.create_observable_gauge(name, [self._observer(read)], unit, about)

    def attach(self, books: Books) -> None:
        """Read the gauges from these books."""
        self._books = books

    def count(self, event: CostEvent) -> None:
        """Count a call that is over."""
        attributes: dict[str, str] = {
            names.PROVIDER: provider_name(event.call.provider),
            names.REQUEST_MODEL: event.call.model,
            names.DECISION: event.decision,
            **{names.TAG + tag: event.tags[tag] for tag in self._tags if tag in event.tags},
        }
        self._calls.add(1, attributes)
        if event.cost.nano:
            self._cost.add(event.cost.nano / _NANO, attributes)
        if event.saved > 0:
            by = _BY.get(event.decision, "compression")
            self._saved.add(event.saved / _NANO, {**attributes, names.SAVED_BY: by})

    def _observer(self, read: Callable[[Balance], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(read(one), {names.BUDGET: one.leg.budget}) for one in self._balances()]

        return observe

    def _balances(self) -> Sequence[Balance]:
        books, (at, balances) = self._books, self._read
        if books is None:
            return ()
        now = time.monotonic()
        if now - at > _FRESH:
            balances = books()
            self._read = (now, balances)
        return balances


def _utilization(balance: Balance) -> float:
    return balance.spent / balance.leg.limit if balance.leg.limit else 1.0
