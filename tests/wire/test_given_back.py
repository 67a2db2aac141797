"""Money that is held for nobody comes back at once, not when its lease is over: others wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

import costguard
from costguard._types import Granted, Hold, Refused
from costguard.ledgers.memory import MemoryLedger
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import until

pytestmark = pytest.mark.usefixtures("guard")

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


class Slow(MemoryLedger):
    """A ledger outside the process whose answer to a reservation takes a while."""

    inline = False

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = threading.Event(), threading.Event()

    def reserve(self, hold: Hold) -> Granted | Refused:
        reply = super().reserve(hold)
        self.asked.set()
        assert self.answer.wait(10)
        return reply


async def test_a_task_cancelled_while_it_reserves_holds_nothing(provider: LoopbackProvider) -> None:
    """The ledger grants the hold when nobody is there to use it any more."""
    ledger = Slow()
    costguard.configure(ledger=ledger, budgets=[costguard.budget("$1", name="all")])
    async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
        task = asyncio.create_task(client.chat.completions.create(**ASK))
        await asyncio.to_thread(ledger.asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ledger.answer.set()
        await asyncio.to_thread(until, lambda: not costguard.status()["all"].held)
    assert ([], 0) == (provider.requests, costguard.status()["all"].spent)


def test_who_waits_is_told_once_a_dropped_answer_is_charged(provider: LoopbackProvider) -> None:
    """Nobody reads or closes the answer and nobody calls again: the caller in line looks for itself. The answer is
    charged as it was held, so there is nothing to wait for any more."""
    provider.reply = Reply(input_tokens=10, output_tokens=100)
    costguard.configure(budgets=[costguard.budget("$0.05", name="all", enforcement="expected", wait=20)])
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client, ThreadPoolExecutor(1) as pool:
        answer = client.chat.completions.with_raw_response.create(**ASK, stream=True)
        other = pool.submit(client.chat.completions.create, **ASK)
        time.sleep(0.2)
        assert not other.done()
        began = time.monotonic()
        del answer
        with pytest.raises(costguard.BudgetExceededError):
            other.result(20)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("stream", [False, True])
def test_who_could_have_a_shorter_answer_waits_for_the_holds_in_its_way(
    stream: bool, provider: LoopbackProvider
) -> None:
    """The whole bound is more than the limit, but a clamped answer or a slice of a stream fits once the other ended."""
    gate = threading.Event()
    provider.reply = Reply(input_tokens="measured", output_tokens=100, gate=gate)
    costguard.configure(budgets=[costguard.budget("$0.05", name="all", wait=20, clamp=not stream)])

    def ask(_: int) -> None:
        answer: Any = client.chat.completions.create(**ASK, max_tokens=8000, stream=stream)
        if stream:
            list(answer)

    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client, ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(ask, number) for number in range(6)]
        assert provider.wait_for_requests(1)
        time.sleep(0.3)
        over = [call for call in calls if call.done()]
        gate.set()
        assert [] == over
        for call in calls:
            call.result(20)
    assert 6 == provider.count
