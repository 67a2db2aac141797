"""The loop guard: the same request once too often is stopped before it is sent, and nothing else is."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai

import costguard
from costguard import LoopDetectedError, LoopGuard
from costguard.testing import FakeClock
from costguard.testing.loopback import LoopbackProvider

from ..conftest import Recorder

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Try again."}]}


@pytest.fixture
def clock(recorder: Recorder) -> Iterator[FakeClock]:
    clock = FakeClock()
    costguard.configure(exporters=[recorder], clock=clock, loop_guard=LoopGuard(3, "1m"))
    costguard.instrument()
    yield clock
    costguard.uninstrument()
    costguard.configure()


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        yield client


def test_the_same_request_is_stopped_before_it_is_sent(
    clock: FakeClock, client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """The error says what, how often and which knob; the event says that it was blocked; later it may be sent again."""
    for _ in range(3):
        client.chat.completions.create(**ASK)
    with pytest.raises(LoopDetectedError, match="sent 3 times in 60 s") as caught:
        client.chat.completions.create(**ASK)
    assert ("gpt-4o", 3, 60.0) == (caught.value.model, caught.value.times, caught.value.seconds)
    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))
    assert 3 == provider.count
    last = recorder.calls[-1]
    assert ("blocked", "refused", "LoopDetectedError", 0) == (last.decision, last.outcome, last.error, last.cost.nano)
    clock.advance(seconds=61)
    client.chat.completions.create(**ASK)
    assert 4 == provider.count


def test_distinct_requests_never_trip_it(clock: FakeClock, client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """Thirty prompts a minute, or one of many users, are no loop."""
    for number in range(30):
        client.chat.completions.create(**{**ASK, "messages": [{"role": "user", "content": f"Question {number}"}]})
    for user in "abcdef":
        with costguard.budgeted(user=user):
            client.chat.completions.create(**ASK)
    assert 36 == provider.count


def test_streams_coroutines_and_other_sdks_are_watched_too(clock: FakeClock, provider: LoopbackProvider) -> None:
    """The error comes out as it is, through an SDK that catches others."""

    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
            for _ in range(4):
                async for _ in await client.chat.completions.create(**ASK, stream=True):
                    pass

    with pytest.raises(LoopDetectedError):
        asyncio.run(ask())
    google = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
    with pytest.raises(LoopDetectedError):
        for _ in range(4):
            list(google.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
    google.close()
    assert 6 == provider.count


def test_what_the_cache_answers_is_no_loop(clock: FakeClock, client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """It is not sent."""
    with costguard.budgeted("faq", cache=True):
        for _ in range(9):
            client.chat.completions.create(**ASK)
    assert 1 == provider.count


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"repeats": True}, {"within": "soon"}, {"within": 0}])
def test_mistakes_are_told(wrong: dict[str, Any]) -> None:
    """With what would be allowed."""
    with pytest.raises(costguard.ConfigError):
        LoopGuard(**wrong)
