"""What the Redis ledger tells its scripts of a hold's legs, and under which keys their windows are kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from typing import NamedTuple

from .._types import Leg
from ._stepped import legs_as_json


class Told(NamedTuple):
    """Legs as the scripts are told of them.

    Attributes:
        text: all of them, as the hold keeps them.
        digest: of the text: the same for equal legs, from whichever process.
        figures: of each leg, what the arithmetic needs.
        windows: of each leg, the key of its window.
    """

    text: str
    digest: str
    figures: tuple[str, ...]
    windows: tuple[str, ...]


@lru_cache(maxsize=1024)
def told(legs: tuple[Leg, ...]) -> Told:
    """Describe legs. Most calls of an hour have the same ones, so it is remembered."""
    text = legs_as_json([_plain(leg) for leg in legs])
    digest = sha1(text.encode()).hexdigest()  # noqa: S324 - it tells legs apart, it protects nothing
    return Told(text, digest, tuple(map(_figures, legs)), tuple(map(window, legs)))


def window(leg: Leg) -> str:
    """The key of a leg's window; the length in it keeps one budget's ``a:b`` apart from another's."""
    if leg.slots:
        return f"rolling:{leg.budget}"
    return f"w:{len(leg.budget)}:{leg.budget}:{leg.window}"


def fields(leg: Leg) -> Sequence[str]:
    """Spent and held of every slot that a leg's window is made of."""
    if not leg.slots:
        return ("p", "h")
    this = int(leg.window)
    return [kind + str(slot) for slot in range(this - leg.slots, this + 1) for kind in "ph"]


def _plain(leg: Leg) -> Leg:
    """With figures of one type each: 5 and 5.0 are equal, and must be written alike."""
    ends = None if leg.ends is None else float(leg.ends)
    marks = tuple((float(percent), nano) for percent, nano in leg.marks)
    return Leg(leg.budget, leg.window, leg.limit, float(leg.starts), ends, leg.hard, marks, leg.scope, leg.slots)


def _figures(leg: Leg) -> str:
    """One leg in a word for each figure; see ``_book.lua``."""
    ends = "-" if leg.ends is None else repr(float(leg.ends + leg.slots * (leg.ends - leg.starts)))
    slot = int(leg.window) if leg.slots else 0
    marks = [f"{percent!r} {nano}" for percent, nano in leg.marks]
    return " ".join([f"{leg.limit} {leg.hard:d} {leg.slots} {slot} {ends}", *marks])
