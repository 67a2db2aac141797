"""Days of spend out of a journal, as far back as forecasts and comparisons look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from .._journal import Selection
from .._period import Period
from .._types import Nano
from ..ports import Journal
from ._series import Series, series

BACK: Final = 70
"""Days before a span that are looked at: ten of each weekday."""

Key = tuple[str, ...]


def daily(
    journal: Journal,
    since: float,
    until: float,
    timezone: str,
    by: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> dict[Key, Series]:
    """What was spent on each whole day from `since` to the one that `until` falls in, for each combination of `by`.

    The day on which the journal begins is left out, unless it is whole: it would look quiet. All series begin on the
    same day; the empty key is there without any call too, where calls are not grouped.
    """
    extent = journal.extent().since
    if extent is not None:
        since = max(since, _whole(extent, timezone))
    today = _start(until, timezone)
    if extent is None or since >= today:
        return {} if by else {(): Series(day_of(until, timezone), ())}
    edges = list(_edges(since, today, timezone))
    first, end = day_of(since, timezone), day_of(today, timezone)
    spent: dict[Key, list[tuple[date, Nano]]] = {} if by else {(): []}
    for group in journal.sums(Selection(since, today, dict(tags or {})), by, edges):
        spent.setdefault(group.key, []).append((day_of(group.starts, timezone), group.sums.nano))
    return {key: series(days, first, end) for key, days in sorted(spent.items())}


def day_of(at: float, timezone: str) -> date:
    """The day of an instant."""
    return datetime.fromtimestamp(at, UTC if timezone == "UTC" else ZoneInfo(timezone)).date()


def passed_of(at: float, timezone: str) -> float:
    """How much of its day is over at an instant, from 0 to 1."""
    window = Period("day", timezone).window(at, "")
    assert window.ends is not None  # a day has an end
    return (at - window.starts) / (window.ends - window.starts)


def back(since: float) -> float:
    """Where looking back begins."""
    return since - timedelta(days=BACK).total_seconds()


def _start(at: float, timezone: str) -> float:
    return Period("day", timezone).window(at, "").starts


def _whole(at: float, timezone: str) -> float:
    """The first start of a day at or after an instant."""
    window = Period("day", timezone).window(at, "")
    assert window.ends is not None  # a day has an end
    return at if window.starts == at else window.ends


def _edges(since: float, until: float, timezone: str) -> Sequence[float]:
    edges, at = [], since
    while at < until:
        window = Period("day", timezone).window(at, "")
        assert window.ends is not None  # a day has an end
        edges.append(window.starts)
        at = window.ends
    return edges
