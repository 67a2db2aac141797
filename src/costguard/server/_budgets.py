"""``/ai-spend/budget``: budgets set over HTTP, kept beside the ledger, and how every budget stands."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .._accounts import BudgetStatus, status_of
from .._budget import Budget, budget
from .._config import state
from .._money import decimal_usd
from .._types import Balance
from ..errors import ConfigError
from ..review.forecast import Forecast
from ..review.outlook import Outlook, outlook_of
from . import _answers
from ._door import needs
from ._tokens import write_private

_Money = Annotated[Decimal, Field(ge=0, le=9_000_000, allow_inf_nan=False)]
_Mark = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
_Tags = Annotated[dict[str, str], Field(max_length=20)]

_ON_LIMIT: Final = {"warn": "soft", "block": "hard"}


class NewBudget(BaseModel):
    """A budget. Set again under the same name it is replaced, and its books stay."""

    feature: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    scope: _Tags = Field(default_factory=dict, description="other tags that calls must have: team, environment...")
    monthly_limit: _Money | None = Field(None, description="US dollars for a calendar month; or")
    limit: Annotated[str, Field(max_length=100)] | None = Field(None, description="an amount with a period: $5/day")
    alert_at: _Mark | Annotated[list[_Mark], Field(max_length=20)] = Field(
        default_factory=lambda: [80.0, 100.0],
        description="when to alert: up to 1 a share of the limit, above it percent",
    )
    timezone: Annotated[str, Field(max_length=64)] = "UTC"
    per: Annotated[str, Field(max_length=64)] | None = Field(None, description="a tag with a budget for each value")
    on_limit: Literal["block", "warn"] = Field("block", description="refuse reservations at the limit, or only warn")
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    def arguments(self) -> dict[str, Any]:
        """As `costguard.budget` takes them."""
        if (self.monthly_limit is None) == (self.limit is None):
            raise ConfigError("give either monthly_limit, in US dollars, or limit, such as '$5/day'")
        marks = self.alert_at if isinstance(self.alert_at, list) else [self.alert_at]
        tags = {**self.scope, **({"feature": self.feature} if self.feature else {})}
        limit: dict[str, Any] = (
            {"limit": self.limit} if self.limit is not None else {"limit": str(self.monthly_limit), "period": "month"}
        )
        own = {"name", "limit", "period", "timezone", "per", "alert_at", "enforcement", "week_start", "wait", "clamp"}
        if taken := sorted(own & set(tags)):
            raise ConfigError(f"scope: {taken[0]!r} is the name of a setting and cannot be a tag of a budget")
        return {
            **limit, "alert_at": [round(100 * mark, 6) if mark <= 1 else mark for mark in marks],
            "timezone": self.timezone, "per": self.per, "enforcement": _ON_LIMIT[self.on_limit], "name": self.name,
            **tags,
        }  # fmt: skip


class BudgetFile:
    """The budgets that were set over HTTP, in a file.

    Args:
        path: the file; it need not be there.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept: dict[str, dict[str, Any]] = {}
        if path.exists():
            try:
                self._kept = {str(name): dict(one) for name, one in json.loads(path.read_text("utf-8")).items()}
                self.budgets()
            except (OSError, ValueError, TypeError, AttributeError) as error:
                raise ConfigError(f"{path}: no file of budgets ({type(error).__name__}: {error})") from None

    def budgets(self) -> list[Budget]:
        """All of them."""
        return [budget(**arguments) for arguments in self._kept.values()]

    def put(self, arguments: dict[str, Any]) -> tuple[Budget, bool]:
        """Keep a budget, and say whether it is a new one."""
        made = budget(**arguments)
        with self._lock:
            new = made.name not in self._kept
            kept = {**self._kept, made.name: arguments}
            write_private(self._path, json.dumps(kept, indent=1))
            self._kept = kept
            state.guard.admission.add(made)
        return made, new

    def drop(self, name: str) -> bool:
        """Take a budget away; its books stay. False when none of that name was set here."""
        with self._lock:
            if name not in self._kept:
                return False
            kept = {known: one for known, one in self._kept.items() if known != name}
            write_private(self._path, json.dumps(kept, indent=1))
            self._kept = kept
            state.guard.admission.drop(name)
        return True


router: Final = APIRouter(prefix="/ai-spend", tags=["budgets"])


@router.post(
    "/budget", status_code=201, response_model=_answers.Status | _answers.Named, dependencies=[needs("admin")],
    responses={200: {"model": _answers.Status | _answers.Named, "description": "One of that name is replaced"}},
)  # fmt: skip
def put(body: NewBudget, request: Request) -> JSONResponse:
    """Set a budget. It holds from now on for calls that are told of, reserved, or made by programs on this ledger that
    have the same budget."""
    made, new = request.app.state.budgets.put(body.arguments())
    return JSONResponse(_one(made.name) or {"budget": made.name}, 201 if new else 200)


@router.get(
    "/budget", response_model=_answers.StatusOfOne | _answers.Statuses, dependencies=[needs("read")],
    responses={404: {"description": "There is none"}},
)  # fmt: skip
def get(feature: str | None = None, name: str | None = None, period: str | None = None) -> JSONResponse:
    """How budgets stand: those of a feature, the one of a name, or all."""
    listed = [
        _shown(balance, known) for balance, known in standing()
        if (feature is None or dict(balance.leg.scope).get("feature") == feature)
        and (name is None or balance.leg.budget == name)
        and (period is None or known is None or _period(known) in _spellings(period))
    ]  # fmt: skip
    if (feature is not None or name is not None) and not listed:
        raise HTTPException(404, f"no budget of {'feature ' + repr(feature) if feature else repr(name)} is known here")
    return JSONResponse({**(listed[0] if feature is not None or name is not None else {}), "budgets": listed})


@router.delete(
    "/budget", response_model=_answers.Deleted, dependencies=[needs("admin")],
    responses={404: {"description": "None of that name was set here"}},
)  # fmt: skip
def delete(name: str, request: Request) -> dict[str, str]:
    """Take away a budget that was set here; its books stay."""
    if not request.app.state.budgets.drop(name):
        raise HTTPException(404, f"no budget {name!r} was set here")
    return {"deleted": name}


_PERIODS: Final = {"daily": "day"}


def _spellings(period: str) -> tuple[str, ...]:
    return period, period.removesuffix("ly"), _PERIODS.get(period, period)


def _period(known: Budget) -> str:
    return str(known.period).removeprefix("per ")


def standing() -> list[tuple[Balance, Budget | None]]:
    """The books of every budget that is known, and of every window that the ledger holds for a program's budget: the
    fullest first, each with the budget where it is known here."""
    state.guard.look_after()
    known = {budget.name: budget for budget in state.guard.admission.known()}
    # Those of this server last, because their limits are today's.
    balances: Sequence[Balance] = (*state.guard.windows(), *state.guard.balances())
    unique = {(one.leg.budget, one.leg.window): one for one in balances}
    ordered = sorted(unique.values(), key=lambda one: (-_share(one), one.leg.budget, one.leg.window))
    # One for a value of a tag is of the budget that is known.
    return [(one, known.get(one.leg.budget) or known.get(one.leg.group)) for one in ordered]


def _one(name: str) -> dict[str, Any] | None:
    return next((_shown(balance, known) for balance, known in standing() if balance.leg.budget == name), None)


def _share(one: Balance) -> float:
    return one.spent / one.leg.limit if one.leg.limit else 1.0


def _shown(balance: Balance, known: Budget | None) -> dict[str, Any]:
    one: BudgetStatus = status_of(balance)
    found = ahead(known, balance)
    return {
        "budget": one.name,
        "scope": dict(one.scope),
        "period": None if known is None else _period(known),
        "limit": f"{one.limit:f}",
        "spent": f"{one.spent:f}",
        "held": f"{one.held:f}",
        "remaining": f"{one.remaining:f}",
        "utilization": round(one.percent / 100, 6),
        "currency": "USD",
        "resets_at": None if one.resets_at is None else one.resets_at.isoformat(),
        "paused": one.paused,
        "alerts": [
            {"percent": percent, "reached": balance.spent >= nano} for percent, nano in balance.leg.marks
        ],
        "forecast": None if found is None else _forecast(found),
    }  # fmt: skip


def ahead(known: Budget | None, balance: Balance) -> Outlook | None:
    """Where a window is heading, as far as the journal tells."""
    journal = state.guard.journal
    if known is None or journal is None:
        return None
    return outlook_of(balance, state.guard.clock(), journal, known.period.timezone)


def _forecast(ahead: Outlook) -> dict[str, Any]:
    found = ahead.forecast
    return {
        "burn_per_day": None if ahead.burn is None else f"{decimal_usd(ahead.burn):f}",
        "burn_basis": ahead.basis,
        "expected": f"{decimal_usd(found.expected):f}" if isinstance(found, Forecast) else None,
        "runs_out": None if ahead.runs_out is None else ahead.runs_out.isoformat(),
        "note": None if isinstance(found, Forecast) or found is None else str(found),
    }
