"""The arithmetic behind a cost, line by line, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ._money import PICO_PER_NANO
from ._rates import TOKEN_UNITS, Sheet
from ._types import Cost, Nano, Unit, Usage

UNKNOWN: Final = "no price is known"
"""The note of a line that is not in the sum."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an explanation: a quantity times a rate.

    Attributes:
        unit: what was billed.
        quantity: how much of it.
        rate: pico-dollars per unit, None when it has no price or was not simply multiplied.
        pico: the cost in pico-dollars.
        note: why this rate: a long-context rate, a stand-in for a missing one, the provider's own figure.
        entry: the price entry the rate is from.
    """

    unit: Unit
    quantity: int
    rate: int | None
    pico: int
    note: str = ""
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The arithmetic behind a `Cost`.

    Attributes:
        lines: what was added up, exactly.
        cost: the result, the same as `Catalog.cost` gives.
        source: where the provider publishes the price.
        checked: the day it was last compared with a source, as an ISO date.
        assumed: what was guessed, in words.
        rolling: the id that a moving name such as ``gemini-flash`` stood for, empty for a name that does not move.
    """

    lines: tuple[Line, ...]
    cost: Cost
    source: str = ""
    checked: str = ""
    assumed: tuple[str, ...] = ()
    rolling: str = ""

    @property
    def nano(self) -> Nano:
        """The total in nano-dollars."""
        return self.cost.nano


def reported_line(usage: Usage) -> Line:
    """The line of a cost that the provider itself returned."""
    pico = (usage.reported or 0) * PICO_PER_NANO
    return Line("reported", 1, None, pico, "returned by the provider", "reported")


def lines(sheet: Sheet, counts: Mapping[Unit, int]) -> list[Line]:
    """The lines of one usage on one sheet."""
    threshold, rates = sheet.band(counts)
    return [_line(sheet, unit, count, threshold, rates) for unit, count in counts.items()]


def _line(sheet: Sheet, unit: Unit, count: int, threshold: int, rates: Mapping[Unit, int]) -> Line:
    if unit not in rates:
        odd = sheet.odd_cost(unit, count)
        note = UNKNOWN if odd is None else "a rate that is not whole per unit, or a variant's stand-in"
        return Line(unit, count, None, odd or 0, note, sheet.entry)
    notes = []
    source = sheet.sources.get(unit, unit)
    if source != unit:
        notes.append(f"no rate of its own, priced as {source}")
    if threshold and unit in TOKEN_UNITS and rates[unit] != sheet.rates[unit]:
        notes.append(f"rate of requests above {threshold:,} input tokens")
    return Line(unit, count, rates[unit], rates[unit] * count, "; ".join(notes), sheet.entry)
