"""Settlements that are written behind, while the ledger is away: kept, bounded, and no reason to stay."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from costguard import _writer
from costguard._writer import Writer
from costguard.errors import LedgerUnavailableError

PROGRAM = """
import costguard
# Nobody listens there.
budget = costguard.budget("$1", name="all", on_ledger_down="open")
costguard.configure(ledger="redis://127.0.0.1:1/0", budgets=[budget], exporters=[])
for _ in range(40):
    costguard.track("gpt-4o", input_tokens=1_000)
print(costguard.spend().calls)
"""


def test_too_many_settlements_give_up_the_oldest_and_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory stays bounded while a ledger is away for long; what is given up is charged by its lease. The newest are
    written, in order, once the ledger is back."""
    monkeypatch.setattr(_writer, "KEPT", 100)
    monkeypatch.setattr(_writer, "RETRY", (0.001, 0.01))
    writer, back, done, tried = Writer(), threading.Event(), list[int](), threading.Event()

    def deed(number: int) -> None:
        tried.set()
        if not back.is_set():
            raise LedgerUnavailableError("away")
        done.append(number)

    with caplog.at_level(logging.ERROR, logger="costguard"):
        for number in range(250):
            writer.put(lambda number=number: deed(number))
            assert writer.waiting <= 100
    assert tried.wait(30)
    assert not writer.flush(0)
    back.set()
    assert writer.flush(60)
    assert done[-100:] == list(range(150, 250))
    assert "settlements given up" in caplog.text


def test_a_program_ends_though_its_ledger_is_away() -> None:
    """It waits for two seconds, leaves the rest to the leases, and says how much that is."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "40\n"), done.stderr
    assert "settlements are still to be written to the ledger" in done.stderr


def test_where_threads_stand_still_between_requests_a_settlement_is_written_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uWSGI without ``--enable-threads``: a thread could stop in the middle of a step, with the ledger's lock. What
    cannot be written is kept, and goes before what comes later."""
    done: list[object] = []

    def away() -> None:
        if "back" not in done:
            raise LedgerUnavailableError("away")
        done.append("kept")

    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt={"processes": b"3"}))
    writer = Writer()
    writer.put(lambda: done.append(threading.current_thread()))
    assert done == [threading.current_thread()]
    writer.put(away)
    done.append("back")
    writer.put(lambda: done.append("later"))
    assert writer.flush(30)
    assert ["kept", "later"] == done[2:]


def test_where_threads_go_on_nothing_waits_for_a_settlement(monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI with threads is like any other host."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt={"threads": b"2"}))
    writer, threads = Writer(), list[threading.Thread]()
    writer.put(lambda: threads.append(threading.current_thread()))
    assert writer.flush(30)
    assert threading.current_thread() not in threads
