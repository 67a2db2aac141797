"""Shorter prompts under the real SDKs: on a copy, visible on the event, and never where they would change an answer."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import anthropic
import openai
import pytest
from google import genai

import costguard
from costguard import Compression, Shortening, Usage
from costguard._config import state
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder

WIDE = "Please answer in one sentence, and   keep to what stands below, nothing else.\n\n\n\nHow far is the moon?"
SHORT = "Please answer in one sentence, and keep to what stands below, nothing else.\n\nHow far is the moon?"
PRETTY = '{\n    "kilometres":   384400.00,\n    "of":   "the   moon"\n}'
MINIFIED = '{"kilometres":384400.00,"of":"the   moon"}'
CODE = "```python\nif   far:\n\n\n\n    walk( )\n```"
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{ "a":   1 }'}}
CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": WIDE},
        {"role": "user", "content": [{"type": "text", "text": WIDE}, {"type": "text", "text": CODE}]},
        {"role": "assistant", "content": WIDE, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": PRETTY},
        {"role": "user", "content": "So?"},
    ],
}
RESPONSE: dict[str, Any] = {
    "model": "gpt-4o",
    "instructions": WIDE,
    "input": [
        {"role": "user", "content": WIDE},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": WIDE}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": PRETTY},
        {"type": "function_call_output", "call_id": "1", "output": PRETTY},
    ],
}
MESSAGE: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 100,
    "system": WIDE,
    "messages": [
        {"role": "user", "content": WIDE},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": WIDE}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": PRETTY}]},
    ],
}
CONTENT: dict[str, Any] = {
    "model": "gemini-2.5-flash",
    "contents": [
        {"role": "user", "parts": [{"text": WIDE}, {"text": CODE}]},
        {"role": "model", "parts": [{"text": WIDE, "thought_signature": b"abc"}]},
        {"role": "user", "parts": [{"text": "So?"}]},
    ],
    "config": {"system_instruction": WIDE},
}


@pytest.fixture(autouse=True)
def _guarded(recorder: Recorder, provider: LoopbackProvider) -> Iterator[None]:
    provider.reply = Reply(input_tokens=100, output_tokens=50)
    costguard.configure(exporters=[recorder], compression=Compression(features=["faq"]))
    costguard.instrument()
    yield
    costguard.uninstrument()
    costguard.configure()


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        yield client


def _chat(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        client.chat.completions.create(**ask)


def _chat_stream(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        list(client.chat.completions.create(**ask, stream=True))


def _chat_async(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    async def run() -> None:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
            async for _ in await client.chat.completions.create(**ask, stream=True):
                pass

    asyncio.run(run())


def _response(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        client.responses.create(**ask)


def _response_stream(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client, client.responses.stream(**ask) as stream:
        stream.until_done()


def _message(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    with anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url) as client:
        client.messages.create(**ask)


def _message_stream(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    async def run() -> None:
        async with anthropic.AsyncAnthropic(api_key="x", base_url=provider.anthropic_url) as client:
            async with client.messages.stream(**ask) as stream:
                await stream.get_final_message()

    asyncio.run(run())


def _content(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    client = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
    client.models.generate_content(**ask)
    client.close()


def _content_stream(provider: LoopbackProvider, ask: dict[str, Any]) -> None:
    async def run() -> None:
        client = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
        async for _ in await client.aio.models.generate_content_stream(**ask):
            pass
        await client.aio.aclose()
        client.close()

    asyncio.run(run())


SENT_CHAT = [
    {"role": "system", "content": SHORT},
    {"role": "user", "content": [{"type": "text", "text": SHORT}, {"type": "text", "text": CODE}]},
    CHAT["messages"][2],
    {"role": "tool", "tool_call_id": "1", "content": MINIFIED},
    CHAT["messages"][4],
]
SENT_RESPONSE = [
    {"role": "user", "content": SHORT},
    *RESPONSE["input"][1:3],
    {"type": "function_call_output", "call_id": "1", "output": MINIFIED},
]
SENT_MESSAGE = [
    {"role": "user", "content": SHORT},
    MESSAGE["messages"][1],
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": MINIFIED}]},
]
SENT_CONTENT = [
    {"role": "user", "parts": [{"text": SHORT}, {"text": CODE}]},
    {"role": "model", "parts": [{"text": WIDE, "thoughtSignature": "YWJj"}]},
    {"role": "user", "parts": [{"text": "So?"}]},
]
_OPENAI = {"messages": SENT_CHAT}
_RESPONSES = {"input": SENT_RESPONSE, "instructions": SHORT}
_ANTHROPIC = {"messages": SENT_MESSAGE, "system": SHORT}
_GOOGLE = {"contents": SENT_CONTENT}


@pytest.mark.parametrize(
    ("send", "ask", "sent"),
    [
        (_chat, CHAT, _OPENAI),
        (_chat_stream, CHAT, _OPENAI),
        (_chat_async, CHAT, _OPENAI),
        (_response, RESPONSE, _RESPONSES),
        (_response_stream, RESPONSE, _RESPONSES),
        (_message, MESSAGE, _ANTHROPIC),
        (_message_stream, MESSAGE, _ANTHROPIC),
        (_content, CONTENT, _GOOGLE),
        (_content_stream, CONTENT, _GOOGLE),
    ],
)
def test_a_shorter_prompt_is_sent_and_its_saving_is_that_of_pricing_it_by_hand(
    send: Callable[[LoopbackProvider, dict[str, Any]], None],
    ask: dict[str, Any],
    sent: dict[str, Any],
    provider: LoopbackProvider,
    recorder: Recorder,
) -> None:
    """Prose and JSON lose whitespace; code, quotes, and what the model said do not; the caller's arguments stay."""
    before = copy.deepcopy(ask)
    with costguard.budgeted("faq"):
        send(provider, ask)
    assert before == ask
    body = provider.billed[0].request_body
    assert sent == {field: body[field] for field in sent}
    event = recorder.only
    assert "compressed" == event.decision
    usage = event.usages[0]
    removed = sum(_removed(text) * ask_count for text, ask_count in ((WIDE, _count(ask)), (PRETTY, _tools(ask))))
    more = Usage({**usage.counts, "input": usage.counts["input"] + removed}, model=usage.model)
    by_hand = costguard.explain(ask["model"], more).cost.nano - costguard.explain(ask["model"], usage).cost.nano
    assert 0 < by_hand == event.saved == costguard.spend().saved * 10**9


def _removed(text: str) -> int:
    kept = MINIFIED if text is PRETTY else SHORT
    return -(-len(text) // 4) - -(-len(kept) // 4)


def _count(_ask: dict[str, Any]) -> int:
    return 2  # the system's and the user's text


def _tools(ask: dict[str, Any]) -> int:
    return int(ask is not CONTENT)


def test_it_is_off_until_it_is_asked_for(client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder) -> None:
    """By its feature or by a block; and a block can say no, as can observe mode."""
    client.chat.completions.create(**CHAT)
    with costguard.budgeted("faq"):
        client.chat.completions.create(**CHAT)
        with costguard.budgeted(compress=False):
            client.chat.completions.create(**CHAT)
    costguard.configure(exporters=[recorder])
    client.chat.completions.create(**CHAT)
    with costguard.budgeted(compress=True):
        client.chat.completions.create(**CHAT)
    costguard.configure(exporters=[recorder], mode="observe")
    with costguard.budgeted(compress=True):
        client.chat.completions.create(**CHAT)
    decisions = ["allowed", "compressed", "allowed", "allowed", "compressed", "allowed"]
    assert decisions == [event.decision for event in recorder.calls]
    compressed = [bill.request_body["messages"] == SENT_CHAT for bill in provider.billed]
    assert [decision == "compressed" for decision in decisions] == compressed


def test_less_is_held_for_a_shorter_prompt(client: openai.OpenAI, recorder: Recorder) -> None:
    """The hold covers what is sent."""
    with costguard.budgeted("faq", limit="$1"):
        client.chat.completions.create(**CHAT, max_tokens=10)
        with costguard.budgeted(compress=False):
            client.chat.completions.create(**CHAT, max_tokens=10)
    first, second = recorder.calls
    assert first.cost.nano <= first.held < second.held


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"background": True},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"role": "user", "content": WIDE}, {"type": "item_reference", "id": "msg_1"}]},
    ],
)
def test_what_goes_on_from_the_providers_side_is_left_alone(
    more: dict[str, Any], client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """What the provider keeps was sent as it was, and what follows belongs to it."""
    with costguard.budgeted("faq"):
        client.responses.create(**{"model": "gpt-4o", "input": WIDE, **more})
    assert {"input": WIDE, **more}["input"] == provider.requests[0].body["input"]
    assert "compressed" not in [event.decision for event in recorder.calls]


def test_embeddings_and_extra_fields_of_google_are_left_alone(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """A vector is one of these very characters; what the SDK merges in last is what is sent."""
    extra = [{"role": "user", "parts": [{"text": WIDE}]}]
    with costguard.budgeted("faq"):
        client.embeddings.create(model="text-embedding-3-small", input=WIDE)
        _content(provider, {**CONTENT, "config": {"http_options": {"extra_body": {"contents": extra}}}})
    assert WIDE == provider.billed[0].request_body["input"]
    assert extra == provider.billed[1].request_body["contents"]
    assert ["allowed", "allowed"] == [event.decision for event in recorder.calls]


def test_a_marked_prefix_is_not_changed(provider: LoopbackProvider) -> None:
    """Everything before the last mark for the provider's cache, and only what follows is compressed."""
    marked = [{"type": "text", "text": WIDE, "cache_control": {"type": "ephemeral"}}]
    with costguard.budgeted("faq"):
        _message(provider, {**MESSAGE, "system": marked})
        _message(provider, {**MESSAGE, "messages": [MESSAGE["messages"][0], {"role": "user", "content": marked}]})
    first, second = (bill.request_body for bill in provider.billed)
    assert (marked, SENT_MESSAGE) == (first["system"], first["messages"])
    assert (WIDE, WIDE) == (second["system"], second["messages"][0]["content"])


def test_a_prefix_that_was_billed_as_cached_is_not_changed(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """A conversation that began without compression goes on so, as far as its beginning is cached."""
    first = [{"role": "system", "content": WIDE * 20}, {"role": "user", "content": WIDE}]
    longer = [*first, {"role": "assistant", "content": "Far."}, {"role": "user", "content": WIDE}]
    provider.reply = Reply(input_tokens=600, cached_tokens=500, output_tokens=5)
    with costguard.budgeted("faq"):
        with costguard.budgeted(compress=False):
            client.chat.completions.create(model="gpt-4o", messages=first)
        client.chat.completions.create(model="gpt-4o", messages=longer)
        client.chat.completions.create(model="gpt-4o", messages=[{**first[0], "content": WIDE}, *longer[1:]])
    _, same, other = (bill.request_body["messages"] for bill in provider.billed)
    assert (first[0]["content"], SHORT) == (same[0]["content"], same[3]["content"])
    assert [SHORT, SHORT, "Far.", SHORT] == [message["content"] for message in other]


def test_a_conversation_keeps_its_compressed_prefix(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """The beginning is the same in each of its calls, so the provider's cache goes on serving it."""
    passage = WIDE * 5
    costguard.configure(compression=Compression(steps=["trailing_space", "spaces", "blank_lines", "repeats", "json"]))
    turns = [*CHAT["messages"], {"role": "user", "content": passage}, {"role": "user", "content": passage + "\n\nNow?"}]
    with costguard.budgeted(compress=True):
        for end in range(1, len(turns) + 1):
            client.chat.completions.create(model="gpt-4o", messages=turns[:end])
    sent = [bill.request_body["messages"] for bill in provider.billed]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(sent))


def test_a_hook_can_forbid_it(client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder) -> None:
    """It is told of the call, its tags, and what would be sent; False is a veto."""
    told: list[Shortening] = []

    def veto(shortening: Shortening) -> bool:
        told.append(shortening)
        return False

    costguard.configure(exporters=[recorder], compression=Compression(features=["faq"]), on_compress=veto)
    with costguard.budgeted("faq"):
        client.chat.completions.create(**CHAT)
    assert CHAT["messages"] == provider.billed[0].request_body["messages"]
    assert ("allowed", 0) == (recorder.only.decision, recorder.only.saved)
    assert ({"messages": SENT_CHAT}, "faq", "gpt-4o") == (told[0].prompt, told[0].tags["feature"], told[0].call.model)
    assert {"blank_lines", "json", "spaces"} == set(told[0].by_step)
    assert told[0].before - told[0].after == sum(told[0].by_step.values())


def test_the_response_cache_looks_at_what_was_asked(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """So that its hits do not depend on compression, and a hit has saved what it did not cost, once."""
    with costguard.budgeted(cache=True):
        with costguard.budgeted(compress=True):
            client.chat.completions.create(**CHAT)
        with costguard.budgeted(compress=False):
            client.chat.completions.create(**CHAT)
        with costguard.budgeted(compress=True):
            client.chat.completions.create(**CHAT)
    first, *hits = recorder.calls
    assert 1 == provider.count
    assert [("cache_hit", first.cost.nano)] * 2 == [(event.decision, event.saved) for event in hits]


def test_a_compressed_call_can_be_downgraded_and_clamped(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """Then it is a downgraded one, and has saved what the whole prompt would have cost with the model asked for."""
    costguard.configure(
        exporters=[recorder], compression=Compression(features=["faq"]), ladders=[("gpt-4o", "gpt-4o-mini")]
    )
    with costguard.budgeted("faq", limit="$1", downgrade_at=0):
        client.chat.completions.create(**CHAT)
    with costguard.budgeted("faq", limit="$0.05"):
        client.chat.completions.create(**CHAT)
    down, clamped = recorder.calls
    assert ("downgraded", "gpt-4o") == (down.decision, down.asked)
    removed = 2 * _removed(WIDE) + _removed(PRETTY)
    whole = Usage({"input": 100 + removed, "output": 50})
    assert costguard.explain("gpt-4o", whole).cost.nano - down.cost.nano == down.saved
    bodies = [bill.request_body for bill in provider.billed]
    assert [SENT_CHAT, SENT_CHAT] == [body["messages"] for body in bodies]
    assert ("gpt-4o-mini", "gpt-4o") == (bodies[0]["model"], bodies[1]["model"])
    assert ("compressed", True) == (clamped.decision, bodies[1]["max_completion_tokens"] > 0)


def test_a_google_call_can_be_compressed_downgraded_and_clamped_at_once(
    provider: LoopbackProvider, recorder: Recorder
) -> None:
    """Path, cap and contents are all those of the copy."""
    costguard.configure(exporters=[recorder], ladders=[("gemini-2.5-flash", "gemini-2.5-flash-lite")])
    with costguard.budgeted(compress=True, limit="$0.01", downgrade_at=0):
        _content(provider, CONTENT)
    body = provider.billed[0].request_body
    assert ("gemini-2.5-flash-lite", SENT_CONTENT) == (provider.billed[0].model, body["contents"])
    assert body["generationConfig"]["maxOutputTokens"] > 0
    assert "downgraded" == recorder.only.decision


def test_a_tokenizer_can_be_given(client: openai.OpenAI, recorder: Recorder) -> None:
    """By which savings are measured; a prompt that would not get shorter by it is sent as it is."""
    costguard.configure(exporters=[recorder], compression=Compression(features=["faq"], count=lambda _: 1))
    with costguard.budgeted("faq"):
        client.chat.completions.create(**CHAT)
    assert "allowed" == recorder.only.decision


def test_savings_are_measured_by_the_models_own_tokenizer_where_that_is_on(
    client: openai.OpenAI, recorder: Recorder
) -> None:
    """So that what is reported as saved is what the whole prompt would have been billed for."""
    costguard.configure(exporters=[recorder], tokenizer=True)
    count = state.tokenizers.exact("gpt-4o")
    assert count is not None
    with costguard.budgeted(compress=True):
        client.chat.completions.create(**CHAT)
    event = recorder.only
    removed = 2 * (count(WIDE) - count(SHORT)) + count(PRETTY) - count(MINIFIED)
    assert removed != 2 * _removed(WIDE) + _removed(PRETTY)
    whole = Usage({"input": 100 + removed, "output": 50})
    assert costguard.explain("gpt-4o", whole).cost.nano - event.cost.nano == event.saved


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Compression(features=[""]),
        lambda: Compression(steps=["magic"]),
        lambda: Compression(steps=["history"]),
        lambda: Compression(phrases="please"),
        lambda: Compression(count=7),  # type: ignore[arg-type]
        lambda: costguard.configure(compression=True),  # type: ignore[arg-type]
        lambda: costguard.configure(on_compress=7),  # type: ignore[arg-type]
        lambda: costguard.budgeted(compress="yes"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_told(wrong: Any) -> None:
    """With what would be allowed."""
    with pytest.raises(costguard.ConfigError):
        wrong()
