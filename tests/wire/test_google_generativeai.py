"""The real google-generativeai SDK over REST and gRPC, sync and async: the generated clients under it are metered."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from decimal import Decimal
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sdk = pytest.importorskip("google.generativeai")
    grpc = pytest.importorskip("grpc")
    import google.ai.generativelanguage as glm
    from google.ai.generativelanguage_v1beta.services.generative_service import async_client, client
    from google.ai.generativelanguage_v1beta.services.generative_service.transports import (
        GenerativeServiceGrpcAsyncIOTransport,
        GenerativeServiceGrpcTransport,
    )
    from google.api_core import exceptions

import costguard
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder
from . import truth

pytestmark = [pytest.mark.usefixtures("guard"), pytest.mark.filterwarnings("ignore")]

MODEL = "gemini-2.5-flash"
Settled = Callable[[], None]
COUNTS = {"input": 60, "cache_read": 40, "output": 20, "reasoning": 7}
SERVICE = "google.ai.generativelanguage.v1beta.GenerativeService"


def answer(text: str = "hello", output: int = 20, thoughts: int = 7, finish: int = 1) -> Any:
    """An answer whose usage has no field for its thoughts; its total counts them."""
    return glm.GenerateContentResponse(
        candidates=[{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, "finish_reason": finish}],
        usage_metadata={
            "prompt_token_count": 100,
            "cached_content_token_count": 40,
            "candidates_token_count": output,
            "total_token_count": 100 + output + thoughts,
        },
    )


class Server:
    """A gRPC server with Gemini's methods, that can refuse, hang and break off."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.refuse: Any = None
        self.hang = threading.Event()
        self.hanging = False
        self.delay = 0.0
        self._lock = threading.Lock()
        self._grpc = grpc.server(futures.ThreadPoolExecutor(48))
        unary = {
            "GenerateContent": (glm.GenerateContentRequest, lambda request: answer()),
            "EmbedContent": (glm.EmbedContentRequest, lambda request: glm.EmbedContentResponse()),
            "BatchEmbedContents": (glm.BatchEmbedContentsRequest, lambda request: glm.BatchEmbedContentsResponse()),
            "GenerateAnswer": (glm.GenerateAnswerRequest, lambda request: glm.GenerateAnswerResponse()),
            "CountTokens": (glm.CountTokensRequest, lambda request: glm.CountTokensResponse(total_tokens=3)),
        }
        handlers = {name: self._unary(name, *method) for name, method in unary.items()}
        handlers["StreamGenerateContent"] = grpc.unary_stream_rpc_method_handler(
            self._stream, glm.GenerateContentRequest.deserialize, _serialized
        )
        self._grpc.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def _unary(self, name: str, kind: Any, make: Callable[[Any], Any]) -> Any:
        def serve(request: Any, context: Any) -> Any:
            self._met(name, request, context)
            return make(request)

        return grpc.unary_unary_rpc_method_handler(serve, kind.deserialize, _serialized)

    def _met(self, name: str, request: Any, context: Any) -> None:
        with self._lock:
            self.requests.append((name, request))
        if self.refuse is not None:
            context.abort(self.refuse, "scripted")
        if self.hanging:
            self.hang.wait(10)
        time.sleep(self.delay)

    def _stream(self, request: Any, context: Any) -> Iterator[Any]:
        self._met("StreamGenerateContent", request, context)
        yield answer("he", 5, 0, 0)
        yield answer("ll", 10, 3, 0)
        yield answer("o")

    def __enter__(self) -> Server:
        self._grpc.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.hang.set()
        self._grpc.stop(None).wait()


def _serialized(message: Any) -> bytes:
    return type(message).serialize(message)  # type: ignore[no-any-return]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def gapic(server: Server) -> Iterator[Any]:
    channel = grpc.insecure_channel(server.address)
    with channel:
        yield client.GenerativeServiceClient(transport=GenerativeServiceGrpcTransport(channel=channel))


@pytest.fixture
async def agapic(server: Server) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield async_client.GenerativeServiceAsyncClient(
            transport=GenerativeServiceGrpcAsyncIOTransport(channel=channel)
        )


def model_of(gapic: Any = None, agapic: Any = None) -> Any:
    model = sdk.GenerativeModel(MODEL)
    model._client, model._async_client = gapic, agapic
    return model


@pytest.fixture
def rest(provider: LoopbackProvider) -> Any:
    sdk.configure(api_key="k", transport="rest", client_options={"api_endpoint": provider.url})
    return sdk.GenerativeModel(MODEL)


# -- each way to spend ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_rest(stream: bool, rest: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled) -> None:
    """Over REST, whole and streamed: what the provider billed, thoughts included."""
    provider.reply = Reply(input_tokens=1200, cached_tokens=200, output_tokens=300, reasoning_tokens=90)
    with costguard.budgeted(feature="f", limit="$5"):
        response = rest.generate_content("hi", stream=stream)
        assert "".join(chunk.text for chunk in response)
    settled()
    assert truth.cost("google", *provider.billed) == costguard.spend(feature="f").cost > 0
    assert ("ok", False) == (recorder.only.outcome, recorder.only.cost.estimated)
    assert type(response) is sdk.types.GenerateContentResponse


def test_a_chat_over_rest(rest: Any, provider: LoopbackProvider, settled: Settled) -> None:
    """Each message is a call."""
    with costguard.budgeted(feature="f", limit="$5"):
        chat = rest.start_chat()
        chat.send_message("hi")
        list(chat.send_message("and?", stream=True))
    settled()
    assert truth.cost("google", *provider.billed) == costguard.spend(feature="f").cost


@pytest.mark.parametrize("stream", [False, True])
def test_grpc(stream: bool, gapic: Any, recorder: Recorder, settled: Settled) -> None:
    """The same over gRPC; in a stream the last running total counts."""
    with costguard.budgeted(feature="f", limit="$5"):
        response = model_of(gapic).generate_content("hi", stream=stream)
        assert "hello" == "".join(chunk.text for chunk in response)
    settled()
    assert COUNTS == recorder.only.usages[0].counts
    assert ("ok", False) == (recorder.only.outcome, recorder.only.cost.estimated)


@pytest.mark.parametrize("stream", [False, True])
async def test_async_grpc(stream: bool, agapic: Any, recorder: Recorder, settled: Settled) -> None:
    """And with coroutines."""
    async with costguard.budgeted(feature="f", limit="$5"):
        response = await model_of(agapic=agapic).generate_content_async("hi", stream=stream)
        if stream:
            assert "hello" == "".join([chunk.text async for chunk in response])
    settled()
    assert COUNTS == recorder.only.usages[0].counts
    assert "ok" == recorder.only.outcome


ASK: dict[str, Any] = {"model": f"models/{MODEL}", "contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def _whole(gapic: Any) -> None:
    gapic.generate_content(**ASK)


def _dict(gapic: Any) -> None:
    gapic.generate_content({**ASK, "generation_config": {"max_output_tokens": 50}})


def _message(gapic: Any) -> None:
    gapic.generate_content(request=glm.GenerateContentRequest(ASK))


def _stream(gapic: Any) -> None:
    assert 3 == len(list(gapic.stream_generate_content(**ASK)))


@pytest.mark.parametrize("way", [_whole, _dict, _message, _stream])
def test_the_generated_client_itself_is_covered(way: Callable[[Any], None], gapic: Any, recorder: Recorder) -> None:
    """Loose fields, a dictionary or a message."""
    way(gapic)
    assert COUNTS == recorder.only.usages[0].counts
    assert MODEL == recorder.only.call.model


@pytest.mark.parametrize("settings", [{}, {"generation_config": {"max_output_tokens": 50}}])
def test_its_prompts_are_sent_as_they_are(
    settings: dict[str, Any], gapic: Any, server: Server, recorder: Recorder
) -> None:
    """Also in a block that asks for shorter ones: its messages are not rewritten."""
    wide = "Please answer in one sentence.\n\n\n\n\n\n\n\n\nHow far is the moon?"
    with costguard.budgeted(compress=True):
        gapic.generate_content({**ASK, "contents": [{"role": "user", "parts": [{"text": wide}]}], **settings})
    assert wide == server.requests[0][1].contents[0].parts[0].text
    assert ("allowed", 0) == (recorder.only.decision, recorder.only.saved)


async def test_async_streams_can_be_read_part_by_part(agapic: Any, recorder: Recorder, settled: Settled) -> None:
    """gRPC's own way to read a stream."""
    stream = await agapic.stream_generate_content(**ASK)
    parts = []
    while (part := await stream.read()) is not grpc.aio.EOF:
        parts.append(part)
    assert await stream.read() is grpc.aio.EOF
    settled()
    assert 3 == len(parts)
    assert COUNTS == recorder.only.usages[0].counts


EMBEDDED = {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "hello there"}]}}
ANSWERED = {"model": "models/gemini-2.5-flash", "contents": ASK["contents"], "inline_passages": {"passages": []}}


def test_embeddings_and_answers_without_usage_are_charged_by_their_bound(gapic: Any, recorder: Recorder) -> None:
    """These answers carry no usage, so the most they can have cost is charged and marked."""
    with costguard.budgeted(feature="f", limit="$5"):
        gapic.embed_content(request=EMBEDDED)
        gapic.batch_embed_contents(request={"model": EMBEDDED["model"], "requests": [EMBEDDED]})
        gapic.generate_answer(request=ANSWERED)
    assert 3 == len(recorder.calls)
    assert all(event.cost.estimated and 0 < event.cost.nano <= event.held for event in recorder.calls)


async def test_async_embeddings(agapic: Any, recorder: Recorder) -> None:
    """With coroutines too."""
    with costguard.budgeted(feature="f", limit="$5"):
        await agapic.embed_content(request=EMBEDDED)
        await agapic.batch_embed_contents(request={"model": EMBEDDED["model"], "requests": [EMBEDDED]})
        await agapic.generate_answer(request=ANSWERED)
    assert 3 == len(recorder.calls)


def test_rest_embeddings_are_never_charged_below_the_bill(
    rest: Any, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """The protocol message has no usage, whatever the provider says."""
    provider.reply = Reply(input_tokens="measured")
    with costguard.budgeted(feature="f", limit="$5"):
        sdk.embed_content(model="models/gemini-embedding-001", content="some words to embed")
    assert costguard.spend(feature="f").cost >= truth.cost("google", *provider.billed) > 0


def test_counting_tokens_is_free(gapic: Any, recorder: Recorder) -> None:
    """It is no call."""
    assert 3 == model_of(gapic).count_tokens("hi").total_tokens
    assert [] == recorder.calls


def test_what_cannot_be_metered_is_counted(provider: LoopbackProvider, rest: Any) -> None:
    """Storage of a cache costs by the hour."""
    from google.ai.generativelanguage_v1beta.services.cache_service import client as caches
    from google.auth.credentials import AnonymousCredentials

    made = caches.CacheServiceClient(
        transport="rest", client_options={"api_endpoint": provider.url}, credentials=AnonymousCredentials()
    )
    with pytest.raises(exceptions.GoogleAPICallError):
        made.create_cached_content(cached_content={"model": f"models/{MODEL}"})
    assert {"google create_cached_content": 1} == costguard.status().unmetered_calls


# -- the SDK stays the SDK -----------------------------------------------------------------------------------------


def test_streams_keep_their_type_and_their_call(gapic: Any) -> None:
    """The stream object is still gRPC's call."""
    stream = gapic.stream_generate_content(**ASK)
    assert isinstance(stream, grpc.Call)
    list(stream)
    assert grpc.StatusCode.OK is stream.code()


def test_near_the_edge_the_answer_is_capped_on_a_copy(gapic: Any, server: Server) -> None:
    """A message, a dictionary and loose fields are left as they were given."""
    message = glm.GenerateContentRequest(ASK)
    options = {"temperature": 0.5}
    plain = {**ASK, "generation_config": options}
    for ask in (
        lambda: gapic.generate_content(message),
        lambda: gapic.generate_content(plain),
        lambda: gapic.generate_content(**ASK),
    ):
        with costguard.budgeted(feature="f", limit="$0.05"):
            ask()
    caps = [request.generation_config.max_output_tokens for _, request in server.requests]
    assert all(cap >= 1024 for cap in caps), caps
    assert 0.5 == server.requests[1][1].generation_config.temperature
    assert (glm.GenerateContentRequest(ASK), {"temperature": 0.5}) == (message, options)
    assert "hi" == server.requests[2][1].contents[0].parts[0].text


PLACES = [
    (owner, name)
    for owner in (client.GenerativeServiceClient, async_client.GenerativeServiceAsyncClient)
    for name in (
        "generate_content",
        "stream_generate_content",
        "embed_content",
        "batch_embed_contents",
        "generate_answer",
    )
]


def test_uninstrument_restores_the_originals_exactly() -> None:
    """After `uninstrument` each patched attribute is the very function it was."""
    costguard.uninstrument()
    before = [inspect.getattr_static(owner, name) for owner, name in PLACES]
    costguard.instrument()
    assert all("metadata" in inspect.signature(getattr(owner, name)).parameters for owner, name in PLACES)
    costguard.uninstrument()
    assert all(was is inspect.getattr_static(o, n) for was, (o, n) in zip(before, PLACES, strict=True))


def test_models_made_before_instrumenting_are_covered(gapic: Any, recorder: Recorder) -> None:
    """It does not matter when a client or a bound method was made."""
    costguard.uninstrument()
    model = model_of(gapic)
    generate = model.generate_content
    costguard.instrument()
    generate("hi")
    assert COUNTS == recorder.only.usages[0].counts


# -- the ends of a call --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 429, 500])
def test_rest_errors_cost_nothing(
    status: int, stream: bool, rest: Any, provider: LoopbackProvider, settled: Settled
) -> None:
    """The SDK's own error comes out, and nothing is charged or held."""
    provider.reply = Reply(status=status)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(exceptions.GoogleAPICallError) as caught:
        list(rest.generate_content("hi", stream=stream))
    settled()
    assert status == caught.value.code
    assert Decimal(0) == costguard.spend(feature="f").cost


@pytest.mark.parametrize("stream", [False, True])
async def test_grpc_errors_cost_nothing(
    stream: bool, gapic: Any, agapic: Any, server: Server, settled: Settled
) -> None:
    """A refusal by the provider, sync and async."""
    server.refuse = grpc.StatusCode.RESOURCE_EXHAUSTED
    with costguard.budgeted(feature="f", limit="$5"):
        with pytest.raises(exceptions.ResourceExhausted):
            list(model_of(gapic).generate_content("hi", stream=stream))
        with pytest.raises(exceptions.ResourceExhausted):
            response = await model_of(agapic=agapic).generate_content_async("hi", stream=stream)
            async for _ in response:
                pass
    settled()
    assert all(event.cost.nano == 0 for event in costguard_events() if event.outcome == "error")


def costguard_events() -> list[Any]:
    from costguard._config import state

    return [one for exporter in state.guard.exporters if isinstance(exporter, Recorder) for one in exporter.calls]


def test_a_connection_that_was_never_made_costs_nothing(settled: Settled) -> None:
    """Nothing listens there."""
    with grpc.insecure_channel("127.0.0.1:9") as channel:
        gapic = client.GenerativeServiceClient(transport=GenerativeServiceGrpcTransport(channel=channel))
        with costguard.budgeted(feature="f", limit="$5"), pytest.raises(exceptions.GoogleAPIError):
            gapic.generate_content(**ASK, retry=None)
    sdk.configure(api_key="k", transport="rest", client_options={"api_endpoint": "http://127.0.0.1:9"})
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(Exception, match="refused"):
        sdk.GenerativeModel(MODEL).generate_content("hi", request_options={"retry": None})
    settled()
    assert Decimal(0) == costguard.spend().cost


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_after_sending_is_charged_as_held(
    stream: bool, gapic: Any, server: Server, recorder: Recorder, settled: Settled
) -> None:
    """Nobody can tell what it cost: a hard budget assumes the worst."""
    server.hanging = True
    ask = {**ASK, "generation_config": {"max_output_tokens": 50}}
    call = gapic.stream_generate_content if stream else gapic.generate_content
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(exceptions.DeadlineExceeded):
        call(ask, timeout=0.3, retry=None)
    settled()
    assert ("unknown", recorder.only.held) == (recorder.only.outcome, recorder.only.cost.nano)


async def test_a_cancelled_task_settles(agapic: Any, server: Server, recorder: Recorder, settled: Settled) -> None:
    """Cancelling a task while its call is under way leaves no hold and charges what was held."""
    server.hanging = True

    @costguard.budgeted(feature="f", limit="$5")
    async def ask() -> None:
        await agapic.generate_content({**ASK, "generation_config": {"max_output_tokens": 50}})

    task = asyncio.create_task(ask())
    while not server.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    settled()
    assert ("cancelled", recorder.only.held) == (recorder.only.outcome, recorder.only.cost.nano)


def _broken_off(stream: Any) -> None:
    for _ in stream:
        break


def _cancelled(stream: Any) -> None:
    next(stream)
    stream.cancel()


def _never_read(stream: Any) -> None:
    del stream


@pytest.mark.parametrize("leave", [_broken_off, _cancelled, _never_read])
def test_a_stream_left_early_is_charged_and_marked(
    leave: Callable[[Any], None], gapic: Any, recorder: Recorder, settled: Settled
) -> None:
    """However a stream is left, the call ends once, is marked as estimated, and holds nothing."""
    with costguard.budgeted(feature="f", limit="$5"):
        leave(gapic.stream_generate_content(**ASK))
    gc.collect()
    settled()
    assert ("partial", True) == (recorder.only.outcome, recorder.only.cost.estimated)
    assert 0 < recorder.only.cost.nano <= recorder.only.held


async def test_async_streams_left_early_are_charged(agapic: Any, recorder: Recorder, settled: Settled) -> None:
    """Broken off, cancelled or never read."""

    async def use(how: str) -> None:
        stream = await agapic.stream_generate_content(**ASK)
        if how == "break":
            async for _ in stream:
                break
        if how == "cancel":
            await stream.read()
            stream.cancel()

    with costguard.budgeted(feature="f", limit="$5"):
        for how in ("break", "cancel", "drop"):
            await use(how)
    gc.collect()
    await asyncio.sleep(0.05)
    settled()
    assert ["partial"] * 3 == [event.outcome for event in recorder.calls]


# -- limits --------------------------------------------------------------------------------------------------------


def test_threads_against_a_budget_with_room_for_k(gapic: Any, server: Server, recorder: Recorder) -> None:
    """Forty threads, room for seven: the provider sees exactly seven calls."""
    ask = {
        "model": ASK["model"],
        "contents": [{"parts": [{"text": "x" * 100}]}],
        "generation_config": {"max_output_tokens": 50},
    }
    with costguard.budgeted(feature="probe", limit="$5"):
        gapic.generate_content(ask)
    limit = Decimal(recorder.calls.pop().held).scaleb(-9) * 7
    server.requests.clear()
    server.delay = 0.3

    @costguard.budgeted(feature="f", limit=limit, period="day")
    def call(index: int) -> bool:
        try:
            list(gapic.stream_generate_content(ask)) if index % 2 else gapic.generate_content(ask)
        except costguard.BudgetExceededError:
            return False
        return True

    with futures.ThreadPoolExecutor(40) as pool:
        answered = sum(pool.map(call, range(40)))
    assert 7 == answered == len(server.requests)
    assert not costguard.status()["feature=f, per day"].held


def test_a_refusal_comes_before_anything_is_sent(
    gapic: Any, rest: Any, server: Server, provider: LoopbackProvider
) -> None:
    """Over either transport, whole or streamed."""
    with costguard.budgeted(feature="f", limit="$0.000001/day"):
        for model in (model_of(gapic), rest):
            for stream in (False, True):
                with pytest.raises(costguard.BudgetExceededError):
                    model.generate_content("hi", stream=stream)
    assert ([], []) == (server.requests, provider.requests)


def test_a_stream_that_would_cross_the_limit_is_cut_off(
    rest: Any, provider: LoopbackProvider, recorder: Recorder, settled: Settled
) -> None:
    """The SDK reads one chunk ahead; the refusal comes out of the iteration."""
    provider.reply = Reply(input_tokens="measured", output_tokens=12_000, chunks=40)
    with costguard.budgeted(feature="f", limit="$0.02", clamp=False), pytest.raises(costguard.BudgetExceededError):
        list(rest.generate_content("hi", stream=True))
    settled()
    assert Decimal(0) < costguard.spend(feature="f").cost <= Decimal("0.02")
    assert "partial" == recorder.only.outcome
