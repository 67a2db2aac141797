"""Ledgers over a transactional store: the book's own steps, run inside one transaction.

The arithmetic is `costguard._book`'s and nobody else's. A store gives a transaction that hands out the rows and the
hold a step needs, locked against every other process, and writes back what the step changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from .._book import (
    Adjusted,
    Entry,
    Row,
    State,
    Step,
    WindowKey,
    adjust,
    balance,
    expire,
    extend,
    release,
    reserve,
    settle,
)
from .._types import Balance, Granted, Hold, Leg, Nano, Refused

T = TypeVar("T")

REMEMBERED = 86400.0
"""Seconds that an ended hold is remembered, so that a repeated settle stays harmless."""
KEPT = 86400.0
"""Seconds that a window's books are kept after its end: a host whose clock is behind still takes it for the present
one, and must not find it empty."""
BATCH = 200
"""Holds that are charged, and rows that are forgotten, in one transaction of the reaper."""


class Transaction(Protocol):
    """One atomic step on a store."""

    def lock(self, budgets: Iterable[str]) -> None:
        """Keep every other step on these budgets out until the end."""

    def rows(self, legs: Sequence[Leg]) -> dict[WindowKey, Row]:
        """The rows that the windows of these legs are made of."""
        ...

    def entry(self, id: str) -> Entry | None:
        """The hold of this id."""
        ...

    def write(self, id: str, step: Step) -> None:
        """Write what a step changed."""

    def overdue(self, now: float, limit: int) -> list[str]:
        """Open holds whose lease was over at `now`."""
        ...

    def forget(self, now: float, keep: float, limit: int) -> None:
        """Delete windows that were over `keep` seconds ago and holds that ended long ago."""


class SteppedLedger:
    """A ledger that runs the book's steps in transactions.

    Subclasses give `_transact`, which runs a function in a transaction, commits at its end and rolls back on any
    exception. Because ids make every step safe to repeat, it may run the function again when a connection broke.
    """

    inline = False
    _keep = KEPT

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        raise NotImplementedError

    def reserve(self, hold: Hold) -> Granted | Refused:
        """See `costguard.ports.Ledger.reserve`."""

        def work(store: Transaction) -> Step:
            store.lock(leg.budget for leg in hold.legs)
            known = store.entry(hold.id)
            step = reserve(store.rows(hold.legs), {} if known is None else {hold.id: known}, hold)
            if step.entry is not None:
                store.write(hold.id, step)
            return step

        return self._transact(work).reply

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        """See `costguard.ports.Ledger.extend`."""
        return self._step(id, extend, amount).reply

    def settle(self, id: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.settle`."""
        return granted(self._step(id, settle, actual))

    def release(self, id: str) -> Granted:
        """See `costguard.ports.Ledger.release`."""
        return granted(self._step(id, release))

    def adjust(self, id: str, correction: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.adjust`."""
        return granted(self._step(id, adjust, correction, actual))

    def balances(self, legs: Sequence[Leg]) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.balances`."""
        books = self._transact(lambda store: store.rows(legs))
        return [balance(books, leg) for leg in legs]

    def reap(self, now: float) -> Sequence[Granted]:
        """See `costguard.ports.Ledger.reap`."""
        charged: list[Granted] = []
        while True:
            overdue = self._transact(lambda store: store.overdue(now, BATCH))
            for id in overdue:
                try:
                    charged.append(granted(self._step(id, expire)))
                except KeyError:
                    continue  # another process charged it, so long after its lease that it was forgotten at once
            if len(overdue) < BATCH:
                break
        self._transact(lambda store: store.forget(now, self._keep, BATCH))
        return charged

    def _step(self, id: str, operation: Callable[..., Step], *figures: Nano | str) -> Step:
        def work(store: Transaction) -> Step:
            entry = store.entry(id)
            if entry is None:
                raise KeyError(f"no hold {id}")
            store.lock(leg.budget for leg in entry.hold.legs)
            # Read again: another process may have ended it between the first look and the lock.
            entry = store.entry(id)
            if entry is None:
                raise KeyError(f"no hold {id}")
            step = operation(store.rows(entry.hold.legs), {id: entry}, id, *figures)
            if step.entry is not None:
                store.write(id, step)
            return step

        return self._transact(work)


def granted(step: Step) -> Granted:
    """The reply of a step that is never refused."""
    reply = step.reply
    assert isinstance(reply, Granted)
    return reply


def legs_as_json(legs: Sequence[Leg]) -> str:
    """The legs of a hold, to be kept beside it."""
    return json.dumps(
        [
            [leg.budget, leg.window, leg.limit, leg.starts, leg.ends, leg.hard, leg.marks, leg.scope, leg.slots]
            for leg in legs
        ],
        separators=(",", ":"),
    )


def legs_from_json(text: str) -> tuple[Leg, ...]:
    """The legs that `legs_as_json` wrote."""
    return tuple(_leg(fields) for fields in json.loads(text))


def _leg(fields: Sequence[Any]) -> Leg:
    budget, window, limit, starts, ends, hard, marks, scope, slots = fields
    return Leg(
        budget, window, limit, starts, ends, hard,
        marks=tuple((percent, nano) for percent, nano in marks),
        scope=tuple((tag, value) for tag, value in scope),
        slots=slots,
    )  # fmt: skip


def adjusted_as_json(entry: Entry) -> str | None:
    """The corrections of a hold, to be kept beside it."""
    return None if entry.adjusted is None else json.dumps(entry.adjusted, separators=(",", ":"))


def _adjusted(text: str | None) -> Adjusted | None:
    if not text:
        return None
    settled, by = json.loads(text)
    return Adjusted(settled, tuple((correction, figure) for correction, figure in by))


def entry_from(record: Mapping[str, Any]) -> Entry:
    """A hold out of its stored fields."""
    hold = Hold(record["id"], record["amount"], legs_from_json(record["legs"]), record["expires"])
    return Entry(hold, record["first"], State(record["state"]), record["booked"], _adjusted(record["adjusted"]))


def slot_range(leg: Leg) -> tuple[str, str]:
    """The first and the last slot that share a rolling window with this leg's slot."""
    this = int(leg.window)
    return f"{this - leg.slots:012d}", f"{this + leg.slots:012d}"
