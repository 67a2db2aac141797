"""Cost on OpenTelemetry's spans and as its metrics, through whatever SDK the program has set up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from .._types import Alert, Balance, Call, CostEvent
from . import _otel_names as names
from ._otel_metrics import Metrics
from ._otel_spans import SpanWatch, Style, Tally, notice


class OtelExporter:
    """Puts the cost of each call on its span, and counts it in metrics.

    Where the SDK or another instrumentation has a GenAI span open for a call, that one gets the cost. Otherwise a span
    ``chat {model}`` is made. No call has two spans because of it, no span around a call gets its cost, and no prompt or
    answer is ever set. Without a tracer or meter provider it does nothing.

    Args:
        spans: whether spans are made where there is none; others' get their cost all the same.
        cost_attributes: the span attributes that get the cost in US dollars as a number.
        tags: attribution that is set on spans as ``costguard.<tag>``.
        metric_tags: attribution that is a dimension of metrics; keep what has many values out of it.
        tracer_provider, meter_provider: the program's global ones when left out.
    """

    def __init__(
        self,
        *,
        spans: bool = True,
        cost_attributes: Sequence[str] = names.COST_ATTRIBUTES,
        tags: Sequence[str] = ("feature", "team", "environment"),
        metric_tags: Sequence[str] = ("feature", "team", "environment"),
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        release = version("costguard-ai")
        self._provider = tracer_provider
        notice(tracer_provider)
        self._tracer = trace.get_tracer(names.SCOPE, release, tracer_provider) if spans else None
        self._style = Style(cost_attributes, tags)
        self._tally = Tally()
        self._metrics = Metrics(metrics.get_meter(names.SCOPE, release, meter_provider), metric_tags)

    def attach(self, books: Callable[[], Sequence[Balance]]) -> None:
        """Read the budgets' gauges from these books."""
        self._metrics.attach(books)

    def watch(self, call: Call) -> Watched:
        """Be there while a call is in flight, for the span that it happens in."""
        notice(self._provider)
        return Watched(self._metrics, SpanWatch(self._tracer, self._style, self._tally, call))

    def export(self, record: CostEvent | Alert) -> None:
        """Tell of a call that was over before it was told of. Alerts are the gauges' business."""
        if isinstance(record, CostEvent):
            self.watch(record.call).end(record)

    def flush(self, timeout: float) -> None:
        """Nothing: what is buffered is in the program's providers, which deliver it in their own time and at exit."""

    def close(self) -> None:
        """Nothing to let go of: the providers are the program's."""


class Watched:
    """A call in flight: its span, and its counting at the end."""

    def __init__(self, metrics: Metrics, span: SpanWatch) -> None:
        self._metrics = metrics
        self._span = span
        self.attempt = span.attempt
        self.so_far = span.so_far

    def end(self, event: CostEvent) -> None:
        """Finish the span and count the call."""
        self._metrics.count(event)
        self._span.end(event)
