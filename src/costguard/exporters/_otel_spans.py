"""Cost on spans: on the one that somebody else has open for a call, else on one of our own, and never on both."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from .._types import Call, CostEvent
from . import _otel_names as names

_SUPPRESSED: Final = (
    getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    "suppress_language_model_instrumentation",
)
_NANO: Final = 1e9

Value = str | bool | int | float | Sequence[str]


def notice(*providers: TracerProvider | None) -> None:
    """Let spans be found that their instrumentation does not make current; for providers of OpenTelemetry's SDK."""
    for provider in (trace.get_tracer_provider(), *providers):
        if hasattr(provider, "add_span_processor"):
            from ._otel_started import notice

            notice(provider)


def beside(current: Span) -> Span | None:
    """The span that was started last inside `current`, where such spans are noticed."""
    started = sys.modules.get(f"{__package__}._otel_started")
    found: Span | None = None if started is None else started.beside(current)
    return found


class Tally:
    """What the calls inside each span did cost so far: a helper of an SDK may make several in one span."""

    def __init__(self, kept: int = 4096) -> None:
        self._kept = kept
        self._spans: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}

    def put(self, span: Span, event: CostEvent) -> tuple[int, int]:
        """Note a call's cost and savings, replacing what was known of it, and return the span's sums."""
        its = span.get_span_context()
        calls = self._spans.setdefault((its.trace_id, its.span_id), {})
        if len(self._spans) > self._kept:
            self._spans.pop(next(iter(self._spans)), None)
        calls[event.id] = (event.cost.nano, event.saved)
        return sum([cost for cost, _ in calls.values()]), sum([saved for _, saved in calls.values()])


class SpanWatch:
    """One call in flight, and the span that is to carry its cost.

    Args:
        tracer: makes our own span when there is no other; None for never.
        style: which attributes are set.
        tally: the costs of spans that are open.
        call: what was asked for.
    """

    def __init__(self, tracer: Tracer | None, style: Style, tally: Tally, call: Call) -> None:
        self._tracer = tracer
        self._style = style
        self._tally = tally
        self._models = {call.model}
        self._began = time.time_ns()
        self._context = context.get_current()
        self._suppressed = any(context.get_value(key, self._context) for key in _SUPPRESSED)
        self._span = self._genai()

    def attempt(self) -> None:
        """Look again from inside the SDK, which may have a span of its own: the innermost one carries the cost."""
        self._span = self._genai() or self._span

    def so_far(self, event: CostEvent) -> None:
        """Put down what is known, for the SDK ends its own span before the call is over for us."""
        self._annotate(event)

    def end(self, event: CostEvent) -> None:
        """Put the cost on the span that was found, or make one."""
        if self._span is not None:
            self._annotate(event)
        elif self._tracer is not None and not self._suppressed:
            self._make(self._tracer, event)

    def _genai(self) -> Span | None:
        """The span that somebody has open for this call: the current one, or one that was just started inside it."""
        current = trace.get_current_span()
        for span in (current, beside(current)):
            if span is not None and span.is_recording() and is_inference(span, self._models):
                return span
        return None

    def _annotate(self, event: CostEvent) -> None:
        span = self._span
        if span is not None and span.is_recording():
            cost, saved = self._tally.put(span, event)
            span.set_attributes(self._style.cost(event, cost, saved))

    def _make(self, tracer: Tracer, event: CostEvent) -> None:
        call = event.call
        end = time.time_ns()
        start = min(self._began, end - int(event.duration * _NANO))
        span = tracer.start_span(
            f"{operation(call)} {call.model}", self._context, SpanKind.CLIENT, request(call), start_time=start
        )
        if span.is_recording():
            span.set_attributes({**answer(event), **self._style.cost(event, event.cost.nano, event.saved)})
            if event.error is not None:
                span.set_attribute(names.ERROR_TYPE, event.error)
                span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(end)


class Style:
    """Which attributes say what a call cost.

    Args:
        cost_attributes: names that get the cost in US dollars.
        tags: attribution that is set as ``costguard.<tag>``.
    """

    def __init__(self, cost_attributes: Sequence[str], tags: Sequence[str]) -> None:
        self._cost_attributes = tuple(cost_attributes)
        self._tags = tuple(tags)

    def cost(self, event: CostEvent, cost: int, saved: int) -> dict[str, Value]:
        """The attributes of a span whose calls, this one the last, did cost and save so much."""
        found: dict[str, Value] = {
            names.COST_SOURCE: source(event),
            names.DECISION: event.decision,
            names.CALL: event.id,
            names.OUTCOME: event.outcome,
        }
        if cost or not event.cost.unpriced:
            found |= dict.fromkeys((*self._cost_attributes, names.COST), cost / _NANO)
        optional: dict[str, Value] = {
            names.PRICE: event.cost.entry,
            names.UNPRICED: event.cost.unpriced,
            names.SAVED: saved / _NANO,
            names.ASKED_MODEL: event.asked,
            names.BUDGETS: event.budgets,
            names.RUN: event.run,
        }
        return found | {key: value for key, value in optional.items() if value} | self.tagged(event.tags)

    def tagged(self, tags: Mapping[str, str]) -> dict[str, Value]:
        """The attribution that is set."""
        return {names.TAG + tag: tags[tag] for tag in self._tags if tag in tags}


def is_inference(span: Span, models: set[str]) -> bool:
    """Whether a span is that of one call of one of these models, by the attributes that instrumentations set first."""
    attributes: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    operation = attributes.get(names.OPERATION)
    if operation is not None:
        if operation not in names.INFERENCE:
            return False
    elif names.REQUEST_MODEL not in attributes and not any(
        attributes.get(key) in kinds for key, kinds in names.LLM_KINDS.items()
    ):
        return False
    named = [attributes[key] for key in names.OTHER_MODEL_NAMES if attributes.get(key)]
    return not named or any(_same(str(one), model) for one in named for model in models)


def _same(one: str, other: str) -> bool:
    """Whether two names are of one model: a path before it is Google's or a cloud's."""
    return one.rpartition("/")[2] == other.rpartition("/")[2]


def source(event: CostEvent) -> str:
    """Where a cost is from: ``local`` prices, the ``provider`` itself, an ``estimate``, or nowhere: ``unpriced``."""
    if event.cost.unpriced:
        return "unpriced"
    if event.cost.estimated:
        return "estimate"
    return "provider" if any(usage.reported is not None for usage in event.usages) else "local"


def provider_name(provider: str) -> str:
    """The conventions' name of a provider."""
    return names.PROVIDERS.get(provider, provider)


def operation(call: Call) -> str:
    """The conventions' name of what was asked for."""
    return names.OPERATIONS.get(call.operation, call.operation)


def request(call: Call) -> dict[str, Value]:
    """What is known when a call is made."""
    found: dict[str, Value] = {
        names.OPERATION: operation(call),
        names.PROVIDER: provider_name(call.provider),
        names.REQUEST_MODEL: call.model,
    }
    if call.stream:
        found[names.REQUEST_STREAM] = True
    if call.host:
        # Behind the router of Hugging Face, the name of a provider follows.
        found[names.SERVER_ADDRESS] = call.host.partition("/")[0]
    if call.max_output is not None:
        found[names.REQUEST_MAX_TOKENS] = call.max_output
    if call.choices != 1:
        found[names.REQUEST_CHOICES] = call.choices
    return found


def answer(event: CostEvent) -> dict[str, Value]:
    """What is known when it has ended: tokens as the provider billed them, and none where it billed none.

    An answer out of the cache has the usage of the one that was stored, and a backend that saw it would charge it.
    """
    if not event.usages:
        return {}
    found: dict[str, Value] = {names.RESPONSE_MODEL: event.model}
    if event.decision == "cache_hit" or any(usage.estimated for usage in event.usages):
        return found
    counts: dict[str, int] = {}
    for usage in event.usages:
        for unit, count in usage.counts.items():
            counts[unit] = counts.get(unit, 0) + count
    parts = {
        names.REASONING_TOKENS: counts.get("reasoning", 0),
        names.CACHE_READ_TOKENS: sum([count for unit, count in counts.items() if unit.startswith("cache_read")]),
        names.CACHE_WRITE_TOKENS: sum([count for unit, count in counts.items() if unit.startswith("cache_write")]),
    }
    return {
        **found,
        names.INPUT_TOKENS: sum([usage.input_tokens for usage in event.usages]),
        names.OUTPUT_TOKENS: sum([usage.output_tokens for usage in event.usages]),
        **{name: count for name, count in parts.items() if count},
    }
