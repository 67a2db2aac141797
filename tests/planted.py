"""``python -m tests.planted``: how much CPU it takes to find each planted mistake.

The suite wants each of them found, and no more: how long that takes says how good the eyes are.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from costguard._shield import log
from costguard.ledgers.memory import MemoryLedger
from costguard.ports import Ledger
from costguard.testing.books import books_machine

from .histories.planted import PLANTED as RACES
from .histories.run import run
from .histories.stores import STORES
from .property import profiles  # noqa: F401 - importing registers them
from .property.planted import PLANTED as WRONG_BOOKS
from .simulation.planted import PLANTED as WRONG_STAGES
from .simulation.run import Stage, failure

Hunt = Callable[[], bool]
"""Looks for a mistake, and says whether it was found."""


def by_machine(wrong: type[MemoryLedger]) -> bool:
    """With the Hypothesis state machine."""
    looking = settings(
        settings.get_profile("quick"), max_examples=5000, database=None, phases=[Phase.generate], print_blob=False
    )
    try:
        run_state_machine_as_test(books_machine(wrong), settings=looking)
    except AssertionError:
        return True
    return False


def by_simulator(stage: Stage) -> bool:
    """With stories, one after the other."""
    return any(failure(stage, seed, 150, shrink=False) for seed in range(1000))


def by_histories(wrong: Callable[[Ledger], Any]) -> bool:
    """With processes that are killed."""
    for seed in range(100):
        with STORES["sqlite"]() as store:
            if not run(store, kills=3, seed=seed, spoiled=wrong).good:
                return True
    return False


def hunts() -> Iterator[tuple[str, str, Hunt]]:
    """All of them, each with who looks and for what."""
    for wrong in WRONG_BOOKS:
        yield "state machine", wrong.__name__, lambda wrong=wrong: by_machine(wrong)
    for name, stage in WRONG_STAGES.items():
        yield "simulator", name, lambda stage=stage: by_simulator(stage)
    for race in RACES:
        yield "history checker", getattr(race, "__name__", str(race)), lambda race=race: by_histories(race)


def main() -> int:
    """0 when each was found in time, 1 when one was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--most", type=float, default=30.0, help="seconds of CPU within which each must be found")
    chosen = parser.parse_args()
    log.setLevel(logging.CRITICAL)
    good, worst, count = True, dict[str, tuple[float, str]](), dict[str, int]()
    for by, name, hunt in hunts():
        began = _cpu()
        found = hunt()
        took = _cpu() - began
        good = good and found and took <= chosen.most
        worst[by] = max(worst.get(by, (0.0, "")), (took, name))
        count[by] = count.get(by, 0) + 1
        print(f"{by:16}{name:36}{took:7.2f} s{'' if found else '   NOT FOUND'}", flush=True)
    for by, (took, name) in worst.items():
        print(f"{by}: {count[by]}, the worst in {took:.1f} s of CPU ({name})")
    return 0 if good else 1


def _cpu() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    sys.exit(main())
