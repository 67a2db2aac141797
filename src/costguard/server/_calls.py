"""``/ai-spend/track``, ``/reserve``, ``/settle`` and ``/release``: calls of programs in any language."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import _scope
from .._accounts import status_of, usage_of
from .._book import IdempotencyConflictError
from .._config import state
from .._ids import ids
from .._money import decimal_usd, parse_usd
from .._types import Call, Cost, CostEvent, Granted, Hold, Outcome, Refused, Usage
from ..errors import ConfigError, JournalUnavailableError, LedgerUnavailableError
from ._door import needs
from ._problems import refused

MOST: Final = 1000
"""Events in one request."""
WRITTEN: Final = 5.0
"""Seconds that a request waits until what it told is written."""
LEASE: Final = 600
_ID = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
_Count = Annotated[int, Field(ge=0, le=10**12)]
_Money = Annotated[Decimal, Field(ge=0, le=9_000_000, allow_inf_nan=False)]
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Tags = Annotated[dict[str, str | int | float | bool | None], Field(max_length=50)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: _Name
    provider: Annotated[str, Field(max_length=64)] | None = None
    operation: Annotated[str, Field(min_length=1, max_length=64)] = "chat"
    tier: Annotated[str, Field(min_length=1, max_length=64)] = "standard"
    feature: Annotated[str, Field(max_length=256)] | None = None
    metadata: _Tags = Field(default_factory=dict, description="attribution: feature, team, environment, user, any tag")

    def tags(self) -> dict[str, str]:
        """The attribution, as tags are written here."""
        given = {**self.metadata, **({"feature": self.feature} if self.feature else {})}
        return {name: str(value) for name, value in given.items() if value not in (None, "")}

    def call(self, at: float) -> Call:
        """What was asked for."""
        provider = self.provider or state.guard.biller.of_model(self.model, at)
        return Call(provider, self.model, self.operation, tier=self.tier)


class _Used(BaseModel):
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cached_input_tokens: _Count = Field(0, description="the part of input_tokens that was read from a cache")
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = Field(0, description="the part of output_tokens that was reasoning")
    cost_usd: _Money | None = Field(None, description="what it did cost, when that is known; else the price list says")
    outcome: Literal["ok", "error", "unknown", "cancelled", "partial"] = "ok"

    def usage(self, tier: str) -> Usage:
        """What was billed."""
        return usage_of(
            self.input_tokens, self.output_tokens, self.cached_input_tokens, self.cache_write_tokens,
            self.reasoning_tokens, tier=tier, cost=None if self.cost_usd is None else self.cost_usd,
        )  # fmt: skip


class Event(_Told, _Used):
    """A call that was made."""

    id: _ID | None = Field(None, description="yours; an event of an id that is known already changes nothing")
    timestamp: datetime | None = Field(None, description="when; now if it is left out")

    def at(self) -> float:
        """UTC epoch seconds."""
        now = state.guard.clock()
        if self.timestamp is None:
            return now
        told = self.timestamp if self.timestamp.tzinfo else self.timestamp.replace(tzinfo=UTC)
        return min(told.timestamp(), now)


class Reservation(_Told):
    """A call that is about to be made."""

    id: _ID | None = Field(None, description="yours; the same reservation asked for again is granted once")
    input_tokens: _Count | None = None
    text: str | None = Field(None, description="what goes in, counted as one token a byte, and not kept")
    max_output_tokens: _Count | None = Field(None, description="the cap that the call is sent with")
    max_cost: _Money | None = Field(None, description="the most it may cost, instead of tokens")
    ttl: Annotated[int, Field(ge=1, le=86_400)] = Field(LEASE, description="seconds until it is charged as it is")


class Settlement(_Used):
    """How a reserved call ended."""

    reservation: Annotated[str, Field(min_length=1, max_length=4096)]
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(None, description="the one that answered")


class Release(BaseModel):
    """A reserved call that was not made, or cost nothing."""

    reservation: Annotated[str, Field(min_length=1, max_length=4096)]


class Events(BaseModel):
    """Several calls."""

    events: Annotated[list[dict[str, Any]], Field(max_length=MOST)]


router: Final = APIRouter(prefix="/ai-spend", tags=["calls"], dependencies=[needs("track")])

_telling: Final = threading.Lock()

_TICKET: Final[Mapping[str, Any]] = {
    "id": str, "at": (int, float), "provider": str, "model": str, "operation": str, "tier": str, "tags": dict,
    "held": int, "counted": bool, "budgets": list,
}  # fmt: skip


@router.post("/track", status_code=201)
def track(body: Event | Events) -> JSONResponse:
    """Tell of a call, or of many. It counts on every budget and is refused by none."""
    if isinstance(body, Events):
        return _track_all(body.events)
    with _telling:
        told = _tell(body)
        _written()
    return JSONResponse(told, 200 if told["duplicate"] else 201)


def _track_all(raw: list[dict[str, Any]]) -> JSONResponse:
    """Many at once: each that is understood is booked, the others are named."""
    accepted, duplicates, rejected, seen = 0, 0, [], set[str]()
    with _telling:
        for index, one in enumerate(raw):
            try:
                event = Event.model_validate(one)
                told = {"duplicate": True} if event.id in seen else _tell(event)
            except ValidationError as error:
                fault = error.errors()[0]
                rejected.append({"index": index, "error": f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"})
            except (ConfigError, IdempotencyConflictError) as error:
                rejected.append({"index": index, "error": str(error)})
            else:
                seen |= {event.id} if event.id else set()
                accepted += not told["duplicate"]
                duplicates += told["duplicate"]
        _written()
    return JSONResponse({"accepted": accepted, "duplicates": duplicates, "rejected": rejected}, 200)


def _tell(event: Event) -> dict[str, Any]:
    guard, at = state.guard, event.at()
    usage = event.usage(event.tier)
    if event.id is not None and (known := _known(event.id)) is not None:
        return {**_charged(event.id, known.cost), "duplicate": True}
    id = event.id or ids()
    with _scope.budgeted(**_as_tags(event.tags())):
        cost = guard.record(event.call(at), [usage], event.outcome, id=id, at=at)
        budgets = [_status(one) for one in guard.applying()]
    return {**_charged(id, cost), "duplicate": False, "budgets": budgets}


def _known(id: str) -> CostEvent | None:
    """The call of an id that was told before. One at a time gets here, and what it told is written when it leaves."""
    journal = state.guard.journal
    return None if journal is None else journal.call(id)


def _written() -> None:
    """Wait until everything that was told is on disk: what is acknowledged survives a kill."""
    guard = state.guard
    if not guard.settlements.flush(WRITTEN):
        raise LedgerUnavailableError("the ledger did not take what was told in time; send it again with the same id")
    if guard.journal is not None and not guard.journal.flush(WRITTEN):
        raise JournalUnavailableError("the journal did not take what was told in time; send it again with the same id")


@router.post("/reserve", status_code=201)
def reserve(body: Reservation) -> JSONResponse:
    """Reserve the most that a call can cost, on every budget that counts it or on none: 402 when it does not fit.

    Send the call only when it was granted, and settle or release the reservation when it has ended. What nobody ends
    is charged as it was reserved when its time is over.
    """
    guard = state.guard
    at = guard.clock()
    with _scope.budgeted(**_as_tags(body.tags())):
        legs = guard.legs(at)
    call, amount = body.call(at), _most(body, at)
    id = body.id or ids()
    # Whole minutes, so that the same reservation asked for again within them is the same.
    hold = Hold(id, amount, legs, expires=(at + body.ttl) // 60 * 60 + 60, at=at)
    if legs and isinstance(reply := guard.ledger.reserve(hold), Refused):
        guard.settlements.tell(CostEvent(
            ids(), at, 0.0, call, (), Cost(0), 0, body.tags(), tuple([leg.budget for leg in legs]), "refused",
            "BudgetExceededError", decision="blocked",
        ))  # fmt: skip
        return refused(reply)
    ticket = _ticket({
        "id": id, "at": at, "provider": call.provider, "model": call.model, "operation": call.operation,
        "tier": call.tier, "tags": body.tags(), "held": amount, "counted": bool(legs),
        "budgets": [leg.budget for leg in legs],
    })  # fmt: skip
    told = {
        "reservation": ticket, "id": id, "amount": f"{decimal_usd(amount):f}", "currency": "USD",
        "expires_at": datetime.fromtimestamp(hold.expires, UTC).isoformat(),
        "budgets": [_status(one) for one in guard.balances_of(legs)],
    }  # fmt: skip
    return JSONResponse(told, 201)


def _most(body: Reservation, at: float) -> int:
    if body.max_cost is not None:
        return parse_usd(body.max_cost)
    if (body.input_tokens is None) == (body.text is None):
        raise ConfigError("give input_tokens or text (or max_cost instead of both), so that the most it costs is known")
    tokens = body.input_tokens if body.text is None else len(body.text.encode("utf-8", "surrogatepass"))
    call = body.call(at)
    bound = Call(
        call.provider, call.model, call.operation, bound={"input": tokens or 0}, max_output=body.max_output_tokens,
        tier=call.tier,
    )  # fmt: skip
    ceiling = state.catalog.ceiling(bound, at)
    if ceiling.unpriced:
        raise ConfigError(f"model {body.model!r} has no price: give provider=, or the most it may cost as max_cost")
    return ceiling.amount(body.max_output_tokens)


@router.post("/settle")
def settle(body: Settlement) -> JSONResponse:
    """End a reservation with what the call did cost. Sent again it changes nothing."""
    ticket = _read_ticket(body.reservation)
    call = Call(ticket["provider"], ticket["model"], ticket["operation"], tier=ticket["tier"])
    usage = body.usage(call.tier)
    usage = Usage(usage.counts, body.model, usage.tier, reported=usage.reported)
    cost = state.catalog.cost(call.provider, call.model, [usage], ticket["at"])
    with _telling:
        if ticket["counted"]:
            state.guard.settlements.crossed(_ended(lambda: state.guard.ledger.settle(ticket["id"], cost.nano)))
        _recorded(ticket, call, (usage,), cost, body.outcome)
    return JSONResponse(_charged(ticket["id"], cost))


@router.post("/release")
def release(body: Release) -> JSONResponse:
    """End a reservation of a call that was not made, or that the provider did not bill."""
    ticket = _read_ticket(body.reservation)
    if ticket["counted"]:
        state.guard.settlements.crossed(_ended(lambda: state.guard.ledger.release(ticket["id"])))
    return JSONResponse(_charged(ticket["id"], Cost(0)))


def _ended(step: Any) -> Granted:
    try:
        granted: Granted = step()
    except KeyError:
        raise ConfigError("no such reservation: it was never granted here, or ended more than a day ago") from None
    return granted


def _recorded(ticket: Mapping[str, Any], call: Call, usages: tuple[Usage, ...], cost: Cost, outcome: Outcome) -> None:
    guard = state.guard
    if _known(ticket["id"]) is None:
        event = CostEvent(
            ticket["id"], ticket["at"], max(0.0, guard.clock() - ticket["at"]), call, usages, cost, ticket["held"],
            dict(ticket["tags"]), tuple(ticket["budgets"]), outcome,
        )  # fmt: skip
        guard.settlements.tell(event)
        _written()


def _ticket(fields: Mapping[str, Any]) -> str:
    """What the server has to know at the end of a call, carried by the caller: a restart forgets nothing."""
    return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")


def _read_ticket(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if not all(isinstance(fields[name], kind) for name, kind in _TICKET.items()):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise ConfigError("reservation: send the text that /ai-spend/reserve answered with, unchanged") from None
    return dict(fields)


def _charged(id: str, cost: Cost) -> dict[str, Any]:
    return {
        "id": id, "cost_usd": f"{decimal_usd(cost.nano):f}", "currency": "USD", "priced": not cost.unpriced,
        "estimated": cost.estimated, "price": cost.entry,
    }  # fmt: skip


def _status(balance: Any) -> dict[str, Any]:
    one = status_of(balance)
    return {
        "budget": one.name, "limit": f"{one.limit:f}", "spent": f"{one.spent:f}", "held": f"{one.held:f}",
        "remaining": f"{one.remaining:f}", "percent": round(one.percent, 2),
    }  # fmt: skip


def _as_tags(tags: Mapping[str, str]) -> dict[str, Any]:
    return dict(tags)
