"""The commands over recorded calls: what-if, simulate, reconcile, and the report's page and CSV."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from costguard.cli import main
from costguard.journals.sqlite import SQLiteJournal
from tests.review.traffic import made, month


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A journal of October."""
    path = tmp_path_factory.mktemp("journal") / "calls.db"
    with closing(SQLiteJournal(path, keep=float("inf"))) as journal:
        for event in month(400):
            journal.record(event)
        assert journal.flush(60)
    return f"sqlite:///{path}?keep=all"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSTGUARD_JOURNAL", url)
    for name in ("COSTGUARD_CONFIG", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def section(out: str, name: str) -> dict:
    """A section of a JSON document."""
    document = json.loads(out)
    assert document["schema"] == "costguard.report/1"
    return document["sections"][name]


def test_what_if_prices_the_month_on_the_models_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Every candidate is told, also where it would cost more; twice the same to the byte."""
    words = ["what-if", "--month", "2026-10", "--to", "openai/gpt-4o-mini", "--feature", "search", "--json"]
    assert 0 == main(words)
    out = capsys.readouterr().out
    rows = section(out, "moves")["rows"]
    assert ("search", "gpt-4o", "gpt-4o-mini") in {(row["feature"], row["model"], row["to"]) for row in rows}
    assert 0 == main(words)
    assert capsys.readouterr().out == out
    assert 0 == main(words[:-1])
    table = capsys.readouterr().out
    assert "Cheaper ways" in table
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["what-if", "--month", "2026-10", "--to", "gpt-4o"], "say whose it is"),
        (["what-if", "--month", "2026-10", "--without", "="], "search=vision"),
        (["simulate", "--month", "2026-10"], "simulate what?"),
        (["simulate", "--month", "2026-10", "--cache-ttl", "soon"], "30m, 1h or 7d"),
        (["simulate", "--month", "2026-10", "--ladder", "openai/gpt-4o,mini"], "price lists"),
        (["reconcile", "nothing.csv"], "cannot be read"),
    ],
)
def test_a_wrong_word_is_told_with_the_right_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with 2."""
    assert 2 == main(words)
    assert said in capsys.readouterr().err


def test_simulate_replays_the_budgets_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What would have been refused, by which budget, from when on."""
    (tmp_path / "new.toml").write_text('[[budgets]]\nlimit = "$0.10/day"\nname = "tight"\n')
    words = ["simulate", "--month", "2026-10", "--policy", "new.toml", "--cache-ttl", "1d"]
    assert 0 == main([*words, "--json"])
    found = section(capsys.readouterr().out, "simulated")
    assert {(row["budget"], row["what"]) for row in found["rows"]} == {("tight", "refused"), ("(cache)", "cached")}
    assert sum(row["calls"] for row in found["rows"] if row["what"] == "refused") == found["facts"]["blocked"] > 0
    assert found["facts"]["would_cost"] < found["facts"]["cost"]
    assert 0 == main(words)
    table = capsys.readouterr().out
    assert "would have cost" in table
    assert max(map(len, table.splitlines())) <= 80


def test_simulate_takes_many_windows_together_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit for each hour would be a long table; documents have every window, and the sums are the same."""
    (tmp_path / "new.toml").write_text('[[budgets]]\nlimit = "$0.01/hour"\nname = "tight"\n')
    words = ["simulate", "--month", "2026-10", "--policy", "new.toml"]
    assert 0 == main([*words, "--json"])
    rows = section(capsys.readouterr().out, "simulated")["rows"]
    assert len(rows) > 20
    assert 0 == main(words)
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.startswith(" tight")]
    assert f" {sum(row['calls'] for row in rows)} " in line
    assert rows[0]["first"] in line
    assert f"{len(rows)} in all" in out


def test_simulate_tries_the_cache_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As long as it says, which is the same as asking for it."""
    (tmp_path / "new.toml").write_text('[cache]\nttl = "1d"\n\n[[budgets]]\nlimit = "$1000/day"\n')
    words = ["simulate", "--month", "2026-10", "--policy", "new.toml", "--json"]
    assert 0 == main(words)
    by_file = section(capsys.readouterr().out, "simulated")["facts"]
    assert 0 == main([*words, "--cache-ttl", "1d"])
    assert by_file == section(capsys.readouterr().out, "simulated")["facts"]
    assert by_file["hits"] > 0


def test_simulate_tries_ladders(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Some calls would have gone to the cheaper model."""
    (tmp_path / "new.toml").write_text('[[budgets]]\nlimit = "$0.10/day"\n')
    (tmp_path / "with.toml").write_text(
        '[[budgets]]\nlimit = "$0.10/day"\non_exceeded = "downgrade"\n[[ladders]]\nmodels = ["gpt-4o", "gpt-4o-mini"]\n'
    )
    assert 0 == main(["simulate", "--month", "2026-10", "--policy", "with.toml", "--json"])
    by_file = section(capsys.readouterr().out, "simulated")["facts"]["downgraded"]
    ladder = "openai/gpt-4o,openai/gpt-4o-mini"
    assert 0 == main(["simulate", "--month", "2026-10", "--policy", "new.toml", "--ladder", ladder, "--json"])
    assert section(capsys.readouterr().out, "simulated")["facts"]["downgraded"] == by_file > 0


def test_reconcile_ends_with_1_where_the_books_drift_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And with 0 within the tolerance that is given."""
    ours = sum(
        event.cost.nano for event in month(400)
        if event.call.provider == "anthropic" and made("x", event.time).time // 86_400 == 20_729
    )  # fmt: skip
    file = tmp_path / "export.csv"
    file.write_text(
        "usage_date_utc,model,token_type,cost_usd\n"
        f"2026-10-03,Claude Sonnet 4.5,input_no_cache,{ours / 10**9 * 1.03:.9f}\n"
    )
    assert 0 == main(["reconcile", str(file)])
    out = capsys.readouterr().out
    assert "Both books" in out
    assert max(map(len, out.splitlines())) <= 80
    assert 1 == main(["reconcile", str(file), "--tolerance", "1", "--json"])
    found = section(capsys.readouterr().out, "reconciled")
    assert found["facts"]["beyond_tolerance"] == 1
    assert round(found["rows"][0]["percent"], 3) == round(0.03 / 1.03, 3)


def test_the_report_comes_as_a_page_and_in_the_columns_of_focus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-o html` and `-o focus` write files."""
    for name in ("html", "focus"):
        assert 0 == main(["report", "--month", "2026-10", "-o", name, "--out", f"review.{name}"])
    assert (tmp_path / "review.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "review.focus").read_text().startswith("BilledCost,")
    assert "wrote review.focus" in capsys.readouterr().err
