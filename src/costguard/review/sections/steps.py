"""What was spent in each day, or hour, or week."""

from __future__ import annotations

from datetime import UTC, datetime

from .._context import Context
from .._model import Column, Section


def section(context: Context) -> Section:
    """One row for each step of the span, those without a call too."""
    span = context.span
    steps = [at for at in span.steps if at < span.ends] or [span.since]
    calls = dict.fromkeys(steps, 0)
    spent = dict.fromkeys(steps, 0)
    for group in context.groups(("feature",), steps):
        calls[group.starts] += group.sums.calls
        spent[group.starts] += group.sums.nano
    hourly = span.kind == "day"
    labels = [datetime.fromtimestamp(at, UTC).isoformat() if hourly else str(span.date(at)) for at in steps]
    return Section(
        "steps",
        "Hour by hour" if hourly else "Day by day" if steps == span.days[: len(steps)] else "Week by week",
        (Column("since", "since", "text"), Column("spend", "spend", "money"), Column("calls", "calls", "count")),
        tuple([(label, spent[at], calls[at]) for label, at in zip(labels, steps, strict=True)]),
        detail=True,
    )
