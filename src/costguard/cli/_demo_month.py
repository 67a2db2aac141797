"""The second half of the demo: two simulated months in a journal, and the review of the second."""

from __future__ import annotations

import math
import shutil
from contextlib import closing
from pathlib import Path
from typing import Final, TextIO

from .._budget import Budget, budget
from .._config import state
from ..errors import MissingExtraError
from ..journals.sqlite import SQLiteJournal
from ..review import FORMATS, Report, render, review, span
from ..testing.months import DAY, FIRST, Simulation

CALLS: Final = 6_000
DAYS: Final = 61
WIDTH: Final = 80


def budgets() -> list[Budget]:
    """The company's limits."""
    return [
        budget("$25/month"),
        budget("$9/month", feature="support-bot"),
        budget("$3/month", feature="onboarding"),
        budget("$6/month", feature="summaries"),
    ]


def month(out: TextIO, folder: Path, width: int, color: bool) -> None:
    """Simulate two months, show the review of the second, and leave journal and reports in `folder`."""
    out.write(f"\n-- A month later: the review {'-' * (WIDTH - 30)}\n\n")
    out.write(f"Two months of a small company, simulated: {CALLS:,} calls, none of them real.\n\n")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "calls.db"
    with closing(SQLiteJournal(path, keep=math.inf)) as journal:
        for record in Simulation(CALLS, DAYS).records():
            journal.record(record)
        journal.flush(60)
        report = review(
            journal, span(FIRST + DAYS * DAY, month="2026-10"), budgets=budgets(), title="acme (simulated)",
            catalog=state.catalog,
        )  # fmt: skip
        _show(out, report, width, color)
        written = _leave(report, folder)
    out.write("\nTry others: costguard report --month 2026-10 --group-by team --journal\n")
    out.write(f"  sqlite:///{path}?keep=all\n")
    for file in written:
        out.write(f"The same as a file:\n  {file}\n")


def _show(out: TextIO, report: Report, width: int, color: bool) -> None:
    try:
        out.write(render(report, "table", width=width, color=color))
    except MissingExtraError:
        # Markdown needs nothing and can be read as it is.
        out.write(render(report, "md"))
        out.write("\n(pip install 'costguard-ai[cli]' makes a table of it.)\n")


def _leave(report: Report, folder: Path) -> list[Path]:
    """The review as files that can be opened."""
    wanted = [name for name in ("html", "md") if name in FORMATS]
    files = []
    for name in wanted[:1]:
        file = folder / f"review.{name}"
        file.write_text(render(report, name), encoding="utf-8")
        files.append(file)
    return files
