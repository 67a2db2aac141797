"""Every example runs as it is, against the local provider, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .blocks import ROOT

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "run_offline")


def _run(*command: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str) -> None:
    """It ends well, says something, and logs no error of costguard's."""
    done = _run(ROOT / "examples/run_offline.py", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert "costguard failed" not in done.stderr
    assert "Traceback" not in done.stderr


def test_each_example_is_listed() -> None:
    """The list in the folder's README is complete."""
    listed = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert [name for name in EXAMPLES if f"`{name}.py`" not in listed] == []


def test_the_demo_shows_the_main_job() -> None:
    """It refuses a call, tells of an alert, agrees with the provider's count, shows a review, and fits 80 columns."""
    done = _run("-m", "costguard", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "BudgetExceededError:" in done.stdout
    assert "ALERT" in done.stdout
    assert "refused    openai/gpt-4o" in done.stdout
    assert "AI spend review · October 2026 · acme (simulated)" in done.stdout
    paths = tuple(line for line in done.stdout.splitlines() if line.startswith(("  /", "  sqlite:")))
    assert [line for line in done.stdout.splitlines() if len(line) > 80 and line not in paths] == []
