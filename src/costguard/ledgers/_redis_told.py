"""What the Redis ledger tells its scripts of a hold's legs, and under which keys their windows are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha1
from typing import NamedTuple

from .._book import Row, WindowKey, kept_of_run
from .._terms import parts, with_limit
from .._types import Crossing, Leg
from ._records import leg_as_json, leg_from_json, legs_from_json
from ._redis_words import Words, as_bytes, pack


class Told(NamedTuple):
    """Legs as the scripts are told of them.

    Attributes:
        keys: of each leg, the key of its window.
        figures: a digest of the legs, the same for equal ones from whichever process; of each leg, what the arithmetic
            needs; and the names of each leg's budget and group.
        each: each leg by itself, as its window keeps it.
    """

    keys: Words
    figures: Words
    each: Words


@lru_cache(maxsize=1024)
def told(legs: tuple[Leg, ...], prefix: str) -> Told:
    """Describe legs. Most calls of an hour have the same ones, so it is remembered."""
    each = tuple(leg_as_json(_plain(leg)) for leg in legs)
    text = f"[{','.join(each)}]"
    digest = sha1(text.encode()).hexdigest()  # noqa: S324 - it tells legs apart, it protects nothing
    names = [f"{len(as_bytes(name))}:{name}" for leg in legs for name in (leg.budget, leg.group)]
    figures = [figure for leg in legs for figure in _figures(leg)]
    keys = pack(*[prefix + window(leg) for leg in legs])
    return Told(keys, pack(digest, *figures, "".join(names)), pack(*each))


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


def key_of(member: str) -> str:
    """The key of a window, by its entry in the list of windows."""
    return member[1:] if member[0] == "w" else member.partition(":")[2]


def alert_field(crossing: Crossing) -> str:
    """Where an alert is kept, behind the namespace's prefix."""
    leg = crossing.leg
    return f"{window(leg)}|{int(leg.window) if leg.slots else ''}|{float(crossing.percent)!r}"


def crossing_of(text: str) -> Crossing:
    """An alert as the scripts keep it, without the instant in front."""
    spent, limit, percent, index, legs = text.split(" ", 4)
    return Crossing(with_limit(legs_from_json(legs)[int(index)], int(limit)), float(percent), int(spent))


def pairs(flat: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values of a hash as the server tells it."""
    return zip(flat[::2], flat[1::2], strict=True)


def rows_of(kept: Mapping[str, str]) -> Iterator[tuple[WindowKey, Row]]:
    """The rows that one window's hash holds, or one rolling budget's; none that was never described."""
    if "leg" not in kept:
        return
    leg = leg_from_json(kept["leg"])
    slots = [name[1:] for name in kept if name[0] == "h"] if leg.slots else [""]
    for slot in slots:
        row = Row(int(kept.get(f"p{slot}", 0)), int(kept.get(f"h{slot}", 0)), leg=leg)
        yield (leg.budget, f"{int(slot):012d}" if leg.slots else leg.window), row


def _plain(leg: Leg) -> Leg:
    """With figures of one type each: 5 and 5.0 are equal, and must be written alike."""
    ends = None if leg.ends is None else float(leg.ends)
    marks = tuple((float(percent), nano) for percent, nano in leg.marks)
    return replace(leg, starts=float(leg.starts), ends=ends, marks=marks)


def _figures(leg: Leg) -> tuple[str, str]:
    """One leg, with a word for each figure; see ``_book.lua``."""
    if leg.ends is not None:
        ends = repr(float(leg.ends + leg.slots * (leg.ends - leg.starts)))
    else:
        kept = kept_of_run(leg)
        ends = "-" if kept is None else f"+{kept:.0f}"
    slot = int(leg.window) if leg.slots else 0
    marks = [f"{percent!r} {nano} {parts(percent)}" for percent, nano in leg.marks]
    kind = "r" if leg.slots else "o" if ends[0] == "+" else "c"
    least = min([nano for _, nano in leg.marks], default="-")
    rest = " ".join([f"{'h' if leg.hard else 's'}{kind} {least} {leg.slots} {slot} {ends}", *marks])
    return str(leg.limit), rest
