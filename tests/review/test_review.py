"""The review of simulated months, against plain SQL over the same calls."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from costguard._budget import budget
from costguard._catalog import Catalog
from costguard._journal import Result, Selection
from costguard._money import NANO
from costguard._snapshot import load
from costguard._types import Call, Cost, CostEvent
from costguard.errors import ConfigError
from costguard.journals.memory import MemoryJournal
from costguard.journals.sqlite import SQLiteJournal
from costguard.ports import Journal
from costguard.review import FORMATS, SECTIONS, Context, Report, Span, render, review, span
from costguard.testing.months import FIRST, Simulation

from . import plain_sql

AFTER = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
OCTOBER = span(AFTER, month="2026-10")
CALLS = 4_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated months in a file."""
    path = tmp_path_factory.mktemp("journal") / "calls.db"
    with closing(SQLiteJournal(path, keep=float("inf"))) as journal:
        for record in Simulation(CALLS).records():
            journal.record(record)
        assert journal.flush(60)
    return path


@pytest.fixture
def journal(path: Path) -> Iterator[SQLiteJournal]:
    with closing(SQLiteJournal(path, keep=float("inf"))) as journal:
        yield journal


def test_every_figure_is_what_plain_sql_says(path: Path, journal: SQLiteJournal) -> None:
    """Spend, changes, trends, models, shares, days, outcomes, and what the figures rest on."""
    document = json.loads(render(review(journal, OCTOBER), "json"))
    truth = plain_sql.figures(str(path), OCTOBER.since, OCTOBER.until, OCTOBER.before().since)
    assert plain_sql.compare(document, truth) > 130


def test_sums_say_what_the_calls_say(journal: SQLiteJournal) -> None:
    """The memory journal goes through the calls one by one and comes to the same report."""
    memory = MemoryJournal()
    for event in journal.calls(Selection()):
        memory.record(event)
    for result in journal.results(Selection()):
        memory.record(result)
    for zone in ("UTC", "Asia/Kathmandu", "America/New_York"):
        october = span(AFTER, month="2026-10", timezone=zone)
        reports = [review(one, october, group_by=["team", "model"]) for one in (journal, memory)]
        assert render(reports[0], "json") == render(reports[1], "json")


@pytest.mark.parametrize("format", FORMATS)
def test_a_second_run_is_the_same_to_the_byte(journal: SQLiteJournal, format: str) -> None:
    """A closed month never changes."""
    texts = {render(review(journal, OCTOBER, budgets=[budget("$60/month")], top=3), format) for _ in range(2)}
    assert 1 == len(texts)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_table_fits_and_cuts_no_number(journal: SQLiteJournal, width: int) -> None:
    """Columns that do not fit are left out whole."""
    budgets = [budget("$60/month"), budget("$5/month", feature="onboarding"), budget("$1/day", team="discovery")]
    report = review(journal, OCTOBER, budgets=budgets)
    text = render(report, "table", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert re.search(r"[\d$.,]…", text) is None
    for figure in ("onboarding", "support-bot", "%", "What to do"):
        assert figure in text
    assert "\x1b[" not in text
    assert "\x1b[" in render(report, "table", width=width, color=True)


def test_the_verdict_comes_first(journal: SQLiteJournal) -> None:
    """What was spent of which budget, and against the month before."""
    report = review(journal, OCTOBER, budgets=[budget("$60/month")], title="acme-api")
    lines = render(report).splitlines()
    assert "AI spend review · October 2026 · acme-api" in lines[1]
    assert "31 days closed" in lines[2]
    assert lines[4].startswith(" at least $")
    assert "of $60.00" in lines[4]
    assert "vs September 2026" in lines[5]


def test_features_are_compared_with_their_own_budgets(journal: SQLiteJournal) -> None:
    """Where the budget's window is the month that is looked at."""
    budgets = [
        budget("$2/month", feature="onboarding"),
        budget("$3/month", feature="onboarding", timezone="Asia/Tokyo"),
        budget("$1/day", feature="search"),
        budget("$50/month"),
    ]
    report = review(journal, OCTOBER, budgets=budgets)
    total = json.loads(render(report, "json"))["sections"]["spend"]["total"]
    assert total["budget"] == plain_sql.usd(50 * NANO)
    rows = {row["feature"]: row for row in rows_of(report, "spend")}
    assert "2" == rows["onboarding"]["budget"].rstrip("0").rstrip(".")
    assert rows["search"]["budget"] is None
    over = next(advice for advice in report.advice if "passed its limit" in advice.text)
    assert re.search(r"passed its limit of \$2.00 on Oct \d+: \$\d", over.text)


def test_what_it_suggests_can_be_pasted_into_a_shell_in_any_month(journal: SQLiteJournal) -> None:
    """It names the stretch of time that was looked at, keeps to the scope, and quotes names."""
    context = Context(journal, OCTOBER, None, scope={"team": "a b", "customer": "c"})
    assert context.step("report", "--group-by model", feature="it's; rm -rf") == (
        "costguard report --month 2026-10 --team 'a b' --tag customer=c --feature 'it'\"'\"'s; rm -rf' --group-by model"
    )
    days = span(2e9, since="2026-10-01", until="2026-10-09", timezone="Asia/Tokyo")
    found = Context(journal, days, None).step("what-if", feature="")
    assert found == "costguard what-if --since 2026-10-01 --until 2026-10-09 --timezone Asia/Tokyo --feature ''"


def test_the_fullest_window_of_a_budget_is_told(journal: SQLiteJournal, path: Path) -> None:
    """Of a daily budget over a month, its dearest day, and how many days passed the limit."""
    report = review(journal, OCTOBER, budgets=[budget("$0.2/day", feature="support-bot")])
    (row,) = rows_of(report, "budgets")
    truth = plain_sql.figures(str(path), OCTOBER.since, OCTOBER.until, OCTOBER.since - 1)["trends"]
    days = [nano for (feature, _), nano in truth.items() if feature == "support-bot"]
    assert plain_sql.usd(max(days)) == row["spent"]
    assert sum(nano > NANO // 5 for nano in days) == row["over"]
    assert 31 == row["windows"]


def test_a_budget_per_user_is_told_user_by_user(journal: SQLiteJournal) -> None:
    """Each value of the tag has books of its own."""
    report = review(journal, OCTOBER, budgets=[budget("$0.50/month", per="customer")])
    rows = rows_of(report, "budgets")
    spent = {group.key[0]: group.sums.nano for group in journal.sums(
        Selection(OCTOBER.since, OCTOBER.until), ["tag:customer"])}  # fmt: skip
    assert len(rows) == len([customer for customer in spent if customer])
    assert plain_sql.usd(max(nano for customer, nano in spent.items() if customer)) == rows[0]["spent"]


def test_a_report_of_one_feature_is_about_that_feature(journal: SQLiteJournal) -> None:
    """Every section, and its budget becomes the budget."""
    report = review(
        journal, OCTOBER, scope={"feature": "summaries"}, group_by=["model"],
        budgets=[budget("$9/month", feature="summaries"), budget("$50/month")],
    )  # fmt: skip
    assert 9 * NANO == report.verdict.limit
    assert {"gpt-4.1", "gpt-4.1-mini"} == {row["model"] for row in rows_of(report, "spend")}
    assert {"summary_read"} == {row["outcome"] for row in rows_of(report, "value")}


def test_grouped_by_day(journal: SQLiteJournal) -> None:
    """Days in their order, with what else they are grouped by."""
    report = review(journal, OCTOBER, group_by=["day", "team"])
    rows = rows_of(report, "spend")
    assert [row["day"] for row in rows] == sorted(row["day"] for row in rows)
    assert {"2026-10-01", "2026-10-31"} <= {row["day"] for row in rows}
    assert "2026-10-01" in render(report)


def test_what_is_many_is_taken_together(journal: SQLiteJournal) -> None:
    """The first rows, one for the rest, and the total stays the total."""
    whole, cut = (review(journal, OCTOBER, group_by=["tag:customer"], top=top) for top in (0, 5))
    rows, shown = rows_of(whole, "spend"), rows_of(cut, "spend")
    assert 6 == len(shown)
    assert f"({len(rows) - 5} others)" == shown[-1]["customer"]
    assert whole.section("spend").total == cut.section("spend").total  # type: ignore[union-attr]
    assert sum(row["calls"] for row in rows) == sum(row["calls"] for row in shown)


def test_an_open_month_is_compared_with_the_same_part_of_the_last(journal: SQLiteJournal) -> None:
    """A third of October against a third of September, not against all of it."""
    now = datetime(2026, 10, 11, tzinfo=UTC).timestamp()
    report = review(journal, span(now, month="2026-10"))
    assert not report.span.closed
    assert "day 10 of 31, so far" in render(report)
    expected = sum(group.sums.nano for group in journal.sums(Selection(FIRST, FIRST + 10 * 86_400)))
    assert expected == report.verdict.before


def test_an_empty_month_says_so(journal: SQLiteJournal) -> None:
    """Nothing is divided by nothing."""
    for month in ("2025-01", "2026-11"):
        report = review(journal, span(AFTER, month=month), budgets=[budget("$5/month")])
        assert 0 == report.verdict.spent
        for format in FORMATS:
            assert render(report, format)


def test_a_run_with_several_outcomes_shares_its_cost() -> None:
    """Without losing or inventing a nano-dollar, failed attempts included."""
    journal = MemoryJournal()
    at = OCTOBER.since + 60
    for n, outcome in enumerate(("error", "unknown", "ok")):
        cost = Cost(0 if outcome == "error" else 50_000_000_005)
        journal.record(CostEvent(f"c{n}", at + n, 1, Call("openai", "gpt-4o"), (), cost, outcome=outcome, run="r"))  # type: ignore[arg-type]
    for n, name in enumerate(("ticket", "ticket", "lead")):
        journal.record(Result(f"r{n}", at + 5, name, 10 * NANO, {"feature": "f"}, "r"))
    rows = {row["outcome"]: row for row in rows_of(review(journal, OCTOBER), "value")}
    assert ("66.666666674", 2, 2) == (rows["ticket"]["cost"], rows["ticket"]["calls"], rows["ticket"]["count"])
    assert "33.333333336" == rows["lead"]["cost"]
    assert "-23.333333336" == rows["lead"]["margin"]


def test_outcomes_that_got_dearer_are_named(journal: SQLiteJournal) -> None:
    """Summaries moved to a dearer model, and each reader costs more for the same worth."""
    texts = [advice.text for advice in review(journal, OCTOBER).advice]
    assert any(text.startswith("summary_read of summaries got dearer") for text in texts)
    assert any(re.match(r"summaries went from .* cost per call", text) for text in texts)
    assert not any("ticket_resolved" in text for text in texts)


def test_what_is_not_known_is_said(journal: SQLiteJournal) -> None:
    """Calls without a feature, without a price, and estimates."""
    text = render(review(journal, OCTOBER))
    assert re.search(r"\? \d+ calls \(\$[\d.]+, [\d.]+% of spend\) carry no feature", text)
    assert "acme-experimental-9" in text
    assert "partly without a price, not in spend" in text


def test_names_break_no_format() -> None:
    """A feature's name may come from anywhere."""
    journal = MemoryJournal()
    evil = '=cmd|x`*_[a](b)<script>"'
    event = CostEvent("c", OCTOBER.since, 1, Call("openai", "m"), (), Cost(NANO), tags={"feature": evil})
    journal.record(event)
    journal.record(replace(event, id="d", tags={"feature": "[bold]x[/bold]"}))
    report = review(journal, OCTOBER)
    assert evil in json.loads(render(report, "json"))["sections"]["spend"]["rows"][0]["feature"]
    rows = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert f"'{evil}" == rows[0]["feature"]
    assert "1.000000000" == rows[0]["spend_usd"]
    markdown = render(report, "md")
    assert "<script>" not in markdown.replace("\\<", "")
    assert "[bold]x[/bold]" in render(report, width=120)


def test_csv_is_one_section(journal: SQLiteJournal) -> None:
    """The main table, or the one that is asked for; every row, exact."""
    report = review(journal, OCTOBER)
    rows = list(csv.DictReader(io.StringIO(render(report, "csv", sections=("models",)))))
    assert sum(int(row["calls"]) for row in rows) == report.verdict.calls
    with pytest.raises(ConfigError, match="one section"):
        render(report, "csv", sections=("spend", "models"))
    with pytest.raises(ConfigError, match="there are spend"):
        render(report, "csv", sections=("nonsense",))


def test_what_there_is_not_is_said(journal: Journal) -> None:
    """Groups, sections and formats."""
    with pytest.raises(ConfigError, match="cannot group by 'colour'"):
        review(journal, OCTOBER, group_by=["colour"])
    with pytest.raises(ConfigError, match="no section 'weather'"):
        review(journal, OCTOBER, sections=["weather"])
    with pytest.raises(ConfigError, match="no format 'pdf'"):
        render(review(journal, OCTOBER, sections=["steps"]), "pdf")


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_stands_alone(journal: Journal, name: str) -> None:
    """And every row has a value for every column."""
    # There is something ahead only while it is not over.
    when = replace(OCTOBER, ends=OCTOBER.since + 20 * 86_400) if name == "forecast" else OCTOBER
    known = Catalog(load)
    report = review(journal, when, sections=[name], compare=False, budgets=[budget("$5/month")], catalog=known)
    (section,) = report.sections
    assert name == section.name
    assert section.rows
    for row in (*section.rows, *([section.total] if section.total else [])):
        assert len(section.columns) == len(row)


@pytest.mark.parametrize(
    ("now", "options", "expected"),
    [
        ("2026-11-24", {}, "November 2026"),
        ("2026-11-03", {}, "October 2026"),
        ("2026-11-24", {"period": "weekly"}, "2026-11-23 to 2026-11-29"),
        ("2026-11-23", {"period": "weekly"}, "2026-11-16 to 2026-11-22"),
        ("2026-11-24", {"period": "daily"}, "2026-11-23"),
        ("2026-11-24", {"since": "2026-11-01", "until": "2026-11-10"}, "2026-11-01 to 2026-11-10"),
        ("2026-11-24", {"since": "2026-11-20"}, "2026-11-20 to 2026-11-24"),
        ("2026-11-24", {"month": "2026-02"}, "February 2026"),
    ],
)
def test_which_time_is_meant(now: str, options: dict[str, str], expected: str) -> None:
    """The period that is worth a look, or the one that is named."""
    at = datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() + 3_600
    assert expected == span(at, **options).label  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"month": "2026-13"}, {"month": "October"}, {"month": "2026-10", "since": "2026-10-01"},
        {"since": "2026-10-05", "until": "2026-10-01"}, {"since": "yesterday"}, {"until": "2026-10-01"},
        {"period": "yearly"}, {"timezone": "Mars/Base"},
    ],
)  # fmt: skip
def test_times_that_cannot_be_read_say_so(options: dict[str, str]) -> None:
    """With how to write them."""
    with pytest.raises(ConfigError):
        span(AFTER, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Auckland"])
def test_days_are_those_of_the_zone(zone: str) -> None:
    """Also where clocks change; each begins on a quarter of an hour, which is what sums are kept for."""
    for month in ("2026-03", "2026-10", "2026-11"):
        one = span(AFTER, month=month, timezone=zone)
        assert [one.date(at).day for at in one.days] == list(range(1, len(one.days) + 1))
        assert all(at % 900 == 0 for at in one.days)
        assert isinstance(one.before(), Span)
        assert one.before().until == one.since


def rows_of(report: Report, name: str) -> list[dict[str, object]]:
    """A section's rows as the JSON has them."""
    rows: list[dict[str, object]] = json.loads(render(report, "json"))["sections"][name]["rows"]
    return rows
