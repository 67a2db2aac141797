"""Let clients loose on a store, kill them one after the other, and check what they saw."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from costguard.ports import Ledger

from ..contract.shared import ended, forked
from .books import NEVER, Operation
from .search import Stuck, order_of
from .stores import Kept, Store
from .work import EXPIRES, LIMITS, Client, operations


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        operations: all that clients asked for.
        kills: of clients, and of the server.
        settled: settlements that were acknowledged.
        refused: reservations and extensions that were refused.
        stuck: why there is no order in which all is right; None when there is one.
        left: what is still held at the end, when all leases are over.
    """

    operations: int
    unheard: int
    kills: int
    settled: int
    refused: int
    stuck: Stuck | None
    left: int

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        return self.stuck is None and not self.left


def run(
    store: Store,
    *,
    kills: int,
    clients: int = 4,
    seed: int = 0,
    servers: bool = False,
    spoiled: Callable[[Ledger], Ledger] = lambda ledger: ledger,
) -> Outcome:
    """Let clients loose until so many of them were killed.

    Args:
        servers: also kill the server now and then.
        spoiled: puts a mistake into each client's ledger, to see that it is found.
    """
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="histories-log-") as name:
        folder, stop = Path(name), Path(name) / "stop"
        logs = [folder / f"{number}.log" for number in range(clients)]

        def begin(number: int, round: int) -> int:
            log = logs[number]

            def work() -> None:
                Client(spoiled(store.open()), str(number), log, stop, seed * 100_003 + round).run()

            return forked(work)

        store.open().close()
        running = {number: begin(number, number) for number in range(clients)}
        for kill in range(kills):
            time.sleep(dice.uniform(0.01, 0.12))
            if servers and store.kill is not None and kill % 10 == 9:
                store.kill()
                continue
            number = dice.randrange(clients)
            os.kill(running[number], signal.SIGKILL)
            assert [-signal.SIGKILL] == ended(running[number])
            running[number] = begin(number, clients + kill)
        stop.touch()
        assert [0] * clients == ended(*running.values()), "a client did not end well"
        every = [one for log in logs for one in operations(log)]
        return _checked(store, every, kills)


def _checked(store: Store, every: list[Operation], kills: int) -> Outcome:
    kept = store.kept()
    audit = Operation("audit", (), kept, time.monotonic(), time.monotonic() + 1)
    order = order_of([*every, audit], LIMITS)
    with_ledger = store.open()
    with_ledger.reap(EXPIRES + 1)
    with_ledger.close()
    return Outcome(
        operations=len(every),
        unheard=sum(one.ended == NEVER for one in every),
        kills=kills,
        settled=sum(one.step == "settle" and one.reply == "granted" for one in every),
        refused=sum(isinstance(one.reply, list) and one.step != "read" for one in every),
        stuck=order if isinstance(order, Stuck) else None,
        left=_held(store.kept()),
    )


def _held(kept: Kept) -> int:
    return sum(held for _, held in kept[0].values())
