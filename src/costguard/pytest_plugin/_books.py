"""The books of one test: what its calls did cost, and which of them were refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Final

from .._budget import Budget
from .._money import decimal_usd, format_usd
from .._tallies import Tally
from .._types import CostEvent
from ..errors import BudgetExceededError

TAG: Final = "test"
"""The tag that carries the test's node id to exporters and journals."""

_LONGEST: Final = 256


def tag_of(nodeid: str) -> str:
    """The node id as a tag's value: printable, and short enough; one that had to be changed ends in its hash."""
    printable = "".join(char if char.isprintable() else "?" for char in nodeid)
    if printable == nodeid and 0 < len(nodeid) <= _LONGEST:
        return nodeid
    digest = hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{printable[: _LONGEST - 17]}~{digest}"


@dataclass(slots=True)
class Limit:
    """A budget of a test or of the run.

    Attributes:
        budget: as it was asked for; verdicts look at it.
        live: as the current guard has it: less what was spent in the books of earlier guards.
        counts_only: it is there to be read and limits nothing.
    """

    budget: Budget
    live: Budget
    counts_only: bool = False

    @classmethod
    def of(cls, budget: Budget, *, counts_only: bool = False) -> Limit:
        """A limit of which nothing is spent."""
        return cls(budget, budget, counts_only)


class Books:
    """What the calls of one test did cost, its setup and teardown included.

    Attributes:
        refusals: the errors with which a budget of this plugin refused a call.
        told: how many of them a failing report has told already.
        judged: whether a failing report has told of overspending, or of a failure that came before it.
    """

    def __init__(self, nodeid: str, tag: str, before_reading: Callable[[], object]) -> None:
        self.nodeid = nodeid
        self.tag = tag
        self.limits: list[Limit] = []
        self.refusals: list[BudgetExceededError] = []
        self.told = 0
        self.judged = False
        self.held_now: Callable[[], int] = int
        self._before_reading = before_reading
        self._events: list[CostEvent] = []
        self._sent = 0

    def __repr__(self) -> str:
        return f"<costguard_ledger: {format_usd(self._nano(self._read()))} in {len(self.calls)} calls>"

    def add(self, event: CostEvent) -> None:
        """Count one call in, or note that it was refused. Any thread may."""
        self._events.append(event)

    @property
    def spent(self) -> Decimal:
        """What its calls did cost, in US dollars."""
        return decimal_usd(self._nano(self._read()))

    @property
    def held(self) -> Decimal:
        """What is reserved for its calls in flight, in US dollars."""
        self._before_reading()
        return decimal_usd(self.held_now())

    @property
    def calls(self) -> list[CostEvent]:
        """Its finished calls, refused ones not among them."""
        return [event for event in self._read() if event.outcome != "refused"]

    @property
    def refused(self) -> list[CostEvent]:
        """Its calls that a budget refused before they were sent."""
        return [event for event in self._read() if event.outcome == "refused"]

    def by_model(self) -> dict[str, Decimal]:
        """What it spent on each model, dearest first."""
        return self._by(lambda event: event.model)

    def by(self, tag: str) -> dict[str, Decimal]:
        """What it spent by the value of a tag, such as ``feature``; calls without the tag are under ``""``."""
        return self._by(lambda event: event.tags.get(tag, ""))

    def overspent(self) -> list[str]:
        """A sentence for each limit that was passed."""
        events, said = self._read(), []
        for limit in self.limits:
            nano = self._nano(event for event in events if limit.budget.matches(event.tags))
            if not limit.counts_only and nano > limit.budget.limit:
                scope = "".join(f" on {tag}={value}" for tag, value in limit.budget.scope)
                most = format_usd(limit.budget.limit)
                said.append(f"this test spent {format_usd(nano)}{scope}; its budget is {most}")
        return said

    def swallowed(self) -> str | None:
        """A sentence on the refusals that no failure has told of yet."""
        fresh = self.refusals[self.told :]
        if not fresh:
            return None
        calls = "1 call of this test was" if len(fresh) == 1 else f"{len(fresh)} calls of this test were"
        return f"{calls} refused before being sent, and the test went on; the first: {fresh[0]}"

    def take(self) -> dict[str, int] | None:
        """The sums over what no report has carried yet, in plain types; None when there is nothing."""
        events = self._read()
        fresh, self._sent = events[self._sent :], len(events)
        if not fresh:
            return None
        tally = Tally()
        for event in fresh:
            tally.add(event)
        return asdict(tally)

    def forget(self) -> None:
        """Let go of the calls that were reported; a run of many tests must not keep them all."""
        del self._events[: self._sent]
        self._sent = 0

    def _read(self) -> list[CostEvent]:
        self._before_reading()
        return list(self._events)

    @staticmethod
    def _nano(events: Iterable[CostEvent]) -> int:
        return sum(event.cost.nano for event in events)

    def _by(self, key: Callable[[CostEvent], str]) -> dict[str, Decimal]:
        sums: dict[str, int] = {}
        for event in self.calls:
            sums[key(event)] = sums.get(key(event), 0) + event.cost.nano
        return {name: decimal_usd(nano) for name, nano in sorted(sums.items(), key=lambda one: -one[1])}


def less(budget: Budget, nano: int) -> Budget:
    """The same budget, `nano` nano-dollars of it gone."""
    return replace(budget, limit=max(0, budget.limit - nano))
