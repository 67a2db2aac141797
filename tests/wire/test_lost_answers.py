"""The ledger did what it was asked and its answer was lost, again and again: nothing stays held for a call that was not
sent, and a call that was let through is counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

import costguard
from costguard._config import state
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import until
from ..contract.proxy import DroppingProxy
from ..contract.servers import RedisServer, fresh
from . import truth

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def proxy(server: RedisServer, guard: object) -> Iterator[DroppingProxy]:
    """The way to it."""
    with DroppingProxy(server.port) as proxy:
        yield proxy
        costguard.configure(ledger="memory://")


def begin(proxy: DroppingProxy, **options: Any) -> None:
    """Count in it, all answers to the first reservation being lost: its first try and its second."""
    budget = costguard.budget("$1", name="all", **options)
    costguard.configure(ledger=f"redis://127.0.0.1:{proxy.port}/0?namespace={fresh()}", budgets=[budget])
    # The scripts are known, and the server was looked at.
    costguard.track("gpt-4o", input_tokens=1)
    costguard.flush()
    proxy.drops = 2


def ask(provider: LoopbackProvider) -> None:
    """Make a call."""
    with openai.OpenAI(api_key="x", base_url=provider.openai_url, max_retries=0) as client:
        client.chat.completions.create(**ASK)


def test_a_call_that_was_not_sent_gives_back_what_a_lost_answer_had_granted(
    proxy: DroppingProxy, provider: LoopbackProvider
) -> None:
    """A closed budget refuses, since it cannot know; the money is not tied up for the hour of a lease."""
    begin(proxy)
    before = costguard.spend().cost
    with pytest.raises(costguard.LedgerUnavailableError):
        ask(provider)
    assert proxy.drops == 0
    assert provider.requests == []
    until(lambda: not costguard.status()["all"].held, 30)
    assert costguard.status()["all"].spent == before


def test_a_call_that_was_let_through_is_counted_once(proxy: DroppingProxy, provider: LoopbackProvider) -> None:
    """An open budget lets it through; what the lost answer had granted is settled at what it did cost."""
    provider.reply = Reply(input_tokens="measured", output_tokens=50)
    begin(proxy, on_ledger_down="open")
    before = costguard.spend().cost
    ask(provider)
    until(lambda: not state.guard.settlements.behind, 30)
    books = costguard.status()["all"]
    assert books.spent == before + truth.cost("openai", *provider.billed)
    assert books.held == 0


def test_a_call_that_failed_for_nothing_leaves_nothing_held(proxy: DroppingProxy, provider: LoopbackProvider) -> None:
    """It was let through blindly and the provider refused it."""
    provider.reply = Reply(status=400)
    begin(proxy, on_ledger_down="open")
    before = costguard.spend().cost
    with pytest.raises(openai.BadRequestError):
        ask(provider)
    until(lambda: not state.guard.settlements.behind, 30)
    books = costguard.status()["all"]
    assert (books.spent, books.held) == (before, 0)
