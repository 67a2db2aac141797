"""Ledgers over a transactional store: the book's own steps, run inside one transaction.

The arithmetic is `costguard._book`'s and nobody else's. A store gives a transaction that hands out the rows and the
hold a step needs, locked against every other process, and writes back what the step changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from .._book import (
    Entry,
    IdempotencyConflictError,
    Row,
    Step,
    WindowKey,
    adjust,
    balance,
    expire,
    extend,
    release,
    reserve,
    settle,
    windows,
)
from .._outbox import PATIENCE, AlertKey, Pending, key_of, take_over
from .._terms import Terms, amend, check
from .._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Nano, Refused

T = TypeVar("T")

REMEMBERED = 86400.0
"""Seconds that an ended hold is remembered, so that a repeated settle stays harmless."""
KEPT = 86400.0
"""Seconds that a window's books are kept after its end: a host whose clock is behind still takes it for the present
one, and must not find it empty."""
RECENT = 4096
"""Holds of this process whose legs are at hand."""
BATCH = 200
"""Holds that are charged, and rows that are forgotten, in one transaction of the reaper."""

ROUNDS: Final = 50
"""Transactions of the reaper that only forget, at most, before it lets others work."""


class Transaction(Protocol):
    """One atomic step on a store."""

    def lock(self, budgets: Iterable[str], steady: Iterable[str] = ()) -> None:
        """Keep every other step on these budgets out until the end, and amendments of the `steady` ones."""

    def read(self, legs: Sequence[Leg]) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """The rows that the windows of these legs are made of, and what is in force of their budgets."""
        ...

    def windows(self, at: float) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """Every row that is not over at an instant, with its leg, and what is in force of every budget."""
        ...

    def terms(self, budget: str) -> Terms:
        """What is in force of a budget."""
        ...

    def amended(self, *, id: str | None = None, budget: str | None = None) -> list[Amendment]:
        """The amendment of this id, those of a budget, or all."""
        ...

    def amend(self, amendment: Amendment, terms: Terms) -> None:
        """Write an amendment, and what is in force after it."""

    def entry(self, id: str) -> Entry | None:
        """The hold of this id."""
        ...

    def look(self, id: str, legs: Sequence[Leg]) -> tuple[Entry | None, dict[WindowKey, Row], dict[str, Terms]]:
        """The hold of this id and what `read` says of these legs, at one go."""
        ...

    def write(self, id: str, step: Step) -> None:
        """Write what a step changed, and the alerts it decided on."""

    def pending(self, now: float, limit: int) -> list[Pending]:
        """Alerts that nobody has in hand at `now`, and that no other transaction is looking at."""
        ...

    def hand_out(self, alerts: Sequence[AlertKey], until: float) -> None:
        """Note until when somebody has these alerts in hand."""

    def delivered(self, alerts: Sequence[AlertKey]) -> None:
        """Delete these alerts."""

    def overdue(self, now: float, limit: int) -> list[str]:
        """Open holds whose lease was over at `now`."""
        ...

    def forget(self, now: float, keep: float, limit: int) -> int:
        """Delete windows that were over `keep` seconds ago, and holds that ended long ago; say how many of these."""
        ...


class SteppedLedger:
    """A ledger that runs the book's steps in transactions.

    Subclasses give `_transact`, which runs a function in a transaction, commits at its end and rolls back on any
    exception. Because ids make every step safe to repeat, it may run the function again when a connection broke.
    """

    inline = False
    _keep = KEPT

    def __init__(self) -> None:
        self._recent: dict[str, tuple[Leg, ...]] = {}

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        raise NotImplementedError

    def reserve(self, hold: Hold) -> Granted | Refused:
        """See `costguard.ports.Ledger.reserve`."""

        def work(store: Transaction) -> Step:
            _lock(store, hold.legs)
            known, books, terms = store.look(hold.id, hold.legs)
            step = reserve(books, {} if known is None else {hold.id: known}, hold, terms)
            if step.entry is not None:
                store.write(hold.id, step)
            return step

        reply = self._transact(work).reply
        if isinstance(reply, Granted):
            self._note(hold)
        return reply

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

    def amend(self, amendment: Amendment) -> None:
        """See `costguard.ports.Ledger.amend`."""
        check(amendment)

        def work(store: Transaction) -> None:
            store.lock([amendment.budget])
            known = store.amended(id=amendment.id)
            if not known:
                store.amend(amendment, amend(store.terms(amendment.budget), amendment))
            elif known != [amendment]:
                raise IdempotencyConflictError(f"amendment {amendment.id} was another one before: {known[0]}")

        self._transact(work)

    def amendments(self, budget: str | None = None) -> Sequence[Amendment]:
        """See `costguard.ports.Ledger.amendments`."""
        return self._transact(lambda store: store.amended(budget=budget))

    def balances(self, legs: Sequence[Leg], at: float = 0.0) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.balances`."""
        books, terms = self._transact(lambda store: store.read(legs))
        return [balance(books, leg, terms, at) for leg in legs]

    def windows(self, at: float) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.windows`."""
        books, terms = self._transact(lambda store: store.windows(at))
        return windows(books, terms, at)

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
        for _ in range(ROUNDS):
            if self._transact(lambda store: store.forget(now, self._keep, BATCH)) < BATCH:
                break
        return charged

    def undelivered(self, now: float) -> Sequence[Crossing]:
        """See `costguard.ports.Ledger.undelivered`."""

        def work(store: Transaction) -> list[Crossing]:
            overdue, looked_at = take_over(store.pending(now, BATCH), now)
            if looked_at:
                store.hand_out(looked_at, now + PATIENCE)
            return overdue

        return self._transact(work)

    def delivered(self, crossings: Sequence[Crossing]) -> None:
        """See `costguard.ports.Ledger.delivered`."""
        if crossings:
            self._transact(lambda store: store.delivered([key_of(one) for one in crossings]))

    def _step(self, id: str, operation: Callable[..., Step], *figures: Nano | str) -> Step:
        def work(store: Transaction) -> Step:
            legs = self._recent.get(id)
            if legs is None:
                legs = _known(id, store.entry(id)).hold.legs
            while True:
                _lock(store, legs)
                # Read under the lock: another process may have ended it since.
                found, books, terms = store.look(id, legs)
                entry = _known(id, found)
                if entry.hold.legs == legs:
                    break
                legs = entry.hold.legs
            step = operation(books, {id: entry}, id, *figures, terms)
            if step.entry is not None:
                store.write(id, step)
            return step

        return self._transact(work)

    def _note(self, hold: Hold) -> None:
        """Remember what a hold is on: whoever ends it here then knows what to lock without asking first."""
        if len(self._recent) >= RECENT:
            self._recent.clear()
        self._recent[hold.id] = hold.legs


def _known(id: str, entry: Entry | None) -> Entry:
    if entry is None:
        raise KeyError(f"no hold {id}")
    return entry


def _lock(store: Transaction, legs: Sequence[Leg]) -> None:
    store.lock([leg.budget for leg in legs], [leg.group for leg in legs if leg.group])


def decided(step: Step) -> tuple[Crossing, ...]:
    """The alerts that a step decided on."""
    return step.reply.crossings if isinstance(step.reply, Granted) else ()


def granted(step: Step) -> Granted:
    """The reply of a step that is never refused."""
    reply = step.reply
    assert isinstance(reply, Granted)
    return reply


def slot_range(leg: Leg) -> tuple[str, str]:
    """The first and the last slot that share a rolling window with this leg's slot."""
    this = int(leg.window)
    return f"{this - leg.slots:012d}", f"{this + leg.slots:012d}"
