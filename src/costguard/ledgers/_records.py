"""How ledgers write down what they keep: legs, holds, amendments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Any, Final

from .._book import Adjusted, Entry, State
from .._terms import Terms
from .._types import Amendment, Hold, Leg


def leg_as_json(leg: Leg) -> str:
    """One leg, to be kept beside its window."""
    fields = (
        leg.budget, leg.window, leg.limit, leg.starts, leg.ends, leg.hard, leg.marks, leg.scope, leg.slots, leg.group,
    )  # fmt: skip
    return json.dumps(fields, separators=(",", ":"))


_REMEMBERED: Final = 1024
"""Legs whose texts are at hand: most calls of an hour have the same ones."""
leg_text: Final = lru_cache(maxsize=_REMEMBERED)(leg_as_json)
"""`leg_as_json`, remembered; for texts that are only read back, since it may write 5 for an equal leg's 5.0."""


def leg_from_json(text: str) -> Leg:
    """The leg that `leg_as_json` wrote."""
    return _leg(json.loads(text))


def legs_as_json(legs: Sequence[Leg]) -> str:
    """The legs of a hold, to be kept beside it."""
    return f"[{','.join(map(leg_text, legs))}]"


@lru_cache(maxsize=_REMEMBERED)
def legs_from_json(text: str) -> tuple[Leg, ...]:
    """The legs that `legs_as_json` wrote."""
    return tuple(_leg(fields) for fields in json.loads(text))


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
    hold = Hold(record["id"], record["amount"], legs_from_json(record["legs"]), record["expires"], record["at"])
    return Entry(hold, record["first"], State(record["state"]), record["booked"], _adjusted(record["adjusted"]))


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
