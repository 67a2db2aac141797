"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Any, Final

from .._money import NANO, decimal_usd, format_usd
from ._model import Change, ColumnKind, Value

NOTHING: Final = "—"
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_ROUND_FROM: Final = 10_000
"""Dollars from which cents are noise."""


def money(nano: int) -> str:
    """To the cent; whole dollars when they are many, more digits when they are few."""
    if abs(nano) < NANO:
        return format_usd(nano)
    places = "1" if abs(nano) >= _ROUND_FROM * NANO else "0.01"
    amount = decimal_usd(abs(nano)).quantize(Decimal(places), rounding=ROUND_HALF_EVEN)
    return f"{'-' if nano < 0 else ''}${amount:,f}"


def count(number: int) -> str:
    """With separators, never rounded."""
    return f"{number:,}"


def share(fraction: float) -> str:
    """In percent, with a decimal where that is small."""
    percent = 100 * fraction
    if percent and abs(percent) < 9.95:
        return f"{percent:.1f}%" if abs(percent) >= 0.05 else "<0.1%"
    return f"{percent:.0f}%"


def change(it: Change) -> str:
    """By how much, in percent, with its sign."""
    if it.share is None:
        return "new" if it.now else NOTHING
    percent = 100 * it.share
    return f"{percent:+,.0f}%" if abs(percent) >= 0.5 else "0%"


def trend(amounts: Sequence[int], width: int = 8) -> str:
    """A line of blocks, the highest full."""
    if not amounts:
        return ""
    width = min(width, len(amounts))
    bounds = [index * len(amounts) // width for index in range(width + 1)]
    # Means, not sums: the parts may differ by one in length.
    means = [sum(amounts[a:b]) / (b - a) for a, b in pairwise(bounds)]
    most = max(means)
    return "".join(_BLOCKS[min(7, int(8 * one / most))] if most > 0 else _BLOCKS[0] for one in means)


def bar(fraction: float, width: int = 10) -> str:
    """A bar that is full at the limit and above."""
    eighths = round(8 * width * min(1.0, max(0.0, fraction)))
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width, "░")


def used(fraction: float) -> str:
    """Of a limit."""
    return f"{share(fraction)}{' !' if fraction > 1 else ''}"


def day(at: date) -> str:
    """A day without its year."""
    return f"{at:%b} {at.day}"


def shown(value: Value, kind: ColumnKind) -> str:
    """A value of a section."""
    match value:
        case None:
            return NOTHING
        case Change():
            return change(value)
        case tuple():
            return trend(value)
        case str():
            return value
    return _NUMBERS[kind](value)


_NUMBERS: Final[Mapping[ColumnKind, Callable[[Any], str]]] = {
    "money": money,
    "count": count,
    "share": share,
    "used": used,
}
