"""``python -m tests.simulation``: play stories until one fails, and print the shortest that does."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from costguard._shield import log

from .planted import PLANTED
from .run import Failure, Stage, failure, memory, shared


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing failed, 1 when something did."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="the story; a random one if left out, the first one with --bug")
    parser.add_argument(
        "--seeds", type=int, help="how many stories: that of the seed and those after it; 1, with --bug 200"
    )
    parser.add_argument("--steps", type=int, default=200, help="how long each is")
    parser.add_argument("--ledger", choices=("memory", "sqlite", "redis", "postgresql"), default="memory")
    parser.add_argument("--bug", choices=sorted(PLANTED), help="play on a ledger or clock that has this mistake")
    chosen = parser.parse_args(arguments)
    log.setLevel(logging.CRITICAL)  # it warns of every leap of a clock, and there are many
    first = chosen.seed if chosen.seed is not None else 0 if chosen.bug else random.randrange(10**9)
    seeds = chosen.seeds or (200 if chosen.bug else 1)
    began = time.monotonic()
    with _stage(chosen.ledger, chosen.bug) as stage:
        for seed in range(first, first + seeds):
            found = failure(stage, seed, chosen.steps)
            if found is not None:
                bug = f" --bug {chosen.bug}" if chosen.bug else ""
                print(_told(found))
                print(f"\nagain: python -m tests.simulation --seed {seed} --steps {chosen.steps}"
                      f" --ledger {chosen.ledger}{bug}")  # fmt: skip
                return 1
    took = time.monotonic() - began
    print(f"seeds {first} to {first + seeds - 1}, {chosen.steps} steps each, {chosen.ledger}: all held ({took:.1f} s)")
    return 0


def _stage(kind: str, bug: str | None) -> AbstractContextManager[Stage]:
    if bug is not None:
        return nullcontext(PLANTED[bug])
    return nullcontext(memory()) if kind == "memory" else shared(kind)


def _told(found: Failure) -> str:
    lines = [f"{number:4}  {line}" for number, line in enumerate(found.said, 1)]
    return "\n".join([*lines, "", f"FAILED: {found.error.args[0]}"])


if __name__ == "__main__":
    sys.exit(main())
