"""Calls against a ledger outside the process: settlements are written behind, and each budget says what happens while
the ledger is away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

import costguard
from costguard._config import state
from costguard._types import Granted, Hold, Nano, Refused
from costguard.errors import LedgerUnavailableError
from costguard.ledgers.memory import MemoryLedger
from costguard.ledgers.sqlite import SQLiteLedger
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder, until
from . import truth

pytestmark = pytest.mark.usefixtures("guard")

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


class Away(MemoryLedger):
    """A ledger outside the process that can go away and come back with its books."""

    inline = False

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    def _ask(self) -> None:
        if self.away:
            raise LedgerUnavailableError("the ledger is away")

    def reserve(self, hold: Hold) -> Granted | Refused:
        self._ask()
        return super().reserve(hold)

    def settle(self, id: str, actual: Nano) -> Granted:
        self._ask()
        return super().settle(id, actual)


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    provider.reply = Reply(input_tokens="measured", output_tokens=50)
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        yield client


@pytest.fixture
def ledger(recorder: Recorder) -> Away:
    ledger = Away()
    costguard.configure(ledger=ledger, exporters=[recorder])
    return ledger


def test_sqlite_counts_calls_and_survives_the_process(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder, tmp_path: Path
) -> None:
    """What is read right after a call has the call in it, and a new ledger on the same file goes on from there."""
    url = f"sqlite://{tmp_path}/books.db"
    costguard.configure(ledger=url, exporters=[recorder])
    with costguard.budgeted(feature="f", limit="$1/day"):
        client.chat.completions.create(**ASK)
        list(client.chat.completions.create(**ASK, stream=True))
    spent = costguard.status()["feature=f, per day"]
    assert (truth.cost("openai", *provider.billed), 0) == (spent.spent, spent.held)
    costguard.configure(ledger=url)
    assert spent.spent == costguard.status()["feature=f, per day"].spent


async def test_tasks_do_not_block_their_loop_on_a_shared_ledger(provider: LoopbackProvider, tmp_path: Path) -> None:
    """Reserving happens in a worker thread, settling behind: the loop goes on ticking."""
    provider.reply = Reply(input_tokens="measured", output_tokens=50)
    costguard.configure(ledger=SQLiteLedger(tmp_path / "books.db"))
    async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
        with costguard.budgeted(feature="f", limit="$1/day"):
            await asyncio.gather(*[client.chat.completions.create(**ASK) for _ in range(20)])
    assert (20, 0) == (provider.count, costguard.status()["feature=f, per day"].held)
    assert truth.cost("openai", *provider.billed) == costguard.status()["feature=f, per day"].spent


def test_four_processes_share_one_limit(provider: LoopbackProvider, tmp_path: Path) -> None:
    """Four programs, twenty calls each, room for about eleven: the provider never bills more than the limit."""
    provider.reply = Reply(input_tokens="measured", output_tokens=100, latency=0.05)
    program = textwrap.dedent(f"""
        import costguard, openai
        costguard.configure(ledger="sqlite://{tmp_path}/books.db")
        costguard.instrument()
        client = openai.OpenAI(api_key="x", base_url="{provider.openai_url}")
        for _ in range(20):
            try:
                with costguard.budgeted(feature="f", limit="$0.0125/day"):
                    client.chat.completions.create(model="gpt-4o", max_tokens=100, messages={ASK["messages"]!r})
            except costguard.BudgetExceededError:
                pass
    """)
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [0, 0, 0, 0] == [process.wait(120) for process in processes]
    billed = truth.cost("openai", *provider.billed)
    assert billed <= Decimal("0.0125")
    assert billed > Decimal("0.0115"), "what is neither spent nor held can be spent"


def test_a_hard_budget_is_closed_while_the_ledger_is_away(
    client: openai.OpenAI, provider: LoopbackProvider, ledger: Away
) -> None:
    """Nothing is sent, and the error says that the ledger is away, not that the budget is exceeded."""
    ledger.away = True
    with costguard.budgeted(feature="f", limit="$1/day"), pytest.raises(costguard.LedgerUnavailableError):
        client.chat.completions.create(**ASK)
    assert [] == provider.requests


def test_an_open_budget_lets_calls_through_and_books_them_when_the_ledger_is_back(
    client: openai.OpenAI, provider: LoopbackProvider, ledger: Away
) -> None:
    """Nothing is lost: the calls made meanwhile are counted afterwards."""
    ledger.away = True
    with costguard.budgeted(feature="f", limit="$1/day", on_ledger_down="open"):
        client.chat.completions.create(**ASK)
    ledger.away = False
    until(lambda: not state.guard.settlements.behind)
    assert truth.cost("openai", *provider.billed) == costguard.status()["feature=f, per day"].spent > 0


def test_a_local_budget_lets_an_allowance_through(
    client: openai.OpenAI, provider: LoopbackProvider, ledger: Away
) -> None:
    """Each process may spend its allowance blindly, and no more."""
    ledger.away = True
    with costguard.budgeted(feature="f", limit="$1/day", on_ledger_down="local", local_allowance="$0.003"):
        client.chat.completions.create(**ASK)
        client.chat.completions.create(**ASK)
        with pytest.raises(costguard.LedgerUnavailableError):
            for _ in range(20):
                client.chat.completions.create(**ASK)
    ledger.away = False
    until(lambda: not state.guard.settlements.behind)
    spent = costguard.status()["feature=f, per day"].spent
    assert truth.cost("openai", *provider.billed) == spent <= Decimal("0.003")


def test_a_settlement_that_cannot_land_is_kept_and_the_caller_does_not_wait(
    client: openai.OpenAI, provider: LoopbackProvider, ledger: Away
) -> None:
    """The ledger goes away while a call is under way: the answer comes at once, the charge later."""

    def away(_: Any) -> Reply:
        ledger.away = True
        return Reply(input_tokens="measured", output_tokens=50)

    provider.reply = away
    with costguard.budgeted(feature="f", limit="$1/day"):
        client.chat.completions.create(**ASK)
    time.sleep(0.05)
    assert 1 == state.guard.settlements.behind
    ledger.away = False
    until(lambda: not state.guard.settlements.behind)
    assert truth.cost("openai", *provider.billed) == costguard.status()["feature=f, per day"].spent


def test_waiting_works_on_a_shared_ledger(client: openai.OpenAI, provider: LoopbackProvider, tmp_path: Path) -> None:
    """With `wait`, callers whose holds only collide are all served, though nobody tells of other processes' ends."""
    costguard.configure(ledger=SQLiteLedger(tmp_path / "books.db"))

    @costguard.budgeted(feature="f", limit="$0.01/day", wait=20)
    def ask(_: int) -> None:
        client.chat.completions.create(**ASK)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(ask, range(10)))
    assert 10 == provider.count
