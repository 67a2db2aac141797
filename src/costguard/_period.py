"""Periods and their windows: calendar ones in a timezone, rolling ones, a run, a lifetime. No clock is read here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import ConfigError

Kind = Literal["hour", "day", "week", "month", "year", "rolling", "lifetime", "run"]

ROLLING_SLOTS: Final = 60
"""Slots a rolling window is counted in. The oldest is counted whole, so every exact window stays under the limit."""

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
_LENGTH = re.compile(r"(?:rolling\s+)?(\d+)\s*(s|sec|m|min|h|hr|hours?|d|days?|w|weeks?)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


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
        if isinstance(text, Period):
            return text
        _zone(timezone)
        if week_start.lower() not in _WEEKDAYS:
            raise ConfigError(f"week_start={week_start!r}: allowed are {', '.join(_WEEKDAYS)}")
        word = text.strip().lower() if isinstance(text, str) else ""
        if word in _WORDS:
            return cls(_WORDS[word], timezone, week_start=_WEEKDAYS.index(week_start.lower()))
        match = _LENGTH.fullmatch(word)
        if match is None or int(match[1]) == 0:
            raise ConfigError(
                f"period {text!r} is unknown: allowed are hour, day, week, month, year (calendar), "
                f"a rolling length such as '24h' or '7d', 'lifetime' and 'run'"
            )
        return cls("rolling", timezone, seconds=int(match[1]) * _SECONDS[match[2][0]])

    def __str__(self) -> str:
        match self.kind:
            case "lifetime":
                return "in all"
            case "run":
                return "per run"
            case "rolling":
                return f"per rolling {_length(self.seconds)}"
            case kind:
                return f"per {kind}" + ("" if self.timezone == "UTC" else f" ({self.timezone})")

    def window(self, at: float, run: str) -> Window:
        """The window that holds the UTC epoch second `at`; a ``run`` period's window is named by `run`."""
        match self.kind:
            case "lifetime":
                return Window("lifetime")
            case "run":
                return Window(f"run:{run}")
            case "rolling":
                return self._slot(at)
            case _:
                return self._calendar(at)

    def _slot(self, at: float) -> Window:
        length = self.seconds / ROLLING_SLOTS
        index = int(at // length)
        return Window(f"{index:012d}", index * length, (index + 1) * length, ROLLING_SLOTS)

    def _calendar(self, at: float) -> Window:
        zone = _zone(self.timezone)
        if self.kind == "hour":
            # A local hour can be repeated or skipped by a clock change; a window is an elapsed hour that begins on
            # the zone's own hour line (half-hour zones included).
            offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta()
            into = (at + offset.total_seconds()) % 3600
            return _between(at - into, at - into + 3600)
        today = datetime.fromtimestamp(at, zone).date()
        first, following = self._bounds(today)
        return _between(_midnight(first, zone), _midnight(following, zone))

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


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ConfigError(f"timezone {name!r} is unknown: give an IANA name such as 'Europe/Berlin' or 'UTC'") from None


def _midnight(day: date, zone: ZoneInfo) -> float:
    """The first instant of `day` in `zone`, also where the clocks skip midnight."""
    start = datetime.combine(day, time(), zone)
    instant = start.astimezone(UTC)
    # A skipped midnight maps to an instant whose local date is still the day before: go on to the first that exists.
    while instant.astimezone(zone).date() < day:
        instant += timedelta(minutes=15)
    return instant.timestamp()


def _between(starts: float, ends: float) -> Window:
    return Window(datetime.fromtimestamp(starts, UTC).strftime("%Y-%m-%dT%H:%MZ"), starts, ends)


def _length(seconds: int) -> str:
    for unit in ("w", "d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
