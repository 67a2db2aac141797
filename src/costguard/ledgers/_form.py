"""A ledger's records as JSON, between `ledgers.http` and ``costguard serve``. Money is whole nano-dollars.

Pure, and strict in what it takes: what comes over a network is not trusted to be of the right shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from .._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Refusal, Refused

T = TypeVar("T")

_KINDS: Final = ("limit", "top-up", "pause", "resume")
MOST: Final = 2**53
"""What JSON readers count exactly, in nano-dollars: nine million dollars, the most that a limit may be."""


def leg_out(leg: Leg) -> dict[str, Any]:
    """A leg as JSON."""
    return {
        "budget": leg.budget, "window": leg.window, "limit": leg.limit, "starts": _instant_out(leg.starts),
        "ends": leg.ends, "hard": leg.hard, "marks": [list(mark) for mark in leg.marks],
        "scope": [list(tag) for tag in leg.scope], "slots": leg.slots, "group": leg.group,
    }  # fmt: skip


def leg_in(raw: Any) -> Leg:
    """A leg from JSON.

    Raises:
        ValueError: it is none.
    """
    fields = _object(raw)
    return Leg(
        budget=_text(fields, "budget"),
        window=_text(fields, "window"),
        limit=whole(fields, "limit"),
        starts=_instant(fields, "starts", missing=-math.inf),
        ends=None if fields.get("ends") is None else _instant(fields, "ends"),
        hard=bool(fields.get("hard", True)),
        marks=tuple((_number(mark[0]), int(mark[1])) for mark in _pairs(fields, "marks")),
        scope=tuple((str(tag), str(value)) for tag, value in _pairs(fields, "scope")),
        slots=whole(fields, "slots"),
        group=str(fields.get("group", "")),
    )


def hold_out(hold: Hold) -> dict[str, Any]:
    """A hold as JSON."""
    legs = [leg_out(leg) for leg in hold.legs]
    return {"id": hold.id, "amount": hold.amount, "legs": legs, "expires": hold.expires, "at": hold.at}


def hold_in(raw: Any) -> Hold:
    """A hold from JSON.

    Raises:
        ValueError: it is none.
    """
    fields = _object(raw)
    legs = tuple(each(fields, "legs", leg_in))
    return Hold(_text(fields, "id"), whole(fields, "amount"), legs, _instant(fields, "expires"), _instant(fields, "at"))


def balance_out(balance: Balance) -> dict[str, Any]:
    """A balance as JSON."""
    return {
        "leg": leg_out(balance.leg), "spent": balance.spent, "held": balance.held, "paused": balance.paused,
    }  # fmt: skip


def balance_in(raw: Any) -> Balance:
    """A balance from JSON.

    Raises:
        ValueError: it is none.
    """
    fields = _object(raw)
    return Balance(leg_in(fields.get("leg")), whole(fields, "spent"), whole(fields, "held"), bool(fields.get("paused")))


def reply_out(reply: Granted | Refused) -> dict[str, Any]:
    """A reply as JSON."""
    if isinstance(reply, Refused):
        return {"refusals": [_refusal_out(one) for one in reply.refusals]}
    return {"crossings": [crossing_out(one) for one in reply.crossings]}


def reply_in(raw: Any) -> Granted | Refused:
    """A reply from JSON.

    Raises:
        ValueError: it is none.
    """
    fields = _object(raw)
    if "refusals" in fields:
        return Refused(tuple(each(fields, "refusals", _refusal_in)))
    return Granted(tuple(each(fields, "crossings", crossing_in)))


def crossing_out(crossing: Crossing) -> dict[str, Any]:
    """A threshold that was reached, as JSON."""
    return {"leg": leg_out(crossing.leg), "percent": crossing.percent, "spent": crossing.spent}


def crossing_in(raw: Any) -> Crossing:
    """A threshold that was reached, from JSON.

    Raises:
        ValueError: it is none.
    """
    fields = _object(raw)
    return Crossing(leg_in(fields.get("leg")), _number(fields.get("percent")), whole(fields, "spent"))


def amendment_out(amendment: Amendment) -> dict[str, Any]:
    """An amendment as JSON."""
    return {
        "id": amendment.id, "budget": amendment.budget, "kind": amendment.kind, "at": amendment.at,
        "amount": amendment.amount, "until": amendment.until, "author": amendment.author, "reason": amendment.reason,
    }  # fmt: skip


def amendment_in(raw: Any) -> Amendment:
    """An amendment from JSON.

    Raises:
        ValueError: it is none.
    """
    fields = _object(raw)
    kind = fields.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"kind: one of {', '.join(_KINDS)}")
    return Amendment(
        id=_text(fields, "id"),
        budget=_text(fields, "budget"),
        kind=kind,
        at=_instant(fields, "at"),
        amount=None if fields.get("amount") is None else whole(fields, "amount"),
        until=None if fields.get("until") is None else _instant(fields, "until"),
        author=str(fields.get("author", "")),
        reason=str(fields.get("reason", "")),
    )


def each(fields: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> Iterable[T]:
    """The items of a list, each read.

    Raises:
        ValueError: there is no list.
    """
    items = fields.get(name)
    if not isinstance(items, list):
        raise ValueError(f"{name}: a list")
    return [read(item) for item in items]


def whole(fields: Mapping[str, Any], name: str) -> int:
    """A whole number, negative ones included: what to do with those is the ledger's to say.

    Raises:
        ValueError: it is none, or larger than JSON readers count exactly.
    """
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST:
        raise ValueError(f"{name}: a whole number of at most {MOST}")
    return value


def _refusal_out(refusal: Refusal) -> dict[str, Any]:
    return {
        "leg": leg_out(refusal.leg), "spent": refusal.spent, "held": refusal.held, "needed": refusal.needed,
        "paused": refusal.paused,
    }  # fmt: skip


def _refusal_in(raw: Any) -> Refusal:
    fields = _object(raw)
    spent, held, needed = (whole(fields, name) for name in ("spent", "held", "needed"))
    return Refusal(leg_in(fields.get("leg")), spent, held, needed, bool(fields.get("paused")))


def _instant_out(at: float) -> float | None:
    """JSON knows no infinity, which is when a lifetime began."""
    return at if math.isfinite(at) else None


def _instant(fields: Mapping[str, Any], name: str, missing: float | None = None) -> float:
    if fields.get(name) is None and missing is not None:
        return missing
    return _number(fields.get(name))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r}: a number")
    return float(value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: a text that is not empty")
    return value


def _object(raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError("an object")
    return raw


def _pairs(fields: Mapping[str, Any], name: str) -> list[Any]:
    pairs = fields.get(name, [])
    if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise ValueError(f"{name}: a list of pairs")
    return pairs
