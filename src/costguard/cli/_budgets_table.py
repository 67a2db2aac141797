"""The table of ``costguard budgets``, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..errors import MissingExtraError

HEADINGS: Final = ("budget", "limit", "spent", "held", "used", "a day", "runs out", "resets (UTC)")
SPARED: Final = ("held", "resets (UTC)")
"""Columns that a narrow terminal does without, the first to go first."""
NAME: Final = 15
"""Characters that a name has at least before it goes on below."""


def show(rows: Sequence[Sequence[str]]) -> None:
    """One line for each budget, a text for each of `HEADINGS`. Long names go on below, and no figure is ever cut."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError as error:
        raise MissingExtraError("cli") from error
    console = Console(highlight=False, soft_wrap=False)
    if not rows:
        console.print("no budget in this ledger yet")
        return
    widths = {heading: max(len(heading), *(len(row[at]) for row in rows)) for at, heading in enumerate(HEADINGS)}
    widths["budget"] = min(NAME, widths["budget"])
    for heading in SPARED:
        if sum(widths.values()) + len(widths) > console.width:
            del widths[heading]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("budget", overflow="fold", min_width=widths["budget"])
    for heading in [*widths][1:]:
        right = heading != "resets (UTC)"
        table.add_column(heading, justify="right" if right else "left", no_wrap=True, min_width=widths[heading])
    for row in rows:
        table.add_row(*[row[HEADINGS.index(heading)] for heading in widths])
    console.print(table, markup=False)
