"""The command line: what every command has in common."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from costguard import cli
from costguard.cli import COMMANDS, main
from costguard.errors import ConfigError, CostguardError, LedgerUnavailableError


def test_python_m_costguard_is_the_command() -> None:
    """`python -m costguard` and `costguard` are one program."""
    command = [sys.executable, "-m", "costguard", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"costguard {version('costguard-ai')}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`costguard COMMAND --help` works for each."""
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    assert f"costguard {name}" in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """With the commands that there are, and exit code 2."""
    with pytest.raises(SystemExit) as left:
        main(["dmeo"])
    assert left.value.code == 2
    assert "demo" in capsys.readouterr().err


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is done by default."""
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    assert "which command?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("limit"), 2), (LedgerUnavailableError("away"), 3), (KeyboardInterrupt(), 130)],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback for what the user can mend."""

    def run(options: object) -> int:
        raise error

    monkeypatch.setattr(cli, "import_module", lambda _: SimpleNamespace(configure=lambda parser: None, run=run))
    assert main(["demo"]) == code
    said = capsys.readouterr().err
    assert said == (f"costguard: {error}\n" if isinstance(error, CostguardError) else "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`costguard demo | head -1` ends quietly."""
    script = (
        "import sys, types; from costguard import cli;"
        "cli.import_module = lambda _: types.SimpleNamespace(configure=lambda p: None, run=lambda o: print('x' * 10**6) or 0);"
        "sys.exit(cli.main(['demo']))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_only_the_module_of_the_command_is_imported() -> None:
    """A command line with many commands starts as fast as its fastest."""
    for command in COMMANDS.values():
        assert import_module(command.module).run
