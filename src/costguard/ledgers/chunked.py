"""A ledger that is asked for a chunk of money at a time, and pays for single calls out of it without being asked.

For ledgers that are far away, or asked very often: ``?chunk=20`` in the URL, about the cost of twenty calls a chunk.
A chunk is one hold on the legs of a call; `_chunks` counts what is paid out of it. It is settled, with the sum of what
its calls did cost, when it is used up, when it is `AGE` seconds old, when no call has needed it for `IDLE` seconds,
before a call of this process would be refused, and when the process leaves. Calls that go on longer get holds of their
own first, so that no room is held for nobody.

Near a limit, for the first call on its budgets, and where only soft budgets count, there are no chunks: such calls go
to the ledger one by one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from .._book import Entry, IdempotencyConflictError, State, Step, adjust
from .._shield import log
from .._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Nano, Refused
from ..errors import ConfigError, LedgerUnavailableError
from ..ports import Ledger
from ._chunks import AGE, GRACE, GRANTED, IDLE, LONG_AGO, Child, Chunk, Family, Purse, ended

SHARE: Final = 32
"""A chunk is at most this part of what is left: a quarter of it, if eight processes share the budget."""
FRESH: Final = 1.0
"""Seconds for which what is left is taken to be as it was read."""
PATIENCE: Final = 0.25
"""Seconds that a call waits for the chunk that another thread is getting, before it asks for itself."""
ROUNDS: Final = 3
MOST: Final = 1000
MOMENT: Final = 0.002


class ChunkedLedger:
    """Counts in another ledger, in chunks.

    Args:
        inner: where the money is counted.
        calls: a chunk is about what so many calls cost.
        clock: seconds, for the age of chunks.
        share: a chunk is at most this part of what is left.
        recent: a call is the first on its budgets when there was none for so many seconds.

    Raises:
        ConfigError: the number of calls is not from 2 to 1000, or the other ledger is in memory.
    """

    inline = False
    every = IDLE / 2
    """Seconds between two calls of `tend`."""

    def __init__(
        self,
        inner: Ledger,
        calls: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        share: int = SHARE,
        recent: float = AGE,
    ) -> None:
        if not 2 <= calls <= MOST:
            raise ConfigError(f"chunk={calls}: give a number of calls from 2 to {MOST}")
        self.inner = inner
        self._calls = calls
        self._clock = clock
        self._share = share
        self._recent = recent
        self._purse = Purse()
        self._away = LONG_AGO

    # -- calls

    def in_hand(self, hold: Hold) -> Granted | None:
        """Pay for a call out of the chunk in hand, which takes microseconds; None when the ledger is to be asked.

        Raises:
            IdempotencyConflictError: it was asked for with other figures before.
        """
        return self._purse.take(hold, self._clock())

    def reserve(self, hold: Hold) -> Granted | Refused:
        """See `costguard.ports.Ledger.reserve`."""
        reply = self._purse.take(hold, self._clock())
        if reply is None and self._stocked(hold):
            reply = self._purse.take(hold, self._clock())
        return self._directly(hold) if reply is None else reply

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        """See `costguard.ports.Ledger.extend`."""
        while True:
            child = self._purse.child(id)
            if child is None or amount < 0:
                return self._fitted(partial(self.inner.extend, id, amount))
            if child.entry.state is not State.OPEN:
                raise IdempotencyConflictError(f"hold {id} is {child.entry.state.value}, so it cannot be extended")
            if child.chunk is None:
                return self._extended(child, amount)
            short = self._purse.grow(id, amount)
            if not short:
                return GRANTED
            if child.sent or not self._enlarged(child.chunk, short):
                # It gets a hold of its own, so that a refusal has the ledger's figures.
                self._retire(child.chunk)

    def settle(self, id: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.settle`."""
        if actual < 0:
            return self.inner.settle(id, actual)
        return self._end(id, State.SETTLED, actual)

    def release(self, id: str) -> Granted:
        """See `costguard.ports.Ledger.release`."""
        return self._end(id, State.RELEASED, 0)

    def adjust(self, id: str, correction: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.adjust`. A call that was paid out of a chunk is known to its own process only."""
        child = self._purse.child(id)
        if child is None or child.chunk is None or actual < 0:
            return self.inner.adjust(id, correction, actual)
        granted = self._change(id, child.chunk, lambda one: adjust({}, {id: one}, id, correction, actual), correction)
        return self._after(granted)

    # -- budgets

    def amend(self, amendment: Amendment) -> None:
        """See `costguard.ports.Ledger.amend`. Other processes pay out of what they have in hand for `AGE` seconds."""
        self.inner.amend(amendment)
        with suppress(LedgerUnavailableError):  # their age does it
            self._give_back([amendment.budget])

    def amendments(self, budget: str | None = None) -> Sequence[Amendment]:
        """See `costguard.ports.Ledger.amendments`."""
        return self.inner.amendments(budget)

    def balances(self, legs: Sequence[Leg], at: float = 0.0) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.balances`. Of the chunks of this process only what its calls have and hold."""
        return self._corrected(partial(self.inner.balances, legs, at))

    def windows(self, at: float) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.windows`. Of the chunks of this process only what its calls have and hold."""
        return self._corrected(partial(self.inner.windows, at))

    def undelivered(self, now: float) -> Sequence[Crossing]:
        """See `costguard.ports.Ledger.undelivered`."""
        return self.inner.undelivered(now)

    def delivered(self, crossings: Sequence[Crossing]) -> None:
        """See `costguard.ports.Ledger.delivered`."""
        self.inner.delivered(crossings)

    # -- chunks

    @property
    def busy(self) -> bool:
        """Whether there is anything for `tend` to give back, now or later."""
        return self._purse.busy or bool(self._purse.told)

    def tend(self, *, everything: bool = False) -> Sequence[Granted]:
        """Give back what is idle or old; returns what the ledger decided on, as `reap` does.

        Args:
            everything: give back all of it.

        Raises:
            LedgerUnavailableError: everything was to be given back, and the ledger is away.
        """
        try:
            now = self._clock()
            for chunk in self._purse.live():
                if everything or (self._is_over(chunk, now) and not chunk.turn.locked()):
                    self._retire(chunk)
            self._pay()
        except LedgerUnavailableError:
            self._away = self._clock()
            if everything:
                raise
        return self._heard()

    def reap(self, now: float) -> Sequence[Granted]:
        """See `costguard.ports.Ledger.reap`."""
        for id in self._purse.overdue(now):
            child = self._purse.child(id)
            if child is not None:
                self._purse.end(id, State.EXPIRED, child.entry.hold.amount)
        for chunk in self._purse.live():
            if chunk.hold.expires <= now:
                self._retire(chunk)
        return [*self.tend(), *self.inner.reap(now)]

    def close(self) -> None:
        """Give everything back, unless the ledger was away just now, and let go of its connections."""
        if self._clock() - self._away > AGE:
            with suppress(LedgerUnavailableError):  # then the leases charge it
                self.tend(everything=True)
        self.inner.close()

    # -- inner: paying

    def _stocked(self, hold: Hold) -> bool:
        """Get a chunk that can pay for a call, or wait for another thread to; whether it is worth while to look."""
        if hold.amount <= 0 or not any([leg.hard for leg in hold.legs]):
            return False
        family, now = self._purse.family(hold.legs), self._clock()
        known, family.seen = now - family.seen < self._recent, now
        if not known or now < family.tight:
            return False
        opening = family.opening
        if opening is not None and now - opening[1] < AGE:
            return opening[0].wait(PATIENCE)
        if 2 * self._purse.left_over(hold.legs) > self._calls * (family.mean or hold.amount):
            return False  # this call is larger than others, and what is in hand is good for those
        there = threading.Event()
        family.opening = there, now
        try:
            return self._open(hold, family)
        finally:
            family.opening = None
            there.set()

    def _open(self, hold: Hold, family: Family) -> bool:
        size = self._size(hold, family)
        if size is None:
            return False
        asked = replace(hold, id=_id(), amount=size, expires=hold.expires + GRACE)
        chunk = Chunk(asked, family, self._clock())
        with chunk.turn:
            self._purse.add(chunk)
            reply = self.inner.reserve(asked)
            if isinstance(reply, Granted):
                self._purse.put_in_hand(chunk)
                family.room -= size
                return True
            self._purse.drop(chunk)
        family.room, family.read = min([one.room for one in reply.refusals]), self._clock()
        return False

    def _size(self, hold: Hold, family: Family) -> Nano | None:
        """How much to ask for; None where a chunk would be too much of what is left."""
        now = self._clock()
        if now - family.read >= FRESH:
            balances = self.inner.balances(hold.legs, hold.at)
            family.room, family.read = min([one.remaining for one in balances if one.leg.hard]), now
        mean = hold.amount if family.mean is None else family.mean
        size = min(hold.amount + (self._calls - 1) * mean, family.room // self._share)
        return None if size < hold.amount + mean else size

    def _directly(self, hold: Hold) -> Granted | Refused:
        self._purse.pass_by(hold.id)
        reply = self._fitted(partial(self.inner.reserve, hold))
        if isinstance(reply, Refused):
            self._purse.unpass(hold.id)
        return reply

    def _fitted(self, ask: Callable[[], Granted | Refused]) -> Granted | Refused:
        """Ask the ledger, and again once what is idle here was given back: nobody is refused because of it."""
        reply = ask()
        for _ in range(ROUNDS):
            if isinstance(reply, Granted) or not self._give_back([one.leg.budget for one in reply.refusals]):
                break
            reply = ask()
        return reply

    def _extended(self, child: Child, amount: Nano) -> Granted | Refused:
        """Let a call grow that has a hold of its own."""
        hold = child.entry.hold
        if not child.soft:
            reply = self._fitted(partial(self.inner.extend, hold.id, amount))
            if isinstance(reply, Granted):
                self._purse.grown(hold.id, amount)
            return reply
        extra = replace(hold, id=_id(), amount=amount)
        self._purse.grown(hold.id, 0, extra.id)
        reply = self._fitted(partial(self.inner.reserve, extra))
        if isinstance(reply, Granted):
            self._purse.grown(hold.id, amount)
        return reply

    def _enlarged(self, chunk: Chunk, amount: Nano) -> bool:
        with chunk.turn:
            if chunk.gone or chunk.total is not None:
                return False
            granted = isinstance(self.inner.extend(chunk.hold.id, amount), Granted)
            if granted:
                self._purse.enlarged(chunk, amount)
            return granted

    # -- inner: ends

    def _end(self, id: str, to: State, actual: Nano) -> Granted:
        child = self._purse.end(id, to, actual)
        if child is None:
            granted = self._told_of(id, to, actual)
        elif child.chunk is None:
            granted = self._told_of(id, to, actual)
            for extra in child.extras:
                with suppress(KeyError):
                    self.inner.release(extra)
            self._purse.left(id, to, actual)
        elif child.chunk.total is None:
            granted = GRANTED
        else:
            granted = self._change(id, child.chunk, lambda entry: ended(entry, to, actual), to.value)
        return self._after(granted)

    def _after(self, granted: Granted) -> Granted:
        """Settle what is due by now, and add what the ledger decided on with that."""
        if self._purse.due and self._clock() - self._away > IDLE:
            with suppress(LedgerUnavailableError):  # `tend` tries again
                self._pay()
        if not self._purse.told:
            return granted
        return Granted(tuple([one for reply in (granted, *self._heard()) for one in reply.crossings]))

    def _told_of(self, id: str, to: State, actual: Nano) -> Granted:
        return self.inner.settle(id, actual) if to is State.SETTLED else self.inner.release(id)

    def _change(self, id: str, chunk: Chunk, step: Callable[[Entry], Step], name: str) -> Granted:
        """Change what an ended call is charged, at the ledger too where its chunk is settled there."""
        with chunk.turn:
            if chunk.total is not None and not chunk.gone:
                self._finish(chunk)
            child, after, done = self._purse.change(id, step)
            if done or after is None:
                return GRANTED
            assert chunk.total is not None
            total = chunk.total + after.booked - child.entry.booked
            granted = self.inner.adjust(chunk.hold.id, f"{id}/{name}/{total}", total)
            self._purse.changed(id, child, after, total)
            return granted

    # -- inner: giving back

    def _is_over(self, chunk: Chunk, now: float) -> bool:
        unused = not self._purse.sums(chunk).open and (chunk.closed or now - chunk.used >= IDLE)
        return now >= chunk.until or unused

    def _give_back(self, budgets: Collection[str]) -> bool:
        """Give back what is idle on these budgets, and leave them alone for a while; whether there was anything."""
        self._purse.tighten(budgets, self._clock() + AGE)
        chunks = self._purse.live(budgets)
        for chunk in chunks:
            self._retire(chunk)
        return bool(chunks)

    def _pay(self) -> None:
        """Settle what has paid for all it will, and give back the holds of calls that ended meanwhile."""
        due = self._purse.due
        while due:
            with suppress(IndexError, ValueError):  # another thread was quicker
                one = due[0]
                try:
                    if isinstance(one, Chunk):
                        self._retire(one)
                    else:
                        with suppress(KeyError):
                            self.inner.release(one)
                except LedgerUnavailableError:
                    self._away = self._clock()
                    raise
                due.remove(one)

    def _retire(self, chunk: Chunk) -> None:
        with chunk.turn:
            if not chunk.gone:
                self._finish(chunk)

    def _finish(self, chunk: Chunk) -> None:
        """Settle a chunk; its open calls get holds of their own before that."""
        self._purse.close(chunk)
        total = self._purse.total(chunk) if chunk.total is None else chunk.total
        while total is None:
            for id, hold in self._purse.sending(chunk):
                self._purse.sent(id, soft=self._sent(hold))
            total = self._purse.total(chunk)
        try:
            granted = self.inner.settle(chunk.hold.id, total)
        except (KeyError, IdempotencyConflictError) as error:
            granted = GRANTED
            if chunk.granted:
                log.error("a chunk of %d nano-dollars could not be settled at %d: %s", chunk.amount, total, error)
        self._purse.drop(chunk)
        if granted.crossings:
            self._purse.told.append(granted)

    def _sent(self, hold: Hold) -> bool:
        """Hold at the ledger what a call holds in a chunk. It is held already, so that no limit may stand in the way:
        where one does, it is held softly; returns whether it is."""
        try:
            if isinstance(self.inner.reserve(hold), Granted):
                return False
        except IdempotencyConflictError:
            return True  # an answer was lost: it is held softly since
        self.inner.reserve(replace(hold, legs=tuple([replace(leg, hard=False) for leg in hold.legs])))
        return True

    def _heard(self) -> list[Granted]:
        heard: list[Granted] = []
        while self._purse.told:
            with suppress(IndexError):
                heard.append(self._purse.told.popleft())
        return heard

    def _corrected(self, read: Callable[[], Sequence[Balance]]) -> list[Balance]:
        balances: Sequence[Balance] = ()
        corrections: list[tuple[Nano, Nano]] = []
        for _ in range(ROUNDS):
            before = self._moving()
            balances = read()
            corrections = [self._purse.correction(one.leg) for one in balances]
            if before is not None and before == self._moving():
                break
            time.sleep(MOMENT)  # a chunk is being taken or given back
        return [
            one if not any(both) else replace(one, spent=one.spent + both[0], held=max(0, one.held + both[1]))
            for one, both in zip(balances, corrections, strict=True)
        ]

    def _moving(self) -> list[tuple[str, Nano]] | None:
        """The chunks in hand, or None while one of them is on its way."""
        chunks = self._purse.live()
        return None if any([one.turn.locked() for one in chunks]) else [(one.hold.id, one.amount) for one in chunks]


def _id() -> str:
    """Of a chunk, or of what a call has grown by."""
    return f"chunk-{secrets.token_hex(12)}"
