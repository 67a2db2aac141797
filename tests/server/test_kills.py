"""A server that is killed in the middle of its work loses nothing that it acknowledged."""

from __future__ import annotations

from pathlib import Path

from .kills import run


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Nothing is lost, nothing is counted twice when it is sent again, and the server goes on where it was.

    ``python -m tests.server.kills --kills 50`` does it for longer.
    """
    outcome = run(tmp_path, kills=2, clients=4, seed=8)
    assert outcome.faults == []
    assert outcome.acknowledged > 10
    assert outcome.unheard
