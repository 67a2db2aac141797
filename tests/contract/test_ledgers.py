"""Every ledger of ours, through the suite that other packages run over theirs."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import pytest

from costguard._book import Entry, Row
from costguard._budget import budget
from costguard._catalog import Catalog
from costguard._guard import Guard
from costguard._snapshot import load
from costguard._types import Call, Granted, Hold, Leg, Usage
from costguard.ledgers.memory import KEEP, KEPT, MemoryLedger, open_memory
from costguard.testing import LedgerContract


class TestMemoryLedger(LedgerContract):
    """The ledger of one process."""

    def make_ledger(self) -> MemoryLedger:
        return open_memory("memory://")


def test_memory_stays_bounded_over_many_calls() -> None:
    """Many calls, each settled, leave a bounded number of entries, leases and windows behind."""
    ledger = MemoryLedger()
    for number in range(60_000):
        window = number // 100
        if number % 100 == 0:
            leg = Leg("b", f"{window:06d}", 10**15, window, window + 1.0)
        ledger.reserve(Hold(f"h{number}", 5, (leg,), number + 3600.0))
        ledger.settle(f"h{number}", 3)
        if number % 2000 == 0:
            ledger.reap(float(window))
    ledger.reap(600.0 + KEEP)
    entries = [one for one in ledger._state.values() if isinstance(one, Entry)]
    rows = [one for one in ledger._state.values() if isinstance(one, Row)]
    assert len(entries) <= 2 * KEPT + 1
    assert len(ledger._ended) <= 2 * KEPT + 1
    assert len(ledger._leases) <= 3 * KEPT
    assert len(rows) <= 2


def test_many_open_calls_do_not_slow_each_other_down() -> None:
    """With many streams open, the list of leases is not gone through again at every end."""
    ledger = MemoryLedger()
    leg = Leg("b", "w", 10**15)
    passes = []

    def is_open(id: str) -> bool:
        passes.append(id)
        return MemoryLedger._is_open(ledger, id)

    ledger._is_open = is_open  # type: ignore[method-assign]
    for number in range(25_000):
        ledger.reserve(Hold(f"open-{number}", 5, (leg,), 1e10))
    for number in range(3 * KEPT):
        ledger.reserve(Hold(f"h{number}", 5, (leg,), 1e10))
        ledger.settle(f"h{number}", 3)
    assert len(passes) < 150_000


def test_what_was_forgotten_is_only_what_has_ended() -> None:
    """However many calls come after it, an open hold stays."""
    ledger = MemoryLedger()
    leg = Leg("b", "w", 10**15)
    ledger.reserve(Hold("open", 7, (leg,), 1e10))
    for number in range(3 * KEPT):
        ledger.reserve(Hold(f"h{number}", 5, (leg,), 1e10))
        ledger.settle(f"h{number}", 0)
    assert 7 == ledger.balances([leg])[0].held
    assert Granted() == ledger.settle("open", 7)


def test_a_child_process_ends_its_own_copy_of_calls_in_flight() -> None:
    """After a fork the child's books hold nothing for calls that only the parent can end."""
    ledger = MemoryLedger()
    leg = Leg("b", "w", 100)
    ledger.reserve(Hold("spent", 30, (leg,), 1e10))
    ledger.settle("spent", 30)
    ledger.reserve(Hold("parents", 70, (leg,), 1e10))
    ledger._lock = threading.Lock()
    ledger._lock.acquire()  # another thread was inside when the process forked
    ledger._after_fork()
    assert (30, 0) == (ledger.balances([leg])[0].spent, ledger.balances([leg])[0].held)


def test_ledgers_are_not_kept_alive_by_the_fork_hook() -> None:
    """A ledger nobody uses any more is collected."""
    from costguard.ledgers.memory import _ledgers

    before = len(_ledgers)
    ledger = MemoryLedger()
    assert before + 1 == len(_ledgers)
    del ledger
    gc.collect()
    assert before >= len(_ledgers)


@pytest.mark.parametrize("name", ["pytest", "hypothesis", "_pytest"])
def test_the_testing_tools_need_no_test_runner(name: str) -> None:
    """Importing `costguard.testing`, and its contracts too, imports neither pytest nor Hypothesis."""
    code = (
        "import sys, costguard.testing as t; "
        "[getattr(t, name) for name in t.__all__]; "
        f"sys.exit({name!r} in sys.modules)"
    )  # fmt: skip
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode


def test_an_unknown_tool_is_an_attribute_error() -> None:
    """A misspelt name is said to be missing."""
    import costguard.testing

    with pytest.raises(AttributeError, match="LedgerContrct"):
        _ = costguard.testing.LedgerContrct


def test_finalisers_that_run_inside_a_step_block_nothing() -> None:
    """The collector may strike while the ledger's lock is held, and drop streams there: their calls end later."""
    guard = Guard(Catalog(load), MemoryLedger(), budgets=[budget("$100/day")])
    call = Call("openai", "gpt-4o", bound={"input": 10}, max_output=10)
    done = threading.Event()

    class Dropped:
        """A stream nobody closed, in a cycle with itself."""

        def __init__(self) -> None:
            self.cycle = self
            self.meter = guard.begin(call)
            guard.admit_sent(self.meter)

        def __del__(self) -> None:
            meter = self.meter
            guard.later(lambda: meter.arrived([Usage({"input": 10})]))

    def work() -> None:
        for _ in range(300):
            Dropped()
            guard.driver.drive(guard.begin(call), lambda error: None, lambda: None)
        done.set()

    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        worker.join(60)
    finally:
        gc.set_threshold(*threshold)
    assert done.is_set(), "a finaliser waits for a lock that its own thread holds"
    gc.collect()
    guard.drain()
    (balance,) = guard.balances()
    assert 0 == balance.held
    assert 300 * guard.catalog.cost("openai", "gpt-4o", [Usage({"input": 10})], guard.clock()).nano == balance.spent
