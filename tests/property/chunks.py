"""Several processes with chunks over one book, against a recount: Hypothesis looks for a history that breaks a promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from costguard._book import IdempotencyConflictError
from costguard._types import Amendment, Granted, Hold, Leg, Nano, Refused
from costguard.errors import LedgerUnavailableError
from costguard.ledgers._chunks import AGE, IDLE
from costguard.ledgers.chunked import ChunkedLedger
from costguard.ledgers.memory import MemoryLedger

CLIENTS: Final = 3
MARKS: Final = ((20.0, 200), (60.0, 600))
WIDE, TIGHT = Leg("wide", "w", 1000, marks=MARKS), Leg("tight", "w", 600)
SOFT = Leg("soft", "w", 10, hard=False)


def _slot(at: float) -> Leg:
    index = int(at) // 4
    return Leg("rolling", f"{index:012d}", 700, index * 4.0, index * 4.0 + 4.0, slots=3)


def _legs(which: int, at: float) -> tuple[Leg, ...]:
    return ((WIDE,), (WIDE, TIGHT), (TIGHT, SOFT), (WIDE, _slot(at)))[which]


class Flaky(MemoryLedger):
    """A ledger that is away for some steps, which it may have carried out or not."""

    fails = 0
    done = False

    def _maybe(self, step: Callable[[], Any]) -> Any:
        if not self.fails:
            return step()
        self.fails -= 1
        if self.done:
            with suppress(KeyError):
                step()
        raise LedgerUnavailableError("away")

    def reserve(self, hold: Hold) -> Granted | Refused:
        reply: Granted | Refused = self._maybe(lambda: MemoryLedger.reserve(self, hold))
        return reply

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        reply: Granted | Refused = self._maybe(lambda: MemoryLedger.extend(self, id, amount))
        return reply

    def settle(self, id: str, actual: Nano) -> Granted:
        reply: Granted = self._maybe(lambda: MemoryLedger.settle(self, id, actual))
        return reply

    def release(self, id: str) -> Granted:
        reply: Granted = self._maybe(lambda: MemoryLedger.release(self, id))
        return reply


@dataclass
class Made:
    """A call as its caller knows it."""

    client: int
    hold: Hold
    amount: Nano
    state: str = "open"
    booked: Nano = 0
    over: Nano = 0

    @property
    def counts(self) -> Nano:
        """What the books must say of it at least."""
        return self.amount if self.state == "open" else self.booked


AMOUNTS: Final = st.sampled_from((5, 10, 10, 20, 60, 200))
CLIENT: Final = st.integers(0, CLIENTS - 1)
WHICH: Final = st.integers(0, 9)


class ChunksMachine(RuleBasedStateMachine):
    """Callers in several processes, that die, wait, and lose their ledger for a while."""

    kind: type[ChunkedLedger] = ChunkedLedger

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_780_000_000.0
        self.inner = Flaky(keep=1e9)
        self.clients = [self.client() for _ in range(CLIENTS)]
        self.calls: dict[str, Made] = {}
        self.told: set[tuple[str, str, float]] = set()
        self.lost: Nano = 0
        self.sure = True
        self.amended = self.count = self.died = 0
        self.highest = 1000
        self.faulty = False

    def client(self) -> ChunkedLedger:
        return type(self).kind(self.inner, 5, clock=lambda: self.now, share=2, recent=1e30)

    # -- what happens

    @initialize(faulty=st.booleans())
    def begin(self, faulty: bool) -> None:
        """Half of all histories have no faults and deaths: figures are compared exactly there."""
        self.faulty = faulty

    @rule(
        step=st.one_of(
            st.tuples(st.just("reserve"), CLIENT, st.integers(0, 3), AMOUNTS),
            st.tuples(st.just("reserve"), CLIENT, st.integers(0, 3), AMOUNTS),
            st.tuples(st.just("extend"), WHICH, AMOUNTS),
            st.tuples(st.just("end"), WHICH, st.sampled_from((30, 100, 130, 0))),
            st.tuples(st.just("end"), WHICH, st.sampled_from((30, 70, 70, 0))),
            st.tuples(st.just("adjust"), WHICH, AMOUNTS),
            st.tuples(st.just("repeat"), WHICH),
            st.tuples(st.just("wait"), st.sampled_from((0.5, 1.5, 4.0)), CLIENT),
            st.tuples(st.just("all_is_left"), CLIENT, st.integers(0, 2)),
            st.tuples(st.just("amend"), st.sampled_from((400, 1000, 1400)), CLIENT),
            st.tuples(st.just("fail"), st.integers(1, 3), st.booleans()),
            st.tuples(st.just("die"), CLIENT),
        )
    )
    def do(self, step: tuple[Any, ...]) -> None:
        """One step of a history."""
        getattr(self, step[0])(*step[1:])

    def reserve(self, client: int, which: int, amount: Nano) -> None:
        self.count += 1
        id = f"call-{self.count}"
        hold = Hold(id, amount, _legs(which, self.now), self.now + 3600, self.now)
        call = Made(client, hold, amount)
        try:
            reply = self.clients[client].reserve(hold)
        except LedgerUnavailableError:
            # As the driver does: nobody knows whether it was granted.
            self.unsure()
            call.state = "released"
            with suppress(KeyError, LedgerUnavailableError):
                self.clients[client].release(id)
            return
        if isinstance(reply, Granted):
            self.calls[id] = call
        else:
            self.refused(client, reply, hold.legs, amount)

    def extend(self, which: int, amount: Nano) -> None:
        call = self.pick(which, "open")
        if call is None:
            return
        try:
            reply = self.clients[call.client].extend(call.hold.id, amount)
        except LedgerUnavailableError:
            self.unsure()
            return
        if isinstance(reply, Granted):
            call.amount += amount
        else:
            self.refused(call.client, reply, call.hold.legs, amount)

    def end(self, which: int, percent: int) -> None:
        call = self.pick(which, "open")
        if call is None:
            return
        client, id, actual = self.clients[call.client], call.hold.id, call.amount * percent // 100
        for _ in range(5):  # as the writer does
            with suppress(LedgerUnavailableError):
                self.hear([client.settle(id, actual) if percent else client.release(id)])
                break
            self.unsure()
        call.over = max(0, actual - call.amount)
        call.state, call.booked = ("settled" if percent else "released"), actual

    def adjust(self, which: int, actual: Nano) -> None:
        call = self.pick(which, "settled")
        if call is None:
            return
        self.count += 1
        correction = f"correction-{self.count}"
        with suppress(LedgerUnavailableError):
            self.hear([self.clients[call.client].adjust(call.hold.id, correction, actual)])
            call.over = max(call.over, actual - call.booked)
            call.booked = actual

    def repeat(self, which: int) -> None:
        """Sent again, a step changes nothing; with other figures it is an error."""
        call = self.pick(which)
        if call is None or not self.sure or self.inner.fails:
            return
        client, hold = self.clients[call.client], call.hold
        if call.amount == hold.amount:
            assert Granted() == client.reserve(hold)
        for wrong in (replace(hold, amount=hold.amount + 1), replace(hold, legs=(*hold.legs, Leg("other", "w", 9)))):
            try:
                client.reserve(wrong)
            except IdempotencyConflictError:
                continue
            raise AssertionError("a step that contradicts an earlier one was taken silently")

    def wait(self, seconds: float, client: int) -> None:
        self.now += seconds
        self.hear(self.clients[client].tend())

    def all_is_left(self, client: int, which: int) -> None:
        """Once chunks are too old, everything that is neither spent nor in flight can be had, by anybody."""
        self.now += AGE + IDLE
        self.recover()
        for one in self.clients:
            self.hear(one.tend())
        legs = _legs(which, self.now)
        room = min(one.remaining for one in self.inner.balances(legs, self.now) if one.leg.hard)
        if self.sure and not self.lost:
            free = min(self.limit(leg) - self.true(leg) for leg in legs if leg.hard)
            assert room == max(0, free)
        if room:
            self.count += 1
            hold = Hold(f"all-{self.count}", room, legs, self.now + 3600, self.now)
            assert Granted() == self.clients[client].reserve(hold)
            self.hear([self.clients[client].release(hold.id)])

    def amend(self, limit: Nano, client: int) -> None:
        self.amended += 1
        self.highest = max(self.highest, limit)
        self.recover()
        self.clients[client].amend(Amendment(f"{self.amended}", "wide", "limit", self.now, limit))
        # Within the age of a chunk, a process that has one may pay out of it.
        assert [] == self.clients[client]._purse.live(["wide"])

    def fail(self, times: int, done: bool) -> None:
        if self.faulty:
            self.inner.fails, self.inner.done = times, done
            self.unsure()

    def die(self, client: int) -> None:
        """A process is killed: what it had in hand is charged as held, when its lease is over."""
        if not self.faulty:
            return
        self.died += 1
        mine = [one for one in self.calls.values() if one.client == client]
        for call in mine:
            if call.state == "open":
                call.state, call.booked = "dead", call.amount
        self.lost += sum(one.amount for one in self.clients[client]._purse.live()) + 10**6 * (not self.sure)
        for call in mine:
            call.client = -1
        self.clients[client] = self.client()

    # -- what must always hold

    @invariant()
    def nothing_is_missing_and_no_limit_is_passed(self) -> None:
        """The books never say less than calls cost and hold; and these never pass a hard limit, but by what they did
        cost beyond what was held for them."""
        legs = self.windows()
        for leg, balance in zip(legs, self.inner.balances(legs, self.now), strict=True):
            true = self.true(leg)
            over = sum(one.over for one in self.calls.values() if leg.budget in [own.budget for own in one.hold.legs])
            # What did cost more than was held is there once the ledger is.
            assert balance.spent + balance.held >= true - (0 if self.sure else over), leg
            assert not leg.hard or true <= (self.highest if leg is WIDE else leg.limit) + over, leg
            if self.sure and not self.lost:
                hands = [one._purse.correction(leg) for one in self.clients]
                assert balance.spent + balance.held + sum(map(sum, hands)) == true

    def teardown(self) -> None:
        """When everybody has left, the books say what every call did cost, and hold nothing for nobody."""
        self.recover()
        for call in [one for one in self.calls.values() if one.state == "open"]:
            self.hear([self.clients[call.client].settle(call.hold.id, call.amount)])
            call.state, call.booked = "settled", call.amount
        for client in self.clients:
            self.hear(client.tend(everything=True))
            assert not client.busy
        if self.sure and not self.died:
            held = [one.held for one in self.inner.balances([WIDE, TIGHT, SOFT], self.now)]
            assert [0, 0, 0] == held
            pending = {(one.leg.budget, one.leg.window, one.percent) for _ in (0, 1)
                       for one in self.inner.undelivered(self.now + 60 * len(self.told) + 1e6 * _)}  # fmt: skip
            assert pending == self.told
        self.hear(self.inner.reap(self.now + 10**6))
        for leg, balance in zip((WIDE, TIGHT, SOFT), self.inner.balances([WIDE, TIGHT, SOFT], self.now), strict=True):
            assert balance.held == 0
            assert 0 <= balance.spent - self.true(leg) <= self.lost + (0 if self.sure else 10**6), leg

    # -- inner

    def refused(self, client: int, reply: Refused, legs: Sequence[Leg], amount: Nano) -> None:
        """With true figures, and not because of what this very process has in hand."""
        assert {one.leg.budget for one in reply.refusals} <= {leg.budget for leg in legs}
        if not self.sure:
            return
        for one in reply.refusals:
            assert one.needed == amount
            assert one.spent + one.held + amount > self.limit(one.leg)
            assert [] == self.clients[client]._purse.live([one.leg.budget]), "its own money was in its way"

    def limit(self, leg: Leg) -> Nano:
        (balance,) = self.inner.balances([leg], self.now)
        return balance.leg.limit

    def true(self, leg: Leg) -> Nano:
        """What calls in a window cost and hold."""
        return sum(
            one.counts for one in self.calls.values()
            if any(own.budget == leg.budget and self.within(own, leg) for own in one.hold.legs)
        )  # fmt: skip

    @staticmethod
    def within(own: Leg, leg: Leg) -> bool:
        if not leg.slots:
            return own.window == leg.window
        return int(leg.window) - leg.slots <= int(own.window) <= int(leg.window)

    def windows(self) -> list[Leg]:
        return [WIDE, TIGHT, SOFT, _slot(self.now)]

    def unsure(self) -> None:
        """An answer was lost: more may be held than is known."""
        self.sure = False

    def recover(self) -> None:
        if self.inner.fails:
            self.unsure()
        self.inner.fails = 0

    def hear(self, replies: Sequence[Granted]) -> None:
        self.told |= {(one.leg.budget, one.leg.window, one.percent) for reply in replies for one in reply.crossings}

    def pick(self, which: int, *states: str) -> Made | None:
        found = [one for one in self.calls.values() if one.client >= 0 and (not states or one.state in states)]
        return found[-1 - which % len(found)] if found else None


def chunks_machine(kind: type[ChunkedLedger]) -> type[ChunksMachine]:
    """The machine over clients of some kind."""
    return type("Chunks", (ChunksMachine,), {"kind": kind})
