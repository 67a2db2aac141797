"""The semantic cache under the real SDKs: measured in the shadow first, and live only for what means the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai

import costguard
from costguard import Cache, ConfigError, Semantic
from costguard.testing import FakeClock
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder

WORDS = ("moon", "sun", "far", "distance", "parcel")
FAR = "How far is the moon?"
SAME = "The moon: how far is it?"
OTHER = "Where is my parcel?"

Ask = Callable[[str], str]


class Counting:
    """An embedding of which of a few words a text has, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked += texts
        return [[0.01, *(float(word in text.lower()) for word in WORDS)] for text in texts]


@pytest.fixture
def embed() -> Counting:
    return Counting()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def switch(recorder: Recorder, embed: Counting, clock: FakeClock) -> Iterator[Callable[..., Cache]]:
    """Switches the semantic cache on for the feature ``faq``."""
    block = costguard.budgeted("faq")

    def on(mode: Any = "live", **arguments: Any) -> Cache:
        cache = Cache(features=["faq"], semantic=Semantic(embed, threshold=0.9, mode=mode, **arguments))
        costguard.configure(exporters=[recorder], cache=cache, clock=clock)
        costguard.instrument()
        return cache

    with block:
        yield on
    costguard.uninstrument()
    costguard.configure()


@pytest.mark.parametrize(("model", "decision"), [("words-1", "cache_hit"), ("words-2", "allowed"), ("", "allowed")])
def test_processes_that_share_a_store_find_each_others_questions(
    model: str,
    decision: str,
    provider: LoopbackProvider,
    recorder: Recorder,
    embed: Counting,
    tmp_path: Path,
) -> None:
    """If they name the same embedding model, for vectors of two models cannot be compared; what is no vector is
    passed over."""
    store = f"sqlite://{tmp_path}/answers.db"

    def begin(name: str) -> None:
        """As another process would: with nothing of its own but the store."""
        semantic = Semantic(embed, threshold=1.0, mode="live", model=name)
        costguard.configure(exporters=[recorder], cache=Cache(store, features=["faq"], semantic=semantic))

    ask = _openai(provider)
    costguard.instrument()
    try:
        with costguard.budgeted("faq"):
            begin("words-1")
            ask(FAR)
            begin("words-1")
            ask(OTHER)
            with sqlite3.connect(tmp_path / "answers.db") as file:
                scope = file.execute("SELECT scope FROM vectors").fetchone()[0]
                file.execute("INSERT INTO vectors (scope, key, vector, expires) VALUES (?, 'x', '7', 9e9)", (scope,))
            file.close()
            begin(model)
            ask(SAME)
    finally:
        costguard.uninstrument()
        costguard.configure()
    assert ["allowed", "allowed", decision] == [event.decision for event in recorder.calls]


def _openai(provider: LoopbackProvider, **parameters: Any) -> Ask:
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    given: dict[str, Any] = {"model": "gpt-4o", **parameters}

    def ask(question: str) -> str:
        messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": question}]
        if given.get("stream"):
            parts = client.chat.completions.create(messages=messages, **given)
            return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        return client.chat.completions.create(messages=messages, **given).choices[0].message.content or ""

    return ask


def _responses(provider: LoopbackProvider) -> Ask:
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    return lambda question: client.responses.create(model="gpt-4o", input=question, store=False).output_text


def _anthropic(provider: LoopbackProvider) -> Ask:
    client = anthropic.Anthropic(api_key="x", base_url=provider.anthropic_url)

    def ask(question: str) -> str:
        reply = client.messages.create(
            model="claude-sonnet-5", max_tokens=99, messages=[{"role": "user", "content": question}]
        )
        return "".join(part.text for part in reply.content if part.type == "text")

    return ask


def _google(provider: LoopbackProvider) -> Ask:
    client = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
    return lambda question: client.models.generate_content(model="gemini-2.5-flash", contents=question).text or ""


SDKS = [_openai, lambda provider: _openai(provider, stream=True), _responses, _anthropic, _google]


@pytest.mark.parametrize("sdk", SDKS)
def test_a_question_that_means_the_same_gets_the_answer(
    sdk: Callable[[LoopbackProvider], Ask],
    switch: Callable[..., Cache],
    provider: LoopbackProvider,
    recorder: Recorder,
) -> None:
    """Live: nothing is sent and nothing paid; a question that means something else is sent."""
    cache, ask = switch(), sdk(provider)
    provider.script(Reply(text="384,400 km", output_tokens=5), Reply(text="At the depot", output_tokens=5))
    assert ["384,400 km"] * 3 == [ask(FAR), ask(SAME), ask(FAR)]
    assert "At the depot" == ask(OTHER)
    assert 2 == provider.count
    assert (2, 1) == (cache.stats.hits, cache.stats.similar)
    paid, similar, exact, other = recorder.calls
    assert 0 == similar.cost.nano < similar.saved == exact.saved == paid.cost.nano
    assert ("cache_hit", "allowed") == (similar.decision, other.decision)


@pytest.mark.parametrize("sdk", SDKS)
def test_the_shadow_sends_every_call_and_measures(
    sdk: Callable[[LoopbackProvider], Ask], switch: Callable[..., Cache], provider: LoopbackProvider, recorder: Recorder
) -> None:
    """It says what a threshold would have hit, how similar the questions were and how different the answers."""
    cache, ask = switch("shadow"), sdk(provider)
    texts = ("It is 384,400 km", "It is 384,400 km", "It is 99 km")
    provider.script(*(Reply(text=text, output_tokens=5) for text in texts))
    assert list(texts) == [ask(FAR), ask(SAME), ask("The moon? Is it far?")]
    assert 3 == provider.count
    assert ["allowed"] * 3 == [event.decision for event in recorder.calls]
    assert cache.semantic is not None
    first, second = cache.semantic.comparisons
    assert "faq" == first.feature
    assert (1.0, True, 0.0) == (first.similarity, first.same, first.distance)
    # "it is 384 400 km" has 5 words and 4 pairs, "it is 99 km" 4 and 3; 3 words and 1 pair are in both.
    assert (False, pytest.approx(1 - 2 * 4 / (9 + 7))) == (second.same, second.distance)
    shadow = cache.semantic.report()
    assert (3, 2, 1) == (shadow.looked, shadow.hits, shadow.same)
    assert 0.5 == pytest.approx(shadow.worst) == pytest.approx(2 * shadow.distance)


def test_other_thresholds_can_be_tried_on_what_was_measured(
    switch: Callable[..., Cache], provider: LoopbackProvider
) -> None:
    """One run in the shadow is enough to choose: questions far apart count as well."""
    cache, ask = switch("shadow"), _openai(provider)
    for question in (FAR, "The moon", "The sun and the moon, how far?"):
        ask(question)
    assert cache.semantic is not None
    assert [0, 2] == [cache.semantic.report(line).hits for line in (0.9, 0.5)]


@pytest.mark.parametrize(
    ("change", "tags"),
    [
        ({"model": "gpt-4o-mini"}, {}),
        ({"max_tokens": 9}, {}),
        ({"seed": 1}, {}),
        ({"stream": True}, {}),
        ({}, {"tenant": "b"}),
        ({}, {"environment": "staging"}),
    ],
)
def test_all_but_the_words_has_to_be_equal(
    change: dict[str, Any], tags: dict[str, str], switch: Callable[..., Cache], provider: LoopbackProvider
) -> None:
    """Another model, parameter or tenant gets an answer of its own."""
    switch()
    with costguard.budgeted(tenant="a"):
        _openai(provider)(FAR)
    with costguard.budgeted(**{"tenant": "a", **tags}):
        _openai(provider, **change)(SAME)
    assert 2 == provider.count


def test_what_stands_before_the_question_has_to_be_equal(
    switch: Callable[..., Cache], provider: LoopbackProvider, embed: Counting
) -> None:
    """System prompts, turns before, pictures: all told apart; a last message with more than text is not looked up."""
    switch()
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for messages in (
        [{"role": "user", "content": FAR}],
        [{"role": "system", "content": "In miles."}, {"role": "user", "content": SAME}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": SAME}],
        [{"role": "user", "content": [{"type": "text", "text": SAME}, picture]}],
    ):
        client.chat.completions.create(model="gpt-4o", messages=messages)  # type: ignore[arg-type]
    assert 4 == provider.count
    assert [FAR, SAME, SAME] == embed.asked


def test_coroutines_are_answered_too_and_the_loop_goes_on(
    switch: Callable[..., Cache], provider: LoopbackProvider
) -> None:
    """The model runs in another thread than the event loop's."""
    cache = switch()

    async def ask(question: str) -> Any:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
            return await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": question}]
            )

    first, second = asyncio.run(ask(FAR)), asyncio.run(ask(SAME))
    assert first == second
    assert (1, 1) == (provider.count, cache.stats.similar)


def test_an_embedding_model_of_an_sdk_is_metered_itself(recorder: Recorder, provider: LoopbackProvider) -> None:
    """Its calls cost money like any other, on the same feature."""
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)

    def embed(texts: Sequence[str]) -> list[list[float]]:
        made = client.embeddings.create(model="text-embedding-3-small", input=list(texts))
        return [one.embedding for one in made.data]

    costguard.configure(exporters=[recorder], cache=Cache(features=["faq"], semantic=Semantic(embed, mode="live")))
    costguard.instrument()
    try:
        with costguard.budgeted("faq"):
            _openai(provider)(FAR)
    finally:
        costguard.uninstrument()
        costguard.configure()
    assert ["text-embedding-3-small", "gpt-4o"] == [event.call.model for event in recorder.calls]


def test_answers_expire_and_vectors_are_bounded(
    switch: Callable[..., Cache], provider: LoopbackProvider, clock: FakeClock
) -> None:
    """What has expired is not given; of more questions than `entries` the oldest is forgotten."""
    cache, ask = switch(entries=2), _openai(provider)
    ask(FAR)
    clock.advance(seconds=3601)
    ask(SAME)
    assert 2 == provider.count
    ask(OTHER)
    ask("The sun?")
    ask(FAR)
    assert (5, 0) == (provider.count, cache.stats.similar)


def test_nothing_is_embedded_where_the_cache_is_off(
    switch: Callable[..., Cache], provider: LoopbackProvider, embed: Counting
) -> None:
    """Neither for other features, nor in a block that says so, nor for what is found as it is."""
    switch()
    ask = _openai(provider)
    with costguard.budgeted("other"):
        ask(FAR)
    with costguard.budgeted(cache=False):
        ask(FAR)
    assert [] == embed.asked
    ask(FAR)
    ask(FAR)
    assert [FAR] == embed.asked


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0}, {"threshold": 1.1}, {"threshold": True}, {"mode": "on"}, {"entries": 0}]
)
def test_mistakes_are_told(wrong: dict[str, Any], embed: Counting) -> None:
    """With what would be allowed."""
    with pytest.raises(ConfigError):
        Semantic(embed, **wrong)


def test_what_is_no_function_or_no_semantic_cache_is_refused() -> None:
    """When it is set up, not at the first call."""
    with pytest.raises(ConfigError, match="cannot be called"):
        Semantic("all-minilm")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="semantic="):
        Cache(semantic=True)  # type: ignore[arg-type]
