"""What is left of limits for single runs: `python benchmarks/runs.py`.

A server that enters ``budgeted(limit="$0.50")`` for each request makes a window for each. Ten days of it are played, by
a clock that is set: in memory as programs do it, through a guard, and in an SQLite file, where the reaper forgets runs
and calls a day or two after they ended.

The exit status is 1 when more is kept than what is said in docs/limits-and-caveats.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tracemalloc
from pathlib import Path

import costguard
from costguard._book import Row
from costguard._catalog import Catalog
from costguard._guard import Guard
from costguard._snapshot import load
from costguard._types import Call, Hold, Leg, Usage
from costguard.ledgers.memory import MemoryLedger
from costguard.ledgers.sqlite import SQLiteLedger

DAYS = 10
DAY = 86_400.0
START = 1_780_000_000.0
CALL = Call("openai", "gpt-4o", bound={"input": 1000}, max_output=1000)


def in_memory(runs: int) -> tuple[int, list[str]]:
    """The most windows there ever were, and a line for each day."""
    now = START
    ledger = MemoryLedger()
    guard = Guard(Catalog(load), ledger, clock=lambda: now)
    most, told = 0, []
    tracemalloc.start()
    for number in range(1, runs + 1):
        now += DAYS * DAY / runs
        with costguard.budgeted(limit="$0.50"):
            meter = guard.begin(CALL)
            guard.admit_sent(meter)
            guard.later(lambda meter=meter: meter.arrived([Usage({"input": 1000})]))  # type: ignore[misc]
            guard.drain()
        if number % (runs // DAYS) == 0:
            rows = sum(isinstance(row, Row) for row in ledger._state.values())
            most = max(most, rows)
            kib = tracemalloc.get_traced_memory()[0] // 1024
            told.append(f"memory | {number:,} | {rows:,} | {kib:,} KiB of Python objects, ended calls included")
    tracemalloc.stop()
    return most, told


def in_sqlite(runs: int) -> tuple[int, list[str]]:
    """The same for a file."""
    most, told = 0, []
    with tempfile.TemporaryDirectory(prefix="runs-") as folder:
        path = Path(folder) / "book.db"
        ledger = SQLiteLedger(path)
        for number in range(1, runs + 1):
            now = START + number * DAYS * DAY / runs
            hold = Hold(f"{number:012d}", 10_000, (Leg("block", f"run:{number:012d}", 500_000_000),), now + 3600, now)
            ledger.reserve(hold)
            ledger.settle(hold.id, 7_000)
            if number % 100 == 0:
                ledger.reap(now)
            if number % (runs // DAYS) == 0:
                connection = ledger._connection
                assert connection is not None
                (rows,) = connection.execute("SELECT count(*) FROM windows").fetchone()
                (holds,) = connection.execute("SELECT count(*) FROM holds").fetchone()
                most = max(most, rows)
                told.append(f"sqlite | {number:,} | {rows:,} | {path.stat().st_size // 1024:,} KiB, {holds:,} calls")
        ledger.close()
    return most, told


def main() -> int:
    """Print what there is at the end of each day."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    runs = parser.parse_args().runs
    print("| ledger | runs so far | windows kept | in all |\n|---|---|---|---|")
    kept = True
    for most, (few, told) in ((100, in_memory(runs)), (3 * runs // DAYS, in_sqlite(runs))):
        print("\n".join(f"| {line} |" for line in told), flush=True)
        kept = kept and few <= most
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
