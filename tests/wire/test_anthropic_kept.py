"""Another tool kept anthropic's `request` as it was before costguard: its calls are held to the limits all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import pytest

import costguard
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Crowd
from . import truth

pytestmark = pytest.mark.usefixtures("guard", "tool")

ASK: dict[str, Any] = {
    "model": "claude-sonnet-5", "max_tokens": 500, "messages": [{"role": "user", "content": "How far?"}],
}  # fmt: skip


@pytest.fixture
def tool(guard: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that goes round costguard's wrapper."""
    costguard.uninstrument()
    monkeypatch.setattr(anthropic._base_client, "INITIAL_RETRY_DELAY", 0)
    kept, akept = anthropic.Anthropic.request, anthropic.AsyncAnthropic.request
    costguard.instrument()
    monkeypatch.setattr(anthropic.Anthropic, "request", kept)
    monkeypatch.setattr(anthropic.AsyncAnthropic, "request", akept)


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url, max_retries=2) as client:
        yield client


def most(client: anthropic.Anthropic) -> Any:
    """What one call can cost at most."""
    with (
        costguard.budgeted(feature="probe", limit="0.000001", period="day"),
        pytest.raises(costguard.BudgetExceededError) as caught,
    ):
        client.messages.create(**ASK)
    return caught.value.needed


@pytest.mark.parametrize("stream", [False, True])
def test_threads_are_held_to_a_budget_with_room_for_k(
    stream: bool, provider: LoopbackProvider, client: anthropic.Anthropic
) -> None:
    """Twelve threads, room for three: the provider sees exactly three calls, and their cost is booked."""
    limit = most(client) * 3
    crowd = Crowd(refusals=9)
    provider.reply = Reply(input_tokens="measured", output_tokens=100, gate=crowd.gate)

    @costguard.budgeted(feature="f", limit=limit, period="day", clamp=False)
    def ask(_: int) -> bool:
        try:
            answer: Any = client.messages.create(**ASK, stream=stream)
            if stream:
                list(answer)
        except costguard.BudgetExceededError:
            crowd.refused()
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        answered = sum(pool.map(ask, range(12)))
    assert (3, 3) == (answered, len(provider.requests))
    books = costguard.status()["feature=f, per day"]
    assert (0, truth.cost("anthropic", *provider.billed)) == (books.held, books.spent)


async def test_tasks_are_held_to_a_budget_with_room_for_k(
    provider: LoopbackProvider, client: anthropic.Anthropic
) -> None:
    """Twelve tasks, room for three: exactly three go out."""
    limit = most(client) * 3
    crowd = Crowd(refusals=9)
    provider.reply = Reply(input_tokens="measured", output_tokens=100, gate=crowd.gate)
    async with anthropic.AsyncAnthropic(api_key="x", base_url=provider.anthropic_url) as aclient:

        @costguard.budgeted(feature="f", limit=limit, period="day", clamp=False)
        async def ask() -> bool:
            try:
                await aclient.messages.create(**ASK)
            except costguard.BudgetExceededError:
                crowd.refused()
                return False
            return True

        answered = sum(await asyncio.gather(*[ask() for _ in range(12)]))
    assert (3, 3) == (answered, len(provider.requests))
    assert not costguard.status()["feature=f, per day"].held


def test_retried_attempts_are_charged_once(provider: LoopbackProvider, client: anthropic.Anthropic) -> None:
    """What was held for an attempt that got an error status is given back before the next one asks."""
    provider.script(Reply(status=500), Reply(status=429), Reply(output_tokens=100))
    with costguard.budgeted(feature="f", limit=most(client) * 3 / 2, period="day", clamp=False):
        client.messages.create(**ASK)
    books = costguard.status()["feature=f, per day"]
    expected = truth.cost("anthropic", *provider.billed)
    assert (3, 0, expected) == (len(provider.requests), books.held, books.spent)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_connection_that_was_never_made_costs_nothing(client: anthropic.Anthropic, retries: int) -> None:
    """Nobody was asked: what was held is given back at once, before the next attempt asks for it again."""
    nobody = client.with_options(base_url="http://127.0.0.1:9", max_retries=retries)
    with (
        costguard.budgeted(feature="f", limit=most(client) * 3 / 2, period="day", clamp=False),
        pytest.raises(anthropic.APIConnectionError),
    ):
        nobody.messages.create(**ASK)
    books = costguard.status()["feature=f, per day"]
    assert (0, 0) == (books.held, books.spent)


def test_each_lost_answer_is_charged_as_held(provider: LoopbackProvider, client: anthropic.Anthropic) -> None:
    """Nobody knows whether an attempt that was sent was billed, so each counts; nothing stays held."""
    needed = most(client)
    provider.reply = Reply(hang=True)
    impatient = client.with_options(max_retries=1, timeout=anthropic.Timeout(30, read=0.2))
    with costguard.budgeted(feature="f", limit="$1", period="day"), pytest.raises(anthropic.APITimeoutError):
        impatient.messages.create(**ASK)
    books = costguard.status()["feature=f, per day"]
    assert (2, 0, needed * 2) == (len(provider.requests), books.held, books.spent)
