"""Streams that outgrow their budget are cut off, in every SDK and its helpers; callers wait for each other's holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

import costguard
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder, until

pytestmark = pytest.mark.usefixtures("guard")

OPENAI: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Write a long story."}]}
CLAUDE: dict[str, Any] = {**OPENAI, "model": "claude-sonnet-5", "max_tokens": 60_000}
LONG = Reply(text="word " * 9000, output_tokens=9000, chunks=900, chunk_delay=0.001, input_tokens="measured")


def _openai(provider: LoopbackProvider) -> Any:
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    return client.chat.completions.create(**OPENAI, stream=True)


def _openai_helper(provider: LoopbackProvider) -> Any:
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    with client.chat.completions.stream(**OPENAI) as stream:
        yield from stream


def _responses(provider: LoopbackProvider) -> Any:
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    return client.responses.create(model="gpt-4o", input="Write a long story.", stream=True)


def _claude(provider: LoopbackProvider) -> Any:
    client = anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url)
    return client.messages.create(**CLAUDE, stream=True)


def _claude_helper(provider: LoopbackProvider) -> Any:
    client = anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url)
    with client.messages.stream(**CLAUDE) as stream:
        yield from stream.text_stream


def _gemini(provider: LoopbackProvider) -> Any:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
    yield from client.models.generate_content_stream(model="gemini-2.5-pro", contents="Write a long story.")


@pytest.mark.parametrize("stream", [_openai, _openai_helper, _responses, _claude, _claude_helper, _gemini])
def test_a_stream_that_cannot_grow_is_cut_off(
    stream: Callable[[LoopbackProvider], Any],
    provider: LoopbackProvider,
    recorder: Recorder,
    settled: Callable[[], None],
) -> None:
    """The error comes out of the iteration with the text received, the connection is closed, and what was held is
    charged: not more than the limit."""
    provider.reply = LONG
    with costguard.budgeted(feature="f", limit="$0.045", clamp=False) as block:
        with pytest.raises(costguard.BudgetExceededError) as caught:
            for _ in stream(provider):
                pass
        assert 0 < block.spent <= Decimal("0.045")
    assert "word word" in (caught.value.partial or "")
    assert "cut off" in str(caught.value)
    until(lambda: provider.billed[0].disconnected)
    settled()
    assert 1 == provider.count
    assert "partial" == recorder.calls[0].outcome
    assert provider.billed[0].output_tokens < 9000


async def test_an_async_stream_that_cannot_grow_is_cut_off(
    provider: LoopbackProvider, settled: Callable[[], None]
) -> None:
    """The same for a coroutine."""
    provider.reply = LONG
    async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
        with costguard.budgeted(feature="f", limit="$0.045", clamp=False), pytest.raises(costguard.BudgetExceededError):
            async for _ in await client.chat.completions.create(**OPENAI, stream=True):
                pass
    settled()
    await asyncio.to_thread(until, lambda: provider.billed[0].disconnected)


def test_a_stream_grows_while_there_is_room(provider: LoopbackProvider, recorder: Recorder) -> None:
    """A stream that starts with a slice is read to its end when the budget allows it, and costs what it cost."""
    provider.reply = LONG
    with costguard.budgeted(feature="f", limit="$0.15", clamp=False):
        assert 900 <= sum(1 for _ in _openai(provider))
    assert not recorder.only.cost.estimated
    assert recorder.only.cost.nano <= recorder.only.held


def test_a_provider_that_ignores_the_cap_is_cut_off(provider: LoopbackProvider, recorder: Recorder) -> None:
    """More parts than the cap allows tokens: the provider does not honour it, so the limit is kept here."""
    provider.reply = lambda request: Reply(text="w " * 3000, chunks=3000, chunk_delay=0.0005, output_tokens=3000)
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    with costguard.budgeted(feature="f", limit="$0.0155"):
        stream = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="x", stream=True, max_tokens=2500)
        read = sum(1 for _ in stream)
    assert read <= 2502


def test_callers_wait_for_each_others_holds(provider: LoopbackProvider) -> None:
    """Thirty threads, room for one hold at a time: with `wait` all are served, one after the other; nobody overspends."""
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    provider.reply = Reply(input_tokens=10, output_tokens=5, latency=0.01)

    @costguard.budgeted(feature="f", limit="$0.008/day", wait=20)
    def ask(_: int) -> None:
        client.chat.completions.create(**OPENAI, max_tokens=400)

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(ask, range(30)))
    assert 30 == provider.count
    assert 1 == provider.peak_in_flight


async def test_tasks_wait_in_the_order_they_came(provider: LoopbackProvider) -> None:
    """First come, first served."""
    provider.reply = Reply(input_tokens=10, output_tokens=5, latency=0.01)
    served: list[int] = []
    async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:

        @costguard.budgeted(feature="f", limit="$0.006/day", wait=20)
        async def ask(number: int) -> None:
            await client.chat.completions.create(**OPENAI, max_tokens=400)
            served.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(ask(number))
                await asyncio.sleep(0.002)
    assert list(range(12)) == served


async def test_a_wait_can_be_cancelled_and_runs_out(provider: LoopbackProvider, settled: Callable[[], None]) -> None:
    """A waiting task that is cancelled gives its place up; one that waits too long is refused for what is held."""
    provider.reply = Reply(input_tokens=10, output_tokens=5, latency=0.6)
    async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:

        @costguard.budgeted(feature="f", limit="$0.006/day", wait=0.2)
        async def ask() -> None:
            await client.chat.completions.create(**OPENAI, max_tokens=400)

        first = asyncio.create_task(ask())
        while not provider.requests:
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(ask())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        began = time.monotonic()
        with pytest.raises(costguard.BudgetExceededError) as caught:
            await ask()
        assert 0.15 < time.monotonic() - began < 0.5
        assert "held" == caught.value.reason
        await first
    settled()
    assert not costguard._config.state.guard.settlements.lines.has(["feature=f, per day"])


def test_what_cannot_fit_is_refused_without_waiting(provider: LoopbackProvider) -> None:
    """Waiting helps only against holds: what is spent comes back with the next window."""
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    began = time.monotonic()
    with costguard.budgeted(limit="$0.0001", wait=30), pytest.raises(costguard.BudgetExceededError):
        client.chat.completions.create(**OPENAI, max_tokens=400)
    assert time.monotonic() - began < 5


def test_an_expected_budget_learns(provider: LoopbackProvider, recorder: Recorder) -> None:
    """Cold it reserves a high value; after enough calls it reserves what such calls use; it never sends a cap."""
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    provider.reply = Reply(input_tokens=20, output_tokens=50)
    with costguard.budgeted(feature="f", limit="$50", enforcement="expected"):
        for _ in range(205):
            client.chat.completions.create(**OPENAI)
    cold, warm = recorder.calls[0].held, recorder.calls[-1].held
    assert warm < cold / 20
    assert warm >= recorder.calls[-1].cost.nano
    assert "max_completion_tokens" not in provider.billed[-1].request_body
