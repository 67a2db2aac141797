"""Periods: their windows tile time in every zone, and mean the same on every host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard._period import LIFETIME, ROLLING_SLOTS, RUN, Period, Window
from costguard.errors import ConfigError

CALENDAR = ("hour", "day", "week", "month", "year")
ODD_ZONES = (
    "UTC", "America/Havana", "Africa/Cairo", "Asia/Beirut", "America/Sao_Paulo", "Asia/Tokyo", "Asia/Kolkata",
    "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Pacific/Kwajalein",
    "Pacific/Kiritimati", "Asia/Pyongyang", "America/Caracas", "Asia/Gaza", "America/Nuuk", "Africa/Casablanca",
    "Europe/Berlin", "America/New_York", "Antarctica/Troll", "Pacific/Chatham", "Asia/Tehran",
)  # fmt: skip
FROM = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
UNTIL = datetime(2040, 1, 1, tzinfo=UTC).timestamp()
INSTANTS = st.floats(FROM, UNTIL) | st.integers(int(FROM), int(UNTIL)).map(float)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def window(kind: str, zone: str, at: str, **more: str) -> Window:
    """The window that holds a local wall-clock time."""
    local = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(zone))
    return Period.parse(kind, timezone=zone, **more).window(local.timestamp(), "")


def check_tiles(period: Period, at: float) -> None:
    """The window around `at` holds it, and the next one begins where it ends."""
    here = period.window(at, "")
    assert here.ends is not None
    assert here.starts <= at < here.ends
    assert here == period.window(here.starts, "")
    assert here == period.window(here.ends - 0.01, "")
    after, before = period.window(here.ends, ""), period.window(here.starts - 0.01, "")
    assert here.ends == after.starts
    assert before.ends == here.starts
    assert len({before.id, here.id, after.id}) == 3
    # Redis and SQL ledgers sort and compare windows by id.
    assert before.id < here.id < after.id


def changes(zone: str) -> list[int]:
    """The instants at which a zone's clocks are changed, 1990 to 2040."""
    info = ZoneInfo(zone)

    def offset(second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, info).utcoffset()

    found, here = [], int(FROM)
    while here < UNTIL:
        there = here + 7 * 86400
        if offset(here) != offset(there):
            low, high = here, there
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(here) else (low, middle)
            found.append(high)
            there = high
        here = there
    return found


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_windows_tile_time_around_every_clock_change(zone: str) -> None:
    """No second is in two windows or in none, also where clocks skip midnight, a whole day, or half an hour."""
    for change in changes(zone)[:60]:
        for kind in CALENDAR:
            period = Period.parse(kind, timezone=zone)
            for near in (-3600, -61, -1, -0.000001, 0, 0.0000001, 59, 1800, 3599, 3600):
                check_tiles(period, change + near)


@given(st.sampled_from(CALENDAR), st.sampled_from(ODD_ZONES), st.sampled_from(("monday", "sunday", "Friday")), INSTANTS)
def test_calendar_windows_tile_time(kind: str, zone: str, start: str, at: float) -> None:
    """Whatever the zone and the instant, windows follow each other without gap or overlap."""
    check_tiles(Period.parse(kind, timezone=zone, week_start=start), at)


@given(st.integers(1, 10**7) | st.sampled_from((1, 7, 60, 3600, 86400, 604800)), INSTANTS)
def test_rolling_slots_tile_time(seconds: int, at: float) -> None:
    """Slots of any length follow each other without gap or overlap."""
    period = Period("rolling", seconds=seconds)
    here = period.window(at, "")
    assert here.ends is not None
    assert here.starts <= at < here.ends
    assert here.slots == ROLLING_SLOTS
    assert here.starts == period.window(here.starts - 1e-6 * seconds, "").ends


@given(st.integers(1, 10**7), INSTANTS, st.floats(0, 1))
def test_a_rolling_window_covers_every_instant_of_its_length(seconds: int, at: float, ago: float) -> None:
    """Whatever happened less than one length ago is in one of the slots that count now."""
    period = Period("rolling", seconds=seconds)
    now, then = period.window(at, ""), period.window(at - ago * seconds, "")
    assert int(now.id) - now.slots <= int(then.id) <= int(now.id)


@given(st.sampled_from(CALENDAR[1:]), st.sampled_from(ODD_ZONES), INSTANTS)
def test_a_calendar_window_begins_at_the_first_instant_of_its_date(kind: str, zone: str, at: float) -> None:
    """A second before the window it is another date there; when it begins, it is not."""
    here = Period.parse(kind, timezone=zone).window(at, "")
    info = ZoneInfo(zone)
    first = datetime.fromtimestamp(here.starts, info)
    assert datetime.fromtimestamp(here.starts - 1, info).date() < first.date()
    if kind == "month" and zone not in ("Pacific/Apia", "Pacific/Kwajalein", "Pacific/Kiritimati"):
        assert first.day == 1


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("America/New_York", "2026-11-01T12:00", 25),
        ("Australia/Lord_Howe", "2026-10-04T12:00", 23.5),
        ("America/Havana", "2026-03-08T12:00", 23),
        ("America/Havana", "2026-11-01T12:00", 25),
        ("Africa/Cairo", "2026-04-24T12:00", 23),
        ("Asia/Beirut", "2026-03-29T12:00", 23),
        ("Asia/Beirut", "2026-10-24T12:00", 25),
        ("America/Sao_Paulo", "2018-11-04T12:00", 23),
        ("America/Sao_Paulo", "2018-02-17T12:00", 25),
        ("Asia/Tokyo", "2026-03-29T12:00", 24),
    ],
)
def test_a_day_is_as_long_as_its_clock_says(zone: str, day: str, hours: float) -> None:
    """Days on which clocks change have 23 or 25 hours, also where they change at midnight."""
    here = window("day", zone, day)
    assert here.ends is not None
    assert hours * 3600 == here.ends - here.starts


@pytest.mark.parametrize(
    ("zone", "day", "starts"),
    [
        ("America/Havana", "2026-03-08T12:00", "2026-03-08T05:00"),
        ("Africa/Cairo", "2026-04-24T12:00", "2026-04-23T22:00"),
        ("Asia/Beirut", "2026-03-29T12:00", "2026-03-28T22:00"),
        ("America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00"),
        ("Pacific/Apia", "2011-12-31T12:00", "2011-12-30T10:00"),
    ],
)
def test_a_day_without_midnight_begins_when_its_clock_does(zone: str, day: str, starts: str) -> None:
    """Where 00:00 is skipped, the window opens at the first instant that exists on that date."""
    assert utc(starts) == window("day", zone, day).starts


def test_minutes_that_are_shown_twice_belong_to_the_new_day() -> None:
    """In St John's clocks went back at 00:01 to 23:01: the day had begun, and its budget must not open twice."""
    period = Period.parse("day", timezone="America/St_Johns")
    change = utc("2010-11-07T02:31")
    assert period.window(change - 30, "") == period.window(change + 1800, "") == period.window(change + 7200, "")


def test_an_hour_in_a_half_hour_zone_follows_that_zones_clock() -> None:
    """In Kolkata the hour turns at half past of UTC's."""
    assert utc("2026-05-01T06:30") == window("hour", "Asia/Kolkata", "2026-05-01T12:59").starts


def test_the_repeated_hour_of_a_clock_change_has_a_budget_of_its_own() -> None:
    """Both passes of 02:00 to 03:00 are windows of one elapsed hour each."""
    period = Period.parse("hour", timezone="Europe/Berlin")
    first, second = (period.window(utc(at), "") for at in ("2026-10-25T00:30", "2026-10-25T01:30"))
    assert first.ends == second.starts
    assert first.id != second.id


def test_months_turn_at_the_zones_own_midnight() -> None:
    """At 15:00 UTC on the last of the month it is already the next month in Tokyo."""
    period = Period.parse("month", timezone="Asia/Tokyo")
    assert period.window(utc("2026-01-31T15:00"), "").id == "2026-01-31T15:00Z"
    assert period.window(utc("2026-01-31T14:59:59"), "").id == "2025-12-31T15:00Z"


@pytest.mark.parametrize(("at", "days"), [("2024-02-29T12:00", 29), ("2026-02-10T12:00", 28), ("2000-02-29T00:00", 29)])
def test_february_has_the_days_of_its_year(at: str, days: int) -> None:
    """Leap years count."""
    here = window("month", "UTC", at)
    assert here.ends is not None
    assert days * 86400 == here.ends - here.starts


@pytest.mark.parametrize(
    ("start", "first"), [("monday", "2026-05-04"), ("sunday", "2026-05-03"), ("Friday", "2026-05-01")]
)
def test_a_week_begins_on_the_weekday_asked_for(start: str, first: str) -> None:
    """Weekday names are read in any case."""
    assert f"{first}T00:00Z" == window("week", "UTC", "2026-05-07T12:00", week_start=start).id


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("month", Period("month")), ("Monthly", Period("month")), (" mo ", Period("month")), ("day", Period("day")),
        ("24h", Period("rolling", seconds=86400)), ("rolling 7d", Period("rolling", seconds=604800)),
        ("rolling  90 min", Period("rolling", seconds=5400)), ("30 seconds", Period("rolling", seconds=30)),
        ("5m", Period("rolling", seconds=300)), ("2 hrs", Period("rolling", seconds=7200)),
        ("lifetime", LIFETIME), ("total", LIFETIME), ("run", RUN),
    ],
)  # fmt: skip
def test_periods_are_read_as_people_write_them(text: str, period: Period) -> None:
    """Words for the calendar, lengths for rolling windows."""
    assert period == Period.parse(text)


def test_what_a_period_does_not_look_at_makes_no_difference() -> None:
    """A lifetime, a run and a rolling window have no timezone, and only weeks have a first weekday."""
    more = {"timezone": "Europe/Berlin", "week_start": "sunday"}
    assert LIFETIME is Period.parse("lifetime", **more)
    assert RUN is Period.parse("run", **more)
    assert Period.parse("24h") == Period.parse("24h", **more)
    assert Period.parse("day", timezone="Europe/Berlin") == Period.parse("day", **more)


@pytest.mark.parametrize(
    "text", ["", "fortnight", "0h", "-1d", "1.5h", "24", "h", "day/user", "99999999w", None, 24, "\u0661h"]
)
def test_an_unknown_period_names_what_is_allowed(text: object) -> None:
    """The message lists every kind of period."""
    with pytest.raises(ConfigError, match=r"month.*'24h'.*lifetime.*run"):
        Period.parse(text)


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "", " ", "UTC ", "../etc/passwd", "Europe", "CEST", None, 5, "localtime", "right/UTC"]
)
@pytest.mark.parametrize("kind", ["day", "lifetime"])
def test_an_unknown_timezone_is_refused(kind: str, zone: object) -> None:
    """Only names that mean the same on every host are taken; a misspelt one is refused even where it is not used."""
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        Period.parse(kind, timezone=zone)


@pytest.mark.parametrize("start", ["", "mon", "Someday", None, 0])
def test_an_unknown_weekday_names_the_seven(start: object) -> None:
    """The message lists the weekdays."""
    with pytest.raises(ConfigError, match="monday, tuesday"):
        Period.parse("week", week_start=start)


def test_utc_needs_no_zone_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and minimal containers have no zone files; a budget without a timezone works there all the same."""

    def missing(name: str) -> ZoneInfo:
        raise OSError(name)

    monkeypatch.setattr("costguard._period.ZoneInfo", missing)
    assert Period.parse("month").window(utc("2026-05-07T12:00"), "").id == "2026-05-01T00:00Z"
    with pytest.raises(ConfigError, match="tzdata"):
        Period.parse("month", timezone="Europe/Berlin")


def test_a_run_and_a_lifetime_never_reset() -> None:
    """A run's window is named after the run, a lifetime's is one."""
    assert Window("run:r1") == RUN.window(5.0, "r1")
    assert Window("lifetime") == LIFETIME.window(5.0, "r1")


@pytest.mark.parametrize(
    ("period", "said"),
    [
        (Period.parse("month"), "per month"),
        (Period.parse("day", timezone="Asia/Tokyo"), "per day (Asia/Tokyo)"),
        (Period.parse("week", week_start="sunday"), "per week from Sunday"),
        (Period.parse("90m"), "per rolling 90m"),
        (Period.parse("168h"), "per rolling 1w"),
        (Period.parse("45s"), "per rolling 45s"),
        (RUN, "per run"),
        (LIFETIME, "in all"),
    ],
)
def test_a_period_says_what_it_is(period: Period, said: str) -> None:
    """Names of budgets are made of this, so different periods say different things."""
    assert said == str(period)
