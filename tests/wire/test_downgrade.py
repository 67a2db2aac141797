"""Cheaper models under the real SDKs: visible on the event, never in the caller's arguments, never for what they lack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai

import costguard
from costguard import Downgrade, Ladder, Usage
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How far is the moon?"}]}
LADDERS = [
    Ladder("gpt-4o", "gpt-4o-mini"),
    ["claude-sonnet-5", "claude-haiku-4-5"],
    ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"],
]


@pytest.fixture(autouse=True)
def _guarded(recorder: Recorder) -> Iterator[None]:
    costguard.configure(exporters=[recorder], ladders=LADDERS)
    costguard.instrument()
    yield
    costguard.uninstrument()
    costguard.configure()


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    provider.reply = Reply(input_tokens=100, output_tokens=50)
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        yield client


def test_a_call_that_does_not_fit_goes_to_the_next_cheaper_model(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """The caller's arguments stay as they are; the event says what was asked for, sent and saved."""
    ask = {**ASK, "max_tokens": 1000}
    before = repr(ask)
    with costguard.budgeted("faq", limit="$0.005", on_exceeded="downgrade"):
        answer = client.chat.completions.create(**ask)
    assert before == repr(ask)
    assert answer.model.startswith("gpt-4o-mini")
    assert "gpt-4o-mini" == provider.billed[0].request_body["model"]
    event = recorder.only
    assert ("downgraded", "gpt-4o", "gpt-4o-mini") == (event.decision, event.asked, event.call.model)
    usage = Usage({"input": 100, "output": 50})
    dear, cheap = (costguard.explain(model, usage).cost.nano for model in ("gpt-4o", "gpt-4o-mini"))
    assert (cheap, dear - cheap) == (event.cost.nano, event.saved)
    assert event.saved == costguard.spend().saved * 10**9


def test_what_fits_is_left_alone_and_the_end_of_the_ladder_is_a_refusal(
    client: openai.OpenAI, provider: LoopbackProvider, recorder: Recorder
) -> None:
    """A budget with room changes nothing; one with room for no model refuses as ever."""
    with costguard.budgeted(limit="$1", on_exceeded="downgrade"):
        client.chat.completions.create(**ASK, max_tokens=1000)
    with costguard.budgeted(limit="$0.000001", on_exceeded="downgrade"), pytest.raises(costguard.BudgetExceededError):
        client.chat.completions.create(**ASK, max_tokens=1000)
    assert ["allowed", "blocked"] == [event.decision for event in recorder.calls]
    assert 1 == provider.count


def test_a_budget_is_spared_from_a_percentage_on(client: openai.OpenAI, recorder: Recorder) -> None:
    """Below it the model asked for is sent, from there on the next cheaper one."""
    with costguard.budgeted(limit="$0.05", downgrade_at=1):
        for _ in range(3):
            client.chat.completions.create(**ASK, max_tokens=100)
    assert ["gpt-4o", "gpt-4o-mini", "gpt-4o-mini"] == [event.call.model for event in recorder.calls]


def test_a_hook_can_forbid_it(client: openai.OpenAI, recorder: Recorder) -> None:
    """It is told of both models and the tags, and False is a veto."""
    told: list[Downgrade] = []

    def veto(downgrade: Downgrade) -> bool:
        told.append(downgrade)
        return False

    costguard.configure(exporters=[recorder], ladders=LADDERS, on_downgrade=veto)
    with costguard.budgeted("faq", limit="$1", downgrade_at=0):
        client.chat.completions.create(**ASK)
    assert "gpt-4o" == recorder.only.call.model
    assert ("gpt-4o", "gpt-4o-mini", "faq") == (told[0].asked, told[0].model, told[0].tags["feature"])


@pytest.mark.parametrize(
    ("ladder", "more"),
    [
        (("gpt-4o", "gpt-3.5-turbo"), {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}),
        (("gpt-4o", "gpt-3.5-turbo"), {"messages": [{"role": "user", "content": "x" * 20_000}]}),
        (("gpt-4o", "gpt-3.5-turbo"), {"max_tokens": 8_000}),
        (("gpt-4o", "gpt-3.5-turbo"), {"response_format": {
            "type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}}),
        (("gpt-4o", "gpt-5-nano"), {"temperature": 0.5}),
        (("gpt-4o", "gpt-5-nano"), {"max_tokens": 100}),
        (("gpt-4o", "claude-haiku-4-5"), {}),
        (("gpt-4o", "no-such-model"), {}),
        (("gpt-4o-mini", "gpt-4o"), {"model": "gpt-4o-mini"}),
    ],
    ids=["vision", "context", "output", "schema", "sampling", "old cap", "other provider", "unknown", "dearer"],
)  # fmt: skip
def test_a_model_that_lacks_something_is_no_stand_in(
    ladder: tuple[str, str], more: dict[str, Any], client: openai.OpenAI, recorder: Recorder
) -> None:
    """Neither one that cannot see, hold, say or shape enough, nor another provider's, nor a dearer one."""
    costguard.configure(exporters=[recorder], ladders=[ladder])
    ask = {**ASK, **more}
    with costguard.budgeted(limit="$10", downgrade_at=0):
        client.chat.completions.create(**ask)
    assert (ask["model"], "allowed") == (recorder.only.call.model, recorder.only.decision)


def test_a_reasoning_model_stands_in_where_it_takes_the_request(client: openai.OpenAI, recorder: Recorder) -> None:
    """One that has no field in it which it would refuse."""
    costguard.configure(exporters=[recorder], ladders=[("gpt-4o", "gpt-5-nano")])
    with costguard.budgeted(limit="$10", downgrade_at=0):
        client.chat.completions.create(**ASK)
    assert "gpt-5-nano" == recorder.only.call.model


def test_streams_and_coroutines_are_downgraded_too(provider: LoopbackProvider, recorder: Recorder) -> None:
    """Of every SDK; a model may be passed over for the one below it."""
    provider.reply = Reply(input_tokens=100, output_tokens=50)

    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
            async for _ in await client.chat.completions.create(**ASK, stream=True):
                pass
        async with anthropic.AsyncAnthropic(api_key="x", base_url=provider.anthropic_url) as other:
            await other.messages.create(
                model="claude-sonnet-5", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
            )
        google = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
        async for _ in await google.aio.models.generate_content_stream(model="gemini-2.5-pro", contents="hi"):
            pass
        await google.aio.aclose()
        google.close()

    with costguard.budgeted(limit="$10", downgrade_at=0):
        asyncio.run(ask())
    assert ["gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"] == [bill.model for bill in provider.billed]
    assert all(event.decision == "downgraded" and event.saved > 0 for event in recorder.calls)
    assert ["gpt-4o", "claude-sonnet-5", "gemini-2.5-pro"] == [event.asked for event in recorder.calls]


def test_observing_changes_no_model(client: openai.OpenAI, recorder: Recorder) -> None:
    """Observe mode changes nothing that is sent."""
    costguard.configure(exporters=[recorder], ladders=LADDERS, mode="observe")
    with costguard.budgeted(limit="$10", downgrade_at=0):
        client.chat.completions.create(**ASK)
    assert "gpt-4o" == recorder.only.call.model


def test_a_model_is_selected_by_complexity_and_by_what_is_left() -> None:
    """The best for the complex, the cheapest for the simple, and the cheapest where little is left."""
    three = Ladder("gpt-5", "gpt-5-mini", "gpt-5-nano", features=["chat"], floor="20%")
    costguard.configure(ladders=[LADDERS[0], three])
    chosen = [costguard.select_model(kind, feature="chat") for kind in ("complex", "standard", "simple")]
    assert ["gpt-5", "gpt-5-mini", "gpt-5-nano"] == chosen
    assert "gpt-4o" == costguard.select_model("complex")
    with costguard.budgeted("chat", limit="$1"):
        assert "gpt-5" == costguard.select_model("complex")
        costguard.track("gpt-5", cost="0.85")
        assert "gpt-5-nano" == costguard.select_model("complex")
    assert "gpt-5-nano" == costguard.select_model(prompt="Translate 'Haus' to English", feature="chat")
    assert "gpt-5" == costguard.select_model(prompt="hi", classifier=lambda _: "complex", feature="chat")


@pytest.mark.parametrize(
    ("prompt", "complexity"),
    [
        ("hi", "simple"),
        ("Classify this review as good or bad: " + "it was fine " * 20, "simple"),
        (
            "Tell me about the history of the town of Freiburg and its university, in a few sentences, please.",
            "standard",
        ),
        ("Prove the theorem step by step", "complex"),
        ("x" * 7000, "complex"),
        ("```a```\n```b```", "complex"),
        ([{"role": "user", "content": [{"type": "text", "text": "debug and refactor this"}]}], "complex"),
    ],
)
def test_the_built_in_judge_follows_its_rules(prompt: Any, complexity: str) -> None:
    """Size, code, and words that ask for reasoning or for a small fixed thing."""
    assert complexity == costguard.classify(prompt)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ladder("one"),
        lambda: Ladder("a", "b", floor="plenty"),
        lambda: Ladder("a", "b", floor="120%"),
        lambda: costguard.configure(ladders=["gpt-4o"]),
        lambda: costguard.select_model("huge"),
        costguard.select_model,
        lambda: costguard.select_model("simple", feature="x") if costguard.configure() is None else None,
        lambda: costguard.budget("$5", downgrade_at="soon"),
        lambda: costguard.configure(ladders=LADDERS, on_downgrade=7),
    ],
)
def test_mistakes_are_told(wrong: Any) -> None:
    """With what would be allowed."""
    with pytest.raises(costguard.ConfigError):
        wrong()
