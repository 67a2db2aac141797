"""The table of ``costguard budgets``, for people."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MissingExtraError


def show(rows: Sequence[Sequence[str]]) -> None:
    """One line for each budget: name, limit, spent, held, share, and when it resets. Long names go on below."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError as error:
        raise MissingExtraError("cli") from error
    console = Console(highlight=False, soft_wrap=False)
    if not rows:
        console.print("no budget in this ledger yet")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("budget", overflow="fold", min_width=12)
    for heading in ("limit", "spent", "held", "used"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(len(heading), *_widths(rows, heading)))
    table.add_column("resets (UTC)", no_wrap=True, min_width=16)
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False)


def _widths(rows: Sequence[Sequence[str]], heading: str) -> list[int]:
    place = ("budget", "limit", "spent", "held", "used").index(heading)
    return [len(row[place]) for row in rows]
