"""One call as a pure state machine, and the order of its effects.

    NEW ── admitted ──► HELD ── answers end and the SDK returns ──► ENDED
     └─ refused ─► raises      └─ the SDK raises ─────────────────► ENDED

`call_flow` is the only place where the order "reserve, send, settle" is written; `_guard` runs it in two colours.
Every terminal move happens once: later ones return None.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from ._budget import Budget
from ._catalog import Catalog, Ceiling
from ._types import Call, Cost, Granted, Hold, Leg, Nano, Outcome, Refusal, Refused, Usage
from .errors import BudgetExceededError, UnknownPriceError
from .ports import Deferred, Reader

MIN_OUTPUT: Final = 1024
"""The fewest output tokens a call is clamped to; below that a short answer is worth less than a refusal."""
COLD_OUTPUT: Final = 4096
"""The output cap near the edge, so that the first caller there does not hold all that is left."""

_UNSEEN: Final = 64
"""Output tokens assumed under way beyond those seen when a stream ends early."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Effect: ask the ledger for this hold; answered with `Granted` or `Refused`."""

    hold: Hold


class Send(Enum):
    """Effect: let the SDK send the call; answered with its response."""

    SEND = "send"


SEND: Final = Send.SEND


@dataclass(frozen=True, slots=True)
class Settle:
    """Effect: book how the call ended."""

    ending: Ending


Effect: TypeAlias = Reserve | Send | Settle
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


class Bills(Protocol):
    """Says who bills a model at an instant."""

    def __call__(self, model: str, at: float) -> str: ...


class Says(Protocol):
    """Told of refusals that are not raised, so that they are seen."""

    def __call__(self, message: str, error: BudgetExceededError) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call is admitted against.

    Attributes:
        legs: the windows it touches, with the budget of each.
        tags: its attribution.
        observe: whether refusals are only noted.
        strict_prices: whether a model without a price is refused.
        warn: told of refusals that are let through.
    """

    legs: tuple[tuple[Budget, Leg], ...]
    tags: Mapping[str, str]
    observe: bool = False
    strict_prices: bool = False
    warn: Says | None = None


class Meter:
    """One call from its admission to its end.

    Attributes:
        id: the call's and its hold's.
        call: what is asked for.
        at: UTC epoch seconds at which it is priced.
        hold: what was reserved, or None when no budget applies.
        cap: the output cap the call must be sent with, or None for as it is.
        would_block: budgets that would have refused it in observe mode.
    """

    __slots__ = (
        "_answers", "_begun", "_biller", "_catalog", "_once", "_open", "_returned", "at", "call", "cap", "ceiling", "deferred", "hold", "id",
        "lease", "plan", "would_block",
    )  # fmt: skip

    def __init__(
        self, id: str, call: Call, catalog: Catalog, plan: Plan, at: float, lease: float, biller: Bills
    ) -> None:
        self.id = id
        self.call = call
        self.plan = plan
        self.at = at
        self.lease = lease
        self.ceiling: Ceiling = catalog.ceiling(call, at)
        self.hold: Hold | None = None
        self.cap: int | None = None
        self.would_block: tuple[str, ...] = ()
        self.deferred: Deferred | None = None
        self._catalog = catalog
        self._biller = biller
        self._answers: list[tuple[Reader, bool]] = []
        self._returned = False
        self._begun = False
        # Answers end in whatever thread closes them, at any time, also in a finaliser. Lists make that safe without a
        # lock, as appending and popping are atomic: one token for each open answer, and one for whoever ends the call.
        self._open: list[None] = []
        self._once: list[None] = [None]

    # -- admission ---------------------------------------------------------------------------------------------

    def first_hold(self) -> Hold | None:
        """The most the call can cost, on every window it touches; None when no budget applies."""
        if self.plan.strict_prices and (self.ceiling.estimated or self.ceiling.unpriced):
            raise UnknownPriceError(self.call.provider, self.call.model)
        if not self.plan.legs:
            return None
        return self._make_hold(self.ceiling.amount(self.call.max_output), tuple(leg for _, leg in self.plan.legs))

    def unrefusable_hold(self) -> Hold | None:
        """For a call that was made already: counted on every window and refused by none."""
        legs = tuple(replace(leg, hard=False) for _, leg in self.plan.legs)
        return self._make_hold(0, legs) if legs else None

    def next_hold(self, hold: Hold, refused: Refused) -> Hold:
        """What to try after a refusal: a shorter answer, or without the budgets that only warn.

        Raises:
            BudgetExceededError: nothing is left to try.
        """
        budgets = {leg.budget: budget for budget, leg in self.plan.legs}
        if self.plan.observe:
            self.would_block = tuple(refusal.leg.budget for refusal in refused.refusals)
            return self._softened(hold, refused.refusals)
        clamped = self._clamped(hold, refused, budgets)
        if clamped is not None:
            return clamped
        for refusal in refused.refusals:
            self._exceeded(budgets[refusal.leg.budget], refusal, refused)
        return self._softened(hold, refused.refusals)

    def admitted(self, hold: Hold | None) -> None:
        """The ledger granted `hold`."""
        self.hold = hold

    def _make_hold(self, amount: Nano, legs: tuple[Leg, ...]) -> Hold:
        return Hold(self.id, amount, legs, self.at + self.lease)

    def _clamped(self, hold: Hold, refused: Refused, budgets: dict[str, Budget]) -> Hold | None:
        if self.call.cap is None or (self.cap is not None and self.cap <= MIN_OUTPUT):
            return None
        if not all(budgets[refusal.leg.budget].clamp for refusal in refused.refusals):
            return None
        wanted = self.ceiling.model_max if self.call.max_output is None else self.call.max_output
        room = min(refusal.room for refusal in refused.refusals)
        cap = min(self.ceiling.affordable(room), wanted, COLD_OUTPUT if self.cap is None else self.cap // 2)
        if cap < min(MIN_OUTPUT, wanted):
            return None
        amount = self.ceiling.amount(cap)
        if amount >= hold.amount:
            return None
        self.cap = cap
        return self._make_hold(amount, hold.legs)

    def _exceeded(self, budget: Budget, refusal: Refusal, refused: Refused) -> None:
        others = tuple(other for other in refused.refusals if other is not refusal)
        error = BudgetExceededError((refusal, *others))
        if callable(budget.on_exceeded):
            budget.on_exceeded(error)
        elif budget.on_exceeded == "raise":
            raise error
        if self.plan.warn is not None:
            self.plan.warn("over the limit and let through by on_exceeded", error)

    def _softened(self, hold: Hold, refusals: Sequence[Refusal]) -> Hold:
        over = {refusal.leg.budget for refusal in refusals}
        legs = tuple(replace(leg, hard=False) if leg.budget in over else leg for leg in hold.legs)
        self.cap = None
        return self._make_hold(self.ceiling.amount(self.call.max_output), legs)

    # -- the end -----------------------------------------------------------------------------------------------

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

    def returned(self) -> Ending | None:
        """The SDK has handed the response to the caller. Ends the call unless a stream is still to be read."""
        self._returned = True
        if self._open or self.deferred is not None or not self._wins():
            return None
        if not self._answers:
            return Ending(self, Cost(0), (), "ok", released=True)
        return self._ending("ok", None)

    def failed(self, error: BaseException, billed: bool | None) -> Ending | None:
        """The SDK raised. What was billed before it did is charged; what cannot be known is charged as held."""
        if not self._wins():
            return None
        name = type(error).__name__
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
        usages = tuple(usage for reader, _ in self._answers for usage in reader.usages())
        if usages and all(complete for _, complete in self._answers):
            return Ending(self, self._cost(usages), usages, outcome, error)
        guessed = self._guess(usages)
        cost = self._cost(guessed)
        if self._hard and not self.ceiling.unpriced:
            # Nobody knows what was billed beyond what was seen; a hard limit assumes that it was everything reserved
            # for output, and never more than the hold.
            cost = replace(cost, nano=max(cost.nano, self._worst(guessed)))
        if self.hold is not None:
            cost = replace(cost, nano=min(cost.nano, max(self.hold.amount, self._cost(usages).nano if usages else 0)))
        return Ending(self, replace(cost, estimated=True), guessed, outcome, error)

    def _unknown(self, outcome: Outcome, error: str) -> Ending:
        guessed = (Usage(self.call.bound, estimated=True),)
        amount = self.hold.amount if self.hold is not None and self._hard else self._cost(guessed).nano
        return Ending(self, replace(self._cost(guessed), nano=amount, estimated=True), guessed, outcome, error)

    @property
    def _hard(self) -> bool:
        return self.hold is not None and any(leg.hard for leg in self.hold.legs)

    def _cost(self, usages: Sequence[Usage]) -> Cost:
        provider = self.call.provider
        if not self.ceiling.entry:
            # Nobody's model was asked for, such as a deployment's name; the model that answered may be somebody's.
            served = next((usage.model for usage in usages if usage.model), None)
            provider = provider if served is None else self._biller(served, self.at)
        return self._catalog.cost(provider, self.call.model, usages, self.at)

    def _guess(self, usages: tuple[Usage, ...]) -> tuple[Usage, ...]:
        """What is known plus an estimate: the request's bound where the input is unknown, the output by its text."""
        seen = sum(reader.text_bytes for reader, _ in self._answers)
        known = next(iter(usages), Usage(self.call.bound))
        unit = self.call.output_unit
        if unit is None:
            return (replace(known, estimated=True), *usages[1:])
        # Four bytes a token is the usual mean; a quarter more and what was under way keep it on the dear side.
        guess = max(known.output_tokens, seen * 5 // 16 + _UNSEEN)
        counts = {**known.counts, unit: known.counts.get(unit, 0) + guess - known.output_tokens}
        return (replace(known, counts=counts, estimated=True), *usages[1:])

    def _worst(self, guessed: tuple[Usage, ...]) -> Nano:
        unit = self.call.output_unit
        if unit is None or self.hold is None:
            return 0
        most = self.cap or self.call.max_output or self.ceiling.model_max
        known = guessed[0]
        missing = most * self.call.choices - known.output_tokens
        if missing <= 0:
            return 0
        counts = {**known.counts, unit: known.counts.get(unit, 0) + missing}
        return self._cost((replace(known, counts=counts), *guessed[1:])).nano


def call_flow(meter: Meter, billed: Any) -> Flow:
    """The one order of effects: reserve (again, smaller, if need be), send, settle.

    Args:
        meter: the call.
        billed: the provider's `was_billed`.
    """
    hold = meter.first_hold()
    while hold is not None:
        reply: Granted | Refused = yield Reserve(hold)
        if isinstance(reply, Granted):
            break
        hold = meter.next_hold(hold, reply)
    meter.admitted(hold)
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
