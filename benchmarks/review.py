"""Whether a review of a million calls says what plain SQL says, and how long both take: `python benchmarks/review.py`.

It simulates two months of calls into a journal, makes the reports of both together and of the second one, compares each
of their figures with plain SQL over the calls, and makes them once more to see that not a byte differs. `--deep` also
prices every call on other models and looks for repeated questions. `--journal` keeps the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from costguard._catalog import Catalog
from costguard._snapshot import load
from costguard.journals.sqlite import SQLiteJournal
from costguard.review import Span, render, review, span
from costguard.testing.months import Simulation

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.review import plain_sql  # noqa: E402 - the tests are beside the package

AFTER = 1_798_761_600.0
"""New year 2027, when all of it is over."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--journal", type=Path, help="a file to keep")
    parser.add_argument("--deep", action="store_true", help="go through every call, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.journal or Path(folder) / "calls.db"
        print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        with closing(SQLiteJournal(path, keep=float("inf"))) as journal:
            if journal.extent().since is None:
                fill(journal, options.calls)
            print(f"the file has {path.stat().st_size / 1e6:,.0f} MB")
            both = span(AFTER, since="2026-09-01", until="2026-10-31")
            for of in (span(AFTER, month="2026-10"), both):
                measure(journal, path, of)
            if options.deep:
                deep(journal, both)


def fill(journal: SQLiteJournal, calls: int) -> None:
    """Record simulated months through the journal's own door, as fast as it takes them."""
    began = time.perf_counter()
    written = 0
    for written, record in enumerate(Simulation(calls).records(), 1):
        journal.record(record)
        if written % 20_000 == 0:
            assert journal.flush(600)
    assert journal.flush(600)
    assert journal.dropped == 0
    seconds = time.perf_counter() - began
    print(f"{written:,} records simulated and written in {seconds:.0f} s ({written / seconds:,.0f} a second)")


def measure(journal: SQLiteJournal, path: Path, of: Span) -> None:
    """Compare the report with plain SQL, and their times."""
    with Timed() as reporting:
        text = render(review(journal, of), "json")
    with Timed() as querying:
        truth = plain_sql.figures(str(path), of.since, of.until, of.before().since)
    document = json.loads(text)
    figures = plain_sql.compare(document, truth)
    calls = document["verdict"]["calls"]
    print(f"{of.label}: {calls:,} calls, ${document['verdict']['spent']}; {figures} figures are what plain SQL says")
    print(f"  report: {reporting}")
    print(f"  plain SQL over the calls, the same figures: {querying}")
    assert text == render(review(journal, of), "json")
    for format in ("table", "md", "csv"):
        assert render(review(journal, of), format) == render(review(journal, of), format)
    print("  a second run is the same to the byte")


def deep(journal: SQLiteJournal, of: Span) -> None:
    """Go through every call."""
    catalog = Catalog(load)
    with Timed() as going:
        report = review(
            journal, of, compare=False, catalog=catalog, options={"deep": True}, sections=["moves", "cache"]
        )
    moves, cache = report.section("moves"), report.section("cache")
    assert moves is not None
    assert cache is not None
    print(
        f"{of.label}, call by call: {moves.facts['calls']:,} calls priced elsewhere, {cache.facts['known']:,} questions"
    )
    print(f"  {going}")


class Timed:
    """How long a block takes, by the clock and of CPU time."""

    def __enter__(self) -> Timed:
        self._began, self._at_work = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds, self._worked = time.perf_counter() - self._began, time.process_time() - self._at_work

    def __str__(self) -> str:
        return f"{self._seconds:.2f} s ({self._worked:.2f} s of CPU time)"


if __name__ == "__main__":
    main()
