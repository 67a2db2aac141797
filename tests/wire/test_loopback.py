"""The loopback provider, driven by the real SDKs: it must be right before anything is measured against it."""

from __future__ import annotations

import asyncio
import base64
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from costguard.testing import loopback
from costguard.testing.loopback import LoopbackProvider, Reply, ToolCall

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")
genai = pytest.importorskip("google.genai")
pydantic = pytest.importorskip("pydantic")

HI: Any = [{"role": "user", "content": "hi"}]
CLAUDE: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 500, "messages": HI}
GPT: dict[str, Any] = {"model": "gpt-4o", "messages": HI}
City = pydantic.create_model("City", name=str, people=int)


@pytest.fixture(scope="module")
def running() -> Iterator[LoopbackProvider]:
    with LoopbackProvider() as provider:
        yield provider


@pytest.fixture
def provider(running: LoopbackProvider) -> Iterator[LoopbackProvider]:
    running.clear()
    running.reply = Reply()
    yield running
    assert running.wait_idle()
    assert running.errors == []


@pytest.fixture(scope="module")
def gpt(running: LoopbackProvider) -> Any:
    return openai.OpenAI(base_url=running.openai_url, api_key="secret", max_retries=0)


@pytest.fixture(scope="module")
def claude(running: LoopbackProvider) -> Any:
    return anthropic.Anthropic(base_url=running.anthropic_url, api_key="secret", max_retries=0)


@pytest.fixture(scope="module")
def gemini(running: LoopbackProvider) -> Any:
    return genai.Client(api_key="secret", http_options={"base_url": running.google_url})


class TestOpenAIChat:
    def test_a_plain_call_is_billed_once_with_its_usage(self, provider: LoopbackProvider, gpt: Any) -> None:
        """What the SDK reads is what the provider billed."""
        answer = gpt.chat.completions.create(**GPT)
        (bill,) = provider.billed
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1000, 1000)
        assert (bill.kind, bill.model, bill.input_tokens, bill.output_tokens) == ("chat", "gpt-4o", 1000, 1000)
        assert bill.completed
        assert not bill.stream

    def test_keys_are_blanked_out_of_the_records(self, provider: LoopbackProvider, gpt: Any) -> None:
        """No record holds an API key."""
        gpt.chat.completions.create(**GPT)
        assert provider.requests[0].headers["authorization"] == "***"
        assert "secret" not in repr((provider.requests, provider.billed))

    @pytest.mark.parametrize("cap", ["max_tokens", "max_completion_tokens"])
    def test_the_cap_bounds_what_is_billed(self, provider: LoopbackProvider, gpt: Any, cap: str) -> None:
        """Output never exceeds the request's cap, per choice."""
        answer = gpt.chat.completions.create(**GPT, n=3, **{cap: 40})
        assert provider.billed[0].output_tokens == answer.usage.completion_tokens == 120
        assert [choice.finish_reason for choice in answer.choices] == ["length"] * 3

    def test_every_detail_is_part_of_its_total(self, provider: LoopbackProvider, gpt: Any) -> None:
        """OpenAI counts the cache and the reasoning inside the totals."""
        provider.script(Reply(cached_tokens=300, cache_write_tokens=200, reasoning_tokens=400, input_audio_tokens=50))
        usage = gpt.chat.completions.create(**GPT).usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (1000, 1000)
        assert usage.prompt_tokens_details.cached_tokens == 300
        assert usage.prompt_tokens_details.cache_write_tokens == 200
        assert usage.prompt_tokens_details.audio_tokens == 50
        assert usage.completion_tokens_details.reasoning_tokens == 400

    def test_a_stream_tells_usage_only_when_asked(self, provider: LoopbackProvider, gpt: Any) -> None:
        """As with the real API, usage needs stream_options."""
        silent = list(gpt.chat.completions.create(**GPT, stream=True))
        told = list(gpt.chat.completions.create(**GPT, stream=True, stream_options={"include_usage": True}))
        assert all(chunk.usage is None for chunk in silent)
        assert told[-1].usage.completion_tokens == 1000
        assert told[-1].choices == []
        assert [(bill.stream, bill.completed, bill.chunks_sent) for bill in provider.billed] == [(True, True, 10)] * 2

    def test_the_helpers_work(self, provider: LoopbackProvider, gpt: Any) -> None:
        """`.stream()`, `.parse()` and raw responses."""
        provider.script(Reply(text="hello there", chunks=3))
        with gpt.chat.completions.stream(**GPT) as stream:
            assert stream.get_final_completion().choices[0].message.content == "hello there"
        parsed = gpt.chat.completions.parse(**GPT, response_format=City)
        assert parsed.choices[0].message.parsed == City(name="text", people=1)
        raw = gpt.chat.completions.with_raw_response.create(**GPT)
        assert raw.parse().usage.total_tokens == 2000
        with gpt.chat.completions.with_streaming_response.create(**GPT) as response:
            assert b"usage" in response.read()
        assert provider.count == 4

    def test_a_structured_answer_cut_off_is_billed_and_then_fails_to_parse(
        self, provider: LoopbackProvider, gpt: Any
    ) -> None:
        """The SDK raises after the money is spent."""
        with pytest.raises(openai.LengthFinishReasonError):
            gpt.chat.completions.parse(**GPT, response_format=City, max_tokens=10)
        assert provider.billed[0].output_tokens == 10

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_scripted_tool_call_is_made(self, provider: LoopbackProvider, gpt: Any, stream: bool) -> None:
        """Tool calls arrive whole, streamed or not; a tool's result ends the default reply's calling."""
        provider.reply = Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})])
        if stream:
            with gpt.chat.completions.stream(**GPT) as events:
                choice = events.get_final_completion().choices[0]
        else:
            choice = gpt.chat.completions.create(**GPT).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls[0].function.arguments == '{"city": "Paris"}'
        turns = [*HI, {"role": "tool", "tool_call_id": "1", "content": "sunny"}]
        assert gpt.chat.completions.create(model="gpt-4o", messages=turns).choices[0].message.content == "done"

    def test_rules_of_the_real_api_are_enforced(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Whoever rewrites requests must not write one that the provider would refuse."""
        wrong: list[dict[str, Any]] = [
            {**GPT, "stream_options": {"include_usage": True}},
            {**GPT, "max_tokens": 5, "max_completion_tokens": 5},
            {**GPT, "max_tokens": 0},
            {**GPT, "model": "gpt-5-mini", "max_tokens": 5},
        ]
        for arguments in wrong:
            with pytest.raises(openai.BadRequestError):
                gpt.chat.completions.create(**arguments)
        assert provider.billed == []
        assert [request.status for request in provider.requests] == [400] * 4

    def test_stored_completions_are_free_to_read(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Reading one back shows its usage and bills nothing."""
        made = gpt.chat.completions.create(**GPT, store=True)
        assert gpt.chat.completions.retrieve(made.id).usage.total_tokens == 2000
        assert [item.id for item in gpt.chat.completions.list()] == [made.id]
        assert provider.count == 1

    def test_azure_deployments(self, provider: LoopbackProvider) -> None:
        """The path names the deployment, the reply the model, and the first chunk has no choices."""
        with openai.AzureOpenAI(azure_endpoint=provider.url, api_key="k", api_version="2024-10-21") as client:
            provider.script(Reply(model="gpt-4o-2024-11-20"))
            assert client.chat.completions.create(model="mine", messages=HI).model == "gpt-4o-2024-11-20"
            assert next(iter(client.chat.completions.create(model="mine", messages=HI, stream=True))).choices == []
            assert client.responses.create(model="mine", input="hi").usage.total_tokens == 2000
        paths = [bill.path for bill in provider.billed]
        assert paths == ["/openai/deployments/mine/chat/completions"] * 2 + ["/openai/responses"]

    def test_async_clients(self, provider: LoopbackProvider) -> None:
        """Async calls and streams."""

        async def both() -> list[Any]:
            async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
                await client.chat.completions.create(**GPT)
                return [chunk async for chunk in await client.chat.completions.create(**GPT, stream=True)]

        assert len(asyncio.run(both())) == 12
        assert [bill.completed for bill in provider.billed] == [True, True]

    def test_legacy_completions(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Sixteen tokens unless the caller says otherwise, streamed or not."""
        assert gpt.completions.create(model="davinci-002", prompt="hi").usage.completion_tokens == 16
        chunks = list(gpt.completions.create(model="davinci-002", prompt="hi", max_tokens=30, stream=True))
        assert chunks[-1].choices[0].finish_reason == "length"
        assert [bill.output_tokens for bill in provider.billed] == [16, 30]


class TestOpenAIResponses:
    def test_unary_stream_and_parse(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Each is billed once, and each tells the same usage."""
        provider.reply = Reply(reasoning_tokens=100, cached_tokens=10, web_searches=2)
        unary = gpt.responses.create(model="gpt-5", input="hi", service_tier="flex")
        assert unary.tool_usage.web_search.num_requests == 2
        assert unary.service_tier == provider.billed[0].service_tier == "flex"
        with gpt.responses.stream(model="gpt-5", input="hi") as stream:
            streamed = stream.get_final_response()
        parsed = gpt.responses.parse(model="gpt-5", input="hi", text_format=City)
        assert parsed.output_parsed == City(name="text", people=1)
        assert unary.usage == streamed.usage == parsed.usage
        assert streamed.output_text == unary.output_text
        assert [bill.web_searches for bill in provider.billed] == [2, 2, 2]

    def test_the_cap_makes_it_incomplete(self, provider: LoopbackProvider, gpt: Any) -> None:
        """A capped answer ends with response.incomplete; a cap under sixteen is refused."""
        events = list(gpt.responses.create(model="gpt-4o", input="hi", max_output_tokens=20, stream=True))
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.usage.output_tokens == provider.billed[0].output_tokens == 20
        assert [event.sequence_number for event in events] == list(range(len(events)))
        with pytest.raises(openai.BadRequestError):
            gpt.responses.create(model="gpt-4o", input="hi", max_output_tokens=15)

    def test_background_answers_tell_their_usage_late(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Queued without usage, completed with it, and billed once however often it is read."""
        queued = gpt.responses.create(model="gpt-4o", input="hi", background=True)
        assert (queued.status, queued.usage) == ("queued", None)
        for _ in range(2):
            assert gpt.responses.retrieve(queued.id).usage.output_tokens == 1000
        assert len(list(gpt.responses.retrieve(queued.id, stream=True))) > 3
        gpt.responses.delete(queued.id)
        assert provider.count == 1

    def test_a_cancelled_background_answer_bills_its_input(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Cancelling stops the output."""
        queued = gpt.responses.create(model="gpt-4o", input="hi", background=True)
        assert gpt.responses.cancel(queued.id).usage.output_tokens == 0
        assert (provider.billed[0].output_tokens, provider.billed[0].completed) == (0, False)

    def test_function_calls(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Streamed function calls assemble."""
        provider.script(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"}), ToolCall("clock")]))
        with gpt.responses.stream(model="gpt-4o", input="hi") as stream:
            calls = stream.get_final_response().output
        assert [(call.name, call.arguments) for call in calls] == [("weather", '{"city": "Paris"}'), ("clock", "{}")]

    def test_compacting_costs_and_counting_does_not(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Two neighbours of one endpoint, billed differently."""
        assert gpt.responses.compact(model="gpt-4o", input="hi").usage.output_tokens == 1000
        assert gpt.responses.input_tokens.count(model="gpt-4o", input="hi").input_tokens == 1000
        assert [bill.kind for bill in provider.billed] == ["compact"]


class TestOpenAIOthers:
    def test_embeddings_in_both_encodings(self, provider: LoopbackProvider, gpt: Any) -> None:
        """The SDK asks for base64 unless told otherwise."""
        packed = gpt.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=3)
        plain = gpt.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
        assert [item.embedding for item in packed.data] == [[0.125] * 3] * 2
        assert plain.data[0].embedding == [0.125] * 8
        assert [(bill.input_tokens, bill.output_tokens) for bill in provider.billed] == [(1000, 0)] * 2

    def test_images_by_token_and_by_image(self, provider: LoopbackProvider, gpt: Any) -> None:
        """gpt-image tells tokens, dall-e tells nothing."""
        drawn = gpt.images.generate(model="gpt-image-1", prompt="a cat", n=2)
        assert drawn.usage.output_tokens == provider.billed[0].output_tokens == 2000
        assert base64.b64decode(drawn.data[1].b64_json).startswith(b"\x89PNG")
        assert gpt.images.generate(model="dall-e-3", prompt="a cat").usage is None
        edited = gpt.images.edit(model="gpt-image-1", image=("cat.png", b"png"), prompt="a hat")
        assert edited.usage.total_tokens == 2000
        events = list(gpt.images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=2))
        assert [event.type.split(".")[1] for event in events] == ["partial_image", "partial_image", "completed"]
        assert [bill.units["images"] for bill in provider.billed] == [2, 1, 1, 1]

    def test_speech_is_bytes_billed_by_character(self, provider: LoopbackProvider, gpt: Any) -> None:
        """There is no usage to read."""
        assert len(gpt.audio.speech.create(model="tts-1", voice="alloy", input="hello").content) > 100
        assert provider.billed[0].units["characters"] == 5
        assert provider.billed[0].output_tokens == 0

    @pytest.mark.filterwarnings("ignore:deprecated")
    def test_transcriptions(self, provider: LoopbackProvider, gpt: Any) -> None:
        """By token, by second, as plain text, and streamed."""
        sound = ("a.mp3", b"sound")
        provider.reply = Reply(text="hello", seconds=7)
        create = gpt.audio.transcriptions.create
        assert create(model="gpt-4o-transcribe", file=sound).usage.input_tokens == 1000
        assert create(model="whisper-1", file=sound).usage.seconds == 7
        assert create(model="whisper-1", file=sound, response_format="text") == "hello\n"
        events = list(create(model="gpt-4o-transcribe", file=sound, stream=True))
        assert events[-1].usage.output_tokens == 1000
        assert gpt.audio.translations.create(model="whisper-1", file=sound).text == "hello"
        assert [bill.units["seconds"] for bill in provider.billed] == [7] * 5

    def test_moderations_and_models_are_free(self, provider: LoopbackProvider, gpt: Any, claude: Any) -> None:
        """Free calls take nothing from the script."""
        provider.script(Reply(text="kept"))
        gpt.moderations.create(input="hi")
        assert gpt.models.list().data[0].id == claude.models.list().data[0].id == "loopback"
        assert (provider.count, provider.scripted) == (0, 1)


class TestAnthropic:
    def test_the_input_excludes_the_cache(self, provider: LoopbackProvider, claude: Any) -> None:
        """Anthropic's three input counts add up; output includes the thinking."""
        provider.reply = Reply(
            cached_tokens=300, cache_write_tokens=100, cache_write_1h_tokens=50, reasoning_tokens=90, web_searches=1
        )
        usage = claude.messages.create(**CLAUDE).usage
        assert (usage.input_tokens, usage.cache_read_input_tokens) == (550, 300)
        assert usage.cache_creation_input_tokens == 150
        assert usage.cache_creation.ephemeral_1h_input_tokens == 50
        assert usage.output_tokens == provider.billed[0].output_tokens == 500
        assert usage.output_tokens_details.thinking_tokens == 90
        assert usage.server_tool_use.web_search_requests == 1

    def test_a_stream_tells_cumulative_usage(self, provider: LoopbackProvider, claude: Any) -> None:
        """message_start has the input and a placeholder; message_delta the final counts."""
        events = list(claude.messages.create(**CLAUDE, stream=True))
        assert events[0].message.usage.input_tokens == 1000
        assert events[0].message.usage.output_tokens == 1
        assert next(event for event in events if event.type == "message_delta").usage.output_tokens == 500
        assert events[-1].type == "message_stop"
        assert (provider.billed[0].completed, provider.billed[0].chunks_sent) == (True, 10)

    def test_the_helpers_work(self, provider: LoopbackProvider, claude: Any) -> None:
        """`.stream()`, `.parse()`, tools, thinking, the beta path, and raw responses."""
        provider.script(Reply(text="thought", reasoning_tokens=5, tool_calls=[ToolCall("f", {"x": 1})]))
        with claude.messages.stream(**CLAUDE) as stream:
            content = stream.get_final_message().content
        assert [block.type for block in content] == ["thinking", "text", "tool_use"]
        assert content[2].input == {"x": 1}
        provider.script(Reply(output_tokens=100))
        assert claude.messages.parse(**CLAUDE, output_format=City).parsed_output == City(name="text", people=1)
        assert claude.beta.messages.create(**CLAUDE).stop_reason == "max_tokens"
        assert claude.messages.with_raw_response.create(**CLAUDE).parse().usage.output_tokens == 500

    def test_compaction_comes_on_top(self, provider: LoopbackProvider, claude: Any) -> None:
        """Its tokens are in the iterations, not in the totals."""
        provider.script(Reply(compaction=(700, 80), output_tokens=10))
        usage = claude.beta.messages.create(**CLAUDE).usage
        assert (usage.input_tokens, usage.output_tokens) == (1000, 10)
        assert [entry.type for entry in usage.iterations] == ["compaction", "message"]
        assert (provider.input_tokens, provider.output_tokens) == (1700, 90)

    def test_counting_is_free_and_batches_are_billed_a_row_each(self, provider: LoopbackProvider, claude: Any) -> None:
        """Batch results carry usage on the batch tier."""
        assert claude.messages.count_tokens(model="claude-sonnet-5", messages=HI).input_tokens == 1000
        assert provider.count == 0
        rows: Any = [{"custom_id": name, "params": CLAUDE} for name in ("a", "b")]
        batch = claude.messages.batches.create(requests=rows)
        assert claude.messages.batches.retrieve(batch.id).processing_status == "ended"
        results = list(claude.messages.batches.results(batch.id))
        assert [row.result.message.usage.service_tier for row in results] == ["batch", "batch"]
        assert [(bill.kind, bill.output_tokens) for bill in provider.billed] == [("batch", 500)] * 2

    def test_an_async_stream(self, provider: LoopbackProvider) -> None:
        """The async helper."""

        async def final() -> Any:
            async with (
                anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="k") as client,
                client.messages.stream(**CLAUDE) as stream,
            ):
                return await stream.get_final_message()

        assert asyncio.run(final()).usage.output_tokens == 500

    def test_a_thinking_budget_above_the_cap_is_refused(self, provider: LoopbackProvider, claude: Any) -> None:
        """As with the real API."""
        with pytest.raises(anthropic.BadRequestError):
            claude.messages.create(**CLAUDE, thinking={"type": "enabled", "budget_tokens": 1024})

    def test_vertex(self, provider: LoopbackProvider) -> None:
        """The model is in the path."""
        client = anthropic.AnthropicVertex(
            base_url=f"{provider.url}/v1", region="global", project_id="p", access_token="k", max_retries=0
        )
        model = {**CLAUDE, "model": "claude-sonnet-5@20260901"}
        assert client.messages.create(**model).usage.output_tokens == 500
        assert len(list(client.messages.create(**model, stream=True))) > 10
        assert [(bill.model, bill.stream) for bill in provider.billed] == [
            (model["model"], False),
            (model["model"], True),
        ]

    def test_bedrock(self, provider: LoopbackProvider) -> None:
        """Unary only: Bedrock streams in a binary format that this server does not speak."""
        client = anthropic.AnthropicBedrock(base_url=provider.url, api_key="k", aws_region="us-east-1")
        assert client.messages.create(**CLAUDE).usage.output_tokens == 500
        assert provider.billed[0].path == "/model/claude-sonnet-5/invoke"


class TestGoogle:
    def test_thoughts_and_tool_use_are_apart(self, provider: LoopbackProvider, gemini: Any) -> None:
        """Gemini's candidates exclude the thoughts, its prompt the tool use."""
        provider.script(Reply(cached_tokens=200, reasoning_tokens=300, tool_use_tokens=50, input_audio_tokens=10))
        usage = gemini.models.generate_content(model="gemini-2.5-flash", contents="hi").usage_metadata
        assert (usage.prompt_token_count, usage.tool_use_prompt_token_count) == (950, 50)
        assert (usage.candidates_token_count, usage.thoughts_token_count) == (700, 300)
        assert (usage.cached_content_token_count, usage.total_token_count) == (200, 2000)
        assert usage.prompt_tokens_details[1].token_count == 10
        assert (provider.input_tokens, provider.output_tokens) == (1000, 1000)

    def test_a_stream_tells_the_running_total(self, provider: LoopbackProvider, gemini: Any) -> None:
        """Every chunk's usage replaces the one before."""
        config = {"max_output_tokens": 100}
        chunks = list(gemini.models.generate_content_stream(model="gemini-2.5-flash", contents="hi", config=config))
        assert [chunk.usage_metadata.candidates_token_count for chunk in chunks] == list(range(10, 101, 10))
        assert chunks[-1].candidates[0].finish_reason == "MAX_TOKENS"

    def test_automatic_function_calling_is_billed_per_hop(self, provider: LoopbackProvider, gemini: Any) -> None:
        """One public call, two bills."""

        def weather(city: str) -> str:
            """The weather there."""
            return f"sunny in {city}"

        provider.reply = Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})])
        answer = gemini.models.generate_content(
            model="gemini-2.5-flash", contents="hi", config={"tools": [weather], "candidate_count": 1}
        )
        assert answer.text == "done"
        assert provider.count == 2
        stream = gemini.models.generate_content_stream(
            model="gemini-2.5-flash", contents="hi", config={"tools": [weather]}
        )
        assert "".join(chunk.text or "" for chunk in stream) == "done"
        assert provider.count == 4

    def test_structured_output_embeddings_and_counting(self, provider: LoopbackProvider, gemini: Any) -> None:
        """The other methods that cost, and the one that does not."""
        config = {"response_mime_type": "application/json", "response_schema": City}
        parsed = gemini.models.generate_content(model="gemini-2.5-flash", contents="hi", config=config).parsed
        assert parsed == City(name="text", people=1)
        vectors = gemini.models.embed_content(model="gemini-embedding-001", contents=["a", "b"]).embeddings
        assert len(vectors) == 2
        assert gemini.models.count_tokens(model="gemini-2.5-flash", contents="hi").total_tokens == 1000
        assert [bill.kind for bill in provider.billed] == ["generate", "embeddings"]

    def test_async(self, provider: LoopbackProvider, gemini: Any) -> None:
        """Unary and streamed."""

        async def read() -> list[Any]:
            models = gemini.aio.models
            await models.generate_content(model="gemini-2.5-flash", contents="hi")
            stream: AsyncIterator[Any] = await models.generate_content_stream(model="gemini-2.5-flash", contents="hi")
            chunks = [chunk async for chunk in stream]
            await gemini.aio.aclose()
            return chunks

        assert len(asyncio.run(read())) == 10
        assert provider.count == 2

    @pytest.mark.filterwarnings("ignore:The generate_images method")
    def test_vertex(self, provider: LoopbackProvider) -> None:
        """Longer paths, and `:predict` for embeddings and images."""
        credentials = pytest.importorskip("google.auth.credentials").AnonymousCredentials()
        credentials.token = "k"
        options = {"base_url": provider.google_url}
        client = genai.Client(
            vertexai=True, project="p", location="global", credentials=credentials, http_options=options
        )
        client.models.generate_content(model="gemini-2.5-flash", contents="hi")
        vectors = client.models.embed_content(model="text-embedding-005", contents=["a", "b"]).embeddings
        assert [vector.statistics.token_count for vector in vectors] == [500, 500]
        images = client.models.generate_images(model="imagen-4.0", prompt="a cat", config={"number_of_images": 2})
        assert len(images.generated_images) == provider.billed[2].units["images"] == 2
        assert [bill.kind for bill in provider.billed] == ["generate", "embeddings", "images"]
        assert provider.billed[0].path.endswith("/publishers/google/models/gemini-2.5-flash:generateContent")

    def test_the_older_sdk_over_rest(self, provider: LoopbackProvider) -> None:
        """google-generativeai reads its stream as one JSON array."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old = pytest.importorskip("google.generativeai")
        old.configure(api_key="k", transport="rest", client_options={"api_endpoint": provider.url})
        model = old.GenerativeModel("gemini-1.5-flash")
        assert model.generate_content("hi").usage_metadata.total_token_count == 2000
        assert len(list(model.generate_content("hi", stream=True))) == 10
        assert old.embed_content(model="models/embedding-001", content="hi")["embedding"] == [0.125] * 8
        assert [bill.kind for bill in provider.billed] == ["generate", "generate", "embeddings"]


class TestMisbehaviour:
    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, "BadRequestError"),
            (401, "AuthenticationError"),
            (429, "RateLimitError"),
            (500, "InternalServerError"),
        ],
    )
    def test_errors_keep_their_type_and_are_not_billed(
        self, provider: LoopbackProvider, gpt: Any, claude: Any, gemini: Any, status: int, error: str
    ) -> None:
        """Each provider spells its errors so that its SDK knows them."""
        provider.reply = Reply(status=status, error="scripted")
        with pytest.raises(getattr(openai, error), match="scripted"):
            gpt.chat.completions.create(**GPT, stream=True)
        with pytest.raises(getattr(anthropic, error), match="scripted"):
            claude.messages.create(**CLAUDE)
        with pytest.raises(genai.errors.APIError, match="scripted"):
            gemini.models.generate_content(model="gemini-2.5-flash", contents="hi")
        assert provider.billed == []
        assert [request.status for request in provider.requests] == [status] * 3

    def test_a_retry_takes_the_next_scripted_reply(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Two requests, one bill."""
        provider.script(Reply(status=429, retry_after=0.01), Reply(text="second"))
        answer = gpt.with_options(max_retries=1).chat.completions.create(**GPT)
        assert answer.choices[0].message.content == "second"
        assert (len(provider.requests), provider.count) == (2, 1)

    def test_an_error_can_be_billed(self, provider: LoopbackProvider, gpt: Any) -> None:
        """And an answer can be free."""
        provider.script(Reply(status=500, billed=True), Reply(billed=False))
        with pytest.raises(openai.InternalServerError):
            gpt.chat.completions.create(**GPT)
        gpt.chat.completions.create(**GPT)
        assert [(bill.output_tokens, bill.completed) for bill in provider.billed] == [(1000, False)]

    def test_a_stream_left_early_bills_what_was_sent(self, provider: LoopbackProvider, gpt: Any, claude: Any) -> None:
        """The provider stops generating when the client is gone."""
        provider.reply = Reply(chunk_delay=30)
        with gpt.chat.completions.create(**GPT, stream=True) as stream:
            for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
        with claude.messages.stream(**CLAUDE) as stream:
            next(stream.text_stream)
        assert provider.wait_idle()
        assert [bill.disconnected for bill in provider.billed] == [True, True]
        assert [(bill.chunks_sent, bill.output_tokens) for bill in provider.billed] == [(1, 100), (1, 50)]

    def test_a_connection_that_breaks(self, provider: LoopbackProvider, gpt: Any) -> None:
        """In mid-stream only what was sent is billed; in mid-answer all of it."""
        provider.reply = Reply(break_after=3)
        with pytest.raises(openai.APIConnectionError):
            list(gpt.chat.completions.create(**GPT, stream=True))
        with pytest.raises(openai.APIConnectionError):
            gpt.chat.completions.create(**GPT)
        facts = [(bill.output_tokens, bill.chunks_sent, bill.completed, bill.disconnected) for bill in provider.billed]
        assert facts == [(300, 3, False, False), (1000, 0, False, False)]

    def test_an_error_in_mid_stream(self, provider: LoopbackProvider, gpt: Any, claude: Any) -> None:
        """Sent as an event, after which the stream ends."""
        provider.reply = Reply(error_after=2)
        with pytest.raises(openai.APIError, match="error"):
            list(gpt.chat.completions.create(**GPT, stream=True))
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            list(claude.messages.create(**CLAUDE, stream=True))
        assert [(bill.output_tokens, bill.completed) for bill in provider.billed] == [(200, False), (100, False)]

    def test_a_hanging_answer_is_billed_once_the_client_gives_up(self, provider: LoopbackProvider, gpt: Any) -> None:
        """A timeout after the request was sent costs what the answer would have cost."""
        provider.script(Reply(hang=True))
        with pytest.raises(openai.APITimeoutError):
            gpt.with_options(timeout=0.4).chat.completions.create(**GPT)
        assert provider.wait_idle()
        (bill,) = provider.billed
        assert (bill.output_tokens, bill.completed, bill.disconnected) == (1000, False, True)

    @pytest.mark.parametrize(
        ("garbage", "seen"),
        [
            ("no usage", None),
            ("null usage", None),
            ("negative usage", -1001),
            ("string usage", "1000 tokens"),
        ],
    )
    def test_garbage_usage(self, provider: LoopbackProvider, gpt: Any, garbage: Any, seen: Any) -> None:
        """The bill stays right when what is told about it is wrong."""
        provider.script(Reply(garbage=garbage))
        usage = gpt.chat.completions.create(**GPT).usage
        assert (usage and usage.prompt_tokens) == seen
        assert provider.billed[0].input_tokens == 1000

    def test_garbage_json(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Unary and streamed, the SDK fails to parse what was billed."""
        provider.reply = Reply(garbage="json")
        with pytest.raises(Exception, match=r"."):
            gpt.chat.completions.create(**GPT)
        with pytest.raises(Exception, match=r"."):
            list(gpt.chat.completions.create(**GPT, stream=True))
        assert provider.count == 2

    def test_raw_usage_overrides_what_is_told(self, provider: LoopbackProvider, gpt: Any) -> None:
        """For fields that this server does not know."""
        provider.script(Reply(usage={"prompt_tokens": 7, "cost": 0.5}))
        usage = gpt.chat.completions.create(**GPT).usage
        assert (usage.prompt_tokens, usage.cost) == (7, 0.5)


class TestServer:
    def test_a_hundred_calls_at_once(self, provider: LoopbackProvider, gpt: Any) -> None:
        """All are in flight together, and each is billed once."""
        gate = threading.Event()
        provider.reply = Reply(gate=gate, text="hi")
        with ThreadPoolExecutor(100) as pool:
            answers = [pool.submit(gpt.embeddings.create, model="e", input="a") for _ in range(100)]
            assert provider.wait_for_requests(100, timeout=10)
            gate.set()
            assert all(answer.result().usage.total_tokens == 1000 for answer in answers)
        assert (provider.count, provider.peak_in_flight) == (100, 100)

    def test_measured_input_follows_the_request(self, provider: LoopbackProvider, gpt: Any) -> None:
        """A token per four bytes, so that a bound on the input holds."""
        provider.reply = Reply(input_tokens="measured")
        turns = [{"role": "user", "content": "x" * 396}]
        assert gpt.chat.completions.create(model="gpt-4o", messages=turns).usage.prompt_tokens == 100

    def test_replies_can_depend_on_the_request(self, provider: LoopbackProvider, gpt: Any) -> None:
        """A function chooses one by what arrived."""
        provider.reply = lambda request: Reply(text=f"I am {request.body['model']}")
        assert gpt.chat.completions.create(**GPT).choices[0].message.content == "I am gpt-4o"

    def test_an_impossible_reply_is_a_bug_of_the_test(self) -> None:
        """It shows in `errors`, and as a server error."""
        with LoopbackProvider(input_tokens=10) as provider:
            provider.reply = Reply(cached_tokens=20)
            client = openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)
            with pytest.raises(openai.InternalServerError):
                client.chat.completions.create(**GPT)
            assert "exceed" in str(provider.errors[0])

    def test_an_unknown_path_is_an_error(self, provider: LoopbackProvider, gpt: Any) -> None:
        """Nothing is billed for it."""
        with pytest.raises(openai.NotFoundError):
            gpt.fine_tuning.jobs.retrieve("job")
        assert provider.count == 0

    def test_closing_leaves_nothing_behind(self) -> None:
        """No thread, no port, though a client hangs and another keeps its connection."""
        before = set(threading.enumerate())
        with ThreadPoolExecutor(1) as pool:
            with LoopbackProvider() as provider:
                provider.script(Reply(text="hi"), Reply(hang=True))
                client = openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)
                client.chat.completions.create(**GPT)
                hanging = pool.submit(client.chat.completions.create, **GPT)
                assert provider.wait_for_requests(2)
                port = provider.port
            assert isinstance(hanging.exception(timeout=5), openai.APIConnectionError)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        left = set(threading.enumerate()) - before
        assert not [thread for thread in left if thread.name.startswith("loopback")]
        assert provider.count == 2
        with pytest.raises(RuntimeError, match="not running"):
            provider.url  # noqa: B018

    def test_latency_and_pace(self, provider: LoopbackProvider, gpt: Any) -> None:
        """The answer waits; the chunks come one by one."""
        provider.reply = Reply(latency=0.05, chunk_delay=0.01, chunks=5)
        began = time.monotonic()
        list(gpt.chat.completions.create(**GPT, stream=True))
        assert time.monotonic() - began >= 0.09

    def test_the_environment_points_all_three_sdks_here(self, provider: LoopbackProvider) -> None:
        """A child process needs no argument."""
        code = """
import openai, anthropic
from google import genai
turns = [{"role": "user", "content": "hi"}]
openai.OpenAI().chat.completions.create(model="gpt-4o", messages=turns)
anthropic.Anthropic().messages.create(model="claude-sonnet-5", max_tokens=5, messages=turns)
client = genai.Client()
client.models.generate_content(model="gemini-2.5-flash", contents="hi")
"""
        child = subprocess.run(
            [sys.executable, "-c", code], env=provider.env(), capture_output=True, text=True, check=False
        )
        assert child.stderr == ""
        assert [bill.kind for bill in provider.billed] == ["chat", "messages", "generate"]

    def test_it_imports_nothing_else_of_costguard(self) -> None:
        """It stands outside what it tests."""
        code = (
            "import sys, costguard; before = set(sys.modules); import costguard.testing.loopback;"
            "print(*(name for name in set(sys.modules) - before if name.startswith('costguard')))"
        )
        names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert {".".join(name.split(".")[:3]) for name in names} <= {"costguard.testing", "costguard.testing.loopback"}
        sources = {path.name: path.read_text() for path in Path(loopback.__file__).parent.rglob("*.py")}
        assert [name for name, text in sources.items() if "from .." in text or "import costguard" in text] == []
