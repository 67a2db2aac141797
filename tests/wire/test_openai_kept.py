"""Another tool kept openai's `request` as it was before costguard: its calls are held to the limits all the same."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import openai
import pytest

import costguard
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Crowd, Recorder
from . import truth

NOBODY = "http://127.0.0.1:9/v1"
"""Where nobody listens."""

pytestmark = pytest.mark.usefixtures("guard", "tool")

ASK: dict[str, Any] = {"model": "gpt-4o", "max_tokens": 1000, "messages": [{"role": "user", "content": "How far?"}]}


@pytest.fixture
def tool(guard: object, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tool that goes round costguard's wrapper, and notes that it was used."""
    used: list[str] = []
    costguard.uninstrument()
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0)
    kept, akept = openai.OpenAI.request, openai.AsyncOpenAI.request
    costguard.instrument()

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        used.append("sync")
        return kept(self, *args, **kwargs)

    async def arequest(self: Any, *args: Any, **kwargs: Any) -> Any:
        used.append("async")
        return await akept(self, *args, **kwargs)

    monkeypatch.setattr(openai.OpenAI, "request", request)
    monkeypatch.setattr(openai.AsyncOpenAI, "request", arequest)
    return used


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url, max_retries=2) as client:
        yield client


def most(ask: dict[str, Any] = ASK) -> Decimal:
    """What one call can cost at most."""
    budget = costguard.budgeted(feature="probe", limit="0.000001", period="day")
    with budget, openai.OpenAI(api_key="x") as client, pytest.raises(costguard.BudgetExceededError) as caught:
        client.chat.completions.create(**ask)
    return caught.value.needed


@pytest.mark.parametrize("stream", [False, True])
def test_threads_are_held_to_a_budget_with_room_for_k(
    stream: bool, provider: LoopbackProvider, client: openai.OpenAI, tool: list[str]
) -> None:
    """Twenty threads, room for three: the provider sees exactly three calls, and their cost is booked."""
    limit = most() * 3
    crowd = Crowd(refusals=17)
    provider.reply = Reply(input_tokens="measured", output_tokens=100, gate=crowd.gate)
    tool.clear()

    @costguard.budgeted(feature="f", limit=limit, period="day", wait=5, clamp=False)
    def ask(_: int) -> bool:
        try:
            answer: Any = client.chat.completions.create(**ASK, stream=stream)
            if stream:
                list(answer)
        except costguard.BudgetExceededError:
            crowd.refused()
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        answered = sum(pool.map(ask, range(20)))
    assert (["sync"] * 20, 3, 3) == (tool, answered, provider.count)
    books = costguard.status()["feature=f, per day"]
    assert (0, truth.cost("openai", *provider.billed)) == (books.held, books.spent)


@pytest.mark.parametrize("stream", [False, True])
async def test_tasks_are_held_to_a_budget_with_room_for_k(
    stream: bool, provider: LoopbackProvider, tool: list[str]
) -> None:
    """Twenty tasks, room for three: exactly three go out, and nobody waits in the event loop."""
    limit = most() * 3
    crowd = Crowd(refusals=17)
    provider.reply = Reply(input_tokens="measured", output_tokens=100, gate=crowd.gate)
    async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:

        @costguard.budgeted(feature="f", limit=limit, period="day", wait=5, clamp=False)
        async def ask() -> bool:
            try:
                answer: Any = await client.chat.completions.create(**ASK, stream=stream)
                if stream:
                    [chunk async for chunk in answer]
            except costguard.BudgetExceededError:
                crowd.refused()
                return False
            return True

        answered = sum(await asyncio.gather(*[ask() for _ in range(20)]))
    assert (20, 3, 3) == (tool.count("async"), answered, provider.count)
    assert not costguard.status()["feature=f, per day"].held


def test_a_clamped_call_is_sent_clamped(provider: LoopbackProvider, client: openai.OpenAI) -> None:
    """Near the edge the cap that is sent is the one that was paid for."""
    ask = {**ASK, "max_tokens": 4000}
    with costguard.budgeted(feature="f", limit=most(ask) / 2, period="day"):
        client.chat.completions.create(**ask)
    assert 1024 <= provider.billed[0].request_body["max_tokens"] < 4000
    assert 4000 == ask["max_tokens"]


def test_retried_attempts_are_charged_once(provider: LoopbackProvider, client: openai.OpenAI) -> None:
    """What was held for an attempt that got an error status is given back before the next one asks."""
    provider.script(Reply(status=500), Reply(status=429), Reply(output_tokens=100))
    with costguard.budgeted(feature="f", limit=most() * Decimal("1.5"), period="day", clamp=False):
        client.chat.completions.create(**ASK)
    books = costguard.status()["feature=f, per day"]
    assert (3, 0, truth.cost("openai", *provider.billed)) == (len(provider.requests), books.held, books.spent)


def test_an_error_status_gives_back_what_was_held(provider: LoopbackProvider, client: openai.OpenAI) -> None:
    """A request that the provider rejects costs nothing."""
    provider.reply = Reply(status=400)
    with costguard.budgeted(feature="f", limit="$1", period="day"), pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ASK)
    assert caught.value.response.status_code == 400
    books = costguard.status()["feature=f, per day"]
    assert (0, 0) == (books.held, books.spent)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_connection_that_was_never_made_costs_nothing(client: openai.OpenAI, retries: int) -> None:
    """Nobody was asked: what was held is given back at once, before the next attempt asks for it again."""
    nobody = client.with_options(base_url=NOBODY, max_retries=retries)
    with (
        costguard.budgeted(feature="f", limit=most() * Decimal("1.5"), period="day", clamp=False),
        pytest.raises(openai.APIConnectionError),
    ):
        nobody.chat.completions.create(**ASK)
    books = costguard.status()["feature=f, per day"]
    assert (0, 0) == (books.held, books.spent)


@pytest.mark.parametrize("retries", [0, 2])
async def test_a_task_whose_connection_was_never_made_costs_nothing(retries: int) -> None:
    """Nobody was asked: what was held is given back at once, before the next attempt asks for it again."""
    async with openai.AsyncOpenAI(api_key="x", base_url=NOBODY, max_retries=retries) as client:
        with (
            costguard.budgeted(feature="f", limit=most() * Decimal("1.5"), period="day", clamp=False),
            pytest.raises(openai.APIConnectionError),
        ):
            await client.chat.completions.create(**ASK)
    books = costguard.status()["feature=f, per day"]
    assert (0, 0) == (books.held, books.spent)


def test_each_lost_answer_is_charged_as_held(provider: LoopbackProvider, client: openai.OpenAI) -> None:
    """Nobody knows whether an attempt that was sent was billed, so each counts; nothing stays held."""
    needed = most()
    provider.reply = Reply(hang=True)
    impatient = client.with_options(max_retries=1, timeout=openai.Timeout(30, read=0.2))
    with costguard.budgeted(feature="f", limit="$1", period="day"), pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(**ASK)
    books = costguard.status()["feature=f, per day"]
    assert (2, 0, needed * 2) == (len(provider.requests), books.held, books.spent)


async def test_a_cancelled_task_is_charged_as_held_once_it_is_dropped(provider: LoopbackProvider) -> None:
    """Its request was on its way, so it counts; nothing stays held."""
    needed = most()
    provider.reply = Reply(hang=True)
    async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:

        @costguard.budgeted(feature="f", limit="$1", period="day")
        async def ask() -> None:
            await client.chat.completions.create(**ASK)

        task = asyncio.create_task(ask())
        while not provider.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # pytest.raises would keep the error, and its frames
            await task
        assert task.cancelled()
        del task
    await asyncio.sleep(0)  # the loop lets go of what it just ran
    gc.collect()
    books = costguard.status()["feature=f, per day"]
    assert (0, needed) == (books.held, books.spent)


def test_options_that_are_sent_twice_are_admitted_twice(
    provider: LoopbackProvider, client: openai.OpenAI, recorder: Recorder
) -> None:
    """A tool that keeps the options of a call and sends them again pays again, and is refused again."""
    from openai._models import FinalRequestOptions

    options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=ASK)
    provider.reply = Reply(input_tokens=10, output_tokens=10)
    client.request(object, options)
    client.request(object, options)
    assert ["ok", "ok"] == [call.outcome for call in recorder.calls]
    with costguard.budgeted(feature="f", limit="0.000001", period="day"), pytest.raises(costguard.BudgetExceededError):
        client.request(object, options)
    assert provider.count == 2
    assert ASK == options.json_data
