"""What is known of the terminal."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def terminal() -> tuple[int, bool]:
    """Its columns, and whether it has colours. rich knows terminals, pipes, COLUMNS, NO_COLOR and FORCE_COLOR."""
    try:
        rich: Any = import_module("rich.console")
    except ImportError:
        return 80, False
    console = rich.Console()
    return console.width, console.is_terminal and not console.no_color
