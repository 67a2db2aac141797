"""The real anthropic SDK over real HTTP: every way to spend is metered, and nothing about the SDK changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import anthropic
import pytest

import costguard
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Crowd, Recorder, until
from . import truth

pytestmark = pytest.mark.usefixtures("guard")

MAJOR = int(anthropic.__version__.split(".")[0])
ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "How far is the moon?"}],
}


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url, max_retries=2) as client:
        yield client


def aclient(provider: LoopbackProvider) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="x", base_url=provider.anthropic_url, max_retries=2)


def has(client: Any, path: str) -> bool:
    """Whether this version of the SDK has a method."""
    for step in path.split("."):
        client = getattr(client, step, None)
    return client is not None


def _text_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream)


def _final_message(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASK) as stream:
        assert stream.get_final_message().usage.output_tokens


def _raw_lines(client: anthropic.Anthropic) -> None:
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        assert list(response.iter_lines())


def _raw_body(client: anthropic.Anthropic) -> None:
    with client.messages.with_streaming_response.create(**ASK) as response:
        assert response.parse().usage is not None


def _beta_stream(client: anthropic.Anthropic) -> None:
    with client.beta.messages.stream(**ASK) as stream:
        for _ in stream:
            pass


WAYS: dict[str, tuple[str, Callable[[anthropic.Anthropic], Any]]] = {
    "create": ("messages", lambda c: c.messages.create(**ASK)),
    "create streamed": ("messages", lambda c: list(c.messages.create(**ASK, stream=True))),
    "stream helper, text": ("messages.stream", _text_stream),
    "stream helper, final message": ("messages.stream", _final_message),
    "raw": ("messages", lambda c: c.messages.with_raw_response.create(**ASK).parse()),
    "raw, never parsed": ("messages", lambda c: c.messages.with_raw_response.create(**ASK)),
    "streaming response, lines": ("messages", _raw_lines),
    "streaming response, parsed": ("messages", _raw_body),
    "beta": ("beta.messages", lambda c: c.beta.messages.create(**ASK)),
    "beta streamed": ("beta.messages", lambda c: list(c.beta.messages.create(**ASK, stream=True))),
    "beta stream helper": ("beta.messages.stream", _beta_stream),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_spend_costs_what_the_provider_billed(
    way: str, client: anthropic.Anthropic, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Helper, raw, beta, streamed or plain: one call is booked, cache reads and writes at their own prices."""
    needs, spend = WAYS[way]
    if not has(client, needs):
        pytest.skip(f"anthropic {anthropic.__version__} has no {needs}")
    provider.reply = Reply(
        input_tokens=2000, cached_tokens=500, cache_write_tokens=300, cache_write_1h_tokens=200, output_tokens=300
    )
    with costguard.budgeted(feature="f", limit="$5"):
        spend(client)
    settled()
    assert truth.cost("anthropic", *provider.billed) == costguard.spend(feature="f").cost
    assert recorder.only.outcome == "ok"
    assert not recorder.only.cost.estimated


async def _a_stream(client: anthropic.AsyncAnthropic) -> None:
    stream = await client.messages.create(**ASK, stream=True)
    assert isinstance(stream, anthropic.AsyncStream)
    async for _ in stream:
        pass


async def _a_helper(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(**ASK) as stream:
        async for _ in stream.text_stream:
            pass


async def _a_lines(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        async for _ in response.iter_lines():
            pass


AWAYS: dict[str, Callable[[anthropic.AsyncAnthropic], Awaitable[Any]]] = {
    "create": lambda c: c.messages.create(**ASK),
    "create streamed": _a_stream,
    "stream helper": _a_helper,
    "raw": lambda c: c.messages.with_raw_response.create(**ASK),
    "streaming response, lines": _a_lines,
    "beta": lambda c: c.beta.messages.create(**ASK),
}


@pytest.mark.parametrize("way", AWAYS)
async def test_each_async_way_to_spend_costs_what_the_provider_billed(
    way: str, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """The same on the async client."""
    provider.reply = Reply(input_tokens=2000, cached_tokens=500, cache_write_tokens=300, output_tokens=300)
    async with aclient(provider) as client:
        async with costguard.budgeted(feature="f", limit="$5"):
            await AWAYS[way](client)
        settled()
    assert truth.cost("anthropic", *provider.billed) == costguard.spend(feature="f").cost
    assert recorder.only.outcome == "ok"


def test_a_stream_is_the_sdks_own(client: anthropic.Anthropic) -> None:
    """The user gets an `anthropic.Stream`, and its context manager and close work."""
    with client.messages.create(**ASK, stream=True) as stream:
        assert type(stream) is anthropic.Stream
        events = [event.type for event in stream]
    assert ("message_start", "message_stop") == (events[0], events[-1])
    assert stream.response.is_closed


def test_no_argument_is_changed(client: anthropic.Anthropic) -> None:
    """The caller's dictionaries are left as they were, also near the edge of a budget."""
    ask = {**ASK, "max_tokens": 20_000}
    with costguard.budgeted(limit="$0.10"):
        client.messages.create(**ask)
    assert 20_000 == ask["max_tokens"]


def test_near_the_edge_the_answer_is_capped(client: anthropic.Anthropic, provider: LoopbackProvider) -> None:
    """A call that fits only with a shorter answer is sent with a lower `max_tokens`."""
    provider.reply = Reply(input_tokens="measured", output_tokens=20_000)
    with costguard.budgeted(limit="$0.05"):
        client.messages.create(**{**ASK, "max_tokens": 20_000})
    assert 1024 <= provider.billed[0].request_body["max_tokens"] < 20_000


def test_a_generator_of_messages_is_not_consumed(client: anthropic.Anthropic, provider: LoopbackProvider) -> None:
    """Newer SDKs take one-shot iterators: reading the call must leave them to the SDK."""
    if MAJOR < 2:
        pytest.skip("lists only")
    messages = (message for message in ASK["messages"])
    client.messages.create(**{**ASK, "messages": messages})
    assert ASK["messages"] == provider.billed[0].request_body["messages"]


def test_free_endpoints_cost_nothing(client: anthropic.Anthropic, recorder: Recorder) -> None:
    """Counting tokens is no call."""
    if not has(client, "messages.count_tokens"):
        pytest.skip("no count_tokens")
    client.messages.count_tokens(model="claude-sonnet-5", messages=ASK["messages"])
    assert [] == recorder.calls
    assert {} == costguard.status().unmetered_calls


def test_batches_are_counted_as_unmetered(client: anthropic.Anthropic) -> None:
    """A batch is billed when it runs, which no answer tells: counted, never silent."""
    request: Any = {"custom_id": "a", "params": ASK}
    if not has(client, "messages.batches"):
        pytest.skip("no batches")
    client.messages.batches.create(requests=[request])
    assert 1 == sum(costguard.status().unmetered_calls.values())


def test_compaction_is_billed_beside_the_total(client: anthropic.Anthropic, provider: LoopbackProvider) -> None:
    """Tokens spent on compacting the context are in no total, only in the iterations."""
    provider.reply = Reply(output_tokens=50, compaction=(50_000, 400))
    client.beta.messages.create(**ASK)
    billed = provider.billed[0]
    at = costguard._config.state.guard.clock()
    usages = [
        costguard.Usage({"input": billed.input_tokens, "output": billed.output_tokens}),
        costguard.Usage({"input": 50_000, "output": 400}),
    ]
    expected = costguard._config.state.catalog.cost("anthropic", "claude-sonnet-5", usages, at).nano
    assert Decimal(expected).scaleb(-9) == costguard.spend().cost


def test_web_searches_have_a_fee(client: anthropic.Anthropic, provider: LoopbackProvider) -> None:
    """A search the server ran is billed beside its tokens."""
    provider.reply = Reply(web_searches=3)
    client.messages.create(**ASK)
    assert truth.cost("anthropic", *provider.billed) == costguard.spend().cost
    assert costguard.spend().cost >= Decimal("0.03")


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, anthropic.BadRequestError), (429, anthropic.RateLimitError), (529, anthropic.APIStatusError)],
)
def test_an_error_status_costs_nothing_and_keeps_its_type(
    status: int, error: type[Exception], client: anthropic.Anthropic, provider: LoopbackProvider,
    settled: Callable[[], None],
) -> None:  # fmt: skip
    """The SDK's own error comes out, and nothing is charged or held."""
    provider.reply = Reply(status=status, retry_after=0)
    with costguard.budgeted(feature="f", limit="$5"), pytest.raises(error) as raised:
        client.with_options(max_retries=0).messages.create(**ASK)
    assert type(raised.value).__module__.startswith("anthropic")
    settled()
    assert Decimal(0) == costguard.spend().cost


def _break(stream: Any) -> None:
    for _ in stream:
        break


def _close(stream: Any) -> None:
    next(iter(stream))
    stream.close()


def _untouched(stream: Any) -> None:
    del stream


@pytest.mark.parametrize("leave", [_break, _close, _untouched])
@pytest.mark.parametrize("enforcement", ["hard", "soft"])
def test_a_stream_left_early_is_charged_with_its_known_input(
    leave: Callable[[Any], None], enforcement: Any, client: anthropic.Anthropic, provider: LoopbackProvider,
    recorder: Recorder, settled: Callable[[], None],
) -> None:  # fmt: skip
    """Input is known from the first event; the output is assumed, all of it under a hard budget."""
    provider.reply = Reply(chunks=20, chunk_delay=0.02, input_tokens=700, output_tokens=400)
    with costguard.budgeted(feature="f", limit="$5", enforcement=enforcement):
        leave(client.messages.create(**ASK, stream=True))
    settled()
    event = recorder.only
    assert ("partial", True) == (event.outcome, event.cost.estimated)
    assert 0 < event.cost.nano
    if leave is not _untouched:
        assert 700 == event.usages[0].input_tokens


def test_a_helper_left_early_ends_and_closes(
    client: anthropic.Anthropic, provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """Leaving `messages.stream` closes the connection and settles the call."""
    provider.reply = Reply(chunks=50, chunk_delay=0.02)
    with costguard.budgeted(feature="f", limit="$5"), client.messages.stream(**ASK) as stream:
        for _ in stream.text_stream:
            break
    settled()
    assert "partial" == recorder.only.outcome
    until(lambda: provider.billed[0].disconnected)


async def test_a_cancelled_stream_settles(
    provider: LoopbackProvider, recorder: Recorder, settled: Callable[[], None]
) -> None:
    """A task cancelled while it reads leaves no hold."""
    provider.reply = Reply(chunks=50, chunk_delay=0.05)
    async with aclient(provider) as client:

        async def read() -> None:
            with costguard.budgeted(feature="f", limit="$5"):
                async with client.messages.stream(**ASK) as stream:
                    async for _ in stream.text_stream:
                        pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(), 0.2)
    settled()
    assert recorder.only.outcome in ("cancelled", "partial")


@pytest.mark.parametrize("garbage", ["no usage", "null usage", "negative usage", "string usage"])
@pytest.mark.parametrize("stream", [False, True])
def test_garbage_is_the_users_to_see_and_still_charged(
    garbage: Any, stream: bool, client: anthropic.Anthropic, provider: LoopbackProvider, recorder: Recorder,
    settled: Callable[[], None],
) -> None:  # fmt: skip
    """An answer with unusable usage reaches the program as the SDK gives it, and is charged by an estimate."""
    provider.reply = Reply(garbage=garbage)

    def outcome() -> Any:
        try:
            result: Any = client.messages.create(**ASK, stream=stream)
            return [type(event) for event in result] if stream else type(result)
        except Exception as error:
            return type(error)

    with costguard.budgeted(feature="f", limit="$5"):
        guarded = outcome()
    costguard.uninstrument()
    assert outcome() == guarded
    settled()
    assert recorder.only.cost.estimated
    assert 0 < recorder.only.cost.nano <= recorder.only.held


@pytest.mark.parametrize("stream", [False, True])
def test_threads_against_a_budget_with_room_for_k(
    stream: bool, provider: LoopbackProvider, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    """Thirty threads, room for five: the provider sees exactly five calls."""
    with costguard.budgeted(limit="$5"):
        client.messages.create(**ASK)
    limit = Decimal(recorder.only.held * 5).scaleb(-9)
    provider.clear()
    crowd = Crowd(refusals=25)
    provider.reply = Reply(input_tokens="measured", output_tokens=400, gate=crowd.gate)

    @costguard.budgeted(feature="f", limit=limit, period="day")
    def ask(_: int) -> bool:
        try:
            result: Any = client.messages.create(**ASK, stream=stream)
            if stream:
                list(result)
        except costguard.BudgetExceededError:
            crowd.refused()
            return False
        return True

    with ThreadPoolExecutor(30) as pool:
        answered = sum(pool.map(ask, range(30)))
    assert 5 == answered == provider.count
    assert not costguard.status()["feature=f, per day"].held


def test_a_refusal_is_not_retried_or_rewrapped(client: anthropic.Anthropic, provider: LoopbackProvider) -> None:
    """`BudgetExceededError` itself comes out, and nothing was sent."""
    with costguard.budgeted(limit="$0.0001"), pytest.raises(costguard.BudgetExceededError):
        client.messages.create(**ASK)
    assert [] == provider.requests


def test_a_tool_runner_is_metered_call_by_call_and_stops_at_the_limit(
    client: anthropic.Anthropic, provider: LoopbackProvider
) -> None:
    """Each turn of the SDK's tool loop is a call of its own; a refusal comes out of the loop."""
    if not has(client, "beta.messages.tool_runner"):
        pytest.skip("no tool runner")
    from costguard.testing.loopback import ToolCall

    @anthropic.beta_tool
    def distance() -> str:
        """How far it is."""
        return "far"

    provider.reply = Reply(tool_calls=[ToolCall("distance")], output_tokens=400)
    with costguard.budgeted(feature="f", limit="$1"):
        client.beta.messages.tool_runner(**ASK, tools=[distance]).until_done()
    assert provider.count > 1
    assert truth.cost("anthropic", *provider.billed) == costguard.spend().cost


def test_bedrock_and_vertex_clients_copy_their_options_deeply(provider: LoopbackProvider, recorder: Recorder) -> None:
    """The clients that rewrite the request per attempt are metered too, by the model that was asked for."""
    pytest.importorskip("boto3", reason="the Bedrock client signs with boto3")
    with anthropic.AnthropicBedrock(
        aws_access_key="x", aws_secret_key="x", aws_region="us-east-1", base_url=provider.url
    ) as client:
        client.messages.create(**{**ASK, "model": "anthropic.claude-sonnet-4-20250514-v1:0"})
    assert recorder.only.cost.nano > 0


def test_vertex_client(provider: LoopbackProvider, recorder: Recorder) -> None:
    """Vertex moves the model from the body into the path; the call is priced all the same."""
    with anthropic.AnthropicVertex(
        region="us-east5", project_id="p", access_token="x", base_url=provider.url + "/v1"
    ) as client:
        client.messages.create(**{**ASK, "model": "claude-sonnet-5"})
        list(client.messages.create(**{**ASK, "model": "claude-sonnet-5"}, stream=True))
    assert [True, True] == [event.cost.nano > 0 and not event.cost.estimated for event in recorder.calls]


@pytest.mark.skipif(MAJOR < 1, reason="middleware came with major 1")
def test_a_middleware_that_sends_twice_is_charged_twice(provider: LoopbackProvider, recorder: Recorder) -> None:
    """Every answer inside one logical call is billed, so every one is charged."""

    def twice(request: Any, call_next: Any) -> Any:
        call_next(request)
        return call_next(request)

    with anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url, middleware=[twice]) as client:  # type: ignore[call-arg, unused-ignore]
        client.messages.create(**ASK)
    assert 2 == provider.count
    assert truth.cost("anthropic", *provider.billed) == costguard.spend().cost
    assert 1 == len(recorder.calls)
