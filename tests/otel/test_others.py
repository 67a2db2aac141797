"""Beside the real other instrumentations, over real OTLP: one span of a call has its cost, and no other has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from costguard.testing.loopback import LoopbackProvider

from .collector import Collector

APP = Path(__file__).with_name("app.py")
BACKENDS = Path(__file__).with_name("backends.py")
COST = "gen_ai.usage.cost"
NATIVE = "com.anthropic.sdk.python"
OPENAI = {
    "official": "opentelemetry.instrumentation.genai.openai",
    "traceloop": "opentelemetry.instrumentation.openai.v1",
}
REFUSED_ANTHROPIC = {
    "official": "opentelemetry.instrumentation.genai.anthropic",
    "traceloop": "opentelemetry.instrumentation.anthropic",
}


def run(collector: Collector, *words: str, **variables: str) -> None:
    """Run a program of its own whose OpenTelemetry SDK sends to the collector."""
    env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "app", **variables}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "costguard failed" not in done.stderr


PHASES = ("none", "official", "traceloop", "official traceloop httpx")


@pytest.fixture(scope="module")
def provider() -> Iterator[LoopbackProvider]:
    """A provider whose count is of this module's one run."""
    with LoopbackProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def collector(provider: LoopbackProvider) -> Iterator[Collector]:
    """What a program sent that went through all phases."""
    with Collector() as collector:
        run(collector, sys.executable, str(APP), provider.openai_url, provider.anthropic_url, *PHASES)
        yield collector


@pytest.mark.parametrize("phase", PHASES)
def test_one_span_of_each_call_has_its_cost(phase: str, collector: Collector) -> None:
    """Whoever makes the spans: as many have a cost as there were calls, and their sum is what was billed."""
    words = phase.split()
    (app,) = [span for span in collector.spans if span.name == phase]
    spans = [span for span in collector.spans if span.trace == app.trace]
    priced = [span for span in spans if COST in span.attributes]
    billed = [span for span in priced if span.attributes["costguard.decision"] == "allowed"]
    refused = [span for span in priced if span.attributes["costguard.decision"] == "blocked"]
    assert [6, 2] == [len(billed), len(refused)]
    assert len({span.attributes["costguard.call.id"] for span in priced}) == 8
    assert 2 * 0.003 + 0.00002 + 3 * 0.0025 == pytest.approx(sum(span.attributes[COST] for span in billed))
    assert 0 == sum(span.attributes[COST] for span in refused)
    assert {"search"} == {span.attributes["costguard.feature"] for span in billed}
    assert app not in priced

    claude = [span for span in billed if "claude" in span.attributes["gen_ai.request.model"]]
    # Around anthropic's own span there may be one more, of another instrumentation: the innermost has the cost.
    assert {NATIVE} == {span.scope for span in claude}
    openais = {span.scope for span in billed if span not in claude}
    assert 1 == len(openais)
    assert openais <= {OPENAI.get(word, "costguard") for word in words}
    refusals = {names.get(word, "costguard") for word in words for names in (OPENAI, REFUSED_ANTHROPIC)}
    assert {span.scope for span in refused} <= refusals

    made = [span for span in spans if span.scope == "costguard"]
    assert (5 if phase == "none" else 0) == len(made)
    for span in made:
        assert [3, app.id] == [span.kind, span.parent]  # 3: CLIENT
        assert "secret" not in str(span.attributes)


def test_the_provider_is_sent_nothing_of_ours(collector: Collector, provider: LoopbackProvider) -> None:
    """Baggage of the program goes out with anthropic's requests, and what is in it of ours does not."""
    sent = [request.headers for request in provider.requests]
    assert [one for one in sent if "costguard" in str(one)] == []
    assert {"theirs=kept"} == {one["baggage"] for one in sent if "baggage" in one}


def test_metrics_count_what_was_spent(collector: Collector) -> None:
    """Cost by model, calls with refused ones, and a budget's books."""
    by_model = {labels["gen_ai.request.model"]: value for labels, value in collector.metrics["costguard.cost"]}
    once = {"gpt-4o": 0.006, "text-embedding-3-small": 0.00002, "claude-sonnet-5": 0.0075}
    assert {model: len(PHASES) * cost for model, cost in once.items()} == pytest.approx(by_model)
    assert 8 * len(PHASES) == sum(value for _, value in collector.metrics["costguard.calls"])
    books = {
        name: {labels["costguard.budget.name"]: value for labels, value in collector.metrics[name]}
        for name in ("costguard.budget.limit", "costguard.budget.spent", "costguard.budget.utilization")
    }
    spent = len(PHASES) * 0.01352
    assert [5, spent, spent / 5] == pytest.approx([one["daily"] for one in books.values()])


def test_a_program_that_does_not_mention_costguard_is_metered() -> None:
    """``opentelemetry-instrument python app.py`` finds it by its entry point."""
    code = (
        "import os, openai; c = openai.OpenAI(api_key='x', base_url=os.environ['LOOPBACK']);"
        "c.chat.completions.create(model='gpt-4o', max_tokens=50, messages=[{'role': 'user', 'content': 'hi'}])"
    )
    tool = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    others = {point.name for point in entry_points(group="opentelemetry_instrumentor")} - {"costguard"}
    with LoopbackProvider() as provider, Collector() as collector:
        env = {
            "LOOPBACK": provider.openai_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(sorted(others)),
            "COSTGUARD_ENVIRONMENT": "staging",
        }
        run(collector, tool, sys.executable, "-c", code, **env)
    (span,) = collector.spans
    assert ["chat gpt-4o", "staging"] == [span.name, span.attributes["costguard.environment"]]


@pytest.mark.parametrize("backend", ["logfire", "langfuse"])
def test_a_backends_own_library_gets_the_cost_on_its_spans(backend: str) -> None:
    """No span of ours is beside them. Logfire ends the span of a stream too early for a cost."""
    with LoopbackProvider() as provider, Collector() as collector:
        keys = {f"LANGFUSE_{name}": "x" for name in ("PUBLIC_KEY", "SECRET_KEY")} | {"LANGFUSE_BASE_URL": collector.url}
        run(collector, sys.executable, str(BACKENDS), provider.openai_url, backend, **keys)
    spans = [span for span in collector.spans if span.attributes.get("logfire.span_type") != "pending_span"]
    assert {{"logfire": "logfire.openai", "langfuse": "langfuse-sdk"}[backend]} == {span.scope for span in spans}
    costs = [span.attributes[COST] for span in spans if COST in span.attributes]
    assert {"logfire": [0.003], "langfuse": [0.003, 0.003]}[backend] == costs
