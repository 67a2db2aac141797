"""Spans of calls that their instrumentation starts and does not make current: they are seen when they start.

Needs OpenTelemetry's SDK, and is imported once a program has a tracer provider of it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakValueDictionary, ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

_latest: Final[ContextVar[ref[Span] | None]] = ContextVar("costguard_latest_span", default=None)
_providers: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()


class _Started(SpanProcessor):
    """Remembers the latest client span that was started in each context."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - as its base
        """Remember it, for as long as somebody else keeps it."""
        _latest.set(ref(span))

    def on_end(self, span: ReadableSpan) -> None:
        """Nothing: what has ended does not record any more."""


def notice(provider: Any) -> None:
    """From here on remember the spans of this provider, once."""
    if _providers.get(id(provider)) is not provider:
        _providers[id(provider)] = provider
        provider.add_span_processor(_Started())


def beside(current: Any) -> Any:
    """The span that was started here last, if `current` is the one it was started in, or an unrecorded stand-in."""
    latest = _latest.get()
    span = None if latest is None else latest()
    if span is None or not span.is_recording():
        return None
    parent = 0 if span.parent is None else span.parent.span_id
    return span if current.get_span_context().span_id in (parent, span.get_span_context().span_id) else None
