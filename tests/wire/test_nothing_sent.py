"""Nothing of ours is ever sent to a provider: no header, no field, no tag, whatever else in the process sends things."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider

import costguard
from costguard.testing.loopback import LoopbackProvider

from ..conftest import Recorder

MESSAGES: Any = [{"role": "user", "content": "hi"}]
OURS = ("costguard", "s3cret-feature", "s3cret-user", "s3cret-tenant", "s3cret-budget")
CHANGING = ("traceparent", "x-stainless-retry-count", "x-stainless-read-timeout", "content-length", "host")


def _openai(url: str) -> None:
    with openai.OpenAI(api_key="x", base_url=f"{url}/v1") as client:
        client.chat.completions.create(model="gpt-4o", max_tokens=20, messages=MESSAGES)
        if hasattr(client, "responses"):  # not in the oldest that is supported
            client.responses.create(model="gpt-4o", input="hi", max_output_tokens=20)
        client.embeddings.create(model="text-embedding-3-small", input="hi")
        stream = client.chat.completions.create(
            model="gpt-4o", max_tokens=20, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        list(stream)


def _anthropic(url: str) -> None:
    with anthropic.Anthropic(api_key="x", base_url=url) as client:
        client.messages.create(model="claude-sonnet-5", max_tokens=20, messages=MESSAGES)
        with client.messages.stream(model="claude-sonnet-5", max_tokens=20, messages=MESSAGES) as stream:
            stream.until_done()


def _google(url: str) -> None:
    client = genai.Client(api_key="x", http_options={"base_url": url})
    client.models.generate_content(model="gemini-2.5-flash", contents="hi", config={"max_output_tokens": 20})
    list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
    getattr(client, "close", lambda: None)()  # not in the oldest that is supported


@pytest.fixture(autouse=True)
def _telemetry() -> Iterator[None]:
    """A real span is open and the program has baggage of its own, which SDKs may forward."""
    span = TracerProvider().get_tracer("app").start_span("request")
    with_baggage = baggage.set_baggage("their-key", "their-value", trace.set_span_in_context(span))
    token = context.attach(with_baggage)
    yield
    context.detach(token)


def _sent(provider: LoopbackProvider, calls: Callable[[str], None]) -> list[tuple[dict[str, str], Any]]:
    provider.clear()
    calls(provider.url)
    return [
        (
            {name.lower(): value for name, value in one.headers.items() if name.lower() not in CHANGING},
            one.request_body,
        )
        for one in provider.billed
    ]


@pytest.mark.parametrize("calls", [_openai, _anthropic, _google], ids=["openai", "anthropic", "google"])
def test_a_request_is_the_same_with_and_without_costguard(
    calls: Callable[[str], None], provider: LoopbackProvider, recorder: Recorder
) -> None:
    """Header by header and field by field, inside blocks with limits, tags and a trace; baggage is the program's own."""
    plain = _sent(provider, calls)
    costguard.configure(
        exporters=[recorder],
        ledger="memory://",
        tags={"tenant": "s3cret-tenant"},
        budgets=[costguard.budget("$5", name="s3cret-budget")],
    )
    costguard.instrument(executors=True)
    try:
        with costguard.budgeted(feature="s3cret-feature", user="s3cret-user", limit="$1"):
            metered = _sent(provider, calls)
            ours = dict(baggage.get_all())
    finally:
        costguard.uninstrument()
        costguard.configure(ledger="memory://", exporters=[])
    assert len(recorder.calls) == len(metered) == len(plain) > 1
    assert {call.tags["user"] for call in recorder.calls} == {"s3cret-user"}
    assert metered == plain
    assert ours == {"their-key": "their-value"}
    everything = json.dumps(metered).lower()
    assert [word for word in OURS if word in everything] == []


def test_what_an_sdk_forwards_by_itself_is_seen_here(provider: LoopbackProvider) -> None:
    """Else the test above would prove nothing: anthropic sends the program's baggage along since its version 2."""
    sent = _sent(provider, _anthropic)
    forwards = [headers.get("baggage") for headers, _ in sent]
    if int(anthropic.__version__.partition(".")[0]) >= 2:
        assert forwards == ["their-key=their-value"] * len(sent)
    else:
        assert forwards == [None] * len(sent)
