"""What is in force of a budget: its limit as somebody changed it, what was added for a while, whether it is paused.

A budget's limit stands in a program. These are the changes that people make beside it while programs run: the ledger
keeps them, and every step looks at them where it looks at the books.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from ._money import MAX_NANO
from ._types import Amendment, Leg, Nano

PARTS: Final = 10**6
"""What the parts of a mark are counted in: a ten-thousandth of a percent."""

KEPT: Final = 86400.0
"""Seconds for which a top-up that is over is remembered: longer than any hold is open."""


class Terms(NamedTuple):
    """The sum of a budget's amendments: a limit in place of the program's, whether it is paused, and what was added,
    as amounts with the instants until which they count."""

    limit: Nano | None = None
    paused: bool = False
    extra: tuple[tuple[Nano, float], ...] = ()


PLAIN: Final = Terms()
NONE: Final[Mapping[str, Terms]] = {}


def amend(terms: Terms, amendment: Amendment) -> Terms:
    """The terms after one more amendment; what was added until a day before it is forgotten."""
    match amendment.kind:
        case "limit":
            return terms._replace(limit=amendment.amount)
        case "top-up":
            assert amendment.amount is not None
            assert amendment.until is not None
            # Holds that were asked for before a top-up's end count with it for as long as they last.
            lasting = [one for one in terms.extra if one[1] > amendment.at - KEPT]
            return terms._replace(extra=(*lasting, (amendment.amount, amendment.until)))
        case "pause":
            return terms._replace(paused=True)
        case "resume":
            return terms._replace(paused=False)


def check(amendment: Amendment) -> None:
    """Refuse what no ledger could apply.

    Raises:
        ValueError: an amount is missing, negative or too large, or an end is.
    """
    if amendment.kind not in ("limit", "top-up", "pause", "resume"):
        raise ValueError(f"{amendment.kind!r} is no kind of amendment")
    if amendment.amount is not None and not 0 <= amendment.amount <= MAX_NANO:
        raise ValueError(f"{amendment.amount} nano-dollars: a limit is between 0 and {MAX_NANO}")
    if amendment.kind == "top-up" and amendment.amount is None:
        raise ValueError("a top-up needs an amount")
    if amendment.kind == "top-up" and (amendment.until is None or not math.isfinite(amendment.until)):
        raise ValueError("a top-up needs an end; to add for good, set the limit")


def in_force(leg: Leg, terms: Mapping[str, Terms], at: float) -> tuple[Leg, bool]:
    """A leg with the limit that is in force for it at an instant, and whether it is paused.

    A budget ``per`` a tag is amended under its own name, which is the leg's group, for each of its values, or under the
    name of one value, which wins.
    """
    if not terms:
        return leg, False
    own, group = terms.get(leg.budget, PLAIN), terms.get(leg.group, PLAIN) if leg.group else PLAIN
    if own is PLAIN and group is PLAIN:
        return leg, False
    limit = own.limit if own.limit is not None else group.limit
    limit = leg.limit if limit is None else limit
    extra = sum([amount for amount, until in (*own.extra, *group.extra) if until > at])
    return with_limit(leg, min(MAX_NANO, limit + extra) if extra else limit), own.paused or group.paused


@lru_cache(maxsize=1024)
def with_limit(leg: Leg, limit: Nano) -> Leg:
    """A leg with another limit, its marks at the same percentages of it."""
    if limit == leg.limit:
        return leg
    marks = tuple((percent, max(1, -(-limit * parts(percent) // PARTS))) for percent, _ in leg.marks)
    return replace(leg, limit=limit, marks=marks)


def parts(percent: float) -> int:
    """A mark in ten-thousandths of a percent, which a Redis script can still multiply exactly."""
    return math.ceil(Fraction(repr(float(percent))) * 10**4)
