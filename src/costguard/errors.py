"""Every error costguard raises.

    CostguardError
    ├── BudgetExceededError       a call, or the rest of a stream, would pass a limit
    ├── LoopDetectedError         the same request was about to be sent once too often
    ├── UnknownPriceError         on_unknown_price="raise" and the catalog has no price
    ├── LedgerUnavailableError    the ledger cannot be reached and the policy is "closed"
    ├── JournalUnavailableError   the journal cannot be read; writing it never raises
    ├── ConfigError               a limit, period, scope, price or setting is malformed (also a ValueError)
    └── MissingExtraError         an optional dependency is not installed (also an ImportError)

None derives from an SDK's error, so no SDK retries or rewraps one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from ._money import decimal_usd, format_usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._types import Refusal


class CostguardError(Exception):
    """The root of everything costguard raises on purpose."""


class ConfigError(CostguardError, ValueError):
    """Something a user wrote cannot be understood; the message names it and what would be allowed."""


class MissingExtraError(CostguardError, ImportError):
    """An optional dependency is missing; the message names the extra that installs it."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs an optional dependency: pip install 'costguard-ai[{extra}]'")
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str]]:
        return type(self), (self.extra,)


class LedgerUnavailableError(CostguardError):
    """The ledger could not be reached, and the budget's policy is not to spend blindly.

    Attributes:
        unsure: whether what was asked of it may have been done all the same, its answer lost on the way.
    """

    unsure = False


class JournalUnavailableError(CostguardError):
    """The journal could not be reached. Only reading it raises this; a call is never stopped by its journal."""


class UnknownPriceError(CostguardError):
    """A model has no price and `on_unknown_price="raise"` forbids sending the call."""

    def __init__(self, provider: str, model: str) -> None:
        super().__init__(
            f"no price for model {model!r} of {provider!r}, so its cost cannot be limited; "
            f"add one with costguard.prices.add({model!r}, provider={provider!r}, input=..., output=...) "
            f'or set on_unknown_price="estimate"'
        )
        self.provider = provider
        self.model = model

    def __reduce__(self) -> tuple[type[UnknownPriceError], tuple[str, str]]:
        return type(self), (self.provider, self.model)


class LoopDetectedError(CostguardError):
    """The same request was about to be sent once too often within a window: the program goes round in circles.

    Attributes:
        model: the model that was asked.
        times: how often it was sent within the window before.
        seconds: the window's length.
    """

    def __init__(self, model: str, times: int, seconds: float) -> None:
        super().__init__(
            f"the same request to {model!r} was sent {times:,} times in {seconds:g} s and is not sent again; "
            f"change the request, or raise LoopGuard(repeats=..., within=...)"
        )
        self.model = model
        self.times = times
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[LoopDetectedError], tuple[str, int, float]]:
        return type(self), (self.model, self.times, self.seconds)


@dataclass(eq=False)
class BudgetExceededError(CostguardError):
    """A call was refused, or a stream cut off, because it could pass a budget's limit.

    Amounts are `Decimal` US dollars, read in the same atomic step that refused.

    Attributes:
        budget: the budget's name, for example ``"feature=search, per day"``.
        scope: which calls the budget covers, as tag to value.
        limit, spent, held, remaining: the window's books; ``remaining`` is limit - spent - held, never below 0, and 0
            while the budget is paused. The limit is the one in force, as somebody may have raised it meanwhile.
        needed: the most that the refused call could cost.
        resets_at: when the window ends (aware, UTC), or None for a budget that never resets at once: a lifetime,
            a run, or a rolling window, where room comes back bit by bit.
        reason: ``"spent"`` when it cannot fit before the reset, ``"held"`` when it would
            fit if calls now in flight cost less than they reserved, ``"paused"`` when the budget is paused.
        refusals: every leg that refused, the first one first.
        partial: for a stream that was cut off, the text received before the cut.
    """

    refusals: tuple[Refusal, ...]
    partial: str | None = None

    def __post_init__(self) -> None:
        super().__init__(str(self))

    def __reduce__(self) -> tuple[type[BudgetExceededError], tuple[tuple[Refusal, ...], str | None]]:
        return type(self), (self.refusals, self.partial)

    @property
    def _first(self) -> Refusal:
        return self.refusals[0]

    @property
    def budget(self) -> str:
        return self._first.leg.budget

    @property
    def scope(self) -> Mapping[str, str]:
        return dict(self._first.leg.scope)

    @property
    def limit(self) -> Decimal:
        return decimal_usd(self._first.leg.limit)

    @property
    def spent(self) -> Decimal:
        return decimal_usd(self._first.spent)

    @property
    def held(self) -> Decimal:
        return decimal_usd(self._first.held)

    @property
    def needed(self) -> Decimal:
        return decimal_usd(self._first.needed)

    @property
    def remaining(self) -> Decimal:
        return decimal_usd(self._first.room)

    @property
    def resets_at(self) -> datetime | None:
        leg = self._first.leg
        return None if leg.ends is None or leg.slots else datetime.fromtimestamp(leg.ends, UTC)

    @property
    def reason(self) -> str:
        return self._first.reason

    def __str__(self) -> str:
        refusal = self._first
        held = f" and {format_usd(refusal.held)} is held by calls in flight" if refusal.held else ""
        resets = "" if self.resets_at is None else f" It resets {self.resets_at:%Y-%m-%d %H:%M} UTC."
        if refusal.leg.slots:
            resets = " Room comes back as earlier calls leave its rolling window."
        if refusal.paused:
            return self._paused
        cut = "the stream was cut off because it" if self.partial is not None else "this call"
        leg, spent = refusal.leg, format_usd(refusal.spent)
        return (
            f"budget {leg.budget!r}: {spent} of {format_usd(leg.limit)} is spent{held}; "
            f"{cut} may cost {format_usd(refusal.needed)} more and {format_usd(refusal.room)} is left.{resets} "
            f"Raise the limit, or cap the call's output tokens."
        )

    @property
    def _paused(self) -> str:
        leg = self._first.leg
        what = "the stream was cut off" if self.partial is not None else "this call was not sent"
        either = f" or {leg.group!r}, whichever was paused" if leg.group else ""
        return (
            f"budget {leg.budget!r} is paused, so {what}; {format_usd(self._first.spent)} of {format_usd(leg.limit)} is"
            f" spent. Resume it with costguard.budgets.resume({leg.budget!r}){either};"
            f" costguard.budgets.history() tells who paused it and why."
        )
