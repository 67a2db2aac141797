"""``costguard budgets``: read and change a ledger that other programs use at the same time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import costguard
from costguard._config import state
from costguard.cli import main
from costguard.ledgers import open_ledger


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A book in which a program has spent $1.25 of $5 a day, and which the command finds by itself."""
    url = f"sqlite://{tmp_path}/book.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSTGUARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("COSTGUARD_LEDGER", url)
    costguard.configure(exporters=[], budgets=[costguard.budget("$5/day", name="search"), *_long()])
    costguard.track("gpt-4o", cost="1.25", user="a" * 60)
    costguard.flush()
    yield url
    monkeypatch.delenv("COSTGUARD_LEDGER")
    costguard.configure(exporters=[])


def _long() -> list[costguard.Budget]:
    return [costguard.budget("$9000000", name="a budget that has a long name and each user its own", per="user")]


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["budgets", *words, "--json"]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    document: dict[str, Any] = json.loads(out.out)
    return document


def test_list_has_every_window_of_the_ledger(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever program wrote it; money as decimal strings."""
    document = told(capsys)
    assert document["schema"] == "costguard.budgets/1"
    _, search = document["budgets"]
    assert search.pop("resets_at").endswith("T00:00:00+00:00")
    # The average of a day that has just begun says nothing.
    assert search.pop("burn_basis") in ("", "average")
    search.pop("burn_per_day"), search.pop("runs_out")
    assert search == {
        "name": "search", "scope": {}, "limit": "5.000000000", "spent": "1.250000000", "held": "0.000000000",
        "remaining": "3.750000000", "percent": 25.0, "paused": False,
    }  # fmt: skip
    assert told(capsys, "list")["budgets"][1].items() >= search.items()


def test_the_table_shows_every_figure_whole_on_a_narrow_terminal(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Long names go on in the next line, numbers never."""
    assert main(["budgets", "pause", "search"]) == 0
    capsys.readouterr()
    assert main(["budgets"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for figure in ("$9,000,000.00", "$5.00", "$1.25", "25%", "search (paused)"):
        assert figure in out


def test_a_change_is_seen_by_a_program_that_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From its next step on."""
    with closing(open_ledger(url)) as running:
        (search,) = [one for one in running.windows(0.0) if one.leg.budget == "search"]
        change = told(capsys, "set", "search", "$8", "--author", "ada", "--reason", "the launch")
        assert (change["schema"], change["kind"], change["amount"]) == (
            "costguard.budgets.change/1",
            "limit",
            "8.000000000",
        )
        assert (change["author"], change["reason"]) == ("ada", "the launch")
        assert 8 * 10**9 == running.balances([search.leg])[0].leg.limit
        told(capsys, "top-up", "search", "$2", "--until", "1h")
        assert 10 * 10**9 == running.balances([search.leg])[0].leg.limit
        told(capsys, "pause", "search")
        assert running.balances([search.leg])[0].paused
        told(capsys, "resume", "search")
        told(capsys, "set", "search", "own")
        assert (7 * 10**9, False) == ((one := running.balances([search.leg])[0]).leg.limit, one.paused)


def test_history_tells_who_and_why(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In sentences, or as a document."""
    assert main(["budgets", "history"]) == 0
    assert capsys.readouterr().out == "nobody has changed a budget\n"
    main(["budgets", "pause", "search", "--author", "ben", "--reason", "somebody loops"])
    assert capsys.readouterr().out.endswith("UTC search: paused by ben: somebody loops\n")
    (change,) = told(capsys, "history", "search")["changes"]
    assert (change["budget"], change["author"], change["amount"], change["until"]) == ("search", "ben", None, None)
    assert told(capsys, "history", "another")["changes"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pause", "saerch"], "there is 'search'"),
        (["set", "search", "much"], "amount"),
        (["top-up", "search", "$1", "--until", "soon"], "give a length such as '24h'"),
        (["list", "--ledger", "memory://"], "each process's own"),
        (["--ledger", "memory://"], "each process's own"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    url: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2, and nothing changed."""
    assert main(["budgets", *words]) == 2
    assert said in capsys.readouterr().err
    with closing(open_ledger(url)) as ledger:
        assert [] == list(ledger.amendments())


def test_a_paused_budget_refuses_the_program(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has nothing left there, whatever it had spent; a name without calls is taken with `--new` only."""
    told(capsys, "pause", "never-used", "--new")
    told(capsys, "pause", "search")
    costguard.configure(exporters=[], budgets=[costguard.budget("$5/day", name="search")])
    assert not costguard.can_afford("gpt-4o", text="Hello", max_output_tokens=10)
    assert costguard.status()["search"].paused


def checked(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> dict[str, Any]:
    assert main(["budgets", "check", *words, "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["schema"] == "costguard.budgets.check/1"
    assert document["ok"] == (code == 0)
    return document


def test_check_is_for_ci(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """0 while there is room; 1 when a limit, or the part of it that is named, is reached; with what and how much."""
    checked(capsys, 0)
    document = checked(capsys, 1, "--max", "20")
    assert document["budgets"][0]["name"] == "search"
    assert document["budgets"][0]["finding"] == "25% of its limit is spent"
    checked(capsys, 0, "search", "--max", "30")
    costguard.configure(exporters=[], budgets=[costguard.budget("$5/day", name="search")])
    costguard.track("gpt-4o", cost="4")
    costguard.flush()
    assert checked(capsys, 1)["budgets"][0]["percent"] == 105.0
    assert main(["budgets", "check", "serch"]) == 2
    assert "no budget 'serch'" in capsys.readouterr().err


def test_check_shows_figures_whole_on_a_narrow_terminal(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Long names go on in the next line."""
    assert main(["budgets", "check", "--max", "20"]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for figure in ("$9,000,000", "$5.00", "$1.25", "25%", "! ", "✓ "):
        assert figure in out


def test_check_tells_of_a_budget_that_will_run_out(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the days that the journal has: thirty dollars a day do not last a year with a hundred."""
    from costguard._types import Call, Cost, CostEvent
    from costguard.journals import open_journal

    journal = f"sqlite:///{tmp_path}/calls.db?keep=all"
    now = state.guard.clock()
    with closing(open_journal(journal)) as kept:
        for back in range(1, 30):
            kept.record(CostEvent(f"c{back}", now - 86_400 * back, 1, Call("openai", "m"), (), Cost(30 * 10**9)))
        assert kept.flush(60)
    costguard.configure(exporters=[], budgets=[costguard.budget("$100", name="project", period="lifetime")])
    costguard.track("gpt-4o", cost="1")
    costguard.flush()
    monkeypatch.setenv("COSTGUARD_JOURNAL", journal)
    checked(capsys, 0, "project")
    (project,) = checked(capsys, 1, "project", "--runs-out")["budgets"]
    assert project["burn_basis"] == "forecast"
    assert project["burn_per_day"] == "30.000000000"
    assert project["finding"].startswith("runs out on ")
    (listed,) = [one for one in told(capsys)["budgets"] if one["name"] == "project"]
    told_ahead = ("burn_per_day", "burn_basis", "runs_out")
    assert [project[name] for name in told_ahead] == [listed[name] for name in told_ahead]
    capsys.readouterr()
    assert main(["budgets"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert project["runs_out"] in out
    assert "$30.00" in out
