"""The section at the end of the run: what each test did cost, dearest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._money import format_usd
from .._tallies import Tally


class Summary:
    """Sums by test, out of the reports of this process or of pytest-xdist's workers.

    Args:
        top: how many tests to list, 0 for all.

    Attributes:
        limit: what the whole run may cost in nano-dollars, or None.
        shares: among how many workers it is divided.
    """

    def __init__(self, top: int) -> None:
        self.limit: int | None = None
        self.shares = 1
        self._top = top
        self._rows: dict[str, Tally] = {}
        self._unmetered: dict[str, int] = {}
        self._disabled = False

    def add(self, nodeid: str, sums: Mapping[str, int]) -> None:
        """Count what a test spent."""
        self._rows.setdefault(nodeid, Tally()).merge(Tally(**sums))

    def add_rest(self, rest: Mapping[str, Any]) -> None:
        """Count what a process spent outside its tests' reports."""
        for nodeid, sums in rest["rows"].items():
            self.add(nodeid, sums)
        for endpoint, count in rest["unmetered"].items():
            self._unmetered[endpoint] = self._unmetered.get(endpoint, 0) + count
        self._disabled = self._disabled or rest["disabled"]

    def lines(self, *, asked: bool) -> list[str]:
        """The section's lines; none when there is nothing to tell and nobody asked."""
        if not (asked or self._rows or self._unmetered or self._disabled):
            return []
        lines = ["COSTGUARD_DISABLED is set: nothing was metered and no limit was enforced"] if self._disabled else []
        if not self._rows:
            return [*lines, "no metered call was made", *self._notes()]
        rows = sorted(self._rows.items(), key=lambda row: (-row[1].nano, -row[1].calls, row[0]))
        shown = rows[: self._top] if self._top > 0 else rows
        total = Tally()
        for _, tally in rows:
            total.merge(tally)
        table = [_cells(tally, nodeid) for nodeid, tally in shown]
        rest = len(rows) - len(shown)
        name = f"total of {len(rows)} test{'s' * (len(rows) != 1)}" + (f", {rest} of them not listed" if rest else "")
        return [*lines, *_aligned([_HEAD, *table, _cells(total, name)]), *self._run(total), *self._notes()]

    def _run(self, total: Tally) -> list[str]:
        if self.limit is None:
            return []
        percent = f", {100 * total.nano / self.limit:.0f}%" if self.limit else ""
        line = f"--costguard-budget: {format_usd(total.nano)} of {format_usd(self.limit)} spent{percent}"
        if self.shares > 1:
            line += f"; each of {self.shares} workers had {format_usd(self.limit // self.shares)}"
        return [line]

    def _notes(self) -> list[str]:
        return [f"not metered: {endpoint} ({count:,} calls)" for endpoint, count in sorted(self._unmetered.items())]


_HEAD = ("cost", "calls", "tokens in", "out", "")


def _cells(tally: Tally, name: str) -> tuple[str, ...]:
    notes = {
        "estimated": tally.estimated,
        "unpriced and not in the cost": tally.unpriced,
        "refused": tally.refused,
        "over a limit that was not enforced": tally.would_block,
    }
    said = "; ".join(f"{count:,} {note}" for note, count in notes.items() if count)
    least = ">= " if tally.unpriced else "~" if tally.estimated else ""
    return (
        f"{least}{format_usd(tally.nano)}", f"{tally.calls:,}", f"{tally.input_tokens:,}", f"{tally.output_tokens:,}",
        f"{name}  [{said}]" if said else name,
    )  # fmt: skip


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Figures flush right, so that they can be compared by eye; the name last, as it has no fixed width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    return [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
