"""The response cache under the real SDKs: a hit is what the SDK would have made of the original, and costs nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from pydantic import BaseModel

import costguard
from costguard import Cache
from costguard._config import state
from costguard._types import Usage
from costguard.testing import FakeClock
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How far is the moon?"}]}
MESSAGE: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "How far is the moon?"}],
}
CONTENT: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": "How far is the moon?"}


@pytest.fixture
def cache(recorder: Recorder) -> Iterator[Cache]:
    """A cache for the feature ``faq``, the SDKs instrumented."""
    cache = Cache(features=["faq"])
    costguard.configure(exporters=[recorder], cache=cache)
    costguard.instrument()
    with costguard.budgeted("faq"):
        yield cache
    costguard.uninstrument()
    costguard.configure()


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    provider.reply = Reply(output_tokens=50)
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        yield client


class Distance(BaseModel):
    kilometres: int


def _chat(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(**CHAT)


def _chat_stream(client: openai.OpenAI) -> Any:
    return list(client.chat.completions.create(**CHAT, stream=True))


def _chat_helper(client: openai.OpenAI) -> Any:
    with client.chat.completions.stream(**CHAT) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion()


def _chat_raw(client: openai.OpenAI) -> Any:
    return client.chat.completions.with_raw_response.create(**CHAT).parse()


def _chat_bytes(client: openai.OpenAI) -> Any:
    with client.chat.completions.with_streaming_response.create(**CHAT) as response:
        return b"".join(response.iter_bytes())


def _chat_lines(client: openai.OpenAI) -> Any:
    with client.chat.completions.with_streaming_response.create(**CHAT, stream=True) as response:
        return [line for line in response.iter_lines() if line and '"choices": []' not in line]


def _response(client: openai.OpenAI) -> Any:
    return client.responses.create(model="gpt-4o", input="How far is the moon?", store=False)


def _response_stream(client: openai.OpenAI) -> Any:
    return list(client.responses.create(model="gpt-4o", input="How far is the moon?", store=False, stream=True))


def _embedding(client: openai.OpenAI) -> Any:
    return client.embeddings.create(model="text-embedding-3-small", input="How far is the moon?")


@pytest.mark.parametrize(
    "ask",
    [_chat, _chat_stream, _chat_helper, _chat_raw, _chat_bytes, _chat_lines, _response, _response_stream, _embedding],
)
def test_a_hit_is_equal_to_the_original(
    ask: Callable[[openai.OpenAI], Any],
    cache: Cache,
    client: openai.OpenAI,
    provider: LoopbackProvider,
    recorder: Recorder,
) -> None:
    """However an answer is asked for: the same type and content, no request, no cost, and what was saved."""
    first, second = ask(client), ask(client)
    assert type(first) is type(second)
    assert first == second
    assert 1 == provider.count
    paid, free = recorder.calls
    assert ("allowed", "cache_hit") == (paid.decision, free.decision)
    assert 0 == free.cost.nano == free.held
    assert 0 < paid.cost.nano == free.saved
    assert "ok" == free.outcome
    assert {"feature": "faq"} == free.tags
    assert (1, 1) == (cache.stats.hits, cache.stats.misses)


def test_a_stream_is_the_sdks_own_and_can_be_closed(cache: Cache, client: openai.OpenAI) -> None:
    """A replayed stream has the response, the context manager and the type of any other."""
    list(client.chat.completions.create(**CHAT, stream=True))
    with client.chat.completions.create(**CHAT, stream=True) as stream:
        assert type(stream) is openai.Stream
        next(stream)
    assert stream.response.is_closed
    assert "hit" == stream.response.headers["x-costguard-cache"]
    assert 1 == cache.stats.hits


def test_parsed_answers_are_parsed_again(cache: Cache, client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """The kept body goes through the SDK's own parser, so that structured output is an object."""
    provider.reply = Reply(text='{"kilometres": 384400}', output_tokens=9)
    ask = {**CHAT, "response_format": Distance}
    first = client.chat.completions.parse(**ask)
    second = client.chat.completions.parse(**ask)
    assert Distance(kilometres=384400) == second.choices[0].message.parsed
    assert first == second
    assert (1, 1) == (provider.count, cache.stats.hits)


def test_anthropic_messages_and_streams_are_replayed(cache: Cache, provider: LoopbackProvider) -> None:
    """Also through the helper that puts a stream together, with middleware and all."""
    with anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url) as client:
        provider.reply = Reply(output_tokens=50)
        assert client.messages.create(**MESSAGE) == client.messages.create(**MESSAGE)
        finals = []
        for _ in range(2):
            with client.messages.stream(**MESSAGE) as stream:
                finals.append(stream.get_final_message())
        assert finals[0] == finals[1]
    assert 2 == provider.count == cache.stats.hits


def test_google_answers_and_streams_are_replayed(cache: Cache, provider: LoopbackProvider) -> None:
    """In both colours; a hit says so in the headers of its HTTP response."""
    client = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
    first, second = (client.models.generate_content(**CONTENT) for _ in range(2))
    assert (first.text, first.usage_metadata) == (second.text, second.usage_metadata)
    streams = [[chunk.text for chunk in client.models.generate_content_stream(**CONTENT)] for _ in range(2)]
    assert streams[0] == streams[1]

    async def ask() -> None:
        assert first.text == (await client.aio.models.generate_content(**CONTENT)).text
        chunks = [chunk.text async for chunk in await client.aio.models.generate_content_stream(**CONTENT)]
        assert streams[0] == chunks
        await client.aio.aclose()

    asyncio.run(ask())
    client.close()
    assert (2, 4) == (provider.count, cache.stats.hits)


def test_a_burst_of_tasks_pays_once(cache: Cache, provider: LoopbackProvider, recorder: Recorder) -> None:
    """A hundred equal calls at once: one is sent, the others wait for its answer."""

    async def burst() -> list[Any]:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
            return await asyncio.gather(*(client.chat.completions.create(**CHAT) for _ in range(100)))

    answers = asyncio.run(burst())
    assert 1 == provider.count
    assert all(answer == answers[0] for answer in answers)
    assert 99 == sum(event.decision == "cache_hit" for event in recorder.calls)
    (paid,) = [event for event in recorder.calls if event.decision == "allowed"]
    assert 99 * paid.cost.nano == sum(event.saved for event in recorder.calls)


def test_a_burst_of_threads_and_tasks_pays_once(
    cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """Threads and the tasks of several loops wait for the same one call."""
    ask = costguard.wrap(lambda: client.chat.completions.create(**CHAT))

    async def burst() -> None:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as aclient:
            await asyncio.gather(*(aclient.chat.completions.create(**CHAT) for _ in range(50)))

    tasks = costguard.wrap(lambda: asyncio.run(burst()))
    gate = threading.Event()
    provider.reply = Reply(output_tokens=50, gate=gate)
    with ThreadPoolExecutor(26) as pool:
        doing = [pool.submit(ask) for _ in range(50)] + [pool.submit(tasks)]
        assert provider.wait_for_requests(1, timeout=30)
        gate.set()
        for one in doing:
            one.result(timeout=60)
    assert 1 == provider.count


def test_a_burst_of_streams_pays_once(cache: Cache, provider: LoopbackProvider) -> None:
    """Those who wait are given the stream once it has been read to its end."""

    async def read(client: openai.AsyncOpenAI) -> list[Any]:
        return [event async for event in await client.chat.completions.create(**CHAT, stream=True)]

    async def burst() -> list[Any]:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
            return await asyncio.gather(*(read(client) for _ in range(20)))

    answers = asyncio.run(burst())
    assert 1 == provider.count
    assert all(answer == answers[0] for answer in answers)


def test_an_equal_call_inside_a_stream_does_not_wait_for_itself(
    cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """The thread that reads a stream may ask the same again meanwhile."""
    stream = client.chat.completions.create(**CHAT, stream=True)
    next(stream)
    assert list(client.chat.completions.create(**CHAT, stream=True))
    list(stream)
    assert 2 == provider.count


def test_those_who_wait_for_a_dropped_stream_are_sent(
    cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """A stream that nobody reads to its end is not kept, and holds nobody up."""
    stream = client.chat.completions.create(**CHAT, stream=True)
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(costguard.wrap(lambda: list(client.chat.completions.create(**CHAT, stream=True))))
        del stream
        gc.collect()
        assert waiting.result(timeout=30)
    assert 2 == provider.count
    assert 0 == cache.stats.hits


def test_a_failure_is_shared_with_nobody(cache: Cache, provider: LoopbackProvider) -> None:
    """An error is raised where it happened; the next call is sent."""
    provider.script(Reply(status=400))
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
    assert (1, 0) == (provider.count, cache.stats.hits)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_answers_cut_short_or_refused_are_not_kept(
    finish: str, cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """Only an answer that ended of its own accord is given again."""
    provider.reply = Reply(output_tokens=5, finish=finish)
    for stream in (False, True):
        for _ in range(2):
            answer = client.chat.completions.create(**CHAT, stream=stream)
            if stream:
                list(answer)
    assert 4 == provider.count


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.7},
        {"n": 2},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}]},
        {"store": True},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_requests_with_state_tools_or_variety_are_not_cached(
    more: dict[str, Any], cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """What reads the provider's state, may act, or asks for variety is sent every time, and counted with the reason."""
    for _ in range(2):
        client.chat.completions.create(**{**CHAT, **more})
    assert 2 == provider.count
    assert 2 == sum(cache.stats.left_out.values())


def test_responses_that_the_provider_stores_are_not_cached(
    cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """They go on as a conversation under their id, and are stored unless the request says otherwise."""
    for _ in range(2):
        client.responses.create(model="gpt-4o", input="hi")
    assert 2 == provider.count


@pytest.mark.parametrize(
    "more",
    [
        {"model": "gpt-4o-mini"},
        {"messages": [{"role": "user", "content": "How far is the sun?"}]},
        {"seed": 2},
        {"max_tokens": 60},
        {"temperature": 0},
        {"extra_headers": {"OpenAI-Beta": "x"}},
        {"extra_query": {"version": "2"}},
        {"extra_body": {"reasoning": "high"}},
        {"user": "u-1"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_whatever_shapes_the_answer_tells_requests_apart(
    more: dict[str, Any], cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """A request that differs in any such field is another request."""
    client.chat.completions.create(**CHAT)
    client.chat.completions.create(**{**CHAT, **more})
    client.chat.completions.create(**CHAT, metadata={"trace": "1"})
    assert (2, 1) == (provider.count, cache.stats.hits)


def test_keys_tenants_and_credentials_keep_answers_apart(
    cache: Cache, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """Another tenant, team or API key is never given somebody else's answer."""
    client.chat.completions.create(**CHAT)
    with costguard.budgeted(tenant="b"):
        client.chat.completions.create(**CHAT)
    client.with_options(api_key="y").chat.completions.create(**CHAT)
    assert 3 == provider.count
    with costguard.budgeted(user="u-1"):
        client.chat.completions.create(**CHAT)
    assert 1 == cache.stats.hits


def test_a_block_decides_for_itself(recorder: Recorder, client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """Without any set-up ``cache=True`` is enough, and ``cache=False`` has a call sent whatever is around it."""
    clock = FakeClock()
    costguard.configure(exporters=[recorder], clock=clock)
    costguard.instrument()
    try:
        client.chat.completions.create(**CHAT)
        assert state.guard.cache is None

        @costguard.budgeted("faq", cache="10m")
        def ask() -> None:
            client.chat.completions.create(**CHAT)

        ask()
        ask()
        assert 2 == provider.count
        with costguard.budgeted(cache=False):
            client.chat.completions.create(**CHAT)
        with costguard.budgeted("faq", cache=True), costguard.budgeted(cache=False):
            client.chat.completions.create(**CHAT)
        assert 4 == provider.count
        clock.advance(minutes=11)
        ask()
        assert 5 == provider.count
    finally:
        costguard.uninstrument()
        costguard.configure()


def test_a_hit_needs_no_budget(recorder: Recorder, client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """No money is held for a hit, so one is given also where nothing is left; what is not kept is refused."""
    costguard.configure(exporters=[recorder])
    costguard.instrument()
    try:
        with costguard.budgeted("faq", cache=True):
            client.chat.completions.create(**CHAT)
            with costguard.budgeted(limit="$0"):
                client.chat.completions.create(**CHAT)
                with pytest.raises(costguard.BudgetExceededError):
                    client.chat.completions.create(**{**CHAT, "seed": 1})
        assert 1 == provider.count
    finally:
        costguard.uninstrument()
        costguard.configure()


def test_a_file_outlives_the_process(
    recorder: Recorder, client: openai.OpenAI, provider: LoopbackProvider, tmp_path: Path
) -> None:
    """What one process paid for another one is given; what was saved equals the trace re-priced by hand."""
    url = f"sqlite:///{tmp_path}/answers.db"
    for _ in range(2):
        costguard.configure(exporters=[recorder], cache=url)
        costguard.instrument()
        with costguard.budgeted("faq", cache=True):
            client.chat.completions.create(**CHAT)
            list(client.chat.completions.create(**CHAT, stream=True))
            client.chat.completions.create(**CHAT)
        costguard.flush()
    costguard.uninstrument()
    costguard.configure()
    assert 2 == provider.count
    by_hand = sum(
        costguard.explain("gpt-4o", Usage({"input": bill.input_tokens, "output": bill.output_tokens})).cost.nano
        for bill in provider.billed
    )
    hits = [event for event in recorder.calls if event.decision == "cache_hit"]
    assert 4 == len(hits)
    # One hit of the first process, and in the second process every call.
    assert by_hand * 2 == sum(event.saved for event in hits)


def test_arguments_are_left_alone(cache: Cache, client: openai.OpenAI) -> None:
    """Neither keeping nor replaying changes what the caller passed."""
    ask = {**CHAT, "extra_headers": {"x": "y"}}
    before = repr(ask)
    for _ in range(2):
        client.chat.completions.create(**ask)
    assert before == repr(ask)


def test_a_generator_in_a_request_is_not_used_up(cache: Cache, provider: LoopbackProvider) -> None:
    """What only the SDK may read is not looked into: the call is sent."""
    with anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url) as client:
        for _ in range(2):
            messages: Any = (message for message in MESSAGE["messages"])
            client.messages.create(**{**MESSAGE, "messages": messages})
    assert 2 == provider.count
