"""Whether a review of a million calls says what plain SQL says, and how long both take: `python benchmarks/review.py`.

It simulates two months of calls into a journal, makes the report of the second one, compares each of its figures with
plain SQL over the calls, and makes it once more to see that not a byte differs. `--journal` keeps the file.
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

from costguard.journals.sqlite import SQLiteJournal
from costguard.review import render, review, span
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.journal or Path(folder) / "calls.db"
        print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        with closing(SQLiteJournal(path, keep=float("inf"))) as journal:
            if journal.extent().since is None:
                fill(journal, options.calls)
            print(f"the file has {path.stat().st_size / 1e6:,.0f} MB")
            measure(journal, path)


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


def measure(journal: SQLiteJournal, path: Path) -> None:
    """Compare the report with plain SQL, and their times."""
    october = span(AFTER, month="2026-10")
    began, at_work = time.perf_counter(), time.process_time()
    text = render(review(journal, october), "json")
    reported, worked = time.perf_counter() - began, time.process_time() - at_work
    began, at_work = time.perf_counter(), time.process_time()
    truth = plain_sql.figures(str(path), october.since, october.until, october.before().since)
    queried, computed = time.perf_counter() - began, time.process_time() - at_work
    document = json.loads(text)
    figures = plain_sql.compare(document, truth)
    calls = document["verdict"]["calls"]
    print(f"October: {calls:,} calls, ${document['verdict']['spent']}; {figures} figures are what plain SQL says")
    print(f"report: {reported:.2f} s ({worked:.2f} s of CPU time)")
    print(f"plain SQL over the calls, the same figures: {queried:.2f} s ({computed:.2f} s of CPU time)")
    assert text == render(review(journal, october), "json")
    print("a second run is the same to the byte")
    for format in ("table", "md", "csv"):
        assert render(review(journal, october), format) == render(review(journal, october), format)


if __name__ == "__main__":
    main()
