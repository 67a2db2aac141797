"""Runs that are silent for days on a ledger that processes share: kept while their blocks are open, and no longer."""

from __future__ import annotations

import gc
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import costguard
from costguard import _scope, _silent
from costguard._catalog import Catalog
from costguard._context import runs
from costguard._guard import Guard
from costguard._snapshot import load
from costguard._types import Call, Leg, Usage
from costguard._writer import Writer
from costguard.ledgers.redis import RedisLedger
from costguard.ledgers.sqlite import SQLiteLedger
from costguard.ports import Ledger

from .servers import fresh, running

CALL = Call("openai", "gpt-4o", bound={"input": 1000}, max_output=1000)
DAY = 86_400.0


class _Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server."""
    with running(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that forgets by the clock of its callers."""
    one: Ledger
    if request.param == "redis":
        one = RedisLedger(request.getfixturevalue("redis_url"), namespace=fresh(), clock="client")
    else:
        one = SQLiteLedger(tmp_path / "book.db")
    yield one
    one.close()


class _Process:
    """What one process does: it makes calls, and after long without looks at its runs, as its writer does."""

    def __init__(self, ledger: Ledger) -> None:
        self.clock = _Clock()
        self.guard = Guard(Catalog(load), ledger, clock=self.clock)

    def call(self) -> Leg:
        """One call, to its end; returns the window it was counted in."""
        meter = self.guard.begin(CALL)
        self.guard.admit_sent(meter)
        self.guard.later(lambda: meter.arrived([Usage({"input": 1000})]))
        self.guard.drain()
        assert self.guard.settlements.flush(60)
        ((_, leg),) = meter.plan.legs
        return leg

    def days_pass(self, days: int, leg: Leg, *, looking: bool = True) -> int:
        """They pass, and somebody reaps meanwhile; returns what is spent on a window then."""
        ledger = self.guard.ledger
        gc.collect()  # an error that a driver raised on the way can keep a call
        for _ in range(4 * days):
            self.clock.now += DAY / 4
            if looking:
                self.guard.settlements._renew()
            ledger.reap(self.clock.now)
        (balance,) = ledger.balances([leg], self.clock.now)
        return balance.spent


def test_a_block_that_is_silent_for_days_keeps_its_limit(ledger: Ledger) -> None:
    """An agent that waits for a person over a long weekend does not have its whole limit again; a block that was left
    is forgotten."""
    process = _Process(ledger)
    with costguard.budgeted(limit="$1"):
        leg = process.call()
        spent = process.days_pass(9, leg)
        assert spent > 0
        assert leg == process.call()
        assert 2 * spent == process.days_pass(3, leg)
    assert 0 == process.days_pass(4, leg)


def test_a_run_that_nobody_looks_after_is_forgotten(ledger: Ledger) -> None:
    """Its process was killed, say."""
    process = _Process(ledger)
    with costguard.budgeted(limit="$1"):
        leg = process.call()
        assert 0 == process.days_pass(4, leg, looking=False)


def test_a_run_lasts_for_as_long_as_any_process_that_shares_it(ledger: Ledger) -> None:
    """It came here from a process whose block is over since."""
    process = _Process(ledger)
    with costguard.budgeted(limit="$1"):
        leg = process.call()
        text = pickle.dumps(_scope.current())
    with _scope.Carried(pickle.loads(text)):
        assert leg == process.call()
        assert process.days_pass(4, leg) > 0
    assert 0 == process.days_pass(4, leg)


def test_a_window_is_renewed_though_others_of_its_run_are_in_use(ledger: Ledger) -> None:
    """One user's calls every few hours keep another user's limit as well."""
    process = _Process(ledger)
    with costguard.budgeted(limit="$1", per="user"):
        with costguard.budgeted(user="ann"):
            ann = process.call()
        for _ in range(12):
            with costguard.budgeted(user="bob"):
                assert ann != process.call()
                process.clock.now += DAY / 4
                process.guard.settlements._renew()
                ledger.reap(process.clock.now)
        assert process.days_pass(0, ann) > 0


def test_a_forked_child_renews_only_what_it_called_in(tmp_path: Path) -> None:
    """The parent's runs are the parent's to keep."""
    process = _Process(SQLiteLedger(tmp_path / "book.db"))
    with costguard.budgeted(limit="$1"):
        process.call()
        child = os.fork()
        if not child:
            before = [run for run in runs.living() if run.legs]
            process.call()
            os._exit(len(before) + 10 * len([run for run in runs.living() if run.legs]))
        assert 10 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert 1 == len([run for run in runs.living() if run.legs])
    process.guard.ledger.close()


def test_windows_of_one_run_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of budgets per user there may be any number; those of the process's own run live for a year anyway."""
    monkeypatch.setattr(_silent, "MOST", 3)
    run = runs.begin()
    _silent.note([Leg(f"user={number}", f"run:{run}", 10) for number in range(9)], 1.0)
    _silent.note([Leg("user=0", f"run:{run}", 10), Leg("all", "lifetime", 10)], 2.0)
    assert {"user=0": 2.0, "user=1": 1.0, "user=2": 1.0} == {name: at for name, (_, at) in run.legs.items()}


def test_a_writer_with_nothing_to_do_looks_by_itself() -> None:
    """Also in a process that makes no call at all, and without a thread more."""

    class Looker:
        def __init__(self) -> None:
            self.looked = threading.Event()
            self.writer = Writer(self.look, 0.01)

        def look(self) -> None:
            self.looked.set()

    looker = Looker()
    looker.writer.put(lambda: None)
    assert looker.looked.wait(60)
