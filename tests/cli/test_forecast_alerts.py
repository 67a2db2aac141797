"""Alerts that a budget is on course to be exhausted: from the books to a receiver on this machine, each once."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import costguard
from costguard import _forecasts
from costguard._config import state
from costguard._types import Balance, Call, Cost, CostEvent, ForecastAlert, Leg
from costguard.cli import main
from costguard.exporters.stdout import StdoutExporter
from costguard.exporters.webhook import text
from costguard.journals import open_journal
from costguard.server._watch import watch

from ..export.receiver import Receiver

DAY = 86_400


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, receiver: Receiver) -> Iterator[Path]:
    """Thirty dollars on each day of a month; a budget of $100 of which one dollar is spent, and one that lasts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSTGUARD_HOME", str(tmp_path / "home"))
    ledger, journal = f"sqlite://{tmp_path}/book.db", f"sqlite:///{tmp_path}/calls.db?keep=all"
    spend(journal, 30)
    costguard.configure(
        ledger=ledger, exporters=[],
        budgets=[costguard.budget(limit, name=name, period="lifetime") for limit, name in LIMITS],
    )  # fmt: skip
    costguard.track("gpt-4o", cost="1")
    costguard.flush()
    monkeypatch.setenv("COSTGUARD_LEDGER", ledger)
    monkeypatch.setenv("COSTGUARD_JOURNAL", journal)
    monkeypatch.setenv("COSTGUARD_EXPORTERS", f"webhook:{receiver.url}")
    yield tmp_path
    for name in ("LEDGER", "JOURNAL", "EXPORTERS"):
        monkeypatch.delenv(f"COSTGUARD_{name}")
    costguard.configure(exporters=[])


LIMITS = (("$100", "support"), ("$1000000", "lasts"))


def spend(journal: str, dollars: int, back: range = range(1, 30), id: str = "c") -> None:
    """Calls at this hour of days gone by."""
    now = state.guard.clock()
    with closing(open_journal(journal)) as kept:
        for days in back:
            call, cost = Call("openai", "m"), Cost(dollars * 10**9)
            kept.record(CostEvent(f"{id}{days}", now - DAY * days, 1, call, (), cost))
        assert kept.flush(60)


def check(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> Any:
    assert main(["budgets", "check", "--alert", "--json", *words]) == code
    out = capsys.readouterr()
    return json.loads(out.out)["alerts"]


def test_a_receiver_is_told_once_and_again_when_the_day_moves(
    place: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every run of the command is a new process's; the second one has nothing new to tell."""
    (told,) = check(capsys, 0)
    (body,) = receiver.bodies
    assert told == body
    assert (body["type"], body["budget"], body["percent"]) == ("forecast_alert", "support", 1.0)
    assert (body["limit_usd"], body["spent_usd"], body["burn_usd_per_day"]) == (
        "100.000000000", "1.000000000", "30.000000000",
    )  # fmt: skip
    left = date.fromisoformat(body["runs_out"]) - datetime.now(UTC).date()
    assert timedelta(2) <= left <= timedelta(4), "99 dollars at 30 a day"
    assert body["message"].startswith("Budget support is on course to be exhausted on ")
    assert check(capsys, 0) == []
    assert len(receiver.bodies) == 1
    # Four times the limit is a matter of ten days more.
    assert main(["budgets", "set", "support", "$400"]) == 0
    capsys.readouterr()
    (again,) = check(capsys, 0, "support")
    assert again["limit_usd"] == "400.000000000"
    assert again["id"] != body["id"]
    assert check(capsys, 0) == []
    assert len(receiver.bodies) == 2


def test_what_a_receiver_did_not_take_is_told_by_the_next_check(
    place: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code says that it did not arrive; the id is the same."""
    monkeypatch.setattr(_forecasts, "DELIVERY", 0.5)
    receiver.answer = lambda events: (401, {}, b"")
    (lost,) = check(capsys, 3)
    receiver.answer = lambda events: (200, {}, b"")
    (told,) = check(capsys, 0)
    assert told["id"] == lost["id"]
    assert receiver.taken == {told["id"]: 1}
    assert check(capsys, 0) == []


def test_two_ledgers_on_one_machine_do_not_share_what_was_told(
    place: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Budgets of the same name are others there."""
    check(capsys, 0)
    monkeypatch.setenv("COSTGUARD_LEDGER", f"sqlite://{place}/other.db")
    monkeypatch.setenv("COSTGUARD_CONFIG", f"{place}/policy.toml")
    (place / "policy.toml").write_text('[[budgets]]\nlimit = "$100"\nname = "support"\nperiod = "lifetime"\n')
    assert len(check(capsys, 0)) == 1
    assert len(receiver.bodies) == 2


def test_an_alert_to_nobody_is_a_mistake(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says what to set."""
    monkeypatch.delenv("COSTGUARD_EXPORTERS")
    assert main(["budgets", "check", "--alert"]) == 2
    assert "exporters = [" in capsys.readouterr().err
    monkeypatch.setenv("COSTGUARD_EXPORTERS", "stdout")
    assert len(check(capsys, 0)) == 1


def test_a_server_tells_by_itself(place: Path, receiver: Receiver) -> None:
    """Its exporters, from a thread beside the one that serves; a server without any starts none."""
    state.configure(exporters=[])
    assert watch() is None
    state.configure()
    stop = watch()
    assert stop is not None
    receiver.wait(lambda: receiver.taken)
    stop.set()
    assert receiver.bodies[0]["budget"] == "support"


def test_a_program_tells_by_itself(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`forecast_alerts` tells ``on_alert`` and returns what it told; the place of the memory may be chosen."""
    heard: list[costguard.Alert] = []
    costguard.configure(exporters=[], on_alert=heard.append)
    assert costguard.forecast_alerts(budgets=["lasts"]) == ()
    told = costguard.forecast_alerts(memory=place / "told.db")
    assert [*told] == heard
    assert costguard.forecast_alerts(memory=place / "told.db") == ()
    (place / "file").write_text("no folder")
    with pytest.raises(costguard.ConfigError, match="cannot be used"):
        costguard.forecast_alerts(memory=place / "file" / "told.db")


def test_those_that_check_at_once_tell_it_once(place: Path) -> None:
    """Two crons on one machine, or a server beside them: one decides at a time."""
    heard: list[costguard.Alert] = []
    costguard.configure(exporters=[], on_alert=heard.append)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: costguard.forecast_alerts(), range(4)))
    assert sorted(map(len, told)) == [0, 0, 0, 1]
    assert len(heard) == 1


def test_an_alert_says_the_day_the_limit_and_the_burn() -> None:
    """The same words for people wherever they read them."""
    leg = Leg("support", "w", 500 * 10**9, 0, 30 * DAY, scope=(("feature", "<support>"),))
    alert = ForecastAlert(
        "id", 0, 62, Balance(leg, 310 * 10**9, 0), date(2026, 11, 23), date(2026, 12, 1), 21_400_000_000
    )
    said = (
        "Budget support (feature <support>) is on course to be exhausted on 23 November 2026, before it resets on"
        " 1 December 2026: $310.00 of $500.00 spent, $21.40 a day"
    )
    assert text(alert) == said.replace("<", "&lt;").replace(">", "&gt;")
    out = io.StringIO()
    StdoutExporter(out).export(alert)
    assert out.getvalue() == f"costguard  ALERT      {said}\n"


@pytest.mark.parametrize(("passed", "spent", "told"), [(0.05, 40, False), (0.5, 70, True), (0.5, 100, False)])
def test_the_first_hours_of_a_window_wake_nobody(passed: float, spent: int, told: bool, tmp_path: Path) -> None:
    """Without a journal there is only the average so far, which has to be of a tenth of the window; and what is
    exhausted already was told as a threshold."""
    start = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    costguard.configure(
        exporters=[], clock=lambda: start + passed * 30 * DAY, budgets=[costguard.budget("$100/month", name="b")]
    )
    try:
        costguard.track("gpt-4o", cost=str(spent))
        found = costguard.forecast_alerts(memory=tmp_path / "told.db")
    finally:
        costguard.configure(exporters=[])
    assert [alert.balance.leg.budget for alert in found] == (["b"] if told else [])
    if told:
        assert (found[0].runs_out, found[0].resets) == (date(2026, 11, 22), date(2026, 12, 1))


def test_a_value_of_a_budget_has_the_time_zone_of_the_budget(tmp_path: Path) -> None:
    """Midnight in Auckland is the day before in UTC."""
    start = datetime(2026, 11, 30, 11, tzinfo=UTC).timestamp()
    limit = costguard.budget("$100/month", name="users", per="user", timezone="Pacific/Auckland")
    costguard.configure(exporters=[], clock=lambda: start + 15 * DAY, budgets=[limit])
    try:
        costguard.track("gpt-4o", cost="70", user="ada")
        (found,) = costguard.forecast_alerts(memory=tmp_path / "told.db")
    finally:
        costguard.configure(exporters=[])
    assert found.balance.leg.group == "users"
    assert found.resets == date(2027, 1, 1)
