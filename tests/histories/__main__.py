"""``python -m tests.histories``: kill processes that share a ledger, and check that no order of what they saw is wrong."""

from __future__ import annotations

import argparse
import random
import sys
import time

from .run import Outcome, run
from .stores import STORES


def main() -> int:
    """0 when all held, 1 when something did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--ledger", choices=sorted(STORES), nargs="+", default=sorted(STORES))
    parser.add_argument("--kills", type=int, default=200, help="how many processes are killed on each ledger")
    parser.add_argument("--clients", type=int, default=4, help="processes at a time")
    parser.add_argument("--seed", type=int, help="when whom to kill; the scheduler has a part in it too")
    parser.add_argument("--servers", action="store_true", help="kill the server now and then, and start it again")
    chosen = parser.parse_args()
    seed = random.randrange(10**6) if chosen.seed is None else chosen.seed
    good = True
    for kind in chosen.ledger:
        began = time.monotonic()
        with STORES[kind]() as store:
            outcome = run(store, kills=chosen.kills, clients=chosen.clients, seed=seed, servers=chosen.servers)
        print(f"{kind}, seed {seed}: {told(outcome)} ({time.monotonic() - began:.0f} s)", flush=True)
        good = good and outcome.good
    return 0 if good else 1


def told(outcome: Outcome) -> str:
    """An outcome in a sentence, and what is wrong with it."""
    words = (
        f"{outcome.kills} kills, {outcome.operations:,} operations, {outcome.unheard} unheard, {outcome.settled:,}"
        f" settlements acknowledged, {outcome.refused:,} refusals"
    )
    if outcome.good:
        return f"{words}: all agree"
    stuck = outcome.stuck
    verdict = "undecided, the search gave up" if stuck is not None and stuck.undecided else "no order"
    why = [] if stuck is None else [f"{verdict} after {stuck.after} operations:", *stuck.why]
    return "\n  ".join([f"{words}: FAILED, {outcome.left} held in the end", *why])


if __name__ == "__main__":
    sys.exit(main())
