"""A collector on this machine: takes OTLP over HTTP, as any backend does, and keeps what it was sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from ..listener import Answer, Listener


@dataclass(frozen=True, slots=True)
class Seen:
    """One span, as it was received."""

    name: str
    scope: str
    trace: bytes
    id: bytes
    parent: bytes
    kind: int
    status: int
    attributes: dict[str, Any]


class Collector(Listener):
    """Listens on a port of this machine while its ``with`` block runs."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Seen] = []
        self.metrics: dict[str, list[tuple[dict[str, Any], float]]] = {}
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()
        self._lock = threading.Lock()

    def posted(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Decode what was posted and keep it."""
        with self._lock:
            self.headers.append(headers)
            self.paths.add(path)
            if path.endswith("/traces"):
                self._traces(ExportTraceServiceRequest.FromString(body))
            elif path.endswith("/metrics"):
                self._metrics(ExportMetricsServiceRequest.FromString(body))
        return 200, {"content-type": "application/x-protobuf"}, b""

    def _traces(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    Seen(
                        span.name,
                        scope.scope.name,
                        span.trace_id,
                        span.span_id,
                        span.parent_span_id,
                        span.kind,
                        span.status.code,
                        {one.key: _value(one.value) for one in span.attributes},
                    )
                    for span in scope.spans
                ]

    def _metrics(self, request: ExportMetricsServiceRequest) -> None:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    self.metrics[metric.name] = [
                        ({one.key: _value(one.value) for one in point.attributes}, _number(point)) for point in points
                    ]


def _number(point: Any) -> float:
    return float(getattr(point, "as_double", 0) or getattr(point, "as_int", 0))


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return None if kind is None else getattr(value, kind)
