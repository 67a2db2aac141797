"""How far reading a long journal has got: a bar on standard error, where that is a terminal, and gone at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, TypeVar

T = TypeVar("T")

STEP: Final = 2_000


class Progress:
    """Nothing to look at."""

    def told(self, name: str) -> None:
        """What is being worked out now."""

    def reading(self, done: int, of: int) -> None:
        """So many calls were read of so many."""

    def over(self, calls: Iterable[T], of: int) -> Iterator[T]:
        """The same calls, counted."""
        for number, call in enumerate(calls):
            if number % STEP == 0:
                self.reading(min(number, of), of)
            yield call


class _Bar(Progress):
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("reading the journal", total=None)

    def told(self, name: str) -> None:
        self._bar.update(self._task, description=f"reading the journal: {name}", total=None, completed=0)

    def reading(self, done: int, of: int) -> None:
        self._bar.update(self._task, completed=done, total=of)


@contextmanager
def progress(wanted: bool = True) -> Iterator[Progress]:
    """A bar while the block runs, if somebody is there to see it."""
    if not wanted or not sys.stderr.isatty():
        yield Progress()
        return
    try:
        rich: Any = import_module("rich.progress")
        console: Any = import_module("rich.console")
    except ImportError:
        yield Progress()
        return
    columns = (
        rich.TextColumn("{task.description}"), rich.BarColumn(bar_width=20),
        rich.TextColumn("{task.percentage:>3.0f}%"), rich.TimeRemainingColumn(),
    )  # fmt: skip
    with rich.Progress(*columns, console=console.Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)
