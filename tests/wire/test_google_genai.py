"""The real google-genai SDK over real HTTP: every request is metered, and a refusal inside a public call is final."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import inspect
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

genai = pytest.importorskip("google.genai")

from google.genai import _api_client, errors, models, types  # noqa: E402

import costguard  # noqa: E402
from costguard.testing.loopback import LoopbackProvider, Reply, ToolCall  # noqa: E402

from ..conftest import Recorder  # noqa: E402
from . import truth  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("guard"),
    pytest.mark.filterwarnings("ignore:The generate_images method"),
    pytest.mark.filterwarnings("ignore:The generate_videos method"),
]

VERSION = tuple(int(part) for part in genai.__version__.split(".")[:2])
MODEL = "gemini-2.5-flash"
ASK: dict[str, Any] = {"model": MODEL, "contents": "How far is the moon?"}
CAPPED: dict[str, Any] = {**ASK, "config": {"max_output_tokens": 100}}

Settled = Callable[[], None]


def made(url: str, **options: Any) -> Any:
    return genai.Client(api_key="x", http_options={"base_url": url, **options})


@pytest.fixture
def client(provider: LoopbackProvider) -> Any:
    return made(provider.google_url)


async def close(client: Any) -> None:
    """Let go of an async client's connections, which not every version of the SDK can do."""
    aclose = getattr(client.aio, "aclose", None) or client._api_client._async_httpx_client.aclose
    await aclose()


def run(client: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop of its own and close the client in it."""

    async def both() -> Any:
        try:
            return await work
        finally:
            await close(client)

    return asyncio.run(both())


@pytest.fixture
async def aclient(provider: LoopbackProvider) -> AsyncIterator[Any]:
    client = made(provider.google_url)
    yield client
    await close(client)


@pytest.fixture
def vertex(provider: LoopbackProvider) -> Any:
    credentials = pytest.importorskip("google.auth.credentials").AnonymousCredentials()
    credentials.token = "k"
    options = {"base_url": provider.google_url}
    return genai.Client(vertexai=True, project="p", location="global", credentials=credentials, http_options=options)


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"fine in {city}"


TOOLS: dict[str, Any] = {**ASK, "config": {"tools": [weather], "max_output_tokens": 200}}
CALLS_A_TOOL = Reply(tool_calls=[ToolCall("weather", {"city": "Bern"})], input_tokens=1200, output_tokens=150)


def _chat(client: Any) -> Any:
    return client.chats.create(model=MODEL)


WAYS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda c: c.models.generate_content(**ASK),
    "streamed": lambda c: list(c.models.generate_content_stream(**ASK)),
    "several candidates": lambda c: c.models.generate_content(**ASK, config={"candidate_count": 3}),
    "chat": lambda c: _chat(c).send_message("hi"),
    "chat streamed": lambda c: list(_chat(c).send_message_stream("hi")),
}


@pytest.mark.parametrize("vertexai", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_spend_costs_what_the_provider_billed(
    way: str, vertexai: bool, client: Any, vertex: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """Whole or streamed, directly or in a chat, through Gemini's API or Vertex."""
    provider.reply = Reply(
        input_tokens=1200, cached_tokens=200, tool_use_tokens=50, output_tokens=300, reasoning_tokens=90
    )
    with costguard.budgeted(feature="f", limit="$5"):
        WAYS[way](vertex if vertexai else client)
    settled()
    biller = "google-vertex" if vertexai else "google"
    assert truth.cost(biller, *provider.billed) == costguard.spend(feature="f").cost > 0
    assert ("ok", False, biller) == (recorder.only.outcome, recorder.only.cost.estimated, recorder.only.call.provider)


async def _consumed(stream: Awaitable[Any]) -> None:
    async for _ in await stream:
        pass


AWAYS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "whole": lambda c: c.aio.models.generate_content(**ASK),
    "streamed": lambda c: _consumed(c.aio.models.generate_content_stream(**ASK)),
    "chat": lambda c: c.aio.chats.create(model=MODEL).send_message("hi"),
    "chat streamed": lambda c: _consumed(c.aio.chats.create(model=MODEL).send_message_stream("hi")),
    "embeddings": lambda c: c.aio.models.embed_content(model="gemini-embedding-001", contents="hi"),
}


@pytest.mark.parametrize("way", AWAYS)
async def test_each_async_way_to_spend_costs_what_the_provider_billed(
    way: str, aclient: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """The same on the async aclient."""
    provider.reply = Reply(input_tokens=1200, cached_tokens=0, output_tokens=300, reasoning_tokens=90)
    async with costguard.budgeted(feature="f", limit="$5"):
        await AWAYS[way](aclient)
    settled()
    assert truth.cost("google", *provider.billed) == costguard.spend(feature="f").cost > 0
    assert "ok" == recorder.only.outcome


def test_each_hop_of_automatic_function_calling_is_a_call(
    client: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """The answer shows the last request's usage alone; all of them are booked."""
    provider.reply = CALLS_A_TOOL
    with costguard.budgeted(feature="f", limit="$5"):
        assert "done" == client.models.generate_content(**TOOLS).text
        list(client.models.generate_content_stream(**TOOLS))
        client.chats.create(model=MODEL, config=TOOLS["config"]).send_message("hi")
    settled()
    assert 6 == provider.count == len(recorder.calls)
    assert truth.cost("google", *provider.billed) == costguard.spend(feature="f").cost


async def test_each_hop_of_async_function_calling_is_a_call(
    aclient: Any, provider: LoopbackProvider, settled: Settled
) -> None:
    """The same with coroutines, and with a sync function that the SDK runs in a thread."""
    provider.reply = CALLS_A_TOOL
    async with costguard.budgeted(feature="f", limit="$5"):
        await aclient.aio.models.generate_content(**TOOLS)
        await _consumed(aclient.aio.models.generate_content_stream(**TOOLS))
    settled()
    assert 4 == provider.count
    assert truth.cost("google", *provider.billed) == costguard.spend(feature="f").cost


def test_embeddings_cost_what_the_provider_billed(client: Any, provider: LoopbackProvider, settled: Settled) -> None:
    """One request for several texts is one call."""
    with costguard.budgeted(feature="f", limit="$5"):
        client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    settled()
    assert truth.cost("google", *provider.billed) == costguard.spend(feature="f").cost > 0


def test_vertex_embeddings_and_images(
    vertex: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """Vertex counts tokens for each text, and images are billed each."""
    with costguard.budgeted(feature="f", limit="$5"):
        vertex.models.embed_content(model="text-embedding-005", contents=["a", "b"])
        assert truth.cost("google-vertex", *provider.billed) == costguard.spend(feature="f").cost > 0
        vertex.models.generate_images(model="imagen-3.0-generate-001", prompt="a cat", config={"number_of_images": 3})
    settled()
    assert {"images": 3} == recorder.calls[1].usages[0].counts
    assert recorder.calls[1].cost.nano <= recorder.calls[1].held or recorder.calls[1].cost.unpriced


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3.5-flash-lite", 3)])
@pytest.mark.parametrize("stream", [False, True])
def test_grounding_is_billed_by_the_prompt_and_since_gemini_3_by_the_search(
    model: str, searches: int, stream: bool, client: Any, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """Three searches of one grounded prompt."""
    provider.reply = Reply(web_searches=3)
    config = {"tools": [{"google_search": {}}], "max_output_tokens": 100}
    with costguard.budgeted(feature="f", limit="$50"):
        if stream:
            list(client.models.generate_content_stream(model=model, contents="hi", config=config))
        else:
            client.models.generate_content(model=model, contents="hi", config=config)
    assert searches == recorder.only.usages[0].counts["web_searches"]
    assert recorder.only.cost.nano <= recorder.only.held


def test_the_tier_as_served_decides_the_price(client: Any, provider: LoopbackProvider, recorder: Recorder) -> None:
    """Priority traffic costs more than the same tokens at the standard rate."""
    if not hasattr(types.TrafficType, "ON_DEMAND_PRIORITY"):
        pytest.skip("its tiers came later")
    for tier in ("ON_DEMAND", "ON_DEMAND_PRIORITY", "ON_DEMAND_FLEX"):
        provider.reply = Reply(service_tier=tier)
        client.models.generate_content(**ASK)
    standard, priority, flex = (event.cost for event in recorder.calls)
    assert flex.nano < standard.nano < priority.nano
    assert not priority.estimated


def test_the_model_as_served_decides_the_price(client: Any, provider: LoopbackProvider, recorder: Recorder) -> None:
    """An alias is priced as the model that answered."""
    provider.reply = Reply(model="gemini-2.5-pro")
    client.models.generate_content(model="gemini-flash-latest", contents="hi")
    assert "gemini-2.5-pro" == recorder.only.model
    assert truth.cost("google", *provider.billed) == costguard.spend().cost


# -- the SDK stays the SDK ------------------------------------------------------------------------------------------


async def test_the_caller_gets_the_sdks_own_types(aclient: Any) -> None:
    """Answers, chunks and generators are of the types they are without costguard."""
    assert type(aclient.models.generate_content(**ASK)) is types.GenerateContentResponse
    stream = aclient.models.generate_content_stream(**ASK)
    assert inspect.isgenerator(stream)
    assert "generate_content_stream" == stream.__name__
    assert all(type(chunk) is types.GenerateContentResponse for chunk in stream)
    astream = await aclient.aio.models.generate_content_stream(**ASK)
    assert inspect.isasyncgen(astream)
    async for chunk in astream:
        assert type(chunk) is types.GenerateContentResponse


def test_no_argument_is_changed(client: Any, provider: LoopbackProvider) -> None:
    """A configuration comes back as it was given, also when the call was capped."""
    provider.reply = Reply(input_tokens="measured", output_tokens=60_000)
    config = types.GenerateContentConfig(temperature=0.5)
    before = config.model_dump()
    with costguard.budgeted(feature="f", limit="$0.05"):
        client.models.generate_content(**ASK, config=config)
    assert before == config.model_dump()
    assert provider.billed[0].request_body["generationConfig"]["maxOutputTokens"] >= 1024
    assert 0.5 == provider.billed[0].request_body["generationConfig"]["temperature"]


def test_clients_and_bound_methods_made_before_instrumenting_are_covered(
    client: Any, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """It does not matter when a client, a chat or a bound method was made."""
    costguard.uninstrument()
    generate, chat = client.models.generate_content, client.chats.create(model=MODEL)
    generate(**ASK)
    assert recorder.calls == []
    costguard.instrument()
    generate(**ASK)
    chat.send_message("hi")
    assert 2 == len(recorder.calls)


def _places() -> list[tuple[Any, str]]:
    from google.genai import _extra_utils, chats, live

    places = [
        (_api_client.BaseApiClient, name)
        for name in ("request", "async_request", "request_streamed", "async_request_streamed")
    ]
    places += [
        (owner, name)
        for owner in (models.Models, models.AsyncModels)
        for name in ("generate_content", "generate_content_stream")
    ]
    places += [
        (owner, name) for owner in (chats.Chat, chats.AsyncChat) for name in ("send_message", "send_message_stream")
    ]
    places += [(_extra_utils, "invoke_function_from_dict_args"), (live.AsyncLive, "connect")]
    return places


def test_uninstrument_restores_the_originals_exactly() -> None:
    """After `uninstrument` each patched attribute is the very function it was; instrumenting twice is harmless."""
    costguard.uninstrument()
    before = [inspect.getattr_static(owner, name) for owner, name in _places()]
    costguard.instrument()
    costguard.instrument()
    during = [inspect.getattr_static(owner, name) for owner, name in _places()]
    costguard.uninstrument()
    after = [inspect.getattr_static(owner, name) for owner, name in _places()]
    assert all(was is not now for was, now in zip(before, during, strict=True))
    assert all(was is now for was, now in zip(before, after, strict=True))


def test_signatures_survive() -> None:
    """Tools that inspect the SDK see what they saw before."""
    assert "request_dict" in inspect.signature(_api_client.BaseApiClient.request).parameters
    assert inspect.iscoroutinefunction(models.AsyncModels.generate_content)
    assert inspect.isgeneratorfunction(models.Models.generate_content_stream)


# -- the ends of a call --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_an_error_status_costs_nothing_and_keeps_its_type(
    status: int, stream: bool, client: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """The SDK's own error comes out, and nothing is charged or held."""
    provider.reply = Reply(status=status)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(errors.APIError) as caught:
        list(client.models.generate_content_stream(**ASK)) if stream else client.models.generate_content(**ASK)
    settled()
    assert status == caught.value.code
    assert Decimal(0) == costguard.spend(feature="f").cost
    assert ("error", type(caught.value).__name__) == (recorder.only.outcome, recorder.only.error)


async def test_async_error_statuses_cost_nothing(aclient: Any, provider: LoopbackProvider, settled: Settled) -> None:
    """The same with coroutines."""
    provider.reply = Reply(status=503)
    async with costguard.budgeted(feature="f", limit="$5"):
        with pytest.raises(errors.ServerError):
            await aclient.aio.models.generate_content(**ASK)
        with pytest.raises(errors.ServerError):
            await _consumed(aclient.aio.models.generate_content_stream(**ASK))
    settled()
    assert Decimal(0) == costguard.spend(feature="f").cost


def test_a_connection_that_was_never_made_costs_nothing(settled: Settled) -> None:
    """Nothing listens there, so nothing was billed."""
    client = made("http://127.0.0.1:9")
    with costguard.budgeted(feature="f", limit="$5"):
        for ask in (client.models.generate_content, lambda **way: list(client.models.generate_content_stream(**way))):
            with pytest.raises(Exception, match=r"refused|connect"):
                ask(**ASK)
    settled()
    assert Decimal(0) == costguard.spend().cost


@pytest.mark.parametrize("stream", [False, True])
def test_a_timeout_after_sending_is_charged_as_held(
    stream: bool, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """Nobody can tell what a call cost that was sent and never answered: a hard budget assumes the worst."""
    provider.reply = Reply(hang=True)
    client = made(provider.google_url, timeout=200)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(Exception, match="timed out"):
        list(client.models.generate_content_stream(**CAPPED)) if stream else client.models.generate_content(**CAPPED)
    settled()
    assert all(("unknown", True) == (event.outcome, event.cost.estimated) for event in recorder.calls)
    assert all(event.held == event.cost.nano > 0 for event in recorder.calls)


async def test_a_cancelled_task_settles(
    aclient: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """Cancelling a task while its call is under way leaves no hold and charges what was held."""
    provider.reply = Reply(hang=True)

    @costguard.budgeted(feature="f", limit="$5")
    async def ask() -> None:
        await aclient.aio.models.generate_content(**CAPPED)

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
    next(stream)
    stream.close()


def _raise(stream: Any) -> None:
    with pytest.raises(KeyError):
        for _ in stream:
            raise KeyError


@pytest.mark.parametrize("leave", [_break, _close, _raise])
@pytest.mark.parametrize("enforcement", ["hard", "soft"])
def test_a_stream_left_early_is_charged_and_marked(
    leave: Callable[[Any], None], enforcement: Any, client: Any, provider: LoopbackProvider, recorder: Recorder,
    settled: Settled,
) -> None:  # fmt: skip
    """However a stream is left, the call ends once, is never free, is marked as estimated, and holds nothing."""
    provider.reply = Reply(chunks=20, chunk_delay=0.02, output_tokens=400)
    with costguard.budgeted(feature="f", limit="$5", enforcement=enforcement):
        leave(client.models.generate_content_stream(**ASK, config={"max_output_tokens": 500}))
    settled()
    event = recorder.only
    assert ("partial", True) == (event.outcome, event.cost.estimated)
    assert 0 < event.cost.nano <= event.held
    if enforcement == "hard":
        assert truth.cost("google", *provider.billed) <= costguard.spend(feature="f").cost


def test_a_stream_that_is_never_read_costs_nothing(client: Any, provider: LoopbackProvider, recorder: Recorder) -> None:
    """The SDK sends the request when the first chunk is asked for, and so it is reserved for then."""
    with costguard.budgeted(feature="f", limit="$5"):
        stream = client.models.generate_content_stream(**ASK)
        del stream
    assert ([], []) == (provider.requests, recorder.calls)


def test_a_dropped_stream_is_noticed_without_the_garbage_collector(
    client: Any, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """A stream that goes out of scope ends by reference count alone."""
    provider.reply = Reply(chunks=50, chunk_delay=0.02)
    gc.disable()
    try:
        _break(client.models.generate_content_stream(**ASK))
        costguard.flush()
        assert "partial" == recorder.only.outcome
    finally:
        gc.enable()


async def test_async_streams_left_early_are_charged(
    aclient: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """Broken off, closed or cancelled: the async stream ends once and holds nothing."""
    provider.reply = Reply(chunks=20, chunk_delay=0.02, input_tokens="measured", output_tokens=400)

    async def opened() -> Any:
        return await aclient.aio.models.generate_content_stream(**CAPPED)

    async def read() -> None:
        async for _ in await opened():
            pass

    with costguard.budgeted(feature="f", limit="$5"):
        async for _ in await opened():
            break
        for _ in range(10):
            await asyncio.sleep(0)
        stream = await opened()
        await anext(stream)
        await stream.aclose()
        del stream
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(), 0.15)
    for _ in range(10):
        gc.collect()
        await asyncio.sleep(0.01)
    settled()
    assert ["partial", "partial", "cancelled"] == sorted((event.outcome for event in recorder.calls), reverse=True)
    assert all(0 < event.cost.nano <= event.held and event.cost.estimated for event in recorder.calls)


@pytest.mark.parametrize("how", [{"break_after": 3}, {"error_after": 3}])
def test_a_broken_stream_is_charged(
    how: dict[str, int], client: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """The SDK's error comes out of the iteration and the call is charged by what can be known."""
    if "error_after" in how and VERSION < (1, 21):
        pytest.skip("this version takes an error in a stream for a chunk")
    provider.reply = Reply(**how)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(Exception) as error:
        list(client.models.generate_content_stream(**ASK, config={"max_output_tokens": 500}))
    settled()
    assert not isinstance(error.value, costguard.CostguardError)
    assert ("unknown", True) == (recorder.only.outcome, recorder.only.cost.estimated)


@pytest.mark.parametrize("garbage", ["json", "no usage", "null usage", "negative usage", "string usage"])
@pytest.mark.parametrize("stream", [False, True])
def test_garbage_is_the_users_to_see_and_still_charged(
    garbage: Any, stream: bool, client: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """An answer with unusable usage reaches the program as the SDK gives it, and is charged by an estimate."""
    provider.reply = Reply(garbage=garbage, input_tokens="measured", output_tokens=100)

    def outcome() -> Any:
        try:
            if stream:
                return type(list(client.models.generate_content_stream(**CAPPED)))
            return type(client.models.generate_content(**CAPPED))
        except Exception as error:
            return type(error)

    with costguard.budgeted(feature="f", limit="$5"):
        guarded = outcome()
    costguard.uninstrument()
    assert outcome() == guarded
    settled()
    event = recorder.only
    assert event.cost.estimated
    assert 0 < event.cost.nano <= event.held


# -- limits --------------------------------------------------------------------------------------------------------


def hold_of(ask: Callable[[], Any], recorder: Recorder) -> Decimal:
    """What such a call reserves, found by making one."""
    with costguard.budgeted(feature="probe", limit="$5"):
        ask()
    return Decimal(recorder.calls.pop().held).scaleb(-9)


@pytest.mark.parametrize("stream", [False, True])
def test_threads_against_a_budget_with_room_for_k(
    stream: bool, client: Any, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """Forty threads, room for seven: the provider sees exactly seven calls."""

    def call() -> None:
        list(client.models.generate_content_stream(**CAPPED)) if stream else client.models.generate_content(**CAPPED)

    provider.reply = Reply(input_tokens="measured", output_tokens=100)
    limit = hold_of(call, recorder) * 7
    provider.clear()
    provider.reply = Reply(input_tokens="measured", output_tokens=100, latency=0.3)

    @costguard.budgeted(feature="f", limit=limit, period="day")
    def ask(_: int) -> bool:
        try:
            call()
        except costguard.BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(40) as pool:
        answered = sum(pool.map(ask, range(40)))
    assert 7 == answered == provider.count
    assert not costguard.status()["feature=f, per day"].held


async def test_tasks_against_a_budget_with_room_for_k(
    aclient: Any, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """Forty tasks, whole and streamed: exactly seven go out."""
    provider.reply = Reply(input_tokens="measured", output_tokens=100)
    limit = hold_of(lambda: aclient.models.generate_content(**CAPPED), recorder) * 7
    provider.clear()
    provider.reply = Reply(input_tokens="measured", output_tokens=100, latency=0.3)

    @costguard.budgeted(feature="f", limit=limit, period="day")
    async def ask(index: int) -> None:
        if index % 2:
            await aclient.aio.models.generate_content(**CAPPED)
        else:
            await _consumed(aclient.aio.models.generate_content_stream(**CAPPED))

    results = await asyncio.gather(*(ask(index) for index in range(40)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, costguard.BudgetExceededError)]
    assert (33, 7) == (len(refused), provider.count)


def test_a_refusal_comes_before_anything_is_sent(client: Any, provider: LoopbackProvider) -> None:
    """Whole or streamed: the error carries the figures, is no error of the SDK's, and nothing was sent."""
    with costguard.budgeted(feature="f", limit="$0.000001/day"):
        for ask in (client.models.generate_content, lambda **way: list(client.models.generate_content_stream(**way))):
            with pytest.raises(costguard.BudgetExceededError) as caught:
                ask(**CAPPED)
            assert not isinstance(caught.value, errors.APIError)
    assert [] == provider.requests


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_stream_that_would_cross_the_limit_is_cut_off(
    colour: str, client: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """The hold of a stream grows with it; where it cannot, the refusal comes out with what was received."""
    provider.reply = Reply(input_tokens="measured", output_tokens=12_000, chunks=40)
    received = []

    async def read() -> None:
        async for chunk in await client.aio.models.generate_content_stream(**ASK):
            received.append(chunk)

    with costguard.budgeted(feature="f", limit="$0.02", clamp=False):
        with pytest.raises(costguard.BudgetExceededError) as caught:
            if colour == "sync":
                received.extend(client.models.generate_content_stream(**ASK))
            else:
                run(client, read())
    settled()
    assert caught.value.partial
    assert Decimal(0) < costguard.spend(feature="f").cost <= Decimal("0.02")
    assert "partial" == recorder.only.outcome
    assert 1 == len(provider.requests)


def test_a_cap_that_extra_fields_fix_is_not_lowered_but_refused(provider: LoopbackProvider) -> None:
    """The SDK merges its extra fields in last, so a lower cap would be reserved and never sent."""
    if "extra_body" not in types.HttpOptions.model_fields:
        pytest.skip("extra fields came later")
    extra = {"generationConfig": {"maxOutputTokens": 60_000}}
    with costguard.budgeted(feature="f", limit="$0.05"), pytest.raises(costguard.BudgetExceededError):
        client = made(provider.google_url, extra_body=extra)
        client.models.generate_content(**ASK)
    assert [] == provider.requests


# -- a refusal is final inside a public call -------------------------------------------------------------------------


def tool(function: Any) -> Any:
    """Older versions call no function whose annotations are strings."""
    function.__annotations__ = {"city": str, "return": str}
    return function


def refuse(_: str) -> str:
    """A function whose own work is over its budget."""
    with costguard.budgeted(feature="tool", limit="$0.000001"):
        client = made("http://127.0.0.1:9")
        client.models.generate_content(**CAPPED)
    return "never"


@tool
def broke(city: str) -> str:
    """Tell the weather of a city, if there is money for it."""
    return refuse(city)


@tool
def careful(city: str) -> str:
    """Tell the weather of a city, whether or not there is money for it."""
    try:
        return refuse(city)
    except costguard.BudgetExceededError:
        return "no idea"


def _tool(name: str) -> Reply:
    return Reply(tool_calls=[ToolCall(name, {"city": "Bern"})], output_tokens=50)


def _config(tool: Any, **more: Any) -> dict[str, Any]:
    return {**ASK, "config": {"tools": [tool], "max_output_tokens": 100, **more}}


ONE_CALL = {"automatic_function_calling": {"maximum_remote_calls": 1}}

STICKY: dict[str, Callable[[Any], Any]] = {
    "whole": lambda c: c.models.generate_content(**_config(broke)),
    "streamed": lambda c: list(c.models.generate_content_stream(**_config(broke))),
    "chat": lambda c: c.chats.create(model=MODEL, config=_config(broke)["config"]).send_message("hi"),
    "chat streamed": lambda c: list(
        c.chats.create(model=MODEL, config=_config(broke)["config"]).send_message_stream("hi")
    ),
    "async": lambda c: run(c, c.aio.models.generate_content(**_config(broke))),
    "async streamed": lambda c: run(c, _consumed(c.aio.models.generate_content_stream(**_config(broke)))),
}


@pytest.mark.parametrize("way", STICKY)
def test_a_refusal_in_a_tool_function_comes_out_and_nothing_more_is_sent(
    way: str, client: Any, provider: LoopbackProvider, settled: Settled
) -> None:
    """The SDK would tell the model of the exception and go on billing."""
    provider.reply = _tool("broke")
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(costguard.BudgetExceededError) as caught:
        STICKY[way](client)
    settled()
    assert {"feature": "tool"} == caught.value.scope
    assert 1 == provider.count == len(provider.requests)


async def test_a_refusal_in_an_async_tool_function_comes_out(aclient: Any, provider: LoopbackProvider) -> None:
    """The same for a tool that is a coroutine function."""

    @tool
    async def broke(city: str) -> str:
        """Tell the weather."""
        with costguard.budgeted(feature="tool", limit="$0.000001"):
            await aclient.aio.models.generate_content(**CAPPED)
        return city

    provider.reply = _tool("broke")
    with pytest.raises(costguard.BudgetExceededError):
        await aclient.aio.models.generate_content(**_config(broke))
    assert 1 == len(provider.requests)


def test_a_refusal_that_the_tool_function_catches_is_its_own_matter(client: Any, provider: LoopbackProvider) -> None:
    """What the caller's code handles itself ends nothing."""
    provider.reply = _tool("careful")
    assert "done" == client.models.generate_content(**_config(careful)).text
    assert 2 == provider.count


def test_another_error_of_a_tool_function_is_still_told_to_the_model(client: Any, provider: LoopbackProvider) -> None:
    """Only refusals are special."""

    @tool
    def fails(city: str) -> str:
        """Tell the weather."""
        raise KeyError(city)

    provider.reply = _tool("fails")
    assert "done" == client.models.generate_content(**_config(fails)).text
    assert "error" in str(provider.billed[1].request_body["contents"][-1])


def test_a_refused_hop_ends_the_loop_of_function_calls(
    client: Any, provider: LoopbackProvider, settled: Settled
) -> None:
    """The first request fits, the second does not: it is not sent and the refusal comes out."""
    provider.reply = Reply(tool_calls=[ToolCall("weather", {"city": "Bern"})], input_tokens=8000, output_tokens=100)
    with costguard.budgeted(feature="f", limit="$0.002", clamp=False), pytest.raises(costguard.BudgetExceededError):
        client.models.generate_content(**_config(weather))
    settled()
    assert 1 == len(provider.requests)


def test_a_refusal_is_over_with_the_public_call_it_belongs_to(client: Any, provider: LoopbackProvider) -> None:
    """Who catches it may go on and make another call."""
    provider.reply = _tool("broke")
    with pytest.raises(costguard.BudgetExceededError):
        client.models.generate_content(**_config(broke))
    provider.reply = Reply(text="here")
    assert "here" == client.models.generate_content(**ASK).text


class Scripted:
    """A server that answers each POST with the next of some bodies, for what the loopback provider does not speak."""

    def __init__(self, *answers: tuple[str, bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"] or 0)) or b"{}")
                outer.requests.append((self.path, body))
                self._answer()

            def do_GET(self) -> None:
                outer.requests.append((self.path, None))
                self._answer()

            def _answer(self) -> None:
                kind, content = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


def _events(*bodies: Any) -> tuple[str, bytes]:
    return "text/event-stream", b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)


def _resumable(output: int) -> tuple[str, bytes]:
    """A stream that breaks off with a token to go on from."""
    part = {"text": "so far"}
    candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "CONTINUATION"}
    token = base64.b64encode(b"token").decode()
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": output, "totalTokenCount": 1000 + output}
    return _events(
        {"candidates": [{**candidate, "continuationToken": token}], "usageMetadata": usage, "modelVersion": MODEL}
    )


LAST = _events(
    {
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "."}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 7, "totalTokenCount": 1007},
        "modelVersion": MODEL,
    }
)

continues = pytest.mark.skipif(
    not hasattr(models.Models, "_generate_content_stream_with_continuation"), reason="continuation came with major 3"
)


@continues
def test_each_hop_of_a_continued_stream_is_a_call(recorder: Recorder, settled: Settled) -> None:
    """The SDK shows sums over the hops; each hop is charged its own usage."""
    with Scripted(_resumable(5), LAST) as server, costguard.budgeted(feature="f", limit="$5"):
        client = made(server.url)
        chunks = list(client.models.generate_content_stream(**CAPPED))
    settled()
    assert 2000 == chunks[-1].usage_metadata.prompt_token_count
    assert [5, 7] == [event.usages[0].counts["output"] for event in recorder.calls]


@continues
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_refused_continuation_is_not_resumed(colour: str, recorder: Recorder, settled: Settled) -> None:
    """The SDK catches whatever a hop raises and tries again: the refusal comes out all the same, and nothing is sent."""
    received = []

    async def read(client: Any) -> None:
        async for chunk in await client.aio.models.generate_content_stream(**CAPPED):
            received.append(chunk)

    with Scripted(_resumable(5), LAST) as server:
        client = made(server.url)
        # Room for the first request; its settled cost leaves none for the second one's hold.
        limit = Decimal("0.00045")
        with costguard.budgeted(feature="f", limit=limit, clamp=False), pytest.raises(costguard.BudgetExceededError):
            if colour == "sync":
                received.extend(client.models.generate_content_stream(**CAPPED))
            else:
                run(client, read(client))
        assert 1 == len(server.requests)
    settled()
    assert ["ok", "refused"] == [event.outcome for event in recorder.calls]


# -- what is free, and what cannot be metered --------------------------------------------------------------------------


def test_free_endpoints_cost_nothing(client: Any, recorder: Recorder) -> None:
    """Counting tokens is no call."""
    client.models.count_tokens(**ASK)
    assert [] == recorder.calls
    assert {} == costguard.status().unmetered_calls


def _videos(client: Any) -> None:
    client.models.generate_videos(model="veo-3.1-generate-preview", prompt="a cat")


def _caches(client: Any) -> None:
    client.caches.create(model=MODEL, config={"contents": ["hi"], "ttl": "60s"})


def _batches(client: Any) -> None:
    client.batches.create(model=MODEL, src=[{"contents": [{"parts": [{"text": "hi"}], "role": "user"}]}])


UNMETERED = {
    "google POST predictLongRunning": _videos,
    "google POST cachedContents": _caches,
    "google POST batchGenerateContent": _batches,
}


@pytest.mark.parametrize("endpoint", UNMETERED)
def test_what_cannot_be_metered_is_counted(endpoint: str, client: Any, vertex: Any) -> None:
    """A billable request whose cost cannot be seen is never silent."""
    if "batch" in endpoint and VERSION < (1, 30):
        pytest.skip("batches of Gemini's API came later")
    with pytest.raises(errors.APIError):
        UNMETERED[endpoint](vertex if "predict" in endpoint else client)
    assert {endpoint: 1} == costguard.status().unmetered_calls


async def test_a_live_session_is_counted(aclient: Any) -> None:
    """A WebSocket's usage cannot be held against a limit."""
    with contextlib.suppress(Exception):
        async with aclient.aio.live.connect(model="gemini-live-2.5-flash", config={}):
            pass
    assert {"google live session": 1} == costguard.status().unmetered_calls


# -- interactions ------------------------------------------------------------------------------------------------------

has_interactions = pytest.mark.skipif(not hasattr(genai.Client, "interactions"), reason="interactions came later")

INTERACTION: dict[str, Any] = {
    "id": "i-1", "status": "completed", "model": MODEL, "object": "interaction", "role": "model",
    "created": "2026-11-01T00:00:00Z", "updated": "2026-11-01T00:00:00Z", "outputs": [], "steps": [],
    "usage": {"total_input_tokens": 1000, "total_cached_tokens": 200, "total_output_tokens": 300, "total_thought_tokens": 50,
              "total_tool_use_tokens": 10, "total_tokens": 1360},
}  # fmt: skip
COUNTS = {"input": 810, "cache_read": 200, "output": 300, "reasoning": 50}


@has_interactions
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_an_interaction_is_a_call(colour: str, recorder: Recorder, settled: Settled) -> None:
    """Its own client is metered like any other request; thoughts come on top of the output."""
    ask = {"model": MODEL, "input": "hi", "generation_config": {"max_output_tokens": 500}}
    with Scripted(("application/json", json.dumps(INTERACTION).encode())) as server:
        client = made(server.url)
        with costguard.budgeted(feature="f", limit="$5"):
            if colour == "sync":
                client.interactions.create(**ask)
            else:
                run(client, client.aio.interactions.create(**ask))
    settled()
    assert COUNTS == recorder.only.usages[0].counts
    assert ("ok", False) == (recorder.only.outcome, recorder.only.cost.estimated)
    assert recorder.only.cost.nano <= recorder.only.held


@has_interactions
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_streamed_interaction_is_a_call(colour: str, recorder: Recorder, settled: Settled) -> None:
    """Its usage is in the last event, and the stream is the SDK's own."""
    started = {**INTERACTION, "status": "in_progress", "usage": None}
    events = (
        {"event_type": "interaction.created", "interaction": started},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "hi"}},
        {
            "event_type": "interaction.completed" if VERSION >= (3, 0) else "interaction.complete",
            "interaction": INTERACTION,
        },
    )

    async def read(client: Any) -> None:
        async for _ in await client.aio.interactions.create(model=MODEL, input="hi", stream=True):
            pass

    with Scripted(_events(*events)) as server:
        client = made(server.url)
        with costguard.budgeted(feature="f", limit="$5"):
            if colour == "sync":
                assert 3 == len(list(client.interactions.create(model=MODEL, input="hi", stream=True)))
            else:
                run(client, read(client))
    settled()
    assert COUNTS == recorder.only.usages[0].counts
    assert "ok" == recorder.only.outcome


@has_interactions
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(VERSION < (2, 4), reason="its client was another one")
def test_a_background_interaction_is_charged_once_when_it_is_read(recorder: Recorder, settled: Settled) -> None:
    """Its hold stays until the answer is there; reading it again, or any other one, costs nothing."""
    pending = {**INTERACTION, "status": "in_progress", "usage": None}
    answers = [("application/json", json.dumps(one).encode()) for one in (pending, pending, INTERACTION)]
    with Scripted(*answers) as server:
        client = made(server.url)
        with costguard.budgeted(feature="f", limit="$5/day"):
            client.interactions.create(model=MODEL, input="hi", background=True)
            client.interactions.get("i-1")
            assert costguard.status()["feature=f, per day"].held > 0
        client.interactions.get("i-1")
        client.interactions.get("i-1")
    settled()
    assert COUNTS == recorder.only.usages[0].counts


@has_interactions
@pytest.mark.filterwarnings("ignore")
def test_a_refused_interaction_is_not_sent() -> None:
    """A refusal comes out as it is."""
    with Scripted(("application/json", json.dumps(INTERACTION).encode())) as server:
        with costguard.budgeted(feature="f", limit="$0.000001"), pytest.raises(costguard.BudgetExceededError):
            client = made(server.url)
            client.interactions.create(model=MODEL, input="hi")
        assert [] == server.requests


@has_interactions
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(VERSION < (3, 0), reason="it did not continue by itself")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_refused_continuation_of_an_interaction_comes_out(
    colour: str, stream: bool, recorder: Recorder, settled: Settled
) -> None:
    """The SDK would wrap it in an error of its own, or try again."""
    hop = {**INTERACTION, "status": "requires_continuation", "continuation_token": "t"}
    events = ({"event_type": "interaction.completed", "interaction": hop},)
    ask = {"model": MODEL, "input": "hi", "generation_config": {"max_output_tokens": 400}, "stream": stream}
    received: list[Any] = []

    async def read(client: Any) -> None:
        result = await client.aio.interactions.create(**ask)
        if stream:
            async for event in result:
                received.append(event)

    with Scripted(_events(*events) if stream else ("application/json", json.dumps(hop).encode())) as server:
        client = made(server.url)
        limit = Decimal("0.0012")
        with costguard.budgeted(feature="f", limit=limit), pytest.raises(costguard.BudgetExceededError):
            if colour == "sync":
                result = client.interactions.create(**ask)
                received.extend(result if stream else ())
            else:
                run(client, read(client))
        assert 1 == len(server.requests)
    settled()
    assert ["ok", "refused"] == [event.outcome for event in recorder.calls]


def test_the_sdk_is_wrapped_when_it_is_imported_later() -> None:
    """`instrument()` imports no SDK; one that is imported afterwards is covered."""
    import subprocess
    import sys

    code = (
        "import sys, costguard; costguard.instrument(); assert 'google.genai' not in sys.modules\n"
        "from google.genai import _api_client, models\n"
        "assert type(vars(_api_client.BaseApiClient)['request']).__name__ == 'FunctionWrapper'\n"
        "assert type(vars(models.Models)['generate_content']).__name__ == 'FunctionWrapper'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_process_state_is_left_clean() -> None:
    """Nothing of a public call is left in the context of whoever made it."""
    from costguard._funnels import _public

    assert _public.around() is None
