"""``/ledger/...``: the steps of a ledger, for Python programs with ``ledger="https://..."``; see `ledgers.http`.

One route for each step. What the server's own ledger raises goes back as what it is, so that over the wire it raises
the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .._config import state
from ..ledgers import _form
from ..ports import Ledger
from ._door import needs
from ._problems import problem

router: Final = APIRouter(prefix="/ledger", tags=["ledger"], dependencies=[needs("ledger")])

Fields = Mapping[str, Any]
_AMOUNT: Final = "amount"


def _id(fields: Fields) -> str:
    id = fields.get("id")
    if not isinstance(id, str) or not 0 < len(id) <= 256:
        raise ValueError("id: a text of 1 to 256 characters")
    return id


def _number(fields: Fields, name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        raise ValueError(f"{name}: a number")
    return float(value)


def _budget(fields: Fields) -> str | None:
    name = fields.get("budget")
    if name is not None and not isinstance(name, str):
        raise ValueError("budget: a name, or null for all")
    return name


def _correction(fields: Fields) -> str:
    correction = fields.get("correction")
    if not isinstance(correction, str) or not 0 < len(correction) <= 256:
        raise ValueError("correction: a text of 1 to 256 characters")
    return correction


def _amend(ledger: Ledger, fields: Fields) -> dict[str, Any]:
    ledger.amend(_form.amendment_in(fields))
    return {}


def _delivered(ledger: Ledger, fields: Fields) -> dict[str, Any]:
    ledger.delivered(list(_form.each(fields, "crossings", _form.crossing_in)))
    return {}


STEPS: Final[Mapping[str, Callable[[Ledger, Fields], dict[str, Any]]]] = {
    "reserve": lambda ledger, fields: _form.reply_out(ledger.reserve(_form.hold_in(fields))),
    "extend": lambda ledger, fields: _form.reply_out(ledger.extend(_id(fields), _form.whole(fields, _AMOUNT))),
    "settle": lambda ledger, fields: _form.reply_out(ledger.settle(_id(fields), _form.whole(fields, "actual"))),
    "release": lambda ledger, fields: _form.reply_out(ledger.release(_id(fields))),
    "adjust": lambda ledger, fields: _form.reply_out(
        ledger.adjust(_id(fields), _correction(fields), _form.whole(fields, "actual"))
    ),
    "amend": _amend,
    "amendments": lambda ledger, fields: {
        "amendments": [_form.amendment_out(one) for one in ledger.amendments(_budget(fields))]
    },
    "balances": lambda ledger, fields: {
        "balances": [
            _form.balance_out(one)
            for one in ledger.balances(list(_form.each(fields, "legs", _form.leg_in)), _number(fields, "at"))
        ]
    },
    "windows": lambda ledger, fields: {
        "balances": [_form.balance_out(one) for one in ledger.windows(_number(fields, "at"))]
    },
    "reap": lambda ledger, fields: {
        "replies": [_form.reply_out(one) for one in ledger.reap(_number(fields, "now"))]
    },
    "undelivered": lambda ledger, fields: {
        "crossings": [_form.crossing_out(one) for one in ledger.undelivered(_number(fields, "now"))]
    },
    "delivered": _delivered,
}  # fmt: skip
"""Each step of `costguard.ports.Ledger`: JSON in, JSON out."""


@router.post(
    "/{step}", response_model=dict[str, Any],
    responses={404: {"description": "No such step or hold"}, 409: {"description": "It was done otherwise before"}},
)  # fmt: skip
def ask(step: str, body: dict[str, Any] = Body(...)) -> Any:  # noqa: B008 - FastAPI's way to say where it comes from
    """Run one step on the ledger."""
    run = STEPS.get(step)
    if run is None:
        raise HTTPException(404, f"no step {step[:50]!r}: there are {', '.join(STEPS)}")
    try:
        return JSONResponse(run(state.guard.ledger, body))
    except KeyError as error:
        return problem(404, str(error.args[0]) if error.args else "unknown", error="unknown")
    except ValueError as error:
        return problem(422, str(error), error="malformed")
