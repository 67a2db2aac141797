"""The ledger over HTTP, against a real server: the contract of every ledger, and what it does when nobody answers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import costguard
from costguard._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Refusal, Refused
from costguard.errors import ConfigError, LedgerUnavailableError
from costguard.ledgers import _form, open_ledger
from costguard.ledgers._breaker import FAILURES
from costguard.ledgers.http import HttpLedger
from costguard.testing import LedgerContract

from ..property import profiles  # noqa: F401 - importing registers them
from .serving import serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server."""
    costguard.configure(ledger="memory://", exporters=[])
    with serving(tmp_path_factory.mktemp("home")) as url:
        yield url


class TestHttpLedger(LedgerContract):
    """The ledger of who reaches a server and no database. Each ledger asked for is a fresh one behind the server."""

    holds = 25
    seconds = 0.7
    examples = 10

    @pytest.fixture(autouse=True)
    def _server(self, served: str) -> None:
        self.url = served

    def make_ledger(self) -> HttpLedger:
        costguard.configure(ledger="memory://", exporters=[])
        return HttpLedger(self.url, timeout=30)

    @pytest.mark.skip(reason="the interrupts would hit the server's thread of this very process")
    def test_an_interrupt_tears_nothing(self) -> None:
        """As for every ledger; the server's own ledger is tested for it."""


AMOUNTS = st.integers(0, 2**53)
NAMES = st.text(min_size=1, max_size=20)
LEGS = st.builds(
    Leg, budget=NAMES, window=NAMES, limit=AMOUNTS, starts=st.floats(0, 2e9), ends=st.none() | st.floats(0, 2e9),
    hard=st.booleans(), marks=st.lists(st.tuples(st.floats(0.5, 1000), AMOUNTS), max_size=3).map(tuple),
    scope=st.lists(st.tuples(NAMES, NAMES), max_size=3).map(tuple), slots=st.sampled_from((0, 60)), group=st.text(max_size=5),
)  # fmt: skip


@given(LEGS, AMOUNTS, AMOUNTS, st.booleans())
def test_every_record_comes_back_over_the_wire_as_it_was(leg: Leg, one: int, other: int, paused: bool) -> None:
    """Whole numbers stay whole, nothing is lost and nothing is added."""

    def wired(document: object) -> object:
        return json.loads(json.dumps(document, allow_nan=False))

    hold = Hold("id", one, (leg, replace(leg, window="w")), 3.5, 2.25)
    assert hold == _form.hold_in(wired(_form.hold_out(hold)))
    balance = Balance(leg, one, other, paused)
    assert balance == _form.balance_in(wired(_form.balance_out(balance)))
    for reply in (Granted((Crossing(leg, 80.0, one),)), Refused((Refusal(leg, one, other, 5, paused),)), Granted()):
        assert reply == _form.reply_in(wired(_form.reply_out(reply)))
    crossing = Crossing(leg, 80.0, other)
    assert crossing == _form.crossing_in(wired(_form.crossing_out(crossing)))
    change = Amendment("a", leg.budget, "top-up", 1.5, one, 2.5, "ada", "why")
    assert change == _form.amendment_in(wired(_form.amendment_out(change)))


@pytest.mark.parametrize(
    "raw",
    [None, [], {}, {"id": "x"}, {"id": "x", "amount": True}, {"id": "x", "amount": 1.5, "legs": []},
     {"id": "x", "amount": 2**60, "legs": [], "expires": 1, "at": 1},
     {"id": "x", "amount": 1, "legs": [{"budget": "b"}], "expires": 1, "at": 1},
     {"id": "x", "amount": 1, "legs": "no", "expires": 1, "at": 1}],
)  # fmt: skip
def test_what_is_no_hold_is_an_error(raw: object) -> None:
    """Of one kind, with words; never whatever a missing key happens to raise."""
    with pytest.raises(ValueError, match=r"\w"):
        _form.hold_in(raw)


LEG = Leg("b", "w", 100)


def test_nobody_there_is_said_at_once_and_then_without_trying() -> None:
    """A refused connection is no false refusal by a budget; after three the next is not even tried."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ledger = HttpLedger(f"http://secret@127.0.0.1:{port}")
    now = time.monotonic()
    ledger.breaker.clock = lambda: now
    for _ in range(FAILURES):
        with pytest.raises(LedgerUnavailableError, match="cannot be used") as said:
            ledger.reserve(Hold("h", 1, (LEG,), 1e10))
        assert said.value.unsure
        assert "secret" not in str(said.value)
    with pytest.raises(LedgerUnavailableError, match="failed 3 times in a row and is tried again in"):
        ledger.reserve(Hold("h", 1, (LEG,), 1e10))
    ledger.close()


def test_a_server_that_hangs_costs_a_bounded_wait() -> None:
    """It takes the connection and never answers."""
    with socket.socket() as hung:
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        ledger = HttpLedger(f"http://127.0.0.1:{hung.getsockname()[1]}", timeout=0.3)
        began = time.monotonic()
        with pytest.raises(LedgerUnavailableError):
            ledger.balances([LEG])
        assert time.monotonic() - began < 20
        ledger.close()


def test_a_program_counts_on_a_server(served: str) -> None:
    """`ledger="http://..."` holds a limit like any other ledger."""
    costguard.configure(ledger="memory://", exporters=[])
    ledger = open_ledger(served)
    assert isinstance(ledger, HttpLedger)
    assert isinstance(ledger.reserve(Hold("a", 60, (LEG,), 1e10)), Granted)
    assert isinstance(ledger.reserve(Hold("b", 60, (LEG,), 1e10)), Refused)
    ledger.settle("a", 30)
    assert [(30, 0)] == [(one.spent, one.held) for one in ledger.balances([LEG])]
    ledger.close()


@pytest.mark.parametrize("url", ["http://", "https:///path", "http:nothing"])
def test_an_address_that_is_none_is_an_error(url: str) -> None:
    """Said where it is given."""
    with pytest.raises(ConfigError, match="give an address"):
        HttpLedger(url)
