"""The AI Spend API on a real server: calls told, reserved and settled; budgets set; reports read; doors kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

import costguard
from costguard._config import state
from costguard.errors import ConfigError
from costguard.exporters.http import HttpExporter
from costguard.server._tokens import Tokens

from .serving import serving

CALL = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 100, "metadata": {"feature": "search"}}
COST = Decimal("0.0035")
"""1,000 input tokens at $2.50 and 100 output tokens at $10.00 a million."""


def configured(folder: Path, **more: Any) -> None:
    costguard.configure(
        ledger=f"sqlite://{folder}/ledger.db", journal=f"sqlite://{folder}/calls.db", exporters=[], **more
    )


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx2.Client]:
    """A client of a fresh server, which counts in SQLite."""
    configured(tmp_path)
    with serving(tmp_path) as url, httpx2.Client(base_url=url) as client:
        yield client
    costguard.configure(ledger="memory://", exporters=[])


def spent(client: httpx2.Client, feature: str = "search") -> Decimal:
    return Decimal(client.get("/ai-spend/budget", params={"feature": feature}).json()["spent"])


# -- calls


def test_a_call_is_told_once_and_counted(client: httpx2.Client) -> None:
    """Priced by the catalog, on the budget of its feature; the same id again changes nothing."""
    client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": 10, "alert_at": 0.8})
    told = client.post("/ai-spend/track", json={**CALL, "id": "one"})
    assert told.status_code == 201
    assert Decimal(told.json()["cost_usd"]) == COST
    assert client.post("/ai-spend/track", json={**CALL, "id": "one"}).status_code == 200
    assert spent(client) == COST
    assert client.get("/ai-spend/report").json()


def test_many_at_once_and_the_bad_ones_are_named(client: httpx2.Client) -> None:
    """What is understood is booked, once for each id; the rest is rejected by its place."""
    client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": "10"})
    events = [
        {**CALL, "id": "a"},
        {**CALL, "id": "a"},
        {"model": "gpt-4o", "input_tokens": -1},
        "no",
        {**CALL, "id": "b"},
    ]
    assert client.post("/ai-spend/track", json={"events": events[:3] + events[4:]}).json() == {
        "accepted": 2, "duplicates": 1,
        "rejected": [{"index": 2, "error": "input_tokens: Input should be greater than or equal to 0"}],
    }  # fmt: skip
    assert spent(client) == 2 * COST
    assert client.post("/ai-spend/track", json={"events": events}).status_code == 422


def test_our_own_exporter_is_understood(client: httpx2.Client) -> None:
    """A program's calls arrive with the cost that the program has booked."""
    client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": 10})
    exporter = HttpExporter(f"{client.base_url}/ai-spend/track".replace("//ai", "/ai"), every=0.1)
    guard, before = state.guard, state.guard.exporters
    guard.exporters.append(exporter)
    try:
        with costguard.budgeted(feature="search"):
            assert costguard.track("gpt-4o", input_tokens=1000, output_tokens=100) == COST
        exporter.flush(20)
    finally:
        exporter.close()
        guard.exporters = before
    # Told of by the program itself and by its exporter, under one id: once.
    assert spent(client) == COST


def test_a_crowd_reserves_what_fits_and_no_more(client: httpx2.Client) -> None:
    """Any language gets the same hard limit: of forty callers, those that fit are granted, the others get a 402."""
    client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": "0.035"})

    def ask(number: int) -> httpx2.Response:
        body = {"model": "gpt-4o", "feature": "search", "input_tokens": 1000, "max_output_tokens": 100}
        return client.post("/ai-spend/reserve", json={**body, "id": f"call-{number}"})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(40)))
    granted = [one.json() for one in answers if one.status_code == 201]
    refused = [one for one in answers if one.status_code == 402]
    assert (len(granted), len(refused)) == (10, 30)
    assert refused[0].headers["content-type"] == "application/problem+json"
    assert (refused[0].json()["reason"], refused[0].headers["retry-after"]) == ("held", "1")
    for one in granted[:9]:
        body = {"reservation": one["reservation"], "input_tokens": 500, "output_tokens": 50}
        for _ in range(2):  # sent again it changes nothing
            settled = client.post("/ai-spend/settle", json=body)
            assert (settled.status_code, Decimal(settled.json()["cost_usd"])) == (200, COST / 2)
    assert client.post("/ai-spend/release", json={"reservation": granted[9]["reservation"]}).status_code == 200
    assert spent(client) == 9 * COST / 2
    assert Decimal(client.get("/ai-spend/budget", params={"feature": "search"}).json()["held"]) == 0
    assert client.post("/ai-spend/settle", json={**body, "input_tokens": 1}).status_code == 409


def test_a_reservation_outlives_a_restart(tmp_path: Path) -> None:
    """The server keeps nothing of it in memory: another one settles it."""
    configured(tmp_path)
    with serving(tmp_path) as url:
        httpx2.post(f"{url}/ai-spend/budget", json={"feature": "search", "limit": "$1/day", "on_limit": "block"})
        body = {"model": "gpt-4o", "feature": "search", "text": "hello", "max_output_tokens": 100}
        ticket = httpx2.post(f"{url}/ai-spend/reserve", json=body).json()["reservation"]
    configured(tmp_path)
    with serving(tmp_path) as url:
        settled = {"reservation": ticket, "input_tokens": 1000, "output_tokens": 100}
        assert httpx2.post(f"{url}/ai-spend/settle", json=settled).status_code == 200
        stands = httpx2.get(f"{url}/ai-spend/budget", params={"feature": "search"}).json()
        assert (Decimal(stands["spent"]), Decimal(stands["held"])) == (COST, 0)
        assert stands["limit"] == "1.000000000"


# -- budgets and reports


def test_budgets_are_set_changed_read_and_kept(client: httpx2.Client, tmp_path: Path) -> None:
    """Thresholds are shares up to one and percentages above; a budget set again keeps its books."""
    made = client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": 500, "alert_at": [0.5, 80, 1]})
    assert made.status_code == 201
    client.post("/ai-spend/track", json=CALL)
    assert client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": 600}).status_code == 200
    stands = client.get("/ai-spend/budget", params={"feature": "search", "period": "monthly"}).json()
    assert (Decimal(stands["limit"]), Decimal(stands["spent"])) == (600, COST)
    assert [one["percent"] for one in made.json()["alerts"]] == [50, 80, 100]
    assert client.get("/ai-spend/budget", params={"feature": "other"}).status_code == 404
    assert [one["budget"] for one in client.get("/ai-spend/budget").json()["budgets"]] == [stands["budget"]]
    assert client.delete("/ai-spend/budget", params={"name": stands["budget"]}).status_code == 200
    assert client.delete("/ai-spend/budget", params={"name": stands["budget"]}).status_code == 404


def test_prometheus_reads_the_books(client: httpx2.Client) -> None:
    """Limits, spend and calls, with the feature and the model and nobody's name."""
    client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": 10})
    client.post("/ai-spend/track", json={**CALL, "metadata": {"feature": "search", "user": "ada"}})
    text = client.get("/metrics").text
    assert 'costguard_calls_total{feature="search",model="gpt-4o"} 1.0' in text
    assert 'costguard_budget_limit_usd{budget="feature=search, per month"} 10.0' in text
    assert "ada" not in text


# -- doors


def test_tokens_open_what_they_are_for(tmp_path: Path) -> None:
    """Only their hashes are kept; they can be made and revoked while the server runs."""
    configured(tmp_path)
    tokens = Tokens(tmp_path / "tokens.json")
    reader, teller, admin = (tokens.create(scope, [scope]) for scope in ("read", "track", "admin"))
    assert reader not in (tmp_path / "tokens.json").read_text()
    assert (tmp_path / "tokens.json").stat().st_mode & 0o077 == 0
    with serving(tmp_path) as url, httpx2.Client(base_url=url) as client:

        def status(method: str, path: str, token: str | None, **more: Any) -> int:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            return client.request(method, path, headers=headers, **more).status_code

        assert status("GET", "/healthz", None) == 200
        for token, expected in ((None, 401), ("cg_wrong", 401), (reader, 200), (teller, 403), (admin, 200)):
            assert status("GET", "/ai-spend/budget", token) == expected
        assert status("POST", "/ai-spend/track", reader, json=CALL) == 403
        assert status("POST", "/ai-spend/track", teller, json=CALL) == 201
        assert status("POST", "/ai-spend/budget", teller, json={"monthly_limit": 5}) == 403
        assert status("POST", "/ledger/windows", teller, json={"at": 0}) == 403
        tokens.revoke("track")
        assert status("POST", "/ai-spend/track", teller, json=CALL) == 401
    costguard.configure(ledger="memory://", exporters=[])


def test_a_file_of_tokens_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    """It is an error at the start, not an open door."""
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tokens\.json"):
        Tokens(tmp_path / "tokens.json")
    (tmp_path / "tokens.json").unlink()
    with pytest.raises(ConfigError, match="scope 'root'"):
        Tokens(tmp_path / "tokens.json").create("x", ["root"])


def test_an_open_server_without_tokens_lets_nobody_in(tmp_path: Path) -> None:
    """Anywhere but on loopback a token is wanted even if the last one was revoked."""
    configured(tmp_path)
    with serving(tmp_path, closed=True) as url:
        assert httpx2.get(f"{url}/ai-spend/budget").status_code == 401
    costguard.configure(ledger="memory://", exporters=[])
