"""``/ai-spend/track``, ``/reserve``, ``/settle`` and ``/release``: calls of programs in any language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from .._accounts import status_of
from .._book import IdempotencyConflictError
from .._config import state
from .._ids import ids
from .._money import decimal_usd, parse_usd
from .._types import Call, Cost, CostEvent, Granted, Hold, Leg, Refused, Usage
from ..errors import ConfigError
from . import _answers
from ._booking import Booking, dropped
from ._door import needs
from ._problems import refused
from ._requests import Event, Events, Release, Reservation, Settlement, Ticket

_TRIES: Final = 10
"""Earlier endings that a reservation which is asked for again may have been granted with."""

router: Final = APIRouter(prefix="/ai-spend", tags=["calls"], dependencies=[needs("track")])


# -- telling


@router.post(
    "/track", status_code=201, response_model=_answers.Told,
    responses={
        200: {"model": _answers.Told | _answers.ToldMany, "description": "It was known, or there were many"},
        409: {"description": "A call of that id was booked with another cost"},
    },
)  # fmt: skip
def track(body: Event | Events, request: Request) -> JSONResponse:
    """Tell of a call, or of many. It counts on every budget and is refused by none."""
    booking: Booking = request.app.state.booking
    if isinstance(body, Events):
        return _track_all(body.events, booking)
    before = dropped()
    with booking.alone([body.id] if body.id else []):
        event, new, balances = _told(body, booking, shown=True)
        booking.write([event], before)
    answer = {**_charged(event.id, event.cost), "duplicate": not new}
    return JSONResponse({**answer, "budgets": balances} if new else answer, 201 if new else 200)


def _track_all(raw: list[dict[str, Any]], booking: Booking) -> JSONResponse:
    """Many at once: each that is understood is booked, the others are named."""
    events, rejected = _understood(raw)
    before, seen = dropped(), dict[str, CostEvent]()
    accepted = duplicates = 0
    with booking.alone([event.id for _, event in events if event.id]):
        for index, event in events:
            if event.id in seen:
                duplicates += 1
                continue
            try:
                told, new, _ = _told(event, booking)
            except (ConfigError, IdempotencyConflictError) as error:
                rejected.append({"index": index, "error": str(error)})
                continue
            seen[told.id] = told
            accepted += new
            duplicates += not new
        booking.write(seen.values(), before)
    rejected.sort(key=lambda one: one["index"])
    return JSONResponse({"accepted": accepted, "duplicates": duplicates, "rejected": rejected}, 200)


def _understood(raw: list[dict[str, Any]]) -> tuple[list[tuple[int, Event]], list[dict[str, Any]]]:
    events, rejected = [], list[dict[str, Any]]()
    for index, one in enumerate(raw):
        try:
            events.append((index, Event.model_validate(one)))
        except ValidationError as error:
            fault = error.errors()[0]
            rejected.append({"index": index, "error": f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"})
    return events, rejected


def _told(event: Event, booking: Booking, *, shown: bool = False) -> tuple[CostEvent, bool, list[dict[str, Any]]]:
    """The call as it is booked, whether it is new, and, if that is to be shown, how its budgets stand."""
    if event.id is not None and (known := booking.known(event.id)) is not None:
        return known, False, []
    guard, at = state.guard, event.at()
    with event.within():
        told = guard.book(event.call(at), [event.usage(event.tier)], event.outcome, id=event.id or ids(), at=at)
        return told, True, [_status(one) for one in guard.applying()] if shown else []


# -- reserving


@router.post(
    "/reserve", status_code=201, response_model=_answers.Reserved,
    responses={
        402: {"description": "It does not fit: the call must not be made"},
        409: {"description": "Something else was reserved under that id"},
    },
)  # fmt: skip
def reserve(body: Reservation, request: Request) -> JSONResponse:
    """Reserve the most that a call can cost, on every budget that counts it or on none: 402 when it does not fit.

    Send the call only when it was granted, and settle or release the reservation when it has ended. What nobody ends
    is charged as it was reserved when its time is over.
    """
    guard = state.guard
    at = guard.look_after()
    legs, call, amount = _legs(body, at), body.call(at), _most(body, at)
    hold = Hold(body.id or ids(), amount, legs, expires=_expires(at, body.ttl), at=at)
    if legs and isinstance(reply := _reserved(hold, body), Refused):
        _note_refusal(body, hold, call, request.app.state.booking)
        return refused(reply)
    ticket = Ticket(
        id=hold.id, at=at, provider=call.provider, model=call.model, operation=call.operation, tier=call.tier,
        tags=body.tags(), held=amount, counted=bool(legs), budgets=[leg.budget for leg in legs],
    )  # fmt: skip
    told = {
        "reservation": ticket.written(), "id": hold.id, "amount": f"{decimal_usd(amount):f}", "currency": "USD",
        "expires_at": datetime.fromtimestamp(hold.expires, UTC).isoformat(),
        "budgets": [_status(one) for one in guard.balances_of(legs)],
    }  # fmt: skip
    return JSONResponse(told, 201)


def _legs(body: Reservation, at: float) -> tuple[Leg, ...]:
    with body.within():
        return state.guard.legs(at)


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


def _grain(ttl: int) -> int:
    return max(60, ttl // _TRIES // 60 * 60)


def _expires(at: float, ttl: int) -> float:
    """When a reservation made at an instant is over: one of few instants, so that asking again finds the same."""
    return (at + ttl) // _grain(ttl) * _grain(ttl) + _grain(ttl)


def _reserved(hold: Hold, body: Reservation) -> Granted | Refused:
    """Hold it, or find it held since it was asked for first, perhaps in another minute or another window."""
    try:
        return state.guard.ledger.reserve(hold)
    except IdempotencyConflictError:
        if body.id is None:
            raise
        for earlier in _as_it_was(hold, body):
            try:
                return state.guard.ledger.reserve(earlier)
            except IdempotencyConflictError:
                continue
        raise


def _as_it_was(hold: Hold, body: Reservation) -> Iterator[Hold]:
    grain = _grain(body.ttl)
    for back in range(_TRIES + 2):
        expires = hold.expires - back * grain
        began = expires - body.ttl - grain
        for legs in dict.fromkeys((hold.legs, _legs(body, began + grain - 1), _legs(body, began))):
            if back or legs != hold.legs:
                yield replace(hold, expires=expires, legs=legs)


def _note_refusal(body: Reservation, hold: Hold, call: Call, booking: Booking) -> None:
    # No caller's id has a space in it, so a call that is granted later is another one.
    id = f"refused {hold.id}"
    if body.id is None or booking.first_refusal(id):
        state.guard.settlements.tell(CostEvent(
            id, hold.at, 0.0, call, (), Cost(0), 0, body.tags(), tuple([leg.budget for leg in hold.legs]), "refused",
            "BudgetExceededError", decision="blocked",
        ))  # fmt: skip


# -- ending


@router.post(
    "/settle", response_model=_answers.Charged, responses={409: {"description": "It ended in another way before"}}
)
def settle(body: Settlement, request: Request) -> JSONResponse:
    """End a reservation with what the call did cost. Sent again it changes nothing."""
    booking: Booking = request.app.state.booking
    state.guard.look_after()
    ticket = Ticket.read(body.reservation)
    call, usage = ticket.call(), body.usage(ticket.tier)
    usage = Usage(usage.counts, body.model, usage.tier, reported=usage.reported)
    cost = state.catalog.cost(call.provider, call.model, [usage], ticket.at)
    before = dropped()
    with booking.alone([ticket.id]):
        if ticket.counted:
            state.guard.settlements.crossed(_ended(lambda: state.guard.ledger.settle(ticket.id, cost.nano)))
        event = booking.known(ticket.id)
        if event is None:
            event = CostEvent(
                ticket.id, ticket.at, max(0.0, state.guard.clock() - ticket.at), call, (usage,), cost, ticket.held,
                ticket.tags, tuple(ticket.budgets), body.outcome,
            )  # fmt: skip
            state.guard.settlements.tell(event)
        booking.write([event], before)
    return JSONResponse(_charged(ticket.id, cost))


@router.post(
    "/release", response_model=_answers.Charged, responses={409: {"description": "It ended in another way before"}}
)
def release(body: Release) -> JSONResponse:
    """End a reservation of a call that was not made, or that the provider did not bill."""
    ticket = Ticket.read(body.reservation)
    if ticket.counted:
        state.guard.settlements.crossed(_ended(lambda: state.guard.ledger.release(ticket.id)))
    return JSONResponse(_charged(ticket.id, Cost(0)))


def _ended(step: Callable[[], Granted]) -> Granted:
    try:
        return step()
    except KeyError:
        raise ConfigError("no such reservation: it was never granted here, or ended more than a day ago") from None


# -- answers


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
