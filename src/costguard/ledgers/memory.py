"""The ledger of one process: the book's pure steps under one lock."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakSet

from .._book import (
    Entry,
    IdempotencyConflictError,
    Row,
    State,
    Step,
    adjust,
    balance,
    expire,
    extend,
    release,
    reserve,
    settle,
    windows,
)
from .._context import runs
from .._forks import forks
from .._outbox import PATIENCE, Pending, key_of, take_over
from .._period import OF_RUN
from .._terms import PLAIN, Terms, amend, check
from .._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Nano, Refused

KEPT: Final = 10_000
"""Ended holds that are remembered, so that a repeated settle stays harmless."""
KEEP: Final = 60.0
"""Seconds that a window's books are kept after its end: one that is found empty could be spent once more."""


class MemoryLedger:
    """Counts in dictionaries. Safe for threads, tasks, signals and forks; gone with the process.

    Args:
        keep: seconds that a window's books are kept after its end, for a thread that was slow to come here with it.

    A step computes its changes first and then applies them with one `dict.update`, so that an interrupt between two
    bytecodes finds the books as they were before or as they are after.
    """

    inline = True

    def __init__(self, *, keep: float = KEEP) -> None:
        self._keep = keep
        # Window rows by (budget, window) and holds by id, in one dictionary so that one update changes both.
        self._state: dict[Any, Any] = {}
        # What is in force of amended budgets, and why: one tuple, so that one assignment changes both.
        self._amended: tuple[dict[str, Terms], dict[str, Amendment]] = ({}, {})
        self._leases: list[tuple[float, str]] = []
        self._prune_at = 2 * KEPT
        self._ended: deque[str] = deque()
        self._lock = threading.Lock()
        _ledgers.add(self)

    def reserve(self, hold: Hold) -> Granted | Refused:
        """See `costguard.ports.Ledger.reserve`."""
        with self._lock:
            reply, rows, entry = reserve(self._state, self._state, hold, self._amended[0])
            if entry is not None:
                # The lease goes first: one without a hold is harmless, a hold without one would stay for ever.
                heapq.heappush(self._leases, (hold.expires, hold.id))
                changes: dict[Any, Any] = {**rows, hold.id: entry}
                self._state.update(changes)
        return reply

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        """See `costguard.ports.Ledger.extend`."""
        with self._lock:
            step = extend(self._state, self._state, id, amount, self._amended[0])
            self._apply(id, step)
        return step.reply

    def settle(self, id: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.settle`."""
        with self._lock:
            return self._ends(id, settle(self._state, self._state, id, actual, self._amended[0]))

    def release(self, id: str) -> Granted:
        """See `costguard.ports.Ledger.release`."""
        with self._lock:
            return self._ends(id, release(self._state, self._state, id, self._amended[0]))

    def adjust(self, id: str, correction: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.adjust`."""
        with self._lock:
            step = adjust(self._state, self._state, id, correction, actual, self._amended[0])
            self._apply(id, step)
        return _granted(step)

    def amend(self, amendment: Amendment) -> None:
        """See `costguard.ports.Ledger.amend`."""
        check(amendment)
        with self._lock:
            terms, history = self._amended
            known = history.get(amendment.id)
            if known not in (None, amendment):
                raise IdempotencyConflictError(f"amendment {amendment.id} was another one before: {known}")
            if known is None:
                changed = amend(terms.get(amendment.budget, PLAIN), amendment)
                self._amended = ({**terms, amendment.budget: changed}, {**history, amendment.id: amendment})

    def amendments(self, budget: str | None = None) -> Sequence[Amendment]:
        """See `costguard.ports.Ledger.amendments`."""
        return [one for one in self._amended[1].values() if budget is None or one.budget == budget]

    def balances(self, legs: Sequence[Leg], at: float = 0.0) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.balances`."""
        with self._lock:
            return [balance(self._state, leg, self._amended[0], at) for leg in legs]

    def windows(self, at: float) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.windows`."""
        with self._lock:
            rows = {key: row for key, row in self._state.items() if isinstance(row, Row)}
            return windows(rows, self._amended[0], at)

    def reap(self, now: float) -> Sequence[Granted]:
        """See `costguard.ports.Ledger.reap`."""
        granted = []
        with self._lock:
            while self._leases and self._leases[0][0] <= now:
                id = self._leases[0][1]
                if self._is_open(id):
                    step = expire(self._state, self._state, id, self._amended[0])
                    self._ended.append(id)
                    self._apply(id, step)
                    granted.append(_granted(step))
                heapq.heappop(self._leases)
            self._forget_windows(now)
        return granted

    def undelivered(self, now: float) -> Sequence[Crossing]:
        """See `costguard.ports.Ledger.undelivered`."""
        with self._lock:
            pending = {key: one for key, one in self._state.items() if isinstance(one, Pending)}
            overdue, looked_at = take_over(pending.values(), now)
            until = {("alert", *key): pending["alert", *key]._replace(until=now + PATIENCE) for key in looked_at}
            self._state.update(until)
        return overdue

    def delivered(self, crossings: Sequence[Crossing]) -> None:
        """See `costguard.ports.Ledger.delivered`."""
        for crossing in crossings:
            with self._lock:
                self._state.pop(("alert", *key_of(crossing)), None)

    def close(self) -> None:
        """Nothing to let go of."""

    def _ends(self, id: str, step: Step) -> Granted:
        if step.entry is not None:
            self._ended.append(id)
            self._apply(id, step)
            if len(self._ended) > 2 * KEPT:
                self._forget()
        return _granted(step)

    def _forget(self) -> None:
        while len(self._ended) > KEPT:
            # An interrupt may have left an id here whose end was never written.
            if not self._is_open(self._ended[0]):
                self._state.pop(self._ended[0], None)
            self._ended.popleft()
        if len(self._leases) > self._prune_at:
            self._leases = [lease for lease in self._leases if self._is_open(lease[1])]
            heapq.heapify(self._leases)
            # With many calls in flight the list stays long; it is gone through again when it has doubled.
            self._prune_at = max(2 * KEPT, 2 * len(self._leases))

    def _forget_windows(self, now: float) -> None:
        at = now - self._keep
        rows = [(key, row) for key, row in self._state.items() if isinstance(row, Row) and not row.held]
        for key, row in rows:
            if _over(key[1], row, at):
                del self._state[key]

    def _is_open(self, id: str) -> bool:
        entry: Entry | None = self._state.get(id)
        return entry is not None and entry.state is State.OPEN

    def _apply(self, id: str, step: Step) -> None:
        reply, rows, entry = step
        if entry is not None:
            changes: dict[Any, Any] = {**rows, id: entry}
            if isinstance(reply, Granted) and reply.crossings:
                changes |= {("alert", *key_of(one)): Pending(one) for one in reply.crossings}
            self._state.update(changes)

    def _after_fork(self) -> None:
        """The child starts with the parent's books but not its calls in flight and alerts: those are the parent's."""
        self._lock = threading.Lock()
        for key in [key for key, one in self._state.items() if isinstance(one, Pending)]:
            del self._state[key]
        for id in [id for id in self._state if isinstance(id, str) and self._is_open(id)]:
            self._apply(id, release(self._state, self._state, id))
            self._ended.append(id)


def _over(window: str, row: Row, now: float) -> bool:
    if window.startswith(OF_RUN):
        # Of a run of this process it is known whether a call can still come; for others there is their time.
        run = window.removeprefix(OF_RUN)
        if runs.over(run):
            return True
        if runs.alive(run):
            return False
    return row.ends is not None and row.ends < now


def _granted(step: Step) -> Granted:
    reply = step.reply
    assert isinstance(reply, Granted)  # ending a hold is never refused
    return reply


_ledgers: Final[WeakSet[MemoryLedger]] = WeakSet()


def _after_fork_in_child() -> None:
    runs.forked()
    for ledger in list(_ledgers):
        ledger._after_fork()


forks.register(after_in_child=_after_fork_in_child)


def open_memory(url: str) -> MemoryLedger:  # noqa: ARG001 - every opener takes the URL
    """Open ``memory://``: each ledger has books of its own."""
    return MemoryLedger()
