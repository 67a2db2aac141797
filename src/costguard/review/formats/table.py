"""For a terminal: readable at 80 columns, and no number ever cut.

Columns that do not fit are left out whole, those of the highest rank first; only names are shortened.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from ...errors import MissingExtraError
from .._figures import bar, shown
from .._model import Change, Column, Report, Section
from ._words import against, basis, headline, spent, unnamed

BAR: Final = 10
SHORTEST: Final = 18
"""Characters of a name that are always shown."""
SPARED: Final = 4
"""The rank from which on a column is left out rather than that a name is shortened."""
GAP: Final = 2

_LEVELS: Final = {"!": "bold red", "?": "yellow", "i": "cyan"}


def render(
    report: Report, *, width: int = 80, color: bool = False, sections: tuple[str, ...] | None = None, **_: Any
) -> str:
    """The review as text of at most `width` columns, if its numbers allow it.

    Raises:
        MissingExtraError: rich is not installed.
    """
    try:
        rich: Any = import_module("rich.console")
    except ImportError as error:
        raise MissingExtraError("cli") from error
    out = io.StringIO()
    console = rich.Console(
        file=out, width=width, force_terminal=color, no_color=not color, color_system="standard" if color else None,
        highlight=False, emoji=False, markup=False, legacy_windows=False,
    )  # fmt: skip
    _head(console, report)
    wanted = [one for one in report.sections if (one.name in sections if sections is not None else not one.detail)]
    for section in wanted:
        if section.rows or section.notes:
            _section(console, section, width)
    _advice(console, report, width)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _head(console: Any, report: Report) -> None:
    panel: Any = import_module("rich.panel")
    text: Any = import_module("rich.text")
    lines = text.Text(f"{headline(report)}\n", style="bold").append(basis(report), style="not bold")
    console.print(panel.Panel(lines, border_style="dim"))
    verdict = report.verdict
    line = text.Text(f" {spent(report)}", style="bold")
    if verdict.limit:
        used = verdict.spent / verdict.limit
        line.append(f"  {bar(used, 20)}", style="red" if used > 1 else "green")
    console.print(line, soft_wrap=True)
    for more in (against(report), _saved(report)):
        if more:
            console.print(text.Text(f" {more}"), soft_wrap=True)


def _saved(report: Report) -> str:
    saved = report.verdict.saved
    return f"saved {shown(saved, 'money')} by cache, cheaper models and shorter prompts" if saved else ""


def _section(console: Any, section: Section, width: int) -> None:
    text: Any = import_module("rich.text")
    rows = [*section.rows, *([] if section.total is None else [section.total])]
    cells = [[_cell(value, column) for value, column in zip(row, section.columns, strict=True)] for row in rows]
    console.print()
    if rows:
        places = fitting(section, cells, width - 1)
        widths = _widths(section, cells, places, width - 1)
        heads = [_headings(section, places)[place] for place in places]
        console.print(_line(section, places, widths, heads, ["bold"] * len(places)), soft_wrap=True)
        console.print(
            text.Text(" " + "─" * (sum(widths.values()) + GAP * (len(places) - 1)), style="dim"), soft_wrap=True
        )
        for index, (row, values) in enumerate(zip(cells, rows, strict=True)):
            last = section.total is not None and index == len(cells) - 1
            if last:
                console.print()
            styles = [_style(values[place]) or ("bold" if last else "") for place in places]
            console.print(_line(section, places, widths, [row[place] for place in places], styles), soft_wrap=True)
    for note in section.notes:
        padding: Any = import_module("rich.padding")
        console.print(padding.Padding(text.Text(note, style="dim"), (0, 0, 0, 1)))


def _line(section: Section, places: list[int], widths: dict[int, int], cells: list[str], styles: list[str]) -> Any:
    text: Any = import_module("rich.text")
    line = text.Text(" ", no_wrap=True)
    for index, (place, cell, style) in enumerate(zip(places, cells, styles, strict=True)):
        wide = widths[place]
        shown = cell if len(cell) <= wide else f"{cell[: wide - 1]}…"
        left = section.columns[place].kind in ("text", "trend")
        line.append(" " * GAP if index else "").append(shown.ljust(wide) if left else shown.rjust(wide), style=style)
    return line


def _headings(section: Section, places: list[int]) -> dict[int, str]:
    """The titles of columns; the first one's says what the table is about."""
    return {place: section.title if place == places[0] else section.columns[place].title for place in places}


def _cell(value: Any, column: Column) -> str:
    if column.kind == "used" and value is not None:
        return f"{bar(value, BAR)} {shown(value, 'used'):>6}"
    if column.kind == "text":
        return str(value) if value else unnamed(column.name)
    return shown(value, column.kind)


def _style(value: Any) -> str:
    if isinstance(value, Change) and value.share is not None:
        return "red" if value.share > 0.005 else "green" if value.share < -0.005 else ""
    return ""


def fitting(section: Section, cells: list[list[str]], width: int) -> list[int]:
    """The places of the columns that fit: numbers cannot shrink, and names do before what matters more is left out."""
    places = list(range(len(section.columns)))
    for room, spared in ((_needed, SPARED), (_least, 1)):
        while len(places) > 1 and _room(section, cells, places, room) > width:
            rank = max(section.columns[place].rank for place in places)
            if rank < spared:
                break
            places.remove(max(place for place in places if section.columns[place].rank == rank))
    return places


Room = Callable[[Section, list[list[str]], int], int]


def _room(section: Section, cells: list[list[str]], places: list[int], room: Room) -> int:
    return sum([room(section, cells, place) for place in places]) + GAP * (len(places) - 1)


def _least(section: Section, cells: list[list[str]], place: int) -> int:
    needed = _needed(section, cells, place)
    return min(needed, SHORTEST) if section.columns[place].kind == "text" else needed


def _needed(section: Section, cells: list[list[str]], place: int) -> int:
    # The heading of the first column is the section's own.
    title = section.columns[place].title if place else section.title
    return max([len(title), *[len(row[place]) for row in cells]])


def _widths(section: Section, cells: list[list[str]], places: list[int], width: int) -> dict[int, int]:
    """Numbers have what they need; names share what these leave, the shortest first."""
    widths = {place: _needed(section, cells, place) for place in places}
    names = [place for place in places if section.columns[place].kind == "text"]
    wanted = {place: max(widths[place], len(section.title) if place == places[0] else 0) for place in names}
    free = width - GAP * (len(places) - 1) - sum(widths[place] for place in places if place not in names)
    names.sort(key=lambda place: wanted[place])
    for index, place in enumerate(names):
        widths[place] = max(min(wanted[place], SHORTEST), min(wanted[place], free // (len(names) - index)))
        free -= widths[place]
    return widths


def _advice(console: Any, report: Report, width: int) -> None:
    text: Any = import_module("rich.text")
    found = report.advice
    if not found:
        return
    console.print()
    console.print(text.Text(" What to do", style="bold"))
    for advice in found:
        padding: Any = import_module("rich.padding")
        grid: Any = import_module("rich.table").Table.grid(padding=(0, 1))
        grid.add_column(width=2)
        grid.add_column(overflow="fold")
        words = text.Text(advice.text)
        if advice.step:
            words.append(f"\n→ {advice.step}", style="dim")
        grid.add_row(text.Text(f" {advice.level}", style=_LEVELS[advice.level]), words)
        console.print(padding.Padding(grid, 0), width=width)
