"""How ledgers write down what they keep: legs, holds, amendments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Any, Final

from .._book import Adjusted, Entry, State
from .._terms import Terms
from .._types import Amendment, Hold, Leg, Nano


def leg_as_json(leg: Leg) -> str:
    """One leg, to be kept beside its window."""
    fields = (
        leg.budget, leg.window, leg.limit, leg.starts, leg.ends, leg.hard, leg.marks, leg.scope, leg.slots, leg.group,
    )  # fmt: skip
    return json.dumps(fields, separators=(",", ":"))


_REMEMBERED: Final = 1024
"""Legs whose texts are at hand: most calls of an hour have the same ones."""
_text_of: Final = lru_cache(maxsize=_REMEMBERED)(leg_as_json)
_texts: Final[dict[int, tuple[Leg, str]]] = {}
"""By the identity of a leg, with that leg: budgets hand out the same one again, and hashing it takes longer."""


def leg_text(leg: Leg) -> str:
    """`leg_as_json`, remembered; for texts that are only read back, since it may write 5 for an equal leg's 5.0."""
    known = _texts.get(id(leg))
    if known is not None and known[0] is leg:
        return known[1]
    text = _text_of(leg)
    if len(_texts) >= _REMEMBERED:
        _texts.clear()
    _texts[id(leg)] = leg, text
    return text


def leg_from_json(text: str) -> Leg:
    """The leg that `leg_as_json` wrote."""
    return _leg(json.loads(text))


_legs: Final[dict[str, tuple[Leg, ...]]] = {}
"""What the texts of holds' legs say: who ends a hold that it made itself gets the very legs that it made it on."""


def legs_as_json(legs: tuple[Leg, ...]) -> str:
    """The legs of a hold, to be kept beside it."""
    text = f"[{','.join(map(leg_text, legs))}]"
    _remember(text, legs)
    return text


def legs_from_json(text: str) -> tuple[Leg, ...]:
    """The legs that `legs_as_json` wrote."""
    legs = _legs.get(text)
    if legs is None:
        legs = tuple(_leg(fields) for fields in json.loads(text))
        _remember(text, legs)
    return legs


def _remember(text: str, legs: tuple[Leg, ...]) -> None:
    if len(_legs) >= _REMEMBERED:
        _legs.clear()
    _legs[text] = legs


def _leg(fields: Sequence[Any]) -> Leg:
    budget, window, limit, starts, ends, hard, marks, scope, slots, *group = fields
    return Leg(
        budget, window, limit, starts, ends, hard,
        marks=tuple((percent, nano) for percent, nano in marks),
        scope=tuple((tag, value) for tag, value in scope),
        slots=slots,
        group=group[0] if group else "",
    )  # fmt: skip


def adjusted_as_json(entry: Entry) -> str | None:
    """The corrections of a hold, to be kept beside it."""
    return None if entry.adjusted is None else json.dumps(entry.adjusted, separators=(",", ":"))


def _adjusted(text: str | None) -> Adjusted | None:
    if not text:
        return None
    settled, by = json.loads(text)
    return Adjusted(settled, tuple((correction, figure) for correction, figure in by))


def entry_from(record: Mapping[str, Any]) -> Entry:
    """A hold out of its stored fields."""
    return entry_of(*[record[name] for name in FIELDS])


FIELDS: Final = ("id", "state", "amount", "first", "booked", "expires", "legs", "at", "adjusted")
"""What is stored of a hold, as `entry_of` takes it."""


def entry_of(
    id: str, state: str, amount: Nano, first: Nano, booked: Nano, expires: float, legs: str, at: float,
    adjusted: str | None,
) -> Entry:  # fmt: skip
    """A hold out of its stored fields, in their order."""
    return Entry(Hold(id, amount, legs_from_json(legs), expires, at), first, State(state), booked, _adjusted(adjusted))


def terms_as_text(terms: Terms) -> str:
    """What is in force of a budget, in words that a script can read too: the limit or a dash, 1 when it is paused, and
    each amount that was added with its end."""
    limit = "-" if terms.limit is None else str(terms.limit)
    return " ".join([limit, f"{terms.paused:d}", *[f"{amount} {float(until)!r}" for amount, until in terms.extra]])


def terms_from_text(text: str) -> Terms:
    """What `terms_as_text` wrote."""
    limit, paused, *extra = text.split()
    pairs = zip(extra[::2], extra[1::2], strict=True)
    return Terms(
        None if limit == "-" else int(limit),
        paused == "1",
        tuple((int(amount), float(until)) for amount, until in pairs),
    )


def amendment_as_json(amendment: Amendment) -> str:
    """An amendment, to be kept for ever."""
    return json.dumps(astuple(amendment), separators=(",", ":"))


def amendment_from_json(text: str) -> Amendment:
    """What `amendment_as_json` wrote."""
    return Amendment(*json.loads(text))
