"""One call as a pure state machine, and the order of its effects.

    NEW ── admitted ──► HELD ── answers end and the SDK returns ──► ENDED
     └─ refused ─► raises      └─ the SDK raises ─────────────────► ENDED

`call_flow` is the only place where the order "reserve, send, settle" is written; `_guard` runs it in two colours.
Every terminal move happens once: later ones return None.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from ._catalog import Catalog
from ._reservation import Plan, Reservation, Wait
from ._types import Call, Cost, Decision, Granted, Hold, Nano, Outcome, Refused, Usage
from .errors import LedgerUnavailableError
from .ports import Deferred, Exporter, Reader, Recording, Request, Watch

_UNSEEN: Final = 64
"""Output tokens assumed under way beyond those seen when a stream ends early."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Effect: ask the ledger for this hold; answered with `Granted` or `Refused`.

    Attributes:
        budgets: those whose lines the caller has to join if somebody waits there already; answered with `LINE_UP`.
        local: ask this process's own allowance, because the ledger is away.
    """

    hold: Hold
    budgets: tuple[str, ...] = ()
    local: bool = False


class Signal(Enum):
    """The effect `SEND`: let the SDK send the call. The answer `LINE_UP`: others wait, so wait behind them."""

    SEND = "send"
    LINE_UP = "line up"


SEND: Final = Signal.SEND
LINE_UP: Final = Signal.LINE_UP


@dataclass(frozen=True, slots=True)
class Settle:
    """Effect: book how the call ended."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class Step:
    """Effect: do this, in a worker thread of an event loop unless it is `inline`; answered with what it returns."""

    run: Callable[[], Any]
    inline: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Effect: wait for another call, so many seconds at most; answered with the seconds that passed.

    Attributes:
        join: takes what is to be called when the wait is over; False when it is over already.
    """

    seconds: float
    join: Callable[[Callable[[], object]], bool]


Effect: TypeAlias = Reserve | Wait | Signal | Settle | Step | Pause
Flow: TypeAlias = Generator[Effect, Any, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended and what it costs; `released` when it cost nothing because nothing was billed."""

    meter: Meter
    cost: Cost
    usages: tuple[Usage, ...]
    outcome: Outcome
    error: str | None = None
    released: bool = False
    decision: Decision = "allowed"
    saved: Nano = 0


class Kept(Protocol):
    """An answer that was paid for by an earlier call."""

    @property
    def usages(self) -> tuple[Usage, ...]:
        """What the earlier call was billed for."""
        ...


class Shortcut(Protocol):
    """A way by which a call may get its answer without being sent; see `costguard.optimize`."""

    def before(self) -> Generator[Effect, Any, Kept | None]:
        """The effects before anything is reserved; returns an answer to give instead of sending the call."""
        ...

    def record(self) -> Recording:
        """What takes an answer of the call down, as it begins."""
        ...

    def failed(self) -> None:
        """The call was sent, or refused, and there is no answer to share."""
        ...


class Bills(Protocol):
    """Says who bills a model at an instant."""

    def __call__(self, model: str, at: float) -> str: ...


class Meter:
    """One call from its admission to its end.

    Attributes:
        id: the call's and its hold's.
        at: UTC epoch seconds at which it is priced.
        reservation: what is held for it.
        deferred: set once its answer says that it is billed later.
        watches: the exporters that are there while it is in flight.
        shortcut: how it may get its answer without being sent, None when that is off.
        kept: the answer it gets without being sent.
        instead: what is sent instead of the caller's request, with a shorter prompt; None where that is sent as it is.
        removed: the tokens that the caller's prompt has more.
        plain: the caller's request, where prompts are made shorter and this one was not.
        looped: raises when the same request was sent too often, None where nobody watches.
    """

    __slots__ = (
        "_answers", "_begun", "_biller", "_catalog", "_once", "_open", "_returned", "at", "deferred", "id",
        "instead", "kept", "looped", "plain", "removed", "reservation", "shortcut", "watches",
    )  # fmt: skip

    def __init__(
        self, id: str, call: Call, catalog: Catalog, plan: Plan, at: float, lease: float, biller: Bills
    ) -> None:
        self.id = id
        self.at = at
        self.reservation = Reservation(id, call, catalog.ceiling(call, at), plan, at + lease, at)
        self.deferred: Deferred | None = None
        self.watches: tuple[tuple[Exporter, Watch], ...] = ()
        self.shortcut: Shortcut | None = None
        self.kept: Kept | None = None
        self.instead: Request | None = None
        self.removed = 0
        self.plain: Request | None = None
        self.looped: Callable[[], None] | None = None
        self._catalog = catalog
        self._biller = biller
        self._answers: list[tuple[Reader, bool]] = []
        self._returned = False
        self._begun = False
        # Answers end in whatever thread closes them, at any time, also in a finaliser. Lists make that safe without a
        # lock, as appending and popping are atomic: one token for each open answer, and one for whoever ends the call.
        self._open: list[None] = []
        self._once: list[None] = [None]

    @property
    def call(self) -> Call:
        """What is asked for; with a cheaper model than the program's, where a budget is spared so."""
        return self.reservation.call

    @property
    def asked(self) -> str:
        """The model that the program asked for, where another one is sent; else empty."""
        return self.reservation.asked

    def spared(self, usages: Sequence[Usage], nano: Nano) -> Nano:
        """What the call cost less than it would have with the model that was asked for and the whole prompt."""
        if not (self.asked or self.removed) or not usages:
            return 0
        model = self.asked or self.call.model
        same = [replace(usage, model=None if self.asked else usage.model, reported=None) for usage in usages]
        asked = self._catalog.cost(self.call.provider, model, same, self.at).nano
        saved = max(0, asked - nano) if self.asked else 0
        if self.removed:
            counts = same[0].counts
            same[0] = replace(same[0], counts={**counts, "input": counts.get("input", 0) + self.removed})
            saved += max(0, self._catalog.cost(self.call.provider, model, same, self.at).nano - asked)
        return saved

    @property
    def hold(self) -> Hold | None:
        """What the ledger granted, None when no budget applies."""
        return self.reservation.hold

    @property
    def cap(self) -> int | None:
        """The output cap the call must be sent with, None for as it is."""
        return self.reservation.cap

    @property
    def plan(self) -> Plan:
        """What the call is admitted against."""
        return self.reservation.plan

    def begin_answer(self) -> bool:
        """An answer of this call has begun; False when the call was ended before, so that it is charged on its own."""
        self._begun = True
        self._open.append(None)
        return bool(self._once)

    def end_answer(self, reader: Reader, outcome: Outcome, error: str | None = None) -> Ending | None:
        """An answer has ended, whole or not. Ends the call when the SDK has returned and no other answer is open."""
        self._answers.append((reader, reader.complete))
        self.deferred = reader.deferred or self.deferred
        self._open.pop()
        if not self._returned or self._open or self.deferred is not None or not self._wins():
            return None
        return self._ending(outcome, error)

    def so_far(self, reader: Reader) -> Ending | None:
        """What the call would have cost if it ended with this answer; None when that is not known, or it has ended."""
        readers = [one for one, _ in self._answers if one is not reader]
        readers.append(reader)
        if not self._once or self.deferred is not None or not all([one.complete for one in readers]):
            return None
        usages = tuple([usage for one in readers for usage in one.usages()])
        return Ending(self, self._cost(usages), usages, "ok")

    def returned(self) -> Ending | None:
        """The SDK has handed the response to the caller. Ends the call unless a stream is still to be read."""
        self._returned = True
        if self._open or self.deferred is not None or not self._wins():
            return None
        if self.kept is not None:
            saved = self._cost(self.kept.usages).nano
            return Ending(self, Cost(0), (), "ok", released=True, decision="cache_hit", saved=saved)
        if not self._answers:
            return Ending(self, Cost(0), (), "ok", released=True)
        return self._ending("ok", None)

    def failed(self, error: BaseException, billed: bool | None) -> Ending | None:
        """The SDK raised. What was billed before it did is charged; what cannot be known is charged as held."""
        if not self._wins():
            return None
        name = type(error).__name__
        if self.kept is not None:
            return Ending(self, Cost(0), (), "error", name, released=True, decision="cache_hit")
        if self._answers:
            return self._ending("error", name)
        if billed is False and not self._begun:
            return Ending(self, Cost(0), (), "error", name, released=True)
        return self._unknown("unknown" if isinstance(error, Exception) else "cancelled", name)

    def returned_early(self) -> None:
        """The call was sent before it was met: its end is that of its answer."""
        self._returned = True

    def arrived(self, usages: Sequence[Usage], outcome: Outcome = "ok") -> Ending | None:
        """What was billed is known from elsewhere: a deferred answer that was read, a call that was tracked."""
        if not self._wins():
            return None
        return Ending(self, self._cost(usages), tuple(usages), outcome)

    def _wins(self) -> bool:
        """Whether this is the terminal move: the first one is."""
        try:
            self._once.pop()
        except IndexError:
            return False
        return True

    def _ending(self, outcome: Outcome, error: str | None) -> Ending:
        usages = tuple([usage for reader, _ in self._answers for usage in reader.usages()])
        if usages and all([complete for _, complete in self._answers]):
            return Ending(self, self._cost(usages), usages, outcome, error)
        guessed = self._guess(usages)
        cost = self._cost(guessed)
        hold = self.hold
        if hold is not None:
            known = self._cost(usages).nano if usages else 0
            # Nobody knows what was billed beyond what was seen; a limit assumes that it was all the output that was
            # reserved. Never more than the hold, unless that much is known.
            limited = any(leg.hard for leg in hold.legs)
            nano = max(cost.nano, self._worst(guessed)) if limited else cost.nano
            cost = replace(cost, nano=max(known, min(nano, hold.amount)))
        return Ending(self, replace(cost, estimated=True), guessed, outcome, error)

    def _unknown(self, outcome: Outcome, error: str) -> Ending:
        """Sent, and nothing is known of an answer."""
        guessed = self._guess(())
        cost = replace(self._cost(guessed), estimated=True)
        if self.hold is not None and any(leg.hard for leg in self.hold.legs):
            cost = replace(cost, nano=self.hold.amount)
        return Ending(self, cost, guessed, outcome, error)

    def _cost(self, usages: Sequence[Usage]) -> Cost:
        provider = self.call.provider
        if not self.reservation.ceiling.entry:
            # Nobody's model was asked for, such as a deployment's name; the model that answered may be somebody's.
            served = next((usage.model for usage in usages if usage.model), None)
            provider = provider if served is None else self._biller(served, self.at)
        return self._catalog.cost(provider, self.call.model, usages, self.at)

    def _guess(self, usages: tuple[Usage, ...]) -> tuple[Usage, ...]:
        """What is known plus an estimate: the request's bound where the input is unknown, the output by its text."""
        seen = sum(reader.text_bytes for reader, _ in self._answers)
        known = next(iter(usages), Usage(self.call.bound, tier=self.call.tier))
        # Four bytes a token is the usual mean; a quarter more and what was under way keep it on the dear side.
        return (self._answered(known, known.output_tokens + seen * 5 // 16 + _UNSEEN), *usages[1:])

    def _worst(self, guessed: tuple[Usage, ...]) -> Nano:
        output = self.reservation.covers * self.call.choices
        return self._cost((self._answered(guessed[0], output), *guessed[1:])).nano

    def _answered(self, usage: Usage, output: int) -> Usage:
        """This usage with at least so many output tokens."""
        unit, counts = self.call.output_unit, dict(usage.counts)
        missing = output - usage.output_tokens
        if unit is not None and missing > 0:
            counts[unit] = counts.get(unit, 0) + missing
        # A cost that the provider returned along the way is not that of the whole answer.
        return replace(usage, counts=counts, estimated=True, reported=None)


def call_flow(meter: Meter, billed: Callable[[BaseException], bool | None]) -> Flow:
    """The one order of effects: reserve (again, smaller or later, if need be), send, settle.

    Args:
        meter: the call.
        billed: the provider's `was_billed`.
    """
    if meter.shortcut is not None:
        return _short_flow(meter, meter.shortcut, billed)
    return _paid_flow(meter, billed)


def _short_flow(meter: Meter, shortcut: Shortcut, billed: Callable[[BaseException], bool | None]) -> Flow:
    try:
        meter.kept = yield from shortcut.before()
        return (yield from _paid_flow(meter, billed))
    except BaseException:
        shortcut.failed()
        raise


def _paid_flow(meter: Meter, billed: Callable[[BaseException], bool | None]) -> Flow:
    if meter.kept is None:
        yield from admission(meter)
    try:
        response = yield SEND
    except BaseException as error:
        ending = meter.failed(error, billed(error))
        if ending is not None:
            yield Settle(ending)
        raise
    ending = meter.returned()
    if ending is not None:
        yield Settle(ending)
    return response


def admission(meter: Meter) -> Flow:
    """The effects of a call up to where it may be sent."""
    if meter.looped is not None:
        meter.looped()
    yield from _admit(meter.reservation)


def _admit(reservation: Reservation) -> Flow:
    if reservation.plan.balances is not None:
        reservation.press((yield Step(reservation.plan.balances, inline=reservation.plan.quick)))
    hold = reservation.first()
    # Who is ready to wait lines up behind those who wait already; who is not may try at once.
    line = tuple([leg.budget for _, leg in reservation.plan.legs]) if reservation.patient else ()
    while hold is not None:
        try:
            reply: Granted | Refused | Signal = yield Reserve(hold, line)
        except LedgerUnavailableError as error:
            local = reservation.ledger_down(hold, error)
            if local is not None and isinstance((yield Reserve(local, local=True)), Refused):
                raise
            return
        line = ()
        if isinstance(reply, Granted):
            break
        if isinstance(reply, Refused):
            step = reservation.after(hold, reply)
        else:
            step = reservation.line_up()
        if isinstance(step, Wait):
            hold = reservation.waited((yield step))
        else:
            hold = step
    reservation.hold = hold
