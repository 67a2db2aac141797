"""The stretch of time that is reviewed, and the one it is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal
from zoneinfo import ZoneInfo

from .._period import Period
from ..errors import ConfigError

Kind = Literal["month", "week", "day", "range"]

PERIODS: Final = {"monthly": "month", "weekly": "week", "daily": "day"}
SETTLING: Final = 5
"""Days of a month in which the month before is what is asked about."""
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")
_LONG: Final = 92
"""Days above which figures are shown week by week."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time.

    Attributes:
        kind: a calendar month, week or day, or any range.
        since, until: UTC epoch seconds, the second exclusive.
        ends: until when there are figures: `until`, or now while it is not over.
        timezone: the IANA zone in which days begin.
        label: for people, ``October 2026``.
    """

    kind: Kind
    since: float
    until: float
    ends: float
    timezone: str
    label: str

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.ends >= self.until

    @property
    def days(self) -> list[float]:
        """Where each day of it begins, as UTC epoch seconds."""
        return self._windows("day")

    @property
    def steps(self) -> list[float]:
        """Where each part of its trend begins: hours of a day, weeks of a long range, else days."""
        long = self.until - self.since > _LONG * 86_400
        return self._windows("hour" if self.kind == "day" else "week" if long else "day")

    def _windows(self, kind: Literal["hour", "day", "week"]) -> list[float]:
        period, starts, at = Period(kind, self.timezone), [], self.since
        while at < self.until:
            starts.append(at)
            at = period.window(at, "").ends or self.until
        return starts

    def date(self, at: float) -> date:
        """The day of an instant."""
        return datetime.fromtimestamp(at, _zone(self.timezone)).date()

    @property
    def words(self) -> str:
        """What names it on the command line, whenever that is read."""
        zone = "" if self.timezone == "UTC" else f" --timezone {self.timezone}"
        first, last = self.date(self.since), self.date(self.until - 1)
        if self.kind == "month":
            return f"--month {first:%Y-%m}{zone}"
        return f"--since {first} --until {last}{zone}"

    def before(self) -> Span:
        """The one to compare with: the same kind before it, as far as this one has got."""
        if self.kind == "range":
            length = self.until - self.since
            first, last = self.date(self.since - length), self.date(self.since - 1)
            since = self.since - length
            return Span("range", since, self.since, since + (self.ends - self.since), self.timezone, _days(first, last))
        kind = self.kind
        whole = _calendar(kind, self.since - 1, self.timezone)
        if self.closed:
            return whole
        ends = min(whole.until, whole.since + (self.ends - self.since))
        label = f"the same part of {whole.label}"
        return Span(whole.kind, whole.since, whole.until, ends, self.timezone, label)


def span(
    now: float,
    *,
    month: str | None = None,
    since: str | None = None,
    until: str | None = None,
    period: str = "monthly",
    timezone: str = "UTC",
) -> Span:
    """What is to be reviewed.

    Args:
        now: UTC epoch seconds.
        month: ``2026-10``.
        since, until: first and last day, ``2026-10-01``; the last day is included.
        period: ``monthly``, ``weekly`` or ``daily``: the one that is running, or the one before while it is fresh: in
            the first days of a month, on the first day of a week, and for days always.
        timezone: the IANA zone in which days begin.

    Raises:
        ConfigError: one of them is malformed.
    """
    Period.parse("day", timezone=timezone)
    if month is not None:
        match = _MONTH.fullmatch(month)
        if match is None or not 1 <= int(match[2]) <= 12 or since or until:
            raise ConfigError(f"month {month!r}: write it like 2026-10, and without since and until")
        return _cut(_calendar("month", _start(date(int(match[1]), int(match[2]), 1), timezone), timezone), now)
    if since is not None or until is not None:
        first, last = _day("since", since), _day("until", until, datetime.fromtimestamp(now, _zone(timezone)).date())
        if first > last:
            raise ConfigError(f"since {first} is after until {last}")
        bounds = _start(first, timezone), _start(last + timedelta(days=1), timezone)
        return _cut(Span("range", *bounds, bounds[1], timezone, _days(first, last)), now)
    if period not in PERIODS:
        raise ConfigError(f"period {period!r}: allowed are {', '.join(PERIODS)}")
    running = _calendar(PERIODS[period], now, timezone)
    fresh = {"month": SETTLING, "week": 1, "day": 1}[running.kind] * 86_400
    if now - running.since < fresh:
        return _calendar(running.kind, running.since - 1, timezone)
    return _cut(running, now)


def _calendar(kind: str, at: float, timezone: str) -> Span:
    checked: Literal["month", "week", "day"] = "month" if kind == "month" else "week" if kind == "week" else "day"
    window = Period(checked, timezone).window(at, "")
    assert window.ends is not None
    first = datetime.fromtimestamp(window.starts, _zone(timezone)).date()
    last = datetime.fromtimestamp(window.ends - 1, _zone(timezone)).date()
    label = f"{first:%B %Y}" if kind == "month" else _days(first, last)
    return Span(checked, window.starts, window.ends, window.ends, timezone, label)


def _cut(span: Span, now: float) -> Span:
    if now >= span.until:
        return span
    return Span(span.kind, span.since, span.until, max(span.since, now), span.timezone, span.label)


def _day(name: str, text: str | None, default: date | None = None) -> date:
    if text is None and default is not None:
        return default
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        raise ConfigError(f"{name} {text!r}: give a day like 2026-10-01") from None


def _start(day: date, timezone: str) -> float:
    # Noon is of that day in every zone; its window begins where the day does, whatever the clocks did.
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=_zone(timezone))
    return Period("day", timezone).window(noon.timestamp(), "").starts


def _days(first: date, last: date) -> str:
    if first == last:
        return f"{first}"
    return f"{first} to {last}"


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)
