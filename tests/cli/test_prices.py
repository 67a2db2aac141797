"""``costguard prices``: show and explain, for people and for programs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard._config import state
from costguard._types import Call, Cost, CostEvent, Usage
from costguard.cli import main
from costguard.journals.sqlite import SQLiteJournal


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Neither this repository's configuration nor this machine's updated prices."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSTGUARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("COSTGUARD_CONFIG")
    yield
    state.catalog.lay_under()


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["prices", *words, "--json"]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    document: dict[str, Any] = json.loads(out.out)
    return document


def test_show_has_every_price_and_tier_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Dated prices newest first, tiers, long-context rates, regions, where they are from and when they were checked."""
    about = told(capsys, "show", "gpt-5.4")
    assert about["schema"] == "costguard.prices.show/1"
    assert (about["provider"], about["model"], about["context"]) == ("openai", "gpt-5.4", 1_050_000)
    assert about["regions"] == {"us": "11/10", "eu": "11/10"}
    assert about["source"].startswith("https://")
    (price,) = about["prices"]
    long = [{"input_tokens": 272_000, "usd": "5"}]
    assert price["tiers"]["standard"]["input"] == {"usd": "2.5", "for": 1_000_000, "above": long}
    assert price["tiers"]["flex"]["cache_read"]["usd"] == "0.13"
    assert price["tiers"]["standard"]["web_searches"] == {"usd": "0.01", "for": 1}


def test_show_tells_of_announced_prices_and_moving_names(capsys: pytest.CaptureFixture[str]) -> None:
    """A price that begins later is shown and does not hold yet; a moving name says what it stands for."""
    about = told(capsys, "show", "gemini-flash", "--at", "2026-11-24")
    assert (about["asked"], about["model"], about["moves"]) == ("gemini-flash", "gemini-3.8-flash", True)
    assert [(price["from"], price["holds"]) for price in about["prices"]] == [("2027-01-01", False), (None, True)]
    about = told(capsys, "show", "gemini-flash", "--at", "2027-02-01")
    assert [price["holds"] for price in about["prices"]] == [True, False]


def test_tables_fit_eighty_columns_and_cut_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Every rate and amount stands there whole."""
    assert main(["prices", "show", "claude-sonnet-4-5"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "above 200,000" in out
    assert "22.5" in out
    assert "…" not in out
    assert main(["prices", "explain", "gpt-5.4", "input=300_000", "output=30", "pages=2", "--tier", "flex"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "$0.750337500" in out
    assert "openai/gpt-5.4#flex" in out
    assert "without a price, and not in the sum: pages" in out


def test_explain_adds_up_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Quantity times rate for each unit, in exact decimals, and their sum."""
    about = told(capsys, "explain", "gpt-4o", "input=1200", "cache_read=800", "output=300")
    assert (about["usd"], about["entry"], about["estimated"]) == ("0.007000000", "openai/gpt-4o", False)
    lines = [(line["unit"], line["quantity"], line["rate_usd"], line["usd"]) for line in about["lines"]]
    assert lines[0] == ("input", 1200, "0.0000025", "0.003")
    assert sum(Decimal(line["usd"]) for line in about["lines"]) == Decimal(about["usd"])
    about = told(capsys, "explain", "gpt-4o", "input=5", "pages=2")
    assert (about["lines"][1]["usd"], about["unpriced"]) == (None, ["pages"])


def test_a_recorded_call_is_explained_by_its_id(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its usage, priced at its own time, beside what was recorded."""
    journal = SQLiteJournal(tmp_path / "calls.db", keep=math.inf)
    usages = (Usage({"input": 1000, "output": 100}, tier="flex"), Usage({"input": 10}, model="gpt-5-mini", reported=7))
    event = CostEvent(
        "call-1", 1_790_000_000.0, 0.5, Call("openai", "gpt-5"), usages, Cost(1_125_007, "openai/gpt-5#flex")
    )
    journal.record(event)
    journal.close()
    about = told(capsys, "explain", "--call", "call-1", "--journal", f"sqlite:///{tmp_path}/calls.db")
    assert about["recorded"] == {"usd": "0.001125007", "entry": "openai/gpt-5#flex", "estimated": False}
    assert (about["usd"], about["tier"]) == ("0.001125007", "flex, standard")
    assert [line["unit"] for line in about["lines"]] == ["input", "output", "reported"]
    assert main(["prices", "explain", "--call", "call-1", "--journal", f"sqlite:///{tmp_path}/calls.db"]) == 0
    assert "recorded, priced as openai/gpt-5#flex" in capsys.readouterr().out


def test_a_negotiated_discount_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Beside the listed rates in `show`, in the rates of `explain`; an own price has none."""
    (tmp_path / "costguard.toml").write_text(
        '[[prices.discount]]\nprovider = "openai"\npercent = 12.5\n'
        '[[prices.add]]\nprovider = "openai"\nmodel = "ours"\ninput = "1"\n',
        encoding="utf-8",
    )
    assert told(capsys, "show", "gpt-5.4")["discount_percent"] == "12.5"
    assert told(capsys, "show", "ours")["discount_percent"] is None
    explained = told(capsys, "explain", "gpt-5.4", "input=1000")
    assert (explained["discount_percent"], explained["usd"]) == ("12.5", "0.002187500")
    assert main(["prices", "show", "gpt-5.4"]) == 0
    assert "12.5 % off" in capsys.readouterr().out


def test_own_prices_of_the_configuration_count(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What is explained is what would be charged."""
    text = '[[prices.add]]\nprovider = "openai"\nmodel = "gpt-4.1-nano"\ninput = "1.00"\noutput = "2.00"\n'
    (tmp_path / "costguard.toml").write_text(text, encoding="utf-8")
    assert told(capsys, "explain", "gpt-4.1-nano", "input=1000")["usd"] == "0.001000000"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "gpt-4o", "--at", "soon"], "'soon' is no day"),
        (["show", "gpt-4o", "--provider", "acme"], "'acme' has no price list"),
        (["explain", "gpt-4o"], "explain what?"),
        (["explain", "gpt-4o", "inptu=3"], "'inptu=3' is no usage"),
        (["explain", "gpt-4o", "input=many"], "is no usage"),
        (["explain", "--call", "x"], "no journal is configured"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """With exit code 2."""
    assert main(["prices", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_an_update_from_a_file_counts_until_it_is_forgotten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Shown first, then written into costguard's home, used by whoever starts afterwards, and removed again."""
    model = {"id": "m-1", "prices": [{"from": None, "rates": {"input": 4_000_000, "output": 8_000_000}}]}
    made = {"version": 1, "provider": "acme-update", "checked": "2026-11-01", "models": [model]}
    (tmp_path / "acme.json").write_text(json.dumps(made), encoding="utf-8")
    shown = told(capsys, "update", "acme.json", "--dry-run")
    assert (shown["written"], shown["changes"]) == (False, ["+ acme-update: 1 models"])
    command = [
        sys.executable,
        "-m",
        "costguard",
        "prices",
        "explain",
        "m-1",
        "input=1000",
        "--provider",
        "acme-update",
        "--json",
    ]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    done = told(capsys, "update", "acme.json")
    assert (done["written"], done["folder"]) == (True, str(tmp_path / "home" / "prices"))
    about = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    assert (about["usd"], about["entry"], about["checked"]) == ("0.004000000", "acme-update/m-1", "2026-11-01")
    assert main(["prices", "update", "acme.json"]) == 0
    assert capsys.readouterr().out == "nothing newer than the present prices\n"
    assert told(capsys, "update", "--forget")["providers"] == ["acme-update"]
    about = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    assert about["unpriced"] == ["input"]
