"""``python -m tests.interrupts``: throw an exception into a thread that works on a ledger, thousands of times, at
whatever bytecode it happens to be; then see that its books balance, that its lock is free and that every hold ends.

The suite does the same for a second or two on each ledger (`LedgerContract.test_an_interrupt_tears_nothing`). Python
runs signal handlers and such exceptions at different bytecodes in each of its versions, so run this with each.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from costguard._shield import log
from costguard.ports import Ledger
from costguard.testing import LedgerContract

from .simulation.run import Stage, memory, shared

LEDGERS = ("memory", "sqlite", "redis", "postgresql")
ROUND = 20.0
"""Seconds at most that one book is worked on before it is checked."""


class _Books(LedgerContract):
    """The contract over ledgers of some kind."""

    def __init__(self, make: Callable[[], Ledger]) -> None:
        self.make_ledger = make  # type: ignore[method-assign]

    def interrupted(self) -> int:
        """Work on a fresh book and interrupt that, then check it. Returns the number of interrupts."""
        return self._interrupted(time.monotonic() + ROUND)


@dataclass
class Found:
    """What came of it."""

    interrupts: int = 0
    books: int = 0
    torn: int = 0
    stuck: int = 0

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        return not self.torn and not self.stuck


def main() -> int:
    """0 when nothing was torn and no lock stayed held, 1 when something was."""
    parser = argparse.ArgumentParser(prog="python -m tests.interrupts", description=__doc__)
    parser.add_argument("--ledger", choices=LEDGERS, nargs="+", default=LEDGERS)
    parser.add_argument("--interrupts", type=int, default=10_000, help="how many on each ledger")
    chosen = parser.parse_args()
    log.setLevel(logging.CRITICAL)  # a server of tests keeps nothing, and is said to
    # A step in memory takes microseconds: who interrupts must get its turn in the middle of one.
    sys.setswitchinterval(0.0002)
    # One that was interrupted before anybody could close it is closed by the collector, which is told of it.
    sys.unraisablehook = lambda _: None
    good = True
    for kind in chosen.ledger:
        began = time.process_time()
        with _stage(kind) as stage:
            found = interrupt(lambda stage=stage: stage.fresh()(), chosen.interrupts)
        print(
            f"{kind}, Python {platform.python_version()}: {found.interrupts:,} interrupts of {found.books} books,"
            f" {found.torn} torn, {found.stuck} locks held ({time.process_time() - began:.0f} s of CPU)",
            flush=True,
        )
        good = good and found.good
    return 0 if good else 1


def _stage(kind: str) -> AbstractContextManager[Stage]:
    return nullcontext(memory()) if kind == "memory" else shared(kind)


def interrupt(make: Callable[[], Ledger], wanted: int, most: int = 10) -> Found:
    """Interrupt what works on fresh ledgers so many times, or until so many of them were found wrong."""
    books, found = _Books(make), Found()
    while found.interrupts < wanted:
        # What is thrown into a callback of the collector is lost, and only makes noise.
        gc.disable()
        try:
            found.interrupts += books.interrupted()
        except AssertionError as error:
            held = "lock held" in str(error)
            found.stuck += held
            found.torn += not held
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if found.stuck + found.torn >= most:
                break
        finally:
            gc.enable()
            gc.collect()
        found.books += 1
    return found


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A thread that waits for a lock for ever would keep the process.
    os._exit(code)
