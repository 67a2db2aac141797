"""A program that calls models beside other instrumentations; what it is seen to do is the collector's to tell.

python app.py OPENAI_URL ANTHROPIC_URL PHASE...      each the names of other instrumentations, as in OTHERS
"""

from __future__ import annotations

import sys
from pkgutil import resolve_name
from typing import Any

import anthropic
import openai
from opentelemetry import baggage, context, metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import costguard

OTHERS = {
    "official": [
        "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
        "opentelemetry.instrumentation.genai.anthropic:AnthropicInstrumentor",
    ],
    "traceloop": [
        "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
        "opentelemetry.instrumentation.anthropic:AnthropicInstrumentor",
    ],
    "httpx": ["opentelemetry.instrumentation.httpx:HTTPXClientInstrumentor"],
    "none": [],
}
ASK: dict[str, Any] = {"max_tokens": 50, "messages": [{"role": "user", "content": "a secret question"}]}


def calls(first: openai.OpenAI, second: anthropic.Anthropic) -> None:
    """Six calls that are made, one that is free, and two that are refused."""
    with costguard.budgeted(feature="search"):
        first.chat.completions.create(model="gpt-4o", **ASK)
        list(first.chat.completions.create(model="gpt-4o", stream=True, **ASK))
        first.embeddings.create(model="text-embedding-3-small", input="a secret text")
        second.messages.create(model="claude-sonnet-5", **ASK)
        list(second.messages.create(model="claude-sonnet-5", stream=True, **ASK))
        with second.messages.stream(model="claude-sonnet-5", **ASK) as stream:
            stream.get_final_message()
        second.messages.count_tokens(model="claude-sonnet-5", messages=ASK["messages"])
    with costguard.budgeted(feature="poor", limit="$0.000001/day"):
        for create, model in ((first.chat.completions.create, "gpt-4o"), (second.messages.create, "claude-sonnet-5")):
            try:
                create(model=model, **ASK)
            except costguard.BudgetExceededError:
                continue
            raise AssertionError("it was not refused")


def main(openai_url: str, anthropic_url: str, *phases: str) -> None:
    """Set OpenTelemetry up, and go through the phases, each in a span that is named for it."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
    costguard.configure(exporters=["otel"], budgets=[costguard.budget("$5/day", name="daily")])
    costguard.instrument()
    context.attach(baggage.set_baggage("costguard.feature", "search", baggage.set_baggage("theirs", "kept")))
    for phase in phases:
        found = [resolve_name(path)() for other in phase.split() for path in OTHERS[other]]
        for one in found:
            one.instrument()
        first = openai.OpenAI(api_key="x", base_url=openai_url)
        second = anthropic.Anthropic(api_key="x", base_url=anthropic_url)
        with trace.get_tracer("app").start_as_current_span(phase):
            calls(first, second)
        for one in found:
            one.uninstrument()


if __name__ == "__main__":
    main(*sys.argv[1:])
