"""The geometry of the charts of a page: numbers in, numbers out.

A chart is drawn in a square of 0 to 100 by 0 to 100, which the page stretches to the room there is. Words are not part
of it: they stand beside it in a size of their own, placed in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, floor, log10

from .._figures import money


@dataclass(frozen=True, slots=True)
class Tick:
    """A word at a place of an axis, in percent."""

    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in percent of the chart."""

    x: str
    y: str
    width: str
    height: str
    title: str
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars beside each other."""

    bars: tuple[Bar, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Burn:
    """Money as it adds up: what was spent, what is expected, and the limit.

    Attributes:
        spent, expected: points of lines; `area` is below the first, `band` around the second; empty without any.
        limit: the height of the limit, empty where there is none.
        now: where the present is.
    """

    spent: str
    area: str
    expected: str
    band: str
    limit: str
    limit_text: str
    now: str
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a whole, from `x` on."""

    x: str
    width: str
    name: str
    text: str


def number(value: float) -> str:
    """A coordinate: short, and the same everywhere."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def ceiling(most: float) -> float:
    """A round number at or above the most."""
    if most <= 0:
        return 1.0
    size = 10.0 ** floor(log10(most))
    return next(step * size for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * size >= most * 0.9999999)


def ticks(top: float) -> tuple[Tick, ...]:
    """Half and all of an axis of money."""
    return tuple([Tick(number(100 - 100 * part), money(round(top * part))) for part in (0.5, 1.0)])


def bars(amounts: Sequence[int], labels: Sequence[str], titles: Sequence[str], muted: Sequence[bool]) -> Bars:
    """A bar for each amount, in order."""
    top = ceiling(max(amounts, default=0))
    step = 100 / max(1, len(amounts))
    drawn = [
        Bar(
            number(index * step + step * 0.12), number(100 - 100 * amount / top), number(step * 0.76),
            number(100 * amount / top), title, faint,
        )
        for index, (amount, title, faint) in enumerate(zip(amounts, titles, muted, strict=True))
    ]  # fmt: skip
    return Bars(tuple(drawn), ticks(top), _some(labels, [index * step + step / 2 for index in range(len(labels))]))


def burn(
    spent: Sequence[int],
    ahead: Sequence[int],
    low: int,
    high: int,
    limit: int | None,
    labels: Sequence[str],
    passed: float = 1.0,
) -> Burn:
    """What was spent by day and is expected by day, added up.

    Args:
        spent: of each day so far; when something is ahead, the last is the day that is not over.
        ahead: expected of the rest of that day, and of each after it; empty when there is no forecast.
        low, high: where the sum may end.
        labels: one for each day of the whole.
        passed: how much of the last day is over.
    """
    sums = [0, *accumulate(spent)]
    days = len(labels)
    total = sums[-1]
    future = list(accumulate(ahead, initial=total))
    end = future[-1]
    # A limit far above everything would leave nothing to be seen below it.
    shown = limit if limit is not None and limit < 3 * max(end, high, total) else None
    top = ceiling(max(end, high, total, (shown or 0) * 1.04))
    places = [100 * index / max(1, days) for index in range(len(sums))]
    if ahead and spent:
        places[-1] = 100 * (len(spent) - 1 + passed) / days
    ahead_places = [places[-1], *[100 * (len(spent) + index) / days for index in range(len(ahead))]]
    line = _points(places, sums, top)
    expected = _points(ahead_places, future, top) if ahead else ""
    lows = [total + _part(total, low, end, one) for one in future]
    highs = [total + _part(total, high, end, one) for one in future]
    band = _points([*ahead_places, *reversed(ahead_places)], [*highs, *reversed(lows)], top) if ahead else ""
    return Burn(
        spent=line,
        area=f"0,100 {line} {number(places[-1])},100",
        expected=expected,
        band=band,
        limit="" if shown is None else number(100 - 100 * shown / top),
        limit_text="" if shown is None else f"limit {money(shown)}",
        now=number(places[-1]) if ahead else "",
        rows=ticks(top),
        columns=_some(labels, [100 * (index + 0.5) / days for index in range(days)]),
    )


def _part(total: int, bound: int, end: int, reached: int) -> int:
    """How far a bound of the end is reached when `reached` of it is."""
    return (bound - total) * (reached - total) // (end - total) if end > total else 0


def _points(places: Sequence[float], amounts: Sequence[int], top: float) -> str:
    pairs = zip(places, amounts, strict=True)
    return " ".join(f"{number(place)},{number(100 - 100 * amount / top)}" for place, amount in pairs)


def spark(amounts: Sequence[int]) -> str:
    """The points of a small line without an axis."""
    top = max(amounts, default=0) or 1
    last = max(1, len(amounts) - 1)
    return _points([100 * index / last for index in range(len(amounts))], [round(one * 0.9) for one in amounts], top)


def mix(amounts: Sequence[int], names: Sequence[str], texts: Sequence[str], most: int = 6) -> tuple[Part, ...]:
    """Parts of a whole, the small ones together."""
    whole = sum(amounts)
    if not whole:
        return ()
    parts, at = [], 0
    for amount, name, text in list(zip(amounts, names, texts, strict=True))[:most]:
        parts.append(Part(number(100 * at / whole), number(100 * amount / whole), name, text))
        at += amount
    return tuple(parts)


def _some(labels: Sequence[str], places: Sequence[float], most: int = 6) -> tuple[Tick, ...]:
    """As many labels as there is room for on a small screen, evenly."""
    every = ceil(len(labels) / most) if labels else 1
    return tuple([Tick(number(place), label) for label, place in list(zip(labels, places, strict=True))[::every]])
