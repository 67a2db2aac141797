"""Which span gets a call's cost, and what is on it: the real OpenTelemetry SDK, in memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import costguard
from costguard._types import Call, Cost, CostEvent, Usage
from costguard.exporters.otel import OtelExporter
from costguard.testing.loopback import LoopbackProvider, Reply

COST = "gen_ai.usage.cost"
ASK: dict[str, Any] = {"max_tokens": 50, "messages": [{"role": "user", "content": "a secret question"}]}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}


@dataclass
class Told:
    """What OpenTelemetry was told."""

    provider: TracerProvider
    memory: InMemorySpanExporter
    reader: InMemoryMetricReader
    meters: MeterProvider

    def exporter(self, **options: Any) -> OtelExporter:
        return OtelExporter(tracer_provider=self.provider, meter_provider=self.meters, **options)

    def span(self, name: str, attributes: Mapping[str, Any] | None = None) -> Any:
        return self.provider.get_tracer("theirs").start_as_current_span(name, attributes=dict(attributes or {}))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.memory.get_finished_spans()

    @property
    def only(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def metric(self, name: str) -> list[tuple[dict[str, Any], float]]:
        data = self.reader.get_metrics_data()
        return [
            (dict(point.attributes), point.value)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name == name
        ]


@pytest.fixture
def told() -> Iterator[Told]:
    """An SDK set up for this test alone, and costguard exporting to it."""
    memory, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider, meters = TracerProvider(), MeterProvider([reader])
    provider.add_span_processor(SimpleSpanProcessor(memory))
    told = Told(provider, memory, reader, meters)
    costguard.configure(exporters=[told.exporter()], ledger="memory://")
    costguard.instrument()
    yield told
    costguard.uninstrument()
    costguard.configure(ledger="memory://")
    provider.shutdown()
    meters.shutdown()


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url, max_retries=2) as client:
        yield client


def event(**changes: Any) -> CostEvent:
    """A call that is over."""
    call = Call("openai", "gpt-4o", host="api.openai.com")
    given = {
        "usages": (Usage({"input": 10, "output": 5}),),
        "cost": Cost(75_000, "openai/gpt-4o@2024-05-13"),
        **changes,
    }
    return CostEvent(**{"id": "id-1", "time": 1.78e9, "duration": 0.5, "call": call, **given})


def test_a_call_of_its_own_is_a_client_span_inside_the_callers(
    told: Told, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """With the conventions' names, the billed tokens, the right times, and nothing of its content."""
    provider.reply = Reply(input_tokens=1000, cached_tokens=400, output_tokens=50, reasoning_tokens=20)
    with told.span("app") as app, costguard.budgeted(feature="search", user="somebody"):
        client.chat.completions.create(model="gpt-4o", **ASK)
    span = told.spans[0]
    assert ["chat gpt-4o", SpanKind.CLIENT] == [span.name, span.kind]
    assert span.parent is not None
    assert span.parent.span_id == app.get_span_context().span_id
    assert app.start_time <= span.start_time <= span.end_time <= app.end_time
    found = dict(span.attributes)
    cost = found[COST]
    assert 0 < cost == found["llm.cost.total"] == found["operation.cost"] == found["costguard.cost.usd"]
    assert "somebody" not in str(found)
    assert "secret" not in str(found)
    expected = {
        **CHAT,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.cache_read.input_tokens": 400,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 20,
        "costguard.cost.source": "local",
        "costguard.feature": "search",
        "costguard.outcome": "ok",
        "costguard.decision": "allowed",
    }
    assert expected == {key: found.get(key) for key in expected}
    assert "gen_ai.request.stream" not in found


@pytest.mark.parametrize("stream", [False, True])
def test_a_span_that_is_open_for_the_call_gets_the_cost(told: Told, client: openai.OpenAI, stream: bool) -> None:
    """Also at the end of a stream, and then no span of our own is made."""
    with told.span("theirs", CHAT):
        answer = client.chat.completions.create(model="gpt-4o", stream=stream, **ASK)
        if stream:
            list(answer)
    assert 0.003 == told.only.attributes[COST]


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o"},
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "another-model"},
        {"gen_ai.operation.name": "execute_tool"},
        {"http.request.method": "POST"},
        {},
    ],
)
def test_a_span_around_calls_never_gets_a_cost(told: Told, client: openai.OpenAI, attributes: dict[str, str]) -> None:
    """An agent, a tool, a call of another model: the call has its own span inside."""
    with told.span("around", attributes):
        client.chat.completions.create(model="gpt-4o", **ASK)
    ours, around = told.spans
    assert COST in ours.attributes
    assert COST not in around.attributes
    assert ours.parent.span_id == around.context.span_id


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.request.model": "gpt-4o"},
        {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o"},
        {"llm.request.type": "chat"},
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "models/gpt-4o"},
    ],
)
def test_spans_of_other_conventions_are_known(told: Told, client: openai.OpenAI, attributes: dict[str, str]) -> None:
    """OpenInference's, Traceloop's, older ones."""
    with told.span("theirs", attributes):
        client.chat.completions.create(model="gpt-4o", **ASK)
    assert 0.003 == told.only.attributes[COST]


def test_a_span_that_is_not_made_current_is_found_all_the_same(told: Told, client: openai.OpenAI) -> None:
    """Some instrumentations start a span, call the SDK and end the span, without entering it."""
    with told.span("app"):
        theirs = told.provider.get_tracer("theirs").start_span("theirs", attributes=CHAT)
        client.chat.completions.create(model="gpt-4o", **ASK)
        theirs.end()
        client.chat.completions.create(model="gpt-4o", **ASK)
    assert [("theirs", True), ("chat gpt-4o", True), ("app", False)] == [
        (span.name, COST in span.attributes) for span in told.spans
    ]


def test_calls_inside_one_span_add_up(told: Told, client: openai.OpenAI) -> None:
    """A helper of an SDK may make several."""
    with told.span("theirs", CHAT):
        for _ in range(3):
            client.chat.completions.create(model="gpt-4o", **ASK)
    assert 0.009 == pytest.approx(told.only.attributes[COST])


def test_a_span_that_ended_before_is_not_followed_by_a_second_one(told: Told, client: openai.OpenAI) -> None:
    """The cost is then in the metrics alone: two spans of one call would be counted twice."""
    with told.span("theirs", CHAT):
        stream = client.chat.completions.create(model="gpt-4o", stream=True, **ASK)
    list(stream)
    assert "theirs" == told.only.name
    assert 0.003 == sum(cost for _, cost in told.metric("costguard.cost"))


def test_a_stream_that_is_dropped_has_its_span(told: Told, client: openai.OpenAI) -> None:
    """With its estimated cost, and without tokens that nobody reported."""
    client.chat.completions.create(model="gpt-4o", stream=True, **ASK)
    gc.collect()
    costguard.flush()
    found = told.only.attributes
    assert ["partial", "estimate"] == [found["costguard.outcome"], found["costguard.cost.source"]]
    assert "gen_ai.usage.output_tokens" not in found
    assert found[COST] > 0


def test_retries_are_one_span(told: Told, client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """However often the SDK tries."""
    provider.script(Reply(status=500), Reply())
    client.with_options(max_retries=1).chat.completions.create(model="gpt-4o", **ASK)
    assert 0.003 == told.only.attributes[COST]


def test_an_error_is_on_the_span(told: Told, client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """With its class, and at no cost when the provider billed nothing."""
    provider.reply = Reply(status=400)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o", **ASK)
    assert StatusCode.ERROR == told.only.status.status_code
    assert ["BadRequestError", 0] == [told.only.attributes["error.type"], told.only.attributes[COST]]


def test_a_refused_call_is_a_span_that_says_so(told: Told, client: openai.OpenAI) -> None:
    """Blocked, at no cost."""
    with pytest.raises(costguard.BudgetExceededError), costguard.budgeted(limit="$0.000001/day"):
        client.chat.completions.create(model="gpt-4o", **ASK)
    found = told.only.attributes
    assert ["blocked", 0, "BudgetExceededError"] == [found["costguard.decision"], found[COST], found["error.type"]]
    assert [1] == [n for labels, n in told.metric("costguard.calls") if labels["costguard.decision"] == "blocked"]


def test_an_answer_out_of_the_cache_has_no_tokens(told: Told) -> None:
    """A backend that saw any would charge them; what was saved is told."""
    told.exporter().export(event(decision="cache_hit", cost=Cost(0), saved=75_000))
    found = told.only.attributes
    assert [0, "cache_hit", 0.000075] == [found[COST], found["costguard.decision"], found["costguard.saved.usd"]]
    assert [] == [key for key in found if key.startswith("gen_ai.usage.") and key != COST]
    assert [("cache", 0.000075)] == [(labels["costguard.saved.by"], n) for labels, n in told.metric("costguard.saved")]


def test_the_response_cache_is_seen_in_traces_and_metrics(
    told: Told, client: openai.OpenAI, provider: LoopbackProvider
) -> None:
    """The second of two equal calls costs nothing, and what it saved is counted."""
    provider.reply = Reply(output_tokens=40)
    costguard.configure(exporters=[told.exporter()], cache=costguard.Cache(), ledger="memory://")
    for _ in range(2):
        with costguard.budgeted("faq", cache="10m"):
            client.chat.completions.create(model="gpt-4o", temperature=0, **ASK)
    made, cached = told.spans
    assert ["allowed", 0.0029] == [made.attributes["costguard.decision"], made.attributes[COST]]
    assert ["cache_hit", 0] == [cached.attributes["costguard.decision"], cached.attributes[COST]]
    assert 0.0029 == cached.attributes["costguard.saved.usd"]
    assert "gen_ai.usage.input_tokens" not in cached.attributes
    assert [0.0029] == [saved for _, saved in told.metric("costguard.saved")]


def test_what_has_no_price_has_no_cost(told: Told) -> None:
    """It is called unpriced, and not free."""
    told.exporter().export(event(cost=Cost(0, unpriced=("input", "output"))))
    found = told.only.attributes
    assert "unpriced" == found["costguard.cost.source"]
    assert [] == [key for key in found if "cost" in key.split(".")[-1] and key != "costguard.cost.source"]


def test_the_cost_attributes_are_a_choice(told: Told) -> None:
    """And so are spans, and the tags on them."""
    told.exporter(cost_attributes=["my.cost"], tags=["user"]).export(event(tags={"user": "me", "feature": "f"}))
    told.exporter(spans=False).export(event())
    found = told.only.attributes
    assert [0.000075, "me"] == [found["my.cost"], found["costguard.user"]]
    assert not {COST, "costguard.feature"} & set(found)


def test_nothing_is_made_where_instrumentation_is_suppressed(told: Told) -> None:
    """As OpenTelemetry's own context key says."""
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    told.exporter().export(event())
    context.detach(token)
    assert () == told.spans


def test_metrics_have_few_dimensions(told: Told, client: openai.OpenAI) -> None:
    """Provider, model, feature, decision: no user, no id of a call."""
    with costguard.budgeted(feature="search", user="me"):
        client.chat.completions.create(model="gpt-4o", **ASK)
    ((labels, cost),) = told.metric("costguard.cost")
    assert 0.003 == cost
    assert {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "costguard.decision": "allowed",
        "costguard.feature": "search",
    } == labels


def test_without_an_sdk_nothing_happens(client: openai.OpenAI) -> None:
    """OpenTelemetry's API alone records nothing, and a call is what it was."""
    costguard.configure(exporters=["otel"])
    costguard.instrument()
    assert client.chat.completions.create(model="gpt-4o", **ASK).usage.total_tokens == 1050
    costguard.uninstrument()
    costguard.configure()


def close_early(client: anthropic.Anthropic) -> None:
    """One event of a stream is read, and no more."""
    with client.messages.create(model="claude-sonnet-5", stream=True, **ASK) as stream:
        next(iter(stream))


async def aclose_early(url: str, provider: TracerProvider) -> None:
    """The same for an async client."""
    async with anthropic.AsyncAnthropic(
        api_key="x", base_url=url, open_telemetry={"tracer_provider": provider}
    ) as client:
        async with await client.messages.create(model="claude-sonnet-5", stream=True, **ASK) as stream:
            await anext(aiter(stream))


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_stream_that_is_closed_early_has_its_cost_on_anthropics_own_span(colour: str, told: Told) -> None:
    """The SDK ends its span when the stream is closed, and what it cost is known by then."""
    with LoopbackProvider() as provider:
        url = provider.anthropic_url
        if colour == "async":
            await aclose_early(url, told.provider)
        else:
            with anthropic.Anthropic(
                api_key="x", base_url=url, open_telemetry={"tracer_provider": told.provider}
            ) as client:
                close_early(client)
    attributes = told.only.attributes or {}
    assert ("com.anthropic.sdk.python", "partial") == (
        told.only.instrumentation_scope and told.only.instrumentation_scope.name,
        attributes["costguard.outcome"],
    )
    assert attributes[COST] == pytest.approx(float(costguard.spend().cost))
