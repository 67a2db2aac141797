"""The live page, in a real browser, while calls go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser

import costguard
from costguard._config import state
from costguard.server._sessions import MOST, Sessions
from costguard.server._tokens import Tokens

from ..review.browser import browser
from .serving import serving

NASTY = "<script>document.title='owned'</script>" + "w" * 100


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx2.Client]:
    """A client of a fresh server with two budgets."""
    costguard.configure(ledger=f"sqlite://{tmp_path}/l.db", journal=f"sqlite://{tmp_path}/c.db", exporters=[])
    with serving(tmp_path, once="once-only") as url, httpx2.Client(base_url=url) as client:
        client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": "0.01", "alert_at": 30})
        client.post("/ai-spend/budget", json={"limit": "$40/month", "name": "everything"})
        yield client
    costguard.configure(ledger="memory://", exporters=[])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def tell(client: httpx2.Client, feature: str = "search", model: str = "gpt-4o") -> None:
    body = {"model": model, "input_tokens": 1000, "output_tokens": 100, "feature": feature}
    assert client.post("/ai-spend/track", json=body).status_code == 201


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1_000, "light")])
def test_the_page_follows_the_calls(
    server: httpx2.Client, chromium: Browser, width: int, scheme: str, request: pytest.FixtureRequest
) -> None:
    """What is told, refused and reached shows without a reload, on a phone too, and nothing complains."""
    tell(server)
    said: list[str] = []
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{server.base_url}/dashboard")
    assert page.locator(".spent strong").inner_text() == "$0.003500"
    tell(server, NASTY)
    tell(server, "chat", "nobody-has-a-price")
    for body in ({"max_cost": "1"}, {"max_cost": "0.001"}):
        server.post("/ai-spend/reserve", json={"model": "gpt-4o", "feature": "search", **body})
    page.wait_for_function("document.querySelector('#live').innerText.includes('$0.007')", timeout=60_000)
    page.get_by_text("nobody-has-a-price").first.wait_for(timeout=60_000)
    assert page.locator("#t-blocked tbody td").nth(1).inner_text() == "1"
    assert "reached 30%" in page.locator("section[aria-labelledby=h-alerts]").inner_text()
    assert "elsewhere" not in page.locator("section[aria-labelledby=h-alerts]").inner_text()
    assert "nobody-has-a-price" in page.locator("section[aria-labelledby=h-unpriced]").inner_text()
    assert page.title() == "AI spend, live"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # By keyboard to the figures; a name, a caption or a table for whatever is drawn.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for chart in page.locator("[role=img]").all():
        assert len(chart.get_attribute("aria-label") or "") > 10
        place = chart.locator("xpath=(ancestor::li | ancestor::section)[last()]")
        assert place.locator("table caption").count() == 1
    assert page.locator("main").count() == page.locator("h1").count() == 1
    folder = request.config.getoption("basetemp")
    if folder:
        page.screenshot(path=f"{folder}-{width}.png", full_page=True)
    assert said == []
    page.close()


def test_a_month_of_calls_shows_where_the_budget_is_heading(
    tmp_path: Path, chromium: Browser, request: pytest.FixtureRequest
) -> None:
    """The range of the forecast is drawn behind the line, and the table below the chart has the days and both ends."""
    costguard.configure(ledger=f"sqlite://{tmp_path}/l.db", journal=f"sqlite://{tmp_path}/c.db", exporters=[])
    now = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
    state.guard.clock = lambda: now
    calls = [
        {"id": f"d{back}", "model": "gpt-4o", "feature": "search", "cost_usd": f"{1 + back % 3 / 10:.2f}",
         "timestamp": now - 86_400 * back}
        for back in range(40)
    ]  # fmt: skip
    with serving(tmp_path) as url, httpx2.Client(base_url=url, timeout=60) as client:
        client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": 40, "alert_at": [50, 100]})
        told = client.post("/ai-spend/track", json={"events": calls})
        assert told.json() == {"accepted": 40, "duplicates": 0, "rejected": []}
        for width, scheme in ((1_000, "light"), (1_000, "dark"), (360, "light"), (360, "dark")):
            page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(f"{url}/dashboard?live=no")
            band = page.locator(".budgets polygon.band").bounding_box()
            assert band is not None
            assert band["width"] > 20
            rows = page.locator(".budgets .days tbody tr").all_inner_texts()
            assert [row.split("\t")[0] for row in rows] == [
                "expected", *[f"Nov {number}" for number in range(20, 13, -1)], "before",
            ]  # fmt: skip
            assert rows[1].split("\t")[2] == page.locator("#t-budgets tbody td").first.inner_text()
            assert re.search(r"ends between \$\d+\.\d+ and \$\d+", page.locator(".days caption").inner_text())
            assert "reached 50%" in page.locator("section[aria-labelledby=h-alerts]").inner_text()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            folder = request.config.getoption("basetemp")
            if folder:
                page.screenshot(path=f"{folder}-month-{width}-{scheme}.png", full_page=True)
            page.close()
    costguard.configure(ledger="memory://", exporters=[])


def test_alerts_keep_their_time_over_a_restart(tmp_path: Path) -> None:
    """A server that is started again knows when what it alerted of was reached; a torn file is no reason not to start."""
    ledger, journal = f"sqlite://{tmp_path}/l.db", f"sqlite://{tmp_path}/c.db"
    costguard.configure(ledger=ledger, journal=journal, exporters=[])
    with serving(tmp_path) as url, httpx2.Client(base_url=url) as client:
        client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": "0.01", "alert_at": 30})
        tell(client)
        before = re.findall(r"reached 30%.*", client.get("/dashboard").text)
    for text, expected in (None, before), ("{", []):
        if text is not None:
            (tmp_path / "alerts.json").write_text(text)
        costguard.configure(ledger=ledger, journal=journal, exporters=[])
        with serving(tmp_path) as url:
            page = httpx2.get(f"{url}/dashboard").text
            assert ("(elsewhere)" in page) is (not expected)
            assert re.findall(r"reached 30%.*", page) == expected or not expected
    costguard.configure(ledger="memory://", exporters=[])


def test_it_works_without_a_script_and_can_be_stopped(server: httpx2.Client, chromium: Browser) -> None:
    """The figures are in the page as it is sent; whoever reads slowly stops the updates."""
    tell(server)
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.base_url}/dashboard?live=no")
    assert "$0.0035" in page.locator("main").inner_text()
    context.close()
    still = server.get("/dashboard?live=no").text
    assert "hx-get" not in still
    assert "<script" not in still
    assert "refresh" not in still
    assert "hx-get" in server.get("/dashboard").text


def test_a_token_is_exchanged_for_a_cookie_that_only_reads(server: httpx2.Client, tmp_path: Path) -> None:
    """The link of the start works once; a token works until it is revoked; neither is kept in the address."""
    tokens = Tokens(tmp_path / "tokens.json")
    reader, teller = tokens.create("reader", ["read"]), tokens.create("teller", ["track"])
    asked = server.get("/dashboard")
    assert (asked.status_code, "Who are you?" in asked.text, "everything" in asked.text) == (401, True, False)
    assert server.get("/dashboard/live").headers["hx-refresh"] == "true"
    first = server.get("/dashboard?token=once-only")
    assert (first.status_code, first.headers["location"]) == (303, "/dashboard")
    assert re.search(r"HttpOnly;.*SameSite=strict", first.headers["set-cookie"])
    assert server.get("/dashboard").status_code == 200
    assert server.get("/ai-spend/budget").status_code == 200
    assert server.post("/ai-spend/budget", json={"monthly_limit": 1}).status_code == 401
    server.cookies.clear()
    assert server.get("/dashboard?token=once-only").status_code == 401
    assert server.post("/dashboard", content=f"token={teller}").status_code == 401
    assert server.post("/dashboard", content=b"\xff=%ff&token=").status_code == 401
    assert server.post("/dashboard", content=f"token={reader}").status_code == 303
    assert server.get("/dashboard/live").status_code == 200
    tokens.revoke("reader")
    assert server.get("/dashboard").status_code == 401


def test_cookies_are_bounded() -> None:
    """The oldest is given up first."""
    sessions = Sessions()
    first, *_, last = [sessions.begin(lambda: True) for _ in range(MOST + 1)]
    assert (sessions.allow(first), sessions.allow(last), sessions.redeem("")) == (False, True, False)
