"""The real openai SDK over real HTTP: every way to spend is metered, and nothing about the SDK changes."""

from __future__ import annotations

import asyncio
import base64
import gc
import inspect
import subprocess
import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import costguard
from costguard._config import state
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Crowd, Recorder, until
from . import truth

pytestmark = pytest.mark.usefixtures("guard")

MAJOR = int(openai.__version__.split(".")[0])
ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How far is the moon?"}]}


class Distance(BaseModel):
    kilometres: int


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url, max_retries=2) as client:
        yield client


def aclient(provider: LoopbackProvider) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url, max_retries=2)


def has(client: Any, path: str) -> bool:
    """Whether this version of the SDK has a method."""
    for step in path.split("."):
        client = getattr(client, step, None)
    return client is not None


def _stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ASK) as stream:
        for _ in stream:
            pass
        stream.get_final_completion()


def _responses_helper(client: openai.OpenAI) -> None:
    with client.responses.stream(model="gpt-4o", input="hi") as stream:
        for _ in stream:
            pass


def _raw_lines(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as response:
        assert list(response.iter_lines())


def _raw_body(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(**ASK) as response:
        assert response.parse().usage is not None


def _raw_json(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(**ASK) as response:
        assert response.json()


def _raw_stream(client: openai.OpenAI) -> None:
    assert list(client.chat.completions.with_raw_response.create(**ASK, stream=True).parse())


WAYS: dict[str, tuple[str, Callable[[openai.OpenAI], Any]]] = {
    "chat": ("chat", lambda c: c.chat.completions.create(**ASK)),
    "chat with several choices": ("chat", lambda c: c.chat.completions.create(**ASK, n=3, max_tokens=50)),
    "chat streamed": ("chat", lambda c: list(c.chat.completions.create(**ASK, stream=True))),
    "chat parsed": ("chat.completions.parse", lambda c: c.chat.completions.parse(**ASK, response_format=Distance)),
    "chat stream helper": ("chat.completions.stream", _stream_helper),
    "chat raw": ("chat", lambda c: c.chat.completions.with_raw_response.create(**ASK).parse()),
    "chat raw, never parsed": ("chat", lambda c: c.chat.completions.with_raw_response.create(**ASK)),
    "chat raw streamed": ("chat", _raw_stream),
    "chat streaming response, lines": ("chat", _raw_lines),
    "chat streaming response, parsed": ("chat", _raw_body),
    "chat streaming response, json": ("chat", _raw_json),
    "legacy completions": ("completions", lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi")),
    "legacy completions streamed": (
        "completions",
        lambda c: list(c.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi", stream=True)),
    ),
    "responses": ("responses", lambda c: c.responses.create(model="gpt-4o", input="hi")),
    "responses streamed": ("responses", lambda c: list(c.responses.create(model="gpt-4o", input="hi", stream=True))),
    "responses parsed": (
        "responses.parse",
        lambda c: c.responses.parse(model="gpt-4o", input="hi", text_format=Distance),
    ),
    "responses stream helper": ("responses.stream", _responses_helper),
    "embeddings": ("embeddings", lambda c: c.embeddings.create(model="text-embedding-3-small", input=["a", "b"])),
    "client.post": (
        "post",
        lambda c: c.post("/chat/completions", cast_to=openai.types.chat.ChatCompletion, body=ASK),
    ),
    "client.post to a dict": ("post", lambda c: c.post("/chat/completions", cast_to=object, body=ASK)),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_spend_costs_what_the_provider_billed(
    way: str, client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Helper, raw, streamed or plain: one call is booked, at the price of the tokens that the provider counted."""
    needs, spend = WAYS[way]
    if not has(client, needs):
        pytest.skip(f"openai {openai.__version__} has no {needs}")
    provider.reply = Reply(input_tokens=1200, cached_tokens=200, output_tokens=300)
    with costguard.budgeted(feature="f", limit="$5"):
        spend(client)
    settled()
    assert truth.cost("openai", *provider.billed) == costguard.spend(feature="f").cost
    assert recorder.only.outcome == "ok"
    assert not recorder.only.cost.estimated


async def _a_helper(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(**ASK) as stream:
        async for _ in stream:
            pass


async def _a_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**ASK, stream=True)
    assert isinstance(stream, openai.AsyncStream)
    async for _ in stream:
        pass


async def _a_responses(client: openai.AsyncOpenAI) -> None:
    async for _ in await client.responses.create(model="gpt-4o", input="hi", stream=True):
        pass


async def _a_lines(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as response:
        async for _ in response.iter_lines():
            pass


async def _a_body(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.with_streaming_response.create(**ASK) as response:
        await response.parse()


AWAYS: dict[str, tuple[str, Callable[[openai.AsyncOpenAI], Awaitable[Any]]]] = {
    "chat": ("chat", lambda c: c.chat.completions.create(**ASK)),
    "chat streamed": ("chat", _a_stream),
    "chat parsed": ("chat.completions.parse", lambda c: c.chat.completions.parse(**ASK, response_format=Distance)),
    "chat stream helper": ("chat.completions.stream", _a_helper),
    "chat raw": ("chat", lambda c: c.chat.completions.with_raw_response.create(**ASK)),
    "chat streaming response, lines": ("chat", _a_lines),
    "chat streaming response, parsed": ("chat", _a_body),
    "responses": ("responses", lambda c: c.responses.create(model="gpt-4o", input="hi")),
    "responses streamed": ("responses", _a_responses),
    "embeddings": ("embeddings", lambda c: c.embeddings.create(model="text-embedding-3-small", input="a")),
}


@pytest.mark.parametrize("way", AWAYS)
async def test_each_async_way_to_spend_costs_what_the_provider_billed(
    way: str, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """The same on the async client."""
    needs, spend = AWAYS[way]
    provider.reply = Reply(input_tokens=1200, cached_tokens=200, output_tokens=300)
    async with aclient(provider) as client:
        if not has(client, needs):
            pytest.skip(f"openai {openai.__version__} has no {needs}")
        async with costguard.budgeted(feature="f", limit="$5"):
            await spend(client)
        settled()
    assert truth.cost("openai", *provider.billed) == costguard.spend(feature="f").cost
    assert recorder.only.outcome == "ok"


# -- the SDK stays the SDK ------------------------------------------------------------------------------------------


def test_a_stream_is_the_sdks_own_and_shows_no_chunk_of_ours(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """The user gets an `openai.Stream`, and the usage chunk that only we asked for stays hidden."""
    stream = client.chat.completions.create(**ASK, stream=True)
    assert type(stream) is openai.Stream
    with stream:
        chunks = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert stream.response.is_closed
    assert provider.billed[0].request_body["stream_options"] == {"include_usage": True}


def test_a_usage_chunk_that_the_user_asked_for_is_shown(client: openai.OpenAI) -> None:
    """Who asks for usage gets it."""
    stream = client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    assert [chunk.usage is not None for chunk in stream][-1]


def test_no_argument_is_changed(client: openai.OpenAI) -> None:
    """Messages, options and extra body come back as they were given."""
    messages = [{"role": "user", "content": "hi"}]
    options: dict[str, Any] = {"include_usage": False}
    extra = {"user": "u"}
    list(
        client.chat.completions.create(
            model="gpt-4o", messages=messages, stream=True, stream_options=options, extra_body=extra
        )
    )
    assert ([{"role": "user", "content": "hi"}], {"include_usage": False}, {"user": "u"}) == (messages, options, extra)


def test_extra_body_that_sets_stream_options_is_respected(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """What `extra_body` says goes on winning over the plain arguments, with our wish merged into it."""
    list(client.chat.completions.create(**ASK, stream=True, extra_body={"stream_options": {"include_usage": False}}))
    assert {"include_usage": True} == provider.billed[0].request_body["stream_options"]


def test_clients_and_bound_methods_made_before_instrumenting_are_covered(
    provider: LoopbackProvider, recorder: Recorder
) -> None:
    """It does not matter when a client, a bound method or a raw wrapper was made."""
    costguard.uninstrument()
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    create, raw = client.chat.completions.create, client.chat.completions.with_raw_response
    create(**ASK)
    assert recorder.calls == []
    costguard.instrument()
    create(**ASK)
    raw.create(**ASK)
    assert 2 == len(recorder.calls)


def test_uninstrument_restores_the_originals_exactly(provider: LoopbackProvider) -> None:
    """After `uninstrument` each patched attribute is the very function it was; instrumenting twice is harmless."""
    from openai._base_client import AsyncAPIClient, SyncAPIClient

    costguard.uninstrument()
    places = [
        (SyncAPIClient, "request"), (AsyncAPIClient, "request"), (SyncAPIClient, "_process_response"),
        (AsyncAPIClient, "_process_response"), (openai.Stream, "__stream__"), (openai.AsyncStream, "__stream__"),
    ]  # fmt: skip
    before = [inspect.getattr_static(owner, name) for owner, name in places]
    costguard.instrument()
    costguard.instrument()
    during = [inspect.getattr_static(owner, name) for owner, name in places]
    costguard.uninstrument()
    assert all(was is not now for was, now in zip(before, during, strict=True))
    assert all(was is now for was, now in zip(before, (inspect.getattr_static(o, n) for o, n in places), strict=True))


def test_signatures_survive(guard: Any) -> None:
    """Tools that inspect the SDK see what they saw before."""
    from openai._base_client import AsyncAPIClient, SyncAPIClient

    assert "cast_to" in inspect.signature(SyncAPIClient.request).parameters
    assert inspect.iscoroutinefunction(AsyncAPIClient.request)


def test_disabled_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`COSTGUARD_DISABLED=1` leaves the SDK untouched."""
    costguard.uninstrument()
    monkeypatch.setenv("COSTGUARD_DISABLED", "1")
    assert costguard.instrument() is False
    assert type(vars(openai.Stream)["__stream__"]).__name__ == "function"


# -- the ends of a call --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "error"), [(400, openai.BadRequestError), (401, openai.AuthenticationError),
                                               (429, openai.RateLimitError), (500, openai.InternalServerError)])  # fmt: skip
def test_an_error_status_costs_nothing_and_keeps_its_type(
    status: int, error: type[Exception], client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder,
    settled: Callable[[], None],
) -> None:  # fmt: skip
    """The SDK's own error comes out, and nothing is charged or held."""
    provider.reply = Reply(status=status, retry_after=0)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(error):
        client.with_options(max_retries=0).chat.completions.create(**ASK)
    settled()
    assert Decimal(0) == costguard.spend(feature="f").cost
    assert ("error", error.__name__) == (recorder.only.outcome, recorder.only.error)


def test_retries_of_the_sdk_are_one_call(client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder) -> None:
    """Two refused attempts and a good one are one reservation and one charge."""
    provider.script(Reply(status=500), Reply(status=429, retry_after=0), Reply())
    client.chat.completions.create(**ASK)
    assert "ok" == recorder.only.outcome
    assert truth.cost("openai", *provider.billed) == costguard.spend().cost


def test_usage_counts_when_parsing_the_answer_fails(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """An answer that was billed and cannot be parsed is charged all the same."""
    if not has(client, "chat.completions.parse"):
        pytest.skip("no parse")
    provider.reply = Reply(text='{"kilometres": "far"}')
    with pytest.raises(Exception, match="kilometres"):
        client.chat.completions.parse(**ASK, response_format=Distance)
    assert truth.cost("openai", *provider.billed) == costguard.spend().cost


def test_a_connection_that_was_never_made_costs_nothing(recorder: Recorder, settled: Callable[[], None]) -> None:
    """Nothing listens there, so nothing was billed."""
    client = openai.OpenAI(api_key="x", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**ASK)
    settled()
    assert Decimal(0) == costguard.spend().cost


def test_a_timeout_after_sending_is_charged_as_held(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Nobody can tell what a call cost that was sent and never answered: a hard budget assumes the worst."""
    provider.reply = Reply(hang=True)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(openai.APITimeoutError):
        client.with_options(max_retries=0, timeout=0.2).chat.completions.create(**ASK, max_tokens=100)
    settled()
    event = recorder.only
    assert ("unknown", True) == (event.outcome, event.cost.estimated)
    assert event.held == event.cost.nano > 0


async def test_a_cancelled_task_settles(
    provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Cancelling a task while its call is under way leaves no hold and charges what was held."""
    provider.reply = Reply(hang=True)
    async with aclient(provider) as client:

        @costguard.budgeted(feature="f", limit="$5")
        async def ask() -> None:
            await client.chat.completions.create(**ASK, max_tokens=100)

        task = asyncio.create_task(ask())
        while not provider.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    settled()
    assert ("cancelled", recorder.only.held) == (recorder.only.outcome, recorder.only.cost.nano)


def _break(stream: Any) -> None:
    for _ in stream:
        break


def _close(stream: Any) -> None:
    next(iter(stream))
    stream.close()


def _with(stream: Any) -> None:
    with stream:
        for _ in stream:
            break


def _untouched(stream: Any) -> None:
    del stream


def _raise(stream: Any) -> None:
    with pytest.raises(KeyError):
        for _ in stream:
            raise KeyError


def _response_close(stream: Any) -> None:
    next(iter(stream))
    stream.response.close()


@pytest.mark.parametrize("leave", [_break, _close, _with, _untouched, _raise, _response_close])
@pytest.mark.parametrize("enforcement", ["hard", "soft"])
def test_a_stream_left_early_is_charged_and_marked(
    leave: Callable[[Any], None], enforcement: Any, client: openai.OpenAI, provider: LoopbackProvider,
    recorder: Recorder, settled: Callable[[], None],
) -> None:  # fmt: skip
    """However a stream is left, the call ends once, is never free, is marked as estimated, and holds nothing."""
    provider.reply = Reply(chunks=20, chunk_delay=0.02, output_tokens=400)
    with costguard.budgeted(feature="f", limit="$5", enforcement=enforcement):
        leave(client.chat.completions.create(**ASK, stream=True, max_tokens=500))
    settled()
    event = recorder.only
    assert ("partial", True) == (event.outcome, event.cost.estimated)
    assert 0 < event.cost.nano <= event.held
    if enforcement == "hard":
        assert event.held == event.cost.nano, "a hard budget assumes the whole answer was billed"


def test_a_dropped_stream_is_noticed_without_the_garbage_collector(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """A stream that goes out of scope ends by reference count alone, and its connection is closed."""
    provider.reply = Reply(chunks=50, chunk_delay=0.02)
    gc.disable()
    try:
        _break(client.chat.completions.create(**ASK, stream=True))
        costguard.flush()
        assert "partial" == recorder.only.outcome
        until(lambda: provider.billed[0].disconnected)
    finally:
        gc.enable()


def test_a_stream_in_a_cycle_is_ended_by_the_garbage_collector(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Nothing refers to it any more but what it refers to itself: it is charged, and its connection is closed."""
    provider.reply = Reply(chunks=50, chunk_delay=0.02)
    stream: Any = client.chat.completions.create(**ASK, stream=True)
    next(stream)
    stream.itself = stream
    del stream
    settled()
    assert "partial" == recorder.only.outcome
    until(lambda: provider.billed[0].disconnected)


async def test_async_streams_left_early_are_charged(
    provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Broken off, closed or cancelled: the async stream ends once and holds nothing."""
    provider.reply = Reply(chunks=20, chunk_delay=0.02, output_tokens=400)
    async with aclient(provider) as client:
        with costguard.budgeted(feature="f", limit="$5"):
            stream = await client.chat.completions.create(**ASK, stream=True, max_tokens=500)
            async for _ in stream:
                break
            await stream.close()
            async with await client.chat.completions.create(**ASK, stream=True, max_tokens=500) as stream:
                async for _ in stream:
                    break

            async def read() -> None:
                async for _ in await client.chat.completions.create(**ASK, stream=True, max_tokens=500):
                    pass

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read(), 0.15)
    settled()
    assert ["partial", "partial", "cancelled"] == [event.outcome for event in recorder.calls]
    assert all(event.cost.nano == event.held for event in recorder.calls)


def test_a_broken_connection_in_a_stream_is_charged(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """The SDK's error comes out of the iteration and the call is charged by what can be known."""
    provider.reply = Reply(break_after=3)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(Exception) as error:
        list(client.chat.completions.create(**ASK, stream=True, max_tokens=500))
    settled()
    assert not isinstance(error.value, costguard.CostguardError)
    assert ("unknown", True) == (recorder.only.outcome, recorder.only.cost.estimated)


@pytest.mark.parametrize("garbage", ["json", "no usage", "null usage", "negative usage", "string usage"])
@pytest.mark.parametrize("stream", [False, True])
def test_garbage_is_the_users_to_see_and_still_charged(
    garbage: Any, stream: bool, client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder,
    settled: Callable[[], None],
) -> None:  # fmt: skip
    """An answer with unusable usage reaches the program as the SDK gives it, and is charged by an estimate."""
    provider.reply = Reply(garbage=garbage)

    def ask() -> Any:
        result: Any = client.chat.completions.create(**ASK, stream=stream, max_tokens=100)
        return list(result) if stream else result

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return type(call())
        except Exception as error:
            return type(error)

    with costguard.budgeted(feature="f", limit="$5"):
        guarded = outcome(ask)
    costguard.uninstrument()
    assert outcome(ask) == guarded
    settled()
    event = recorder.only
    assert event.cost.estimated
    assert 0 < event.cost.nano <= event.held


# -- limits --------------------------------------------------------------------------------------------------------


def hold_of(**ask: Any) -> Decimal:
    """The most that such a call may cost, as a reservation sees it."""
    meter = state.guard.begin(
        openai_call := __import__("costguard.providers.openai", fromlist=["OPENAI"]).OPENAI.read_call(
            costguard.ports.Request(path="/chat/completions", host="127.0.0.1", body=ask)  # type: ignore[attr-defined]
        )
    )
    assert openai_call is not None
    return Decimal(meter.reservation.ceiling.amount(ask.get("max_tokens"))).scaleb(-9)


CAPPED: dict[str, Any] = {**ASK, "max_tokens": 100}


@pytest.mark.parametrize("stream", [False, True])
def test_threads_against_a_budget_with_room_for_k(
    stream: bool, provider: LoopbackProvider, client: openai.OpenAI
) -> None:
    """Forty threads, room for seven: the provider sees exactly seven calls."""
    crowd = Crowd(refusals=33)
    provider.reply = Reply(input_tokens="measured", output_tokens=100, gate=crowd.gate)
    limit = hold_of(**CAPPED) * 7

    @costguard.budgeted(feature="f", limit=limit, period="day")
    def ask(_: int) -> bool:
        try:
            result: Any = client.chat.completions.create(**CAPPED, stream=stream)
            if stream:
                list(result)
        except costguard.BudgetExceededError:
            crowd.refused()
            return False
        return True

    with ThreadPoolExecutor(40) as pool:
        answered = sum(pool.map(ask, range(40)))
    assert 7 == answered == provider.count
    assert not costguard.status()["feature=f, per day"].held


async def test_tasks_and_threads_at_once_against_a_budget_with_room_for_k(provider: LoopbackProvider) -> None:
    """Twenty tasks and twenty threads share one budget with room for seven: exactly seven go out."""
    crowd = Crowd(refusals=33)
    provider.reply = Reply(input_tokens="measured", output_tokens=100, gate=crowd.gate)
    limit = hold_of(**CAPPED) * 7
    sync = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    budget = costguard.budgeted(feature="f", limit=limit, period="day")

    @budget
    def in_thread() -> bool:
        try:
            sync.chat.completions.create(**CAPPED)
        except costguard.BudgetExceededError:
            crowd.refused()
            return False
        return True

    async with aclient(provider) as client:

        @budget
        async def in_task() -> bool:
            try:
                await client.chat.completions.create(**CAPPED)
            except costguard.BudgetExceededError:
                crowd.refused()
                return False
            return True

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(20) as pool:
            work = [loop.run_in_executor(pool, in_thread) for _ in range(20)]
            answered = await asyncio.gather(*work, *[in_task() for _ in range(20)])
    assert 7 == sum(answered) == provider.count


def test_a_refusal_is_raised_as_it_is_before_anything_is_sent(
    client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """The error carries the figures, is no error of the SDK's, is not retried, and nothing was sent."""
    with costguard.budgeted(feature="f", limit="$0.000001/day"), pytest.raises(costguard.BudgetExceededError) as caught:
        client.chat.completions.create(**CAPPED)
    error = caught.value
    assert not isinstance(error, openai.OpenAIError)
    assert (Decimal("0.000001"), 0, 0, {"feature": "f"}) == (error.limit, error.spent, error.held, error.scope)
    assert error.needed == hold_of(**CAPPED)
    assert error.resets_at is not None
    assert [] == provider.requests


def test_near_the_edge_the_answer_is_capped(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """A call that fits only with a shorter answer is sent with a lower cap, on a copy."""
    provider.reply = Reply(input_tokens="measured", output_tokens=16_000)
    with costguard.budgeted(feature="f", limit="$0.05"):
        answer = client.chat.completions.create(**ASK)
    cap = provider.billed[0].request_body["max_completion_tokens"]
    assert 1024 <= cap == answer.usage.completion_tokens
    assert "max_completion_tokens" not in ASK


def test_without_clamp_the_request_is_left_alone(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """`clamp=False` refuses instead of shortening the answer."""
    with costguard.budgeted(feature="f", limit="$0.05", clamp=False), pytest.raises(costguard.BudgetExceededError):
        client.chat.completions.create(**ASK)
    assert [] == provider.requests


def test_observe_mode_lets_everything_through_and_says_what_it_would_have_blocked(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """Nothing is refused or shortened; the event names the budgets that would have refused."""
    costguard.configure(mode="observe", exporters=[recorder])
    with costguard.budgeted(feature="f", limit="$0.000001/day"):
        client.chat.completions.create(**ASK)
    assert ("feature=f, per day",) == recorder.only.would_block
    assert 1 == costguard.spend(feature="f").would_block_calls
    assert "max_completion_tokens" not in provider.billed[0].request_body


def test_alerts_come_once_per_threshold(client: openai.OpenAI, recorder: Recorder) -> None:
    """50 and 80 percent are told once each, to the exporter and to the callback."""
    told: list[float] = []
    costguard.configure(exporters=[recorder], on_alert=lambda alert: told.append(alert.percent))
    with costguard.budgeted(feature="f", limit="$0.05/day", alert_at=(50, 80)):
        for _ in range(4):
            client.chat.completions.create(**ASK, max_tokens=1000)
    assert [50.0, 80.0] == told == [alert.percent for alert in recorder.alerts]


# -- endpoints -----------------------------------------------------------------------------------------------------


def test_free_endpoints_cost_nothing(client: openai.OpenAI, recorder: Recorder) -> None:
    """Moderation, token counting, model lists and stored completions are no calls."""
    client.moderations.create(input="hi", model="omni-moderation-latest")
    client.models.list()
    if has(client, "responses.input_tokens"):
        client.responses.input_tokens.count(model="gpt-4o", input="hi")
    assert [] == recorder.calls
    assert {} == costguard.status().unmetered_calls


def test_an_endpoint_that_cannot_be_metered_is_counted_and_warned_about_once(
    client: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    """A billable request whose cost cannot be seen is never silent."""
    for _ in range(2):
        with pytest.raises(openai.APIStatusError):
            client.post("/videos", cast_to=object, body={"model": "sora-2", "prompt": "x"})
    assert {"openai POST /videos": 2} == costguard.status().unmetered_calls
    assert 1 == sum("unmetered" in record.message for record in caplog.records)


def test_a_websocket_is_counted_as_unmetered(client: openai.OpenAI) -> None:
    """What goes over a socket is seen by no seam: the connection is counted, never silent."""
    if not has(client, "realtime.connect"):
        pytest.skip("no realtime")
    client.realtime.connect(model="gpt-realtime")
    assert {"openai WebSocket realtime.realtime": 1} == costguard.status().unmetered_calls


@pytest.mark.skipif(MAJOR < 2, reason="background responses came later")
def test_a_background_response_is_charged_once_when_it_is_read(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Its hold stays until the answer is there; reading it again costs nothing."""
    with costguard.budgeted(feature="f", limit="$5/day"):
        response = client.responses.create(model="gpt-4o", input="hi", background=True, max_output_tokens=100)
        assert response.status in ("queued", "in_progress")
        assert costguard.status()["feature=f, per day"].held > 0
    for _ in range(5):
        if client.responses.retrieve(response.id).status == "completed":
            break
    client.responses.retrieve(response.id)
    settled()
    assert truth.cost("openai", *provider.billed) == costguard.spend(feature="f").cost
    assert 1 == len(recorder.calls)


def test_reading_a_stored_response_costs_nothing(client: openai.OpenAI, recorder: Recorder) -> None:
    """A response that was billed when it was made is not billed again when it is read."""
    if not has(client, "responses"):
        pytest.skip("no responses")
    response = client.responses.create(model="gpt-4o", input="hi")
    client.responses.retrieve(response.id)
    assert 1 == len(recorder.calls)


def test_images_with_and_without_usage(client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder) -> None:
    """Models that report tokens are priced by them, older ones by the image."""
    client.images.generate(model="gpt-image-1", prompt="a moon")
    client.images.generate(model="dall-e-3", prompt="a moon", quality="hd", size="1024x1792")
    assert all(event.cost.nano > 0 and not event.cost.unpriced for event in recorder.calls)
    assert Decimal("0.12") == Decimal(recorder.calls[1].cost.nano).scaleb(-9)


def test_audio(client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder) -> None:
    """Speech is priced by its text, transcriptions by tokens or by length, and a plain-text answer by an estimate."""
    client.audio.speech.create(model="tts-1", voice="alloy", input="x" * 1000)
    assert Decimal("0.015") == Decimal(recorder.calls[-1].cost.nano).scaleb(-9)
    sound = ("a.wav", b"RIFF" + b"\0" * 20_000)
    provider.reply = Reply(seconds=60)
    client.audio.transcriptions.create(model="whisper-1", file=sound)
    assert Decimal("0.006") == Decimal(recorder.calls[-1].cost.nano).scaleb(-9)
    text: Any = client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="text")
    assert isinstance(text, str)
    assert recorder.calls[-1].cost.estimated
    assert recorder.calls[-1].cost.nano > 0


def test_image_inputs_are_bounded_and_media_bytes_are_not_taken_for_text(
    client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """A picture in base64 reserves a picture's tokens, not one token for each of its bytes."""
    picture = "data:image/png;base64," + base64.b64encode(b"\0" * 1_000_000).decode()
    part = {"type": "image_url", "image_url": {"url": picture}}
    with costguard.budgeted(feature="f", limit="$0.05"):
        client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": [part]}],
            max_tokens=100,  # type: ignore[arg-type]
        )
    assert 1 == provider.count


def test_azure(provider: LoopbackProvider, recorder: Recorder) -> None:
    """An Azure deployment is priced by the model that answers."""
    provider.reply = Reply(model="gpt-4o-2024-11-20")
    with openai.AzureOpenAI(
        api_key="x", api_version="2024-10-21", azure_endpoint=provider.url, azure_deployment="my-deployment"
    ) as client:
        client.chat.completions.create(**{**ASK, "model": "my-deployment"})
    assert "gpt-4o-2024-11-20" == recorder.only.model
    assert not recorder.only.cost.unpriced
    assert recorder.only.cost.nano > 0


def test_a_bill_above_the_bound_is_no_secret(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Billed input that is not in the request makes a hard limit soft: that is booked, told, and warned of once."""
    provider.reply = Reply(input_tokens=8, output_tokens=100)
    with costguard.budgeted(feature="f", limit="$1/day"):
        client.chat.completions.create(**ASK, max_tokens=100)
        assert recorder.only.overrun == 0
        assert "hard limits can be passed" not in caplog.text
        for _ in range(2):
            provider.reply = Reply(input_tokens=5000, output_tokens=100)
            client.chat.completions.create(**ASK, max_tokens=100)
    last = recorder.calls[-1]
    assert last.overrun == last.cost.nano - last.held > 0
    assert 1 == caplog.text.count("hard limits can be passed")
    caplog.clear()
    with costguard.budgeted(feature="f", limit="$1/day"):
        costguard.track("gpt-4.1", input_tokens=1000)  # made already, so nothing was held for it
    assert "hard limits can be passed" not in caplog.text


@pytest.mark.parametrize("tier", ["default", "flex", "priority"])
def test_the_tier_that_was_served_decides_the_price(
    tier: str, client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """What the answer says, not what was asked for."""
    provider.reply = Reply(service_tier=tier)
    client.chat.completions.create(**{**ASK, "model": "gpt-5"})
    assert truth.cost("openai", *provider.billed) == costguard.spend().cost


def test_reasoning_is_part_of_the_output(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """Reasoning tokens are not counted on top of completion tokens."""
    provider.reply = Reply(output_tokens=500, reasoning_tokens=400, cache_write_tokens=100)
    client.chat.completions.create(**{**ASK, "model": "gpt-5"})
    assert 500 == costguard.spend().output_tokens
    assert truth.cost("openai", *provider.billed) == costguard.spend().cost


def test_unknown_models(client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder) -> None:
    """An unknown model of the family is priced dear and marked; one of nobody's is unpriced and its tokens are kept."""
    client.chat.completions.create(**{**ASK, "model": "gpt-99-ultra"})
    assert recorder.calls[0].cost.estimated
    assert recorder.calls[0].cost.nano > 0
    client.chat.completions.create(**{**ASK, "model": "llama-local"})
    assert recorder.calls[1].cost.unpriced
    assert (2000, 2000) == (costguard.spend().input_tokens, costguard.spend().output_tokens)
    assert 1 == costguard.spend().unpriced_calls


def test_unknown_prices_can_be_refused(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """`on_unknown_price="raise"` sends nothing that it cannot price."""
    costguard.configure(on_unknown_price="raise")
    with pytest.raises(costguard.UnknownPriceError, match=r"costguard\.prices\.add"):
        client.chat.completions.create(**{**ASK, "model": "gpt-99-ultra"})
    assert [] == provider.requests


def test_a_tool_that_took_hold_of_the_sdk_before_us_is_told_of(
    client: openai.OpenAI, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes round the wrapper, so its calls are limited at each attempt: a warning says so, once."""
    from openai._base_client import SyncAPIClient

    theirs = vars(SyncAPIClient)["request"].__wrapped__
    client.request = types.MethodType(theirs, client)  # type: ignore[method-assign]
    with costguard.budgeted(limit="$0.000001/day"):
        for _ in range(2):
            with pytest.raises(costguard.BudgetExceededError):
                client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
    assert ["refused", "refused"] == [call.outcome for call in recorder.calls]
    assert 1 == sum("call costguard.instrument() first" in record.getMessage() for record in caplog.records)


def test_an_sdk_that_is_imported_anew_is_metered_once_instrument_is_called_again(provider: LoopbackProvider) -> None:
    """As in a notebook that reloads everything: its classes are other ones, and are wrapped and restored like them."""
    program = f"""
import sys, costguard, openai
costguard.instrument()
for name in [name for name in sys.modules if name.partition(".")[0] == "openai"]:
    del sys.modules[name]
import openai
costguard.instrument()
client = openai.OpenAI(api_key="x", base_url={provider.openai_url!r})
for after in (lambda: None, costguard.uninstrument, lambda: None):
    client.chat.completions.create(model="gpt-4o", max_tokens=5, messages=[{{"role": "user", "content": "x"}}])
    print(costguard.spend().calls)
    after()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["1", "2", "2"], done.stderr
