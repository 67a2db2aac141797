"""The HTML report, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from costguard import budget
from costguard._catalog import Catalog
from costguard._snapshot import load
from costguard._types import CostEvent
from costguard.journals.memory import MemoryJournal
from costguard.review import Report, render, review, span
from costguard.review.formats._charts import bars, burn, ceiling, mix, spark
from costguard.testing.months import Simulation

from .browser import browser

NASTY = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&amp;" + "w" * 200
OPEN = datetime(2026, 10, 23, 14, tzinfo=UTC).timestamp()


def report_of(now: float) -> Report:
    """Two months of a company, one of its features named by somebody with bad intentions."""
    journal = MemoryJournal()
    for record in Simulation(1_500).records():
        if record.time < now:
            hostile = isinstance(record, CostEvent) and record.tags.get("feature") == "labs"
            journal.record(replace(record, tags={**record.tags, "feature": NASTY}) if hostile else record)
    budgets = [budget("$5/month", name="everything"), budget("$0.60/month", feature="onboarding"), budget("$1/day")]
    return review(
        journal, span(now, month="2026-10"), budgets=budgets, catalog=Catalog(load), title="acme & <sons>",
        prices="prices of 2026-10-20", top=20,
    )  # fmt: skip


@pytest.fixture(scope="module")
def opened() -> str:
    """The page of a month that is not over."""
    return render(report_of(OPEN), "html")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


class Look:
    """A page as a browser shows it, and what the browser had to say about it."""

    def __init__(self, chromium: Browser, path: Path, width: int, scheme: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page: Page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def wide(self) -> int:
        """How wide the document is."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1_000])
def test_a_browser_shows_it_without_a_complaint(
    chromium: Browser, opened: str, tmp_path: Path, width: int, scheme: str
) -> None:
    """No console message, nothing asked for outside the file, and nothing to scroll sideways, on a phone too."""
    path = tmp_path / "review.html"
    path.write_text(opened, encoding="utf-8")
    look = Look(chromium, path, width, scheme)
    assert look.said == []
    assert [url for url in look.asked if not url.startswith("data:")] == [path.as_uri()]
    assert look.wide() <= width
    assert look.page.title() == "AI spend · October 2026 · acme & <sons>"
    assert look.page.locator("script").count() == 0
    ink, paper = look.page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (sum(map(int, re.findall(r"\d+", ink))) < sum(map(int, re.findall(r"\d+", paper)))) == (scheme == "light")
    look.page.close()


def test_every_chart_has_a_name_and_a_table_under_it(chromium: Browser, opened: str, tmp_path: Path) -> None:
    """Who cannot see it, or prints it, has the figures too."""
    path = tmp_path / "review.html"
    path.write_text(opened, encoding="utf-8")
    page = Look(chromium, path, 1_000, "light").page
    charts = page.locator("[role=img]")
    assert charts.count() >= 3
    for index in range(charts.count()):
        chart = charts.nth(index)
        assert len(chart.get_attribute("aria-label") or "") > 10
        assert chart.locator("xpath=ancestor::section").locator("table").count() == 1
    page.emulate_media(media="print")
    assert page.locator("details table").is_visible(), "what is folded on a screen is on paper"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()


def test_names_are_escaped_wherever_they_stand(opened: str) -> None:
    """A feature's name comes from anywhere."""
    assert "<script" not in opened
    assert "<img" not in opened
    assert "acme &amp; &lt;sons&gt;" in opened
    assert "&lt;script&gt;" in opened


def test_it_is_small_loads_nothing_and_is_the_same_twice(opened: str) -> None:
    """Under 200 KB, with a policy that lets it load nothing, and the same to the byte."""
    assert len(opened.encode()) < 200_000
    assert "default-src 'none'" in opened
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]*\"|url\(", opened) == []
    assert render(report_of(OPEN), "html") == opened


def test_the_verdict_is_first_and_the_forecast_is_in_it(opened: str) -> None:
    """Spent, of how much, where it is heading; then what to do; then the rest."""
    order = [
        opened.index(words) for words in ('class="spent"', "Heading for", "What to do", "Day by day", "By feature")
    ]
    assert order == sorted(order)
    assert "everything runs out about Oct" in opened or "everything will be exhausted" in opened


def test_a_closed_month_has_no_forecast_and_an_empty_one_no_chart() -> None:
    """What is over is told as over, and nothing is drawn of nothing."""
    closed = render(report_of(datetime(2026, 12, 1, tzinfo=UTC).timestamp()), "html")
    assert "Heading for" not in closed
    assert 'class="band"' not in closed
    empty = render(review(MemoryJournal(), span(OPEN, month="2026-10")), "html")
    assert "$0.00" in empty
    assert "<svg" not in empty


def test_charts_are_numbers_inside_a_square() -> None:
    """Bars of an axis with a round end, lines that meet, parts that add up; the same without anything to draw."""
    assert [ceiling(most) for most in (0, 1, 1.2, 7, 90, 101)] == [1.0, 1, 1.5, 8, 100, 150]
    drawn = bars([0, 50, 100], ["a", "b", "c"], ["", "", ""], [False] * 3)
    assert [(bar.y, bar.height) for bar in drawn.bars] == [("100", "0"), ("50", "50"), ("0", "100")]
    line = burn([10, 10], [5, 10], 30, 40, 50, ["1", "2", "3"], 0.5)
    assert line.spent == "0,100 33.33,83.33 50,66.67"
    assert line.expected == "50,66.67 66.67,58.33 100,41.67"
    assert line.band.startswith("50,66.67 66.67,")
    assert line.limit == "16.67"
    assert burn([10], [], 0, 0, 500, ["1"]).limit == "", "a limit that is far away is not drawn"
    assert burn([], [], 0, 0, None, []).spent == "0,100"
    assert spark([0, 20]) == "0,100 100,10"
    assert [part.width for part in mix([75, 25], ["a", "b"], ["", ""])] == ["75", "25"]
    assert mix([0], ["a"], [""]) == ()
