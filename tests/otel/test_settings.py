"""What the page tells to set for each backend works: the real OTLP exporters, sending to a collector on this machine."""

from __future__ import annotations

import re
import shlex
from urllib.parse import urlsplit

import openai
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import costguard
from costguard.exporters.otel import OtelExporter
from costguard.testing.loopback import LoopbackProvider

from ..docs.blocks import ROOT
from .collector import Collector

PAGE = (ROOT / "docs/opentelemetry.md").read_text(encoding="utf-8")
SETTINGS = dict(re.findall(r"^\*\*(.+?)\*\*.*?```bash\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
SENT = {
    "Plain OTLP": ("/v1/traces", {}),
    "Langfuse": ("/api/public/otel/v1/traces", {"authorization": "Basic keys"}),
    "Logfire": ("/v1/traces", {"authorization": "token"}),
    "Honeycomb": ("/v1/traces", {"x-honeycomb-team": "key"}),
    "Datadog": ("/v1/traces", {}),
    "Grafana Cloud": ("/otlp/v1/traces", {"authorization": "Basic keys"}),
}


def test_every_backend_with_settings_is_tried() -> None:
    """Those on the page are those below."""
    assert set(SENT) == set(SETTINGS)


@pytest.mark.parametrize("backend", SENT)
def test_a_backend_is_sent_cost_as_the_page_says(
    backend: str, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To its path, with its headers, in its temporality: the host alone is another one here."""
    path, headers = SENT[backend]
    with Collector() as collector:
        for word in shlex.split(SETTINGS[backend].replace("<", "").replace(">", "")):
            name, _, value = word.partition("=")
            url = urlsplit(value)
            monkeypatch.setenv(name, collector.url + url.path if url.scheme else value)
        tracing = TracerProvider()
        tracing.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(), 60_000)])
        costguard.configure(exporters=[OtelExporter(tracer_provider=tracing, meter_provider=meters)])
        costguard.instrument()
        with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
            client.chat.completions.create(
                model="gpt-4o", max_tokens=50, messages=[{"role": "user", "content": "a secret question"}]
            )
        costguard.uninstrument()
        costguard.configure()
        tracing.shutdown()
        meters.shutdown()
    (span,) = collector.spans
    assert 0.003 == span.attributes["gen_ai.usage.cost"] == span.attributes["operation.cost"]
    assert [0.003] == [value for _, value in collector.metrics["costguard.cost"]]
    assert {path, path.replace("traces", "metrics")} == collector.paths
    assert headers == {name: collector.headers[0].get(name) for name in headers}
