"""`costguard report`, out of a file that a program wrote."""

from __future__ import annotations

import io
import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from costguard.cli import main
from costguard.journals.sqlite import SQLiteJournal
from costguard.testing.months import Simulation


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A journal of two simulated months."""
    path = tmp_path_factory.mktemp("journal") / "calls.db"
    with closing(SQLiteJournal(path, keep=float("inf"))) as journal:
        for record in Simulation(600).records():
            journal.record(record)
        assert journal.flush(60)
    return f"sqlite:///{path}?keep=all"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine that runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("COSTGUARD_JOURNAL", "COSTGUARD_CONFIG", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_it_reads_what_the_program_is_configured_with(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The journal and the budgets of costguard.toml."""
    (tmp_path / "costguard.toml").write_text(f'journal = "{url}"\n[[budgets]]\nlimit = "$1/month"\n')
    assert 0 == main(["report", "--month", "2026-10"])
    out = capsys.readouterr().out
    assert "AI spend review · October 2026" in out
    assert "of $1.00" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b[" not in out


def test_the_environment_names_the_journal(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it does for the program."""
    monkeypatch.setenv("COSTGUARD_JOURNAL", url)
    assert 0 == main(["report", "--since", "2026-10-01", "--until", "2026-10-31", "--json", "--group-by", "team,model"])
    document = json.loads(capsys.readouterr().out)
    assert "costguard.report/1" == document["schema"]
    assert {"team", "model"} <= document["sections"]["spend"]["rows"][0].keys()


def test_filters_sections_and_files(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One team, one tag, one section, into a file."""
    out = tmp_path / "review.md"
    words = [
        "--journal",
        url,
        "--month",
        "2026-10",
        "--team",
        "support",
        "--tag",
        "customer=c-0",
        "--section",
        "models",
    ]
    assert 0 == main(["report", *words, "-o", "md", "--out", str(out), "--compare", "none"])
    text = out.read_text()
    assert "claude-sonnet-4-5" in text
    assert "gpt" not in text
    assert "September" not in text
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which journal?"),
        (["--journal", "memory://"], "ends with its program"),
        (["--journal", "sqlite:x.db", "--tag", "customer"], "--tag customer=acme"),
        (["--journal", "sqlite:x.db", "-o", "pdf"], "no format 'pdf'"),
        (["--journal", "sqlite:x.db", "--month", "x"], "2026-10"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with exit code 2."""
    assert 2 == main(["report", *words])
    assert said in capsys.readouterr().err


def test_a_journal_that_is_away_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for a ledger."""
    assert 3 == main(["report", "--journal", f"sqlite:///{tmp_path}"])
    assert "cannot be used" in capsys.readouterr().err


class Terminal(io.StringIO):
    """Somebody looks."""

    def isatty(self) -> bool:
        return True


def test_a_long_read_shows_how_far_it_is_to_who_looks(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error and a terminal alone; the report itself is the same."""
    words = ["report", "--month", "2026-10", "--journal", url, "--deep"]
    assert main(words) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(words) == 0
    assert capsys.readouterr().out == plain.out
    assert "reading the journal" in terminal.getvalue()
