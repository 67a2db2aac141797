"""What the Redis ledger tells its scripts of a hold's legs, and under which keys their windows are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from .._book import Row, State, WindowKey, kept_of_run
from .._terms import parts, with_limit
from .._types import Crossing, Leg, Nano
from ._records import leg_as_json, leg_from_json, legs_from_json
from ._redis_words import Words, as_bytes, joined, pack

KEPT: Final = 8
"""Words that a hold is kept as, in front of its legs: its state with a digest of them, its amount, what was booked,
what it was settled at before that was corrected (- for never), the instant it was asked for at, the amount it was first
asked for with, until when, and the word of its last extension (- for none)."""
STATES: Final = {state.value[0]: state.value for state in State}
"""States by their first letter, which they are kept as."""


class Told(NamedTuple):
    """Legs as the scripts are told of them: see ``_book.lua``.

    Attributes:
        legs: them.
        held: for those that hold an amount.
        ended: for those that book one.
    """

    legs: tuple[Leg, ...]
    held: Words
    ended: Words


@lru_cache(maxsize=1024)
def told(legs: tuple[Leg, ...]) -> Told:
    """Describe legs. Most calls of an hour have the same ones, so it is remembered."""
    each = [leg_as_json(_plain(leg)) for leg in legs]
    text = f"[{','.join(each)}]"
    kinds = "".join([_kind(leg) for leg in legs])
    # It tells legs apart, the same from whichever process.
    digest = blake2b(text.encode(), digest_size=16).hexdigest()
    details = "".join([_details(leg, len(one)) for leg, one in zip(legs, each, strict=True)])
    names = [f"{len(as_bytes(name))}:{name}" for leg in legs for name in (leg.budget, leg.group)]
    every = pack(kinds, digest, f"\n{details}\n{''.join(names)}")
    limits = [leg.limit for leg in legs]
    least = [min([nano for _, nano in leg.marks], default="-") for leg in legs]
    windows = pack(*[window(leg) for leg in legs])
    return Told(legs, joined(every, pack(text, *limits), windows), joined(every, pack(*least), windows))


def window(leg: Leg) -> str:
    """The name of a leg's window; the length in it keeps one budget's ``a:b`` apart from another's."""
    if leg.slots:
        return f"r{int(leg.window)}:{leg.budget}"
    return f"{len(leg.budget)}:{leg.budget}:{leg.window}"


def slots(leg: Leg) -> Sequence[str]:
    """The name of every slot that a leg's window is made of."""
    if not leg.slots:
        return [window(leg)]
    this = int(leg.window)
    return [f"r{slot}:{leg.budget}" for slot in range(this - leg.slots, this + 1)]


def amounts(row: str | None) -> tuple[Nano, Nano]:
    """What is spent and held in a window, as it is kept."""
    spent, held, _ = row.split(" ") if row else (0, 0, None)
    return int(spent), int(held)


def alert_field(crossing: Crossing) -> str:
    """Where an alert is kept."""
    return f"{window(crossing.leg)}|{float(crossing.percent)!r}"


def described(name: str) -> str:
    """Where the leg is kept that a window, by its entry in the list of windows, was last held on."""
    return f"lr:{name.partition(':')[2]}" if name[0] == "r" else f"l{name}"


def row_of(name: str, row: str | None, text: str | None) -> tuple[WindowKey, Row] | None:
    """The books of a window, by its entry in the list of windows; none where it was forgotten just now."""
    if text is None:
        return None
    leg = leg_from_json(text)
    key = f"{int(name[1:].partition(':')[0]):012d}" if leg.slots else leg.window
    return (leg.budget, key), Row(*amounts(row), leg=leg)


def state_of(text: str) -> tuple[str, Nano, Nano]:
    """The state of a hold as it is kept, its amount, and what was booked."""
    words = text.split(" ", KEPT)
    return STATES[words[0][0]], int(words[1]), int(words[2])


def told_of(text: str | None) -> Told:
    """The legs of a hold as it is kept."""
    return told(legs_from_json(text.split(" ", KEPT)[KEPT])) if text else NOTHING


def crossing_of(text: str) -> Crossing:
    """An alert as the scripts keep it, without the instant in front."""
    spent, limit, percent, index, legs = text.split(" ", 4)
    return Crossing(with_limit(legs_from_json(legs)[int(index)], int(limit)), float(percent), int(spent))


def pairs(flat: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values of a hash as the server tells it."""
    return zip(flat[::2], flat[1::2], strict=True)


def _plain(leg: Leg) -> Leg:
    """With figures of one type each: 5 and 5.0 are equal, and must be written alike."""
    ends = None if leg.ends is None else float(leg.ends)
    marks = tuple((float(percent), nano) for percent, nano in leg.marks)
    return replace(leg, starts=float(leg.starts), ends=ends, marks=marks)


def _kind(leg: Leg) -> str:
    kind = "r" if leg.slots else "o" if leg.ends is None and kept_of_run(leg) is not None else "c"
    return kind.upper() if leg.hard else kind


def _details(leg: Leg, length: int) -> str:
    if leg.ends is not None:
        ends = repr(float(leg.ends + leg.slots * (leg.ends - leg.starts)))
    else:
        kept = kept_of_run(leg)
        ends = "-" if kept is None else f"+{kept:.0f}"
    slot = int(leg.window) if leg.slots else 0
    marks = [f"{percent!r} {nano} {parts(percent)}" for percent, nano in leg.marks]
    return " ".join([f"{leg.limit} {leg.slots} {slot} {ends} {length}", *marks]) + "\n"


NOTHING: Final = told(())
"""What is told of legs that are not known."""
