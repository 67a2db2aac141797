"""What to ask the ledger for, from a call's first hold to its last: the whole bound, a shorter answer, a place in line.

Pure: it is told what the ledger answered and says what comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from ._budget import Budget, OnLedgerDown
from ._ceiling import Ceiling
from ._habits import Forecast
from ._types import Balance, Call, Hold, Leg, Nano, Refusal, Refused
from .errors import BudgetExceededError, LedgerUnavailableError, UnknownPriceError

MIN_OUTPUT: Final = 1024
"""The fewest output tokens a call is clamped to; below that a short answer is worth less than a refusal."""
COLD_OUTPUT: Final = 4096
"""The output cap near the edge, and the answer's length where nothing is learned yet: a high value, so that the first
callers neither hold all that is left nor overshoot."""
SLICE: Final = 1024
"""Output tokens by which the hold of a stream grows."""

Legs = tuple[tuple[Budget, Leg], ...]


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
        forecast: says what such calls are expected to use, once that is known.
        again: the legs as they are at a later instant, for a caller that waited into another window.
        run: the outermost attributed block that the call is made in.
        fingerprint: a keyed hash of the request, where somebody wants it.
        cheaper: gives a call with a cheaper model, and the most that it can cost; None where there are no ladders.
        balances: reads the books, where a budget is to be spared before its limit is reached.
        quick: whether that takes microseconds.
    """

    legs: Legs
    tags: Mapping[str, str]
    observe: bool = False
    strict_prices: bool = False
    warn: Says | None = None
    forecast: Callable[[], Forecast | None] | None = None
    again: Callable[[], Legs] | None = None
    run: str = ""
    fingerprint: str = ""
    cheaper: Callable[[Call], tuple[Call, Ceiling] | None] | None = None
    balances: Callable[[], Sequence[Balance]] | None = None
    quick: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """Effect: wait for other callers' holds to end; answered with the seconds that passed."""

    budgets: tuple[str, ...]
    seconds: float


class Reservation:
    """The holds of one call.

    Attributes:
        hold: what the ledger granted, None when no budget applies.
        cap: the output cap the call must be sent with, None for as it is.
        covers: the output tokens of one answer that the hold pays for.
        proven: whether the hold is an upper bound of what the provider can bill.
        would_block: budgets that would have refused the call in observe mode.
        down: the policy the call goes by because the ledger is away, None while it is there.
        unsure: whether the ledger may hold money for it all the same.
        asked: the model that the program asked for, where the call has another one; else empty.
        waits: whether the caller can wait in line at all.
    """

    __slots__ = (
        "_at",
        "_id",
        "_patience",
        "asked",
        "call",
        "cap",
        "ceiling",
        "covers",
        "down",
        "expires",
        "hold",
        "plan",
        "proven",
        "unsure",
        "waits",
        "would_block",
    )

    def __init__(self, id: str, call: Call, ceiling: Ceiling, plan: Plan, expires: float, at: float) -> None:
        self._at = at
        self._id = id
        self._patience = 0.0
        self.waits = True
        self.call = call
        self.asked = ""
        self.ceiling = ceiling
        self.plan = plan
        self.expires = expires
        self.hold: Hold | None = None
        self.cap: int | None = None
        self.covers = 0
        self.proven = True
        self.would_block: tuple[str, ...] = ()
        self.down: OnLedgerDown | None = None
        self.unsure = False

    @property
    def strict(self) -> bool:
        """Whether a hard budget counts the call, so that what cannot be known is assumed to be the worst."""
        return any(budget.enforcement == "hard" for budget, _ in self.plan.legs)

    @property
    def wanted(self) -> int:
        """The most output tokens of one answer: the caller's cap, else the model's."""
        return self.ceiling.model_max if self.call.max_output is None else self.call.max_output

    @property
    def patient(self) -> bool:
        """Whether every budget lets the caller wait in line."""
        if not self.waits or self.plan.observe or not self.plan.legs:
            return False
        return all(budget.wait > 0 for budget, _ in self.plan.legs)

    def first(self) -> Hold | None:
        """The hold to try first; None when no budget applies.

        Raises:
            UnknownPriceError: the model has no price and such calls are refused.
        """
        if self.plan.strict_prices and (self.ceiling.estimated or self.ceiling.unpriced):
            raise UnknownPriceError(self.call.provider, self.call.model)
        if not self.plan.legs:
            return None
        legs = tuple([leg for _, leg in self.plan.legs])
        self.cap = None
        if self.strict or all(budget.enforcement == "soft" for budget, _ in self.plan.legs):
            return self._whole(legs)
        return self._expected(legs)

    def uncounted(self) -> Hold | None:
        """For a call that was made already: counted on every window and refused by none."""
        legs = tuple(replace(leg, hard=False) for _, leg in self.plan.legs)
        self.proven = False
        return self._make(0, legs) if legs else None

    def after(self, hold: Hold, refused: Refused) -> Hold | Wait:
        """What comes after a refusal: a shorter answer, a slice of a stream, a place in line, or going on without the
        budgets that only warn.

        Raises:
            BudgetExceededError: nothing is left to try.
        """
        if self.plan.observe:
            self.would_block += tuple(refusal.leg.budget for refusal in refused.refusals)
            return self._softened(hold, refused.refusals)
        over = self._over(refused)
        if all(budget.on_exceeded == "downgrade" for budget in over) and self._stepped_down():
            return self.first() or hold
        smaller = self._clamped(hold, refused, over) or self._sliced(hold, refused, over)
        if smaller is not None:
            return smaller
        wait = min(budget.wait for budget in over) - self._patience if self.waits else 0
        if wait > 0 and self._only_held(hold, refused, over):
            return Wait(tuple(refusal.leg.budget for refusal in refused.refusals), wait)
        for budget, refusal in zip(over, refused.refusals, strict=True):
            self._exceeded(budget, refusal, refused)
        return self._softened(hold, refused.refusals)

    def press(self, balances: Sequence[Balance]) -> None:
        """Take the next cheaper model where a budget is to be spared by now."""
        spent = {(one.leg.budget, one.leg.window): one.spent for one in balances}
        for budget, leg in self.plan.legs:
            at = budget.downgrade_at
            if at is not None and 100 * spent.get((leg.budget, leg.window), 0) >= at * leg.limit:
                self._stepped_down()
                return

    def _stepped_down(self) -> bool:
        found = None if self.plan.cheaper is None or self.plan.observe else self.plan.cheaper(self.call)
        if found is None:
            return False
        self.asked = self.asked or self.call.model
        self.call, self.ceiling = found
        return True

    def line_up(self) -> Wait:
        """Wait behind the callers that wait already."""
        budgets = tuple(leg.budget for _, leg in self.plan.legs)
        return Wait(budgets, min(budget.wait for budget, _ in self.plan.legs) - self._patience)

    def waited(self, seconds: float) -> Hold | None:
        """The hold to try after a wait, in the windows of that later instant."""
        self._patience += seconds
        if self.plan.again is not None:
            self.plan = replace(self.plan, legs=self.plan.again())
        return self.first()

    def ledger_down(self, hold: Hold, error: LedgerUnavailableError) -> Hold | None:
        """The ledger cannot be asked: what to ask this process's own allowance for, None to go on without.

        Raises:
            LedgerUnavailableError: a budget does not let calls through blindly.
        """
        budgets = [budget for budget, _ in self.plan.legs]
        policies = {budget.on_ledger_down for budget in budgets}
        if not self.plan.observe and ("closed" in policies or self.down is not None):
            raise error
        self.unsure = error.unsure
        self.down = "local" if "local" in policies and not self.plan.observe else "open"
        if self.down == "open":
            return None
        legs = tuple(
            replace(leg, limit=budget.local_allowance if budget.on_ledger_down == "local" else leg.limit, marks=())
            for budget, leg in self.plan.legs
        )
        return replace(hold, legs=legs)

    def growth(self, seen: int) -> Nano:
        """What to add to the hold so that it covers `seen` output tokens and a slice more."""
        assert self.hold is not None
        self.covers = max(seen, self.covers) + SLICE
        return max(0, self.ceiling.amount(self.covers) - self.hold.amount)

    def grown(self, amount: Nano) -> None:
        """The ledger extended the hold by `amount`."""
        assert self.hold is not None
        self.hold = replace(self.hold, amount=self.hold.amount + amount)

    def cannot_grow(self, refused: Refused, partial: str) -> None:
        """The ledger did not extend the hold of a stream.

        Raises:
            BudgetExceededError: the stream is to be cut off; with `partial`, the text received.
        """
        for budget, refusal in zip(self._over(refused), refused.refusals, strict=True):
            self._exceeded(budget, refusal, refused, partial)

    def _over(self, refused: Refused) -> list[Budget]:
        """The budgets that refused. A name alone does not tell them apart: a lifetime and a run may share one."""
        budgets = {(leg.budget, leg.window): budget for budget, leg in self.plan.legs}
        return [budgets[refusal.leg.budget, refusal.leg.window] for refusal in refused.refusals]

    def _make(self, amount: Nano, legs: tuple[Leg, ...]) -> Hold:
        return Hold(self._id, amount, legs, self.expires, self._at + self._patience)

    def _whole(self, legs: tuple[Leg, ...]) -> Hold:
        self.covers = self.wanted
        self.proven = True
        return self._make(self.ceiling.amount(self.call.max_output), legs)

    def _expected(self, legs: tuple[Leg, ...]) -> Hold:
        """What such calls usually use, or the cold value while that is not known; never more than the whole bound."""
        forecast = None if self.plan.forecast is None else self.plan.forecast()
        output = COLD_OUTPUT if forecast is None else forecast.output
        self.covers = min(output, self.wanted)
        self.proven = False
        permille = 1000 if forecast is None else forecast.input_permille
        return self._make(self.ceiling.expected(permille, self.covers), legs)

    def _clamped(self, hold: Hold, refused: Refused, over: Sequence[Budget]) -> Hold | None:
        if not self._may_clamp(over) or (self.cap is not None and self.cap <= MIN_OUTPUT):
            return None
        room = min(refusal.room for refusal in refused.refusals)
        most = COLD_OUTPUT if self.cap is None else max(MIN_OUTPUT, self.cap // 2)
        cap = min(self.ceiling.affordable(room), self.wanted, most)
        if cap < min(MIN_OUTPUT, self.wanted):
            return None
        amount = self.ceiling.amount(cap)
        if amount >= hold.amount:
            return None
        self.cap = self.covers = cap
        return self._make(amount, hold.legs)

    def _may_clamp(self, over: Sequence[Budget]) -> bool:
        if self.call.cap is None or not self.proven:
            return False
        if all(budget.on_exceeded == "warn" for budget in over):
            return False  # who only warns shortens no answers
        return all(budget.clamp and budget.enforcement == "hard" for budget in over)

    def _may_slice(self, over: Sequence[Budget]) -> bool:
        if not self.call.stream or not self.proven or self.call.output_unit is None:
            return False
        return self.call.cap is None or not all(budget.clamp for budget in over)

    def _sliced(self, hold: Hold, refused: Refused, over: Sequence[Budget]) -> Hold | None:
        """A stream that may not be clamped starts with a slice and grows; it is cut off when it cannot."""
        if not self._may_slice(over):
            return None
        room = min(refusal.room for refusal in refused.refusals)
        amount = self.ceiling.amount(SLICE)
        if amount > room or amount >= hold.amount:
            return None
        self.covers = SLICE
        self.proven = False
        return self._make(amount, hold.legs)

    def _only_held(self, hold: Hold, refused: Refused, over: Sequence[Budget]) -> bool:
        """Whether the call could be sent, perhaps for a shorter answer, were it not for other callers' holds."""
        least = hold.amount
        if self._may_clamp(over):
            least = min(least, self.ceiling.amount(min(MIN_OUTPUT, self.wanted)))
        elif self._may_slice(over):
            least = min(least, self.ceiling.amount(SLICE))
        return all(replace(refusal, needed=least).reason == "held" for refusal in refused.refusals)

    def _exceeded(self, budget: Budget, refusal: Refusal, refused: Refused, partial: str | None = None) -> None:
        others = tuple(other for other in refused.refusals if other is not refusal)
        error = BudgetExceededError((refusal, *others), partial)
        if callable(budget.on_exceeded):
            budget.on_exceeded(error)
        elif budget.on_exceeded in ("raise", "downgrade"):
            raise error
        if self.plan.warn is not None:
            self.plan.warn("over the limit and let through by on_exceeded", error)

    def _softened(self, hold: Hold, refusals: Sequence[Refusal]) -> Hold:
        over = {(refusal.leg.budget, refusal.leg.window) for refusal in refusals}
        self.cap = None
        return self._whole(
            tuple(replace(leg, hard=False) if (leg.budget, leg.window) in over else leg for leg in hold.legs)
        )
