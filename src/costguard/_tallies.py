"""What was spent since the process started, by attribution and model, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from ._types import CostEvent, Nano

KEPT: Final = 20_000
"""Distinct combinations of tags and model kept apart; beyond, free-form tags are folded together."""

_FEW: Final = ("feature", "team", "environment")


@dataclass(slots=True)
class Tally:
    """Sums over calls: nano-dollars, tokens, and how many of them are not certain."""

    calls: int = 0
    nano: Nano = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0
    unpriced: int = 0
    refused: int = 0
    would_block: int = 0
    saved: Nano = 0

    def add(self, event: CostEvent) -> None:
        """Count one call in."""
        if event.outcome == "refused":
            self.refused += 1
            return
        self.calls += 1
        self.nano += event.cost.nano
        for usage in event.usages:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
        self.estimated += event.cost.estimated
        self.unpriced += bool(event.cost.unpriced)
        self.would_block += bool(event.would_block)
        self.saved += event.saved

    def merge(self, other: Tally) -> None:
        """Count another tally in."""
        self.calls += other.calls
        self.nano += other.nano
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.estimated += other.estimated
        self.unpriced += other.unpriced
        self.refused += other.refused
        self.would_block += other.would_block
        self.saved += other.saved


class Cell(NamedTuple):
    """One combination of tags, provider and model."""

    tags: frozenset[tuple[str, str]]
    provider: str
    model: str


class Tallies:
    """Tallies of the calls of this process."""

    def __init__(self) -> None:
        self._cells: dict[Cell, Tally] = {}
        self._lock = threading.Lock()

    def record(self, event: CostEvent) -> None:
        """Count a finished or refused call."""
        cell = Cell(frozenset(event.tags.items()), event.call.provider, event.model)
        with self._lock:
            tally = self._cells.get(cell)
            if tally is None:
                tally = self._cells.setdefault(self._folded(cell), Tally())
            tally.add(event)

    def read(self, tags: Mapping[str, str]) -> Iterator[tuple[Cell, Tally]]:
        """The cells whose tags include `tags`."""
        with self._lock:
            cells = list(self._cells.items())
        wanted = tags.items()
        return ((cell, tally) for cell, tally in cells if wanted <= cell.tags)

    def _folded(self, cell: Cell) -> Cell:
        if len(self._cells) < KEPT:
            return cell
        if len(self._cells) < 2 * KEPT:
            return Cell(frozenset(tag for tag in cell.tags if tag[0] in _FEW), cell.provider, cell.model)
        return Cell(frozenset(), cell.provider, "(others)")
