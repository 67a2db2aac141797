"""A line for each call on standard output, or another text stream: readable, or JSON."""

from __future__ import annotations

import json
import sys
from typing import TextIO

from .._money import format_usd
from .._types import Alert, CostEvent, ForecastAlert
from ._record import as_json
from ._sentences import sentence


class StdoutExporter:
    """Writes a line for each call and alert.

    Args:
        stream: where to; standard output as it is at the moment of writing when left out.
        json_lines: one JSON object a line instead of text.
    """

    def __init__(self, stream: TextIO | None = None, *, json_lines: bool = False) -> None:
        self._stream = stream
        self._json = json_lines

    def export(self, record: CostEvent | Alert) -> None:
        """Write one line, in one call, so that lines of several threads do not mix."""
        stream = sys.stdout if self._stream is None else self._stream
        line = json.dumps(as_json(record), ensure_ascii=False) if self._json else _line(record)
        stream.write(line + "\n")

    def flush(self, timeout: float) -> None:  # noqa: ARG002 - a stream cannot be hurried
        """Flush the stream."""
        (sys.stdout if self._stream is None else self._stream).flush()

    def close(self) -> None:
        """Flush; the stream belongs to whoever opened it."""
        self.flush(0)


def _line(record: CostEvent | Alert) -> str:
    return _call(record) if isinstance(record, CostEvent) else _alert(record)


def _call(event: CostEvent) -> str:
    tags = " ".join(f"{tag}={value}" for tag, value in event.tags.items()) or "(unattributed)"
    if event.outcome == "refused":
        return f"costguard  refused    {event.call.provider}/{event.call.model}  {tags}"
    tokens_in = sum(usage.input_tokens for usage in event.usages)
    tokens_out = sum(usage.output_tokens for usage in event.usages)
    notes: list[str] = [event.outcome] if event.outcome != "ok" else []
    notes += [event.decision.replace("_", " ")] if event.decision in ("cache_hit", "compressed", "downgraded") else []
    notes += [f"saved {format_usd(event.saved)}"] if event.saved else []
    notes += ["estimated"] if event.cost.estimated else []
    notes += [f"unpriced: {', '.join(event.cost.unpriced)}"] if event.cost.unpriced else []
    notes += [f"would block: {', '.join(event.would_block)}"] if event.would_block else []
    note = f"  [{'; '.join(notes)}]" if notes else ""
    return (
        f"costguard  {format_usd(event.cost.nano):<9}  {event.call.provider}/{event.model}  "
        f"{tokens_in:,} in  {tokens_out:,} out  {tags}{note}"
    )


def _alert(alert: Alert) -> str:
    if isinstance(alert, ForecastAlert):
        return f"costguard  ALERT      {sentence(alert)}"
    balance = alert.balance
    return (
        f"costguard  ALERT      {balance.leg.budget}: {alert.percent:g}% reached, "
        f"{format_usd(balance.spent)} of {format_usd(balance.leg.limit)} spent"
    )
