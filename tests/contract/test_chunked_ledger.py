"""Ledgers that are asked for a chunk at a time: the usual contract, real processes, and a guard that looks after them.

`tests/property/test_chunks.py` looks for histories that break a promise.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from costguard._budget import budget
from costguard._catalog import Catalog
from costguard._guard import Guard
from costguard._snapshot import load
from costguard._types import Alert, Call, Granted, Hold, Leg, Refused, Usage
from costguard.errors import ConfigError
from costguard.ledgers import open_ledger
from costguard.ledgers.chunked import ChunkedLedger
from costguard.ledgers.memory import MemoryLedger
from costguard.ledgers.sqlite import SQLiteLedger
from costguard.testing import LedgerContract

from ..conftest import until
from .servers import RedisServer
from .shared import ended, forked

FOREVER = float("inf")


class TestChunksOfMemory(LedgerContract):
    """As it is set up: on small limits calls go to the ledger one by one, so that everything is as without."""

    seconds = 0.7

    def make_ledger(self) -> ChunkedLedger:
        return ChunkedLedger(MemoryLedger(), 10)

    def test_any_history_leaves_the_books_of_a_simple_model(self) -> None:
        """That model tells alerts at once; `tests/property/test_chunks.py` has one of chunks."""


class TestGreedyChunks(LedgerContract):
    """Chunks of all that is left, from the first call on: everything but the moment at which alerts come is as ever."""

    seconds = 0.7

    def make_ledger(self) -> ChunkedLedger:
        return ChunkedLedger(MemoryLedger(), 10, share=1, recent=FOREVER)

    def test_a_correction_tells_of_the_thresholds_it_reaches(self) -> None:
        """Those of a chunk that is settled; before that the chunk's settlement does."""
        leg = Leg("budget", "w", 100, marks=((50.0, 50), (80.0, 80)))
        with self.opened() as ledger:
            assert isinstance(ledger, ChunkedLedger)
            ledger.reserve(Hold("h", 40, (leg,), time.time() + 1000))
            ledger.settle("h", 30)
            assert () == ledger.adjust("h", "one", 60).crossings
            assert [50.0] == [one.percent for reply in ledger.tend(everything=True) for one in reply.crossings]
            assert [80.0] == [one.percent for one in ledger.adjust("h", "two", 85).crossings]

    def test_any_history_leaves_the_books_of_a_simple_model(self) -> None:
        """That model tells alerts at once; `tests/property/test_chunks.py` has one of chunks."""


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Books that processes share."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/book.db?chunk=5"
        return
    server = RedisServer(tmp_path).start()
    try:
        yield f"{server.url}?namespace=chunks&chunk=5"
    finally:
        server.stop()


def test_processes_with_chunks_spend_a_limit_and_no_more(url: str, tmp_path: Path) -> None:
    """Four that spend as fast as they can are stopped at the limit; the books say what each of their calls did cost."""
    told, leg, wide = tmp_path / "told", Leg("tight", "w", 20_000), Leg("wide", "w", 10**15)

    def work(process: int) -> None:
        ledger, number = open_ledger(url), 0
        while isinstance(ledger.reserve(Hold(f"{process}-{number}", 10, (leg, wide), time.time() + 1000)), Granted):
            ledger.settle(f"{process}-{number}", 7)
            number += 1
        ledger.close()
        with told.open("a") as opened:
            opened.write(f"{number}\n")

    assert [0] * 4 == ended(*[forked(lambda process=process: work(process)) for process in range(4)])
    calls = sum(map(int, told.read_text().split()))
    with closing(open_ledger(url)) as ledger:
        assert [(7 * calls, 0)] * 2 == [(one.spent, one.held) for one in ledger.balances([leg, wide])]
        assert 19_000 < 7 * calls <= 20_000
        rest = 20_000 - 7 * calls
        assert Granted() == ledger.reserve(Hold("rest", rest, (leg, wide), time.time() + 1000))


def test_of_a_killed_process_one_chunk_at_most_is_charged_too_much(url: str, tmp_path: Path) -> None:
    """What its calls did cost is never lost, though only it knew; the rest of the chunk is held until the lease ends."""
    leg = Leg("wide", "w", 10**15)
    with closing(open_ledger(url)) as watcher:
        for kill in range(4):
            told = tmp_path / f"told-{kill}"
            told.touch()
            before = watcher.balances([leg])[0]
            writer = forked(lambda told=told, kill=kill: _write(open_ledger(url), leg, kill, told))
            until(lambda told=told: told.stat().st_size > 300, 30)
            os.kill(writer, signal.SIGKILL)
            assert [-signal.SIGKILL] == ended(writer)
            calls = len(told.read_text().split())
            after = watcher.balances([leg])[0]
            added = after.spent + after.held - before.spent - before.held
            # A chunk is 10 and four times what a call did cost; one more call may have been in the making.
            assert 7 * calls <= added <= 7 * calls + 2 * (10 + 4 * 10)
        watcher.reap(time.time() + 5000)
    with closing(open_ledger(url)) as watcher:
        if "redis" not in url:  # where the server's clock ends leases
            assert 0 == watcher.balances([leg])[0].held


def _write(ledger: Any, leg: Leg, kill: int, told: Path) -> None:
    number = 0
    while True:
        number += 1
        ledger.reserve(Hold(f"{kill}-{number}", 10, (leg,), time.time() + 1000))
        ledger.settle(f"{kill}-{number}", 7)
        with told.open("a", buffering=1) as opened:
            opened.write("x\n")


def test_chunks_spare_the_ledger_most_steps(tmp_path: Path) -> None:
    """Of a hundred calls the file has a tenth of the holds, and their sum."""
    leg = Leg("wide", "w", 10**15)
    with closing(open_ledger(f"sqlite://{tmp_path}/book.db?chunk=20")) as ledger:
        for number in range(100):
            ledger.reserve(Hold(f"{number}", 10, (leg,), time.time() + 1000))
            ledger.settle(f"{number}", 7)
            assert [(7 * (number + 1), 0)] == [(one.spent, one.held) for one in ledger.balances([leg])]
    with closing(sqlite3.connect(tmp_path / "book.db")) as book:
        count, booked = book.execute("SELECT count(*), sum(booked) FROM holds").fetchone()
    assert 700 == booked
    assert count <= 10


def test_a_call_that_outlives_its_chunk_grows_within_the_limit() -> None:
    """Also when its own hold was made while the chunk filled the limit, on legs that nothing refuses."""
    inner, leg = MemoryLedger(), Leg("tight", "w", 100)
    ledger = ChunkedLedger(inner, 10, share=1, recent=FOREVER)
    assert Granted() == ledger.reserve(Hold("a", 40, (leg,), time.time() + 1000))
    assert [100] == [one.held for one in inner.balances([leg])]
    ledger.tend(everything=True)
    assert [40] == [one.held for one in inner.balances([leg])]
    assert Granted() == ledger.extend("a", 60)
    reply = ledger.extend("a", 1)
    assert isinstance(reply, Refused)
    assert [(0, 100, 1)] == [(one.spent, one.held, one.needed) for one in reply.refusals]
    ledger.settle("a", 90)
    assert [(90, 0)] == [(one.spent, one.held) for one in inner.balances([leg])]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://?chunk=20", "needs no chunks"),
        ("sqlite:book.db?chunk=1", "from 2 to 1000"),
        ("sqlite:book.db?chunk=1001", "from 2 to 1000"),
        ("sqlite:book.db?chunk=many", "chunk='many'"),
        ("sqlite:book.db?chunk=-5", "chunk='-5'"),
    ],
)
def test_a_chunk_that_cannot_be_had_is_said_to_be_so(
    url: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is set up, and not at the first call."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        open_ledger(url)


def test_the_other_options_of_a_url_stay(tmp_path: Path) -> None:
    """Only `chunk` is taken out of it."""
    with closing(open_ledger(f"sqlite://{tmp_path}/a%20b.db?durability=power&chunk=20")) as ledger:
        assert isinstance(ledger, ChunkedLedger)
        assert isinstance(ledger.inner, SQLiteLedger)
        assert Path(f"{tmp_path}/a b.db") == Path(ledger.inner._path)
        with pytest.raises(ConfigError):
            open_ledger(f"sqlite://{tmp_path}/a.db?durability=none&chunk=20")


# -- under a guard


CALL = Call("openai", "gpt-4o", bound={"input": 1000}, max_output=100)


def _guard(on_alert: Callable[[Alert], object] | None = None) -> tuple[Guard, MemoryLedger]:
    inner = MemoryLedger()
    ledger = ChunkedLedger(inner, 10, recent=FOREVER)
    return Guard(Catalog(load), ledger, budgets=[budget("$100", alert_at=[0.001])], on_alert=on_alert), inner


def _call(guard: Guard) -> None:
    meter = guard.begin(CALL)
    guard.driver.admit(meter)
    ending = meter.arrived([Usage({"input": 400, "output": 10})])
    assert ending is not None
    guard.finish(ending)


def test_what_is_idle_comes_back_though_nobody_calls_any_more() -> None:
    """A guard's own thread sees to it, and sends the alerts that the settlement of a chunk decides on."""
    alerts: list[Alert] = []
    guard, inner = _guard(alerts.append)
    for _ in range(5):
        _call(guard)
    (balance,) = guard.balances()
    assert 0 == balance.held
    assert balance.spent > 0
    until(lambda: inner.windows(time.time())[0].spent == balance.spent, 30)
    until(lambda: inner.windows(time.time())[0].held == 0, 30)
    until(lambda: bool(alerts), 30)
    assert [0.001] == [one.percent for one in alerts]


def test_a_guard_that_leaves_gives_everything_back() -> None:
    """At once; the books are those of its calls."""
    guard, inner = _guard()
    for _ in range(5):
        _call(guard)
    (balance,) = guard.balances()
    guard.close()
    assert [(balance.spent, 0)] == [(one.spent, one.held) for one in inner.windows(time.time())]


def test_a_task_pays_out_of_what_is_in_hand_without_a_thread() -> None:
    """The event loop is not left where the ledger need not be asked."""
    guard, _ = _guard()
    there: list[bool] = []

    class Watched(ChunkedLedger):
        def in_hand(self, hold: Hold) -> Granted | None:
            granted = super().in_hand(hold)
            there.append(granted is not None and threading.current_thread() is threading.main_thread())
            return granted

        def reserve(self, hold: Hold) -> Granted | Refused:
            assert threading.current_thread() is not threading.main_thread()
            return super().reserve(hold)

    ledger = Watched(MemoryLedger(), 10, recent=FOREVER)
    guard = Guard(Catalog(load), ledger, budgets=[budget("$100")])

    async def send() -> None:
        return None

    async def calls() -> None:
        for _ in range(6):
            await guard.driver.adrive(guard.begin(CALL), lambda error: None, send)

    asyncio.run(calls())
    assert [False, True, True, True, True, True] == there
    guard.close()
