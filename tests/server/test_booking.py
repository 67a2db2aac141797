"""What is answered for was written, and what is sent again is counted once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

import costguard
from costguard._config import state
from costguard._journal import Selection, Sums
from costguard._types import Hold
from costguard.journals.memory import MemoryJournal

from .serving import serving
from .test_api import CALL, COST, configured, spent


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all of these; each test has a feature, and so a budget, of its own."""
    folder = tmp_path_factory.mktemp("server")
    configured(folder)
    with serving(folder) as url:
        yield url
    costguard.configure(ledger="memory://", exporters=[])


@pytest.fixture
def client(url: str, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    clock = state.guard.clock
    with httpx2.Client(base_url=url, timeout=60) as client:
        client.post("/ai-spend/budget", json={"feature": request.node.name, "limit": "1 USD/lifetime"})
        yield client
    state.guard.clock = clock


@pytest.fixture
def feature(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name


def sums(feature: str) -> Sums:
    journal = state.guard.journal
    assert journal is not None
    journal.flush(30)
    found = journal.sums(Selection(tags={"feature": feature}))
    return found[0].sums if found else Sums()


def test_a_crowd_that_tells_of_one_call_books_it_once(client: httpx2.Client, feature: str) -> None:
    """Each is answered, one of them as the first."""

    def tell(_: int) -> int:
        return client.post("/ai-spend/track", json={**CALL, "id": "one", "feature": feature}).status_code

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(tell, range(32))) == [200] * 31 + [201]
    assert (spent(client, feature), sums(feature).calls) == (COST, 1)


def test_what_only_the_ledger_knows_is_counted_once(client: httpx2.Client, feature: str) -> None:
    """As when the server was killed between the two, whether or not the call was settled; however late it comes."""
    told = {**CALL, "feature": feature}
    legs = {one.leg.budget: one.leg for one in state.guard.balances() if ("feature", feature) in one.leg.scope}
    for id, settled in (("held", False), ("booked", True)):
        hold = Hold(id, int(COST * 10**9), tuple(legs.values()), time.time() + 9, time.time())
        state.guard.ledger.reserve(hold)
        if settled:
            state.guard.ledger.settle(id, hold.amount)
        assert client.post("/ai-spend/track", json={**told, "id": id}).status_code == 201
    assert (spent(client, feature), sums(feature).calls) == (2 * COST, 2)


def test_a_settlement_that_only_the_ledger_knows_is_written(client: httpx2.Client, feature: str) -> None:
    """The one that was not answered is sent again."""
    asked = {"model": "gpt-4o", "feature": feature, "max_cost": "0.01", "id": "half"}
    ticket = client.post("/ai-spend/reserve", json=asked).json()["reservation"]
    state.guard.ledger.settle("half", int(COST * 10**9))
    ended = {"reservation": ticket, "input_tokens": 1000, "output_tokens": 100}
    assert client.post("/ai-spend/settle", json=ended).status_code == 200
    assert (spent(client, feature), sums(feature).calls) == (COST, 1)


def test_the_same_reservation_asked_for_again_is_granted_once(client: httpx2.Client, feature: str) -> None:
    """Minutes later too, and with other figures not at all."""
    asked = {"model": "gpt-4o", "feature": feature, "max_cost": "0.01", "id": "again"}
    now = time.time()
    for later in (0, 61, 599):
        state.guard.clock = lambda later=later: now + later  # type: ignore[misc]
        assert client.post("/ai-spend/reserve", json=asked).status_code == 201
    stands = client.get("/ai-spend/budget", params={"feature": feature}).json()
    assert Decimal(stands["held"]) == Decimal("0.01")
    assert client.post("/ai-spend/reserve", json={**asked, "max_cost": "0.02"}).status_code == 409


def test_a_reservation_that_nobody_ends_is_charged(client: httpx2.Client, feature: str) -> None:
    """Also on a server on which nothing but reservations are made, and looked at."""
    asked = {"model": "gpt-4o", "feature": feature, "max_cost": "0.01", "ttl": 60}
    assert client.post("/ai-spend/reserve", json=asked).status_code == 201
    now = time.time()
    state.guard.clock = lambda: now + 1500
    assert spent(client, feature) in (0, Decimal("0.01"))  # it is charged behind
    state.guard.flush(30)
    assert spent(client, feature) == Decimal("0.01")


def test_a_refusal_that_is_asked_for_again_is_one_blocked_call(client: httpx2.Client, feature: str) -> None:
    """By its id; without one each is a call of its own. Granted in the end it is one call more."""
    asked: dict[str, Any] = {"model": "gpt-4o", "feature": feature, "max_cost": "2"}
    for more in ({"id": "r"}, {"id": "r"}, {}, {}):
        assert client.post("/ai-spend/reserve", json={**asked, **more}).status_code == 402
    assert sums(feature).refused == 3
    state.guard.settlements.flush(30)
    ticket = client.post("/ai-spend/reserve", json={**asked, "id": "r", "max_cost": "0.01"}).json()["reservation"]
    assert client.post("/ai-spend/settle", json={"reservation": ticket, "cost_usd": "0.01"}).status_code == 200
    assert (sums(feature).refused, sums(feature).calls) == (3, 1)


def test_a_tag_is_no_setting(client: httpx2.Client) -> None:
    """Whoever may tell of calls cannot set a budget by tagging one with the words of a budget."""
    before = client.get("/ai-spend/budget").json()["budgets"]
    tags = {"limit": "0 USD/month", "enforcement": "hard", "period": "x", "per": "user", "cache": "1m", "name": "mine"}
    told = {**CALL, "metadata": {**tags, "feature": "another"}}
    assert client.post("/ai-spend/track", json=told).status_code == 201
    assert client.post("/ai-spend/reserve", json={**told, "max_cost": 1}).status_code == 201
    assert client.get("/ai-spend/budget").json()["budgets"] == before
    journal = state.guard.journal
    assert journal is not None
    assert {**tags, "feature": "another"} in [dict(one.tags) for one in journal.calls(Selection())]


class Losing(MemoryJournal):
    """A journal that gives up what it is told while `away`, or does not get it written in time while `slow`."""

    def __init__(self) -> None:
        super().__init__()
        self.away = self.slow = False

    def record(self, record: Any) -> None:
        """Keep it, or not."""
        if self.away:
            self.dropped += 1
        else:
            super().record(record)

    def flush(self, timeout: float) -> bool:
        """Whether it is written."""
        return super().flush(timeout) and not self.slow


@pytest.mark.parametrize("trouble", ["away", "slow"])
def test_what_was_not_written_is_not_acknowledged(trouble: str, tmp_path: Path) -> None:
    """A 503 says when to send it again, with the same id; then it is counted once."""
    configured(tmp_path)
    journal = Losing()
    state.guard.journal = state.guard.settlements._journal = journal
    with serving(tmp_path) as url, httpx2.Client(base_url=url, timeout=60) as client:
        client.post("/ai-spend/budget", json={"feature": "search", "monthly_limit": 1})
        ticket = client.post("/ai-spend/reserve", json={**CALL, "feature": "search", "max_cost": 1}).json()
        bodies = [
            ("/ai-spend/track", {**CALL, "id": "one"}),
            ("/ai-spend/track", {"events": [{**CALL, "id": "two"}]}),
            ("/ai-spend/settle", {"reservation": ticket["reservation"], "cost_usd": str(COST)}),
        ]
        setattr(journal, trouble, True)
        for path, body in bodies:
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.headers["content-type"] == "application/problem+json"
        setattr(journal, trouble, False)
        for path, body in bodies:
            assert client.post(path, json=body).status_code in (200, 201)
        assert spent(client) == 3 * COST
        assert len(list(journal.calls(Selection()))) == 3
        assert sum(tally.calls for _, tally in state.guard.tallies.read({})) == 3
    costguard.configure(ledger="memory://", exporters=[])


def test_a_full_memory_is_no_trouble(tmp_path: Path) -> None:
    """A journal of bounded memory gives up its oldest calls, and not the one it was told."""
    costguard.configure(ledger="memory://", journal="memory://?kept=2", exporters=[])
    with serving(tmp_path) as url, httpx2.Client(base_url=url) as client:
        for _ in range(5):
            assert client.post("/ai-spend/track", json=CALL).status_code == 201
    costguard.configure(ledger="memory://", exporters=[])
