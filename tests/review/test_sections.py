"""The sections about what is ahead, what is unusual, what could be cheaper: their figures out of the journal's calls."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from costguard import budget
from costguard._types import CostEvent
from costguard.journals.memory import MemoryJournal
from costguard.review import Section, render, review, span
from costguard.review.caching import caching
from costguard.review.what_if import what_if

from .traffic import CATALOG, at, bills, made, month

ONE = 4_500_000
"""What a call of `made` costs."""


def journal_of(events: list[CostEvent]) -> MemoryJournal:
    journal = MemoryJournal()
    for event in events:
        journal.record(event)
    return journal


def hourly(first: date, last: date, a_day: int = 4, extra: dict[date, int] | None = None) -> list[CostEvent]:
    """Some calls on each day, and some more on some days."""
    events = []
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(ordinal)
        start = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        for number in range(a_day + (extra or {}).get(day, 0)):
            events.append(made(f"{day}-{number}", start + 60 * number))
    return events


def section(journal: MemoryJournal, name: str, now: str = "2026-12-01", **options: object) -> Section:
    [found] = review(
        journal, span(at(now), month="2026-10"), sections=[name], catalog=CATALOG, compare=False, **options
    ).sections  # type: ignore[arg-type]
    return found


def test_the_forecast_of_an_even_month_is_exact_and_names_the_day_a_budget_runs_out() -> None:
    """Four calls a day: at midnight after twenty days, 31 days' worth; what is enough for 25 days is gone on the 26th."""
    journal = journal_of(hourly(date(2026, 9, 1), date(2026, 10, 20)))
    limits = [budget((25 * 4 * ONE + 1) / 10**9, period="month", name="tight"), budget("$9/month", name="wide")]
    found = section(journal, "forecast", "2026-10-21", budgets=limits)
    rows = {row[0]: row for row in found.rows}
    assert rows["all calls"][1:5] == (20 * 4 * ONE, 31 * 4 * ONE, 31 * 4 * ONE, 31 * 4 * ONE)
    assert rows["tight"][-1] == "~Oct 26"
    assert rows["wide"][-1] == "lasts"
    assert [advice.text.split(":")[0] for advice in found.advice] == ["tight will be exhausted on Oct 26"]
    assert sum(found.facts["days"]) == 11 * 4 * ONE


def test_without_enough_days_the_forecast_says_so() -> None:
    """A journal of two days."""
    journal = journal_of(hourly(date(2026, 10, 1), date(2026, 10, 2)))
    found = section(journal, "forecast", "2026-10-03")
    assert found.notes == ("Not enough data for a forecast: 2 complete days, 5 are needed.",)
    assert found.rows[0][2] is None


def test_the_first_day_of_a_journal_counts_only_if_it_is_whole() -> None:
    """One that begins at noon has seen half of its first day: that is no quiet day, it is not known."""
    journal = journal_of([made("noon", "2026-10-01T12:00"), *hourly(date(2026, 10, 2), date(2026, 10, 5))])
    assert "4 complete days" in section(journal, "forecast", "2026-10-06").notes[0]


def test_a_day_that_jumps_is_told_with_the_model_that_made_it() -> None:
    """Five times as many calls on one day."""
    jump = date(2026, 10, 22)
    events = [
        *hourly(date(2026, 9, 1), date(2026, 10, 31), 80, {jump: 320}),
        made("other", "2026-10-22T13:00", "gpt-4o-mini"),
    ]
    found = section(journal_of(events), "jumps")
    small = events[-1].cost.nano
    assert found.rows == (("search", "Oct 22", 400 * ONE + small, 80 * ONE, 320 * ONE + small, "gpt-4o"),)


def test_moves_and_cache_are_those_of_the_calls() -> None:
    """What the pure functions say of the same calls; one row for each feature and model."""
    calls = list(month(500))
    journal = journal_of(calls)
    moves, truth = section(journal, "moves"), what_if(bills(calls), CATALOG)
    assert moves.facts["saved_nano"] == truth.saved > 0
    assert sum(row[8] for row in moves.rows if row[4] == "as now") == truth.saved
    cache, asked = section(journal, "cache"), caching(bills(calls)())
    assert [(row[2], row[3]) for row in cache.rows] == [(one.saved, one.hits) for one in asked.would]


def test_many_calls_are_gone_through_only_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report stays quick; it says how to get the rest."""
    monkeypatch.setattr("costguard.review.sections.moves.MOST", 10)
    journal = journal_of(list(month(100)))
    when = span(at("2026-12-01"), month="2026-10")
    brief = review(journal, when, catalog=CATALOG)
    assert "costguard report --deep" in render(brief, "table")
    assert brief.section("cache") is None
    deep = review(journal, when, catalog=CATALOG, options={"deep": True})
    assert deep.section("moves").rows  # type: ignore[union-attr]
    assert deep.section("cache") is not None
