"""Periods and their windows: calendar ones in a timezone, rolling ones, a run, a lifetime. No clock is read here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import ConfigError

Kind = Literal["hour", "day", "week", "month", "year", "rolling", "lifetime", "run"]

ROLLING_SLOTS: Final = 60
"""Slots a rolling window is counted in. The oldest is counted whole, so every exact window stays under the limit."""

OF_RUN: Final = "run:"
"""How the names of the windows of single runs begin. Such a run has no end that a ledger could know."""
PROCESS: Final = "process-"
"""How the name of a run begins that lasts as long as its process."""

_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WORDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("hour", "hourly"), "hour"),
    **dict.fromkeys(("day", "daily"), "day"),
    **dict.fromkeys(("week", "weekly"), "week"),
    **dict.fromkeys(("month", "monthly", "mo"), "month"),
    **dict.fromkeys(("year", "yearly", "annual"), "year"),
    **dict.fromkeys(("lifetime", "total", "ever"), "lifetime"),
    "run": "run",
}
_LENGTH = re.compile(
    r"(?:rolling\s+)?([0-9]{1,9})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST: Final = 3660 * 86400
_NOT_EVERYWHERE: Final = ("localtime", "posixrules", "Factory", "posix/", "right/")
"""Zone files that mean another time on each host, or count leap seconds."""


@dataclass(frozen=True, slots=True)
class Window:
    """One period of one budget.

    Attributes:
        id: the same on every host; for a calendar window, the UTC instant of its start.
        starts, ends: UTC epoch seconds; `ends` is None when it never resets.
        slots: how many earlier slots count along, for a rolling window.
    """

    id: str
    starts: float = 0.0
    ends: float | None = None
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Period:
    """How a budget's windows follow each other.

    What a kind does not look at is left at its default, so that equal periods are equal.

    Attributes:
        kind: which rule.
        timezone: the IANA zone calendar windows follow.
        seconds: the length of a rolling window.
        week_start: 0 for Monday to 6 for Sunday.
    """

    kind: Kind
    timezone: str = "UTC"
    seconds: int = 0
    week_start: int = 0

    @classmethod
    def parse(cls, text: str | Period, *, timezone: str = "UTC", week_start: str = "monday") -> Period:
        """Read ``month``, ``24h``, ``rolling 7d``, ``lifetime``, ``run``...

        Raises:
            ConfigError: unknown period, timezone or weekday.
        """
        _zone(timezone)
        starts = week_start.strip().lower() if isinstance(week_start, str) else ""
        if starts not in _WEEKDAYS:
            raise ConfigError(f"week_start={week_start!r}: allowed are {', '.join(_WEEKDAYS)}")
        if isinstance(text, Period):
            return text
        word = " ".join(text.lower().split()) if isinstance(text, str) else ""
        match _WORDS.get(word):
            case "lifetime":
                return LIFETIME
            case "run":
                return RUN
            case "week":
                return cls("week", timezone, week_start=_WEEKDAYS.index(starts))
            case None:
                return cls("rolling", seconds=_rolling(text, word))
            case kind:
                return cls(kind, timezone)

    def __str__(self) -> str:
        match self.kind:
            case "lifetime":
                return "in all"
            case "run":
                return "per run"
            case "rolling":
                return f"per rolling {_length(self.seconds)}"
            case kind:
                start = f" from {_WEEKDAYS[self.week_start].title()}" if self.week_start else ""
                return f"per {kind}{start}" + ("" if self.timezone == "UTC" else f" ({self.timezone})")

    def window(self, at: float, run: str) -> Window:
        """The window that holds the UTC epoch second `at`; a ``run`` period's window is named by `run`."""
        match self.kind:
            case "lifetime":
                return Window("lifetime")
            case "run":
                return Window(f"{OF_RUN}{run}")
            case "rolling":
                return self._slot(at)
            case _:
                return self._calendar(at)

    def _slot(self, at: float) -> Window:
        index = int(at * ROLLING_SLOTS // self.seconds)
        # The product above is rounded, so that an instant on the very edge may land one slot off.
        index += (self._edge(index + 1) <= at) - (at < self._edge(index))
        return Window(f"{index:012d}", self._edge(index), self._edge(index + 1), ROLLING_SLOTS)

    def _edge(self, index: int) -> float:
        return index * self.seconds / ROLLING_SLOTS

    def _calendar(self, at: float) -> Window:
        zone = _zone(self.timezone)
        second = math.floor(at)
        if self.kind == "hour":
            return _between(*_hour(second, zone))
        first, following = self._bounds(_local(second, zone).date())
        starts, ends = _midnight(first, zone), _midnight(following, zone)
        while second >= ends:
            # Clocks set back just after midnight show the day before once more; those minutes belong to the new day.
            first, following = self._bounds(following)
            starts, ends = ends, _midnight(following, zone)
        return _between(starts, ends)

    def _bounds(self, today: date) -> tuple[date, date]:
        match self.kind:
            case "week":
                first = today - timedelta(days=(today.weekday() - self.week_start) % 7)
                return first, first + timedelta(days=7)
            case "month":
                first = today.replace(day=1)
                return first, (first + timedelta(days=32)).replace(day=1)
            case "year":
                return date(today.year, 1, 1), date(today.year + 1, 1, 1)
            case _:
                return today, today + timedelta(days=1)


LIFETIME: Final = Period("lifetime")
RUN: Final = Period("run")


def length(knob: str, given: str | float) -> float:
    """A length of time in seconds: ``"1h"``, ``"10m"``, or the seconds themselves.

    Raises:
        ConfigError: it is none, or not above zero.
    """
    seconds: float = 0.0
    if isinstance(given, str):
        seconds = _seconds(" ".join(given.lower().split()))
    elif isinstance(given, int | float) and not isinstance(given, bool):
        seconds = float(given)
    if not 0 < seconds <= _LONGEST:
        raise ConfigError(f"{knob}={given!r}: give a length of time, such as '1h', '10m' or seconds")
    return seconds


def _seconds(word: str) -> int:
    match = _LENGTH.fullmatch(word)
    return 0 if match is None else int(match[1]) * _SECONDS[match[2][0]]


def _rolling(text: object, word: str) -> int:
    seconds = _seconds(word)
    if not 0 < seconds <= _LONGEST:
        raise ConfigError(
            f"period {text!r} is unknown: allowed are hour, day, week, month, year (calendar), "
            f"a rolling length such as '24h' or '7d' up to ten years, 'lifetime' and 'run'"
        )
    return seconds


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # also where no zone data is installed
    try:
        if name.startswith(_NOT_EVERYWHERE):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
        raise ConfigError(
            f"timezone {name!r} is unknown: give an IANA name such as 'Europe/Berlin' or 'UTC'"
            f" (where the system has no zone data: pip install tzdata)"
        ) from None


def _local(second: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(second, zone)


def _first(holds: Callable[[int], bool], after: int, until: int) -> int:
    """The first second in (after, until] from which on `holds` is true; it is at `until` and is not at `after`."""
    while until - after > 1:
        middle = (after + until) // 2
        after, until = (after, middle) if holds(middle) else (middle, until)
    return until


def _midnight(day: date, zone: tzinfo) -> int:
    """The first instant of `day` in `zone`; of the next day there is, where clocks skip midnight or the whole day."""
    wall = datetime.combine(day, time(), zone)
    instant = int(wall.timestamp())
    if _local(instant, zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return instant
    return _first(lambda second: _local(second, zone).date() >= day, instant - 86400, instant)


def _hour(second: int, zone: tzinfo) -> tuple[int, int]:
    """The elapsed hour around `second` that begins on the zone's own hour line, half-hour zones included.

    A clock change by whole hours leaves the line where it is. One by half an hour moves it: the hour in which that
    happens ends there, and a shorter one leads to the new line.
    """

    def line(second: int) -> int:
        return (second + int((_local(second, zone).utcoffset() or timedelta()).total_seconds())) % 3600

    def same(other: int) -> bool:
        return (line(other) - line(second) - (other - second)) % 3600 == 0

    starts = second - line(second)
    ends = starts + 3600
    if not same(starts):
        starts = _first(same, starts, second)
    if not same(ends - 1):
        ends = _first(lambda other: not same(other), second, ends - 1)
    return starts, ends


def _between(starts: int, ends: int) -> Window:
    return Window(datetime.fromtimestamp(starts, UTC).strftime("%Y-%m-%dT%H:%MZ"), starts, ends)


def _length(seconds: int) -> str:
    for unit in ("w", "d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
