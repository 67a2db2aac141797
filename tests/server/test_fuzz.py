"""The server answers whatever its schema allows, and what it does not, with what the schema says."""

from __future__ import annotations

from pathlib import Path

from .fuzz import run


def test_no_request_breaks_the_server(tmp_path: Path) -> None:
    """No 5xx, no answer that the schema does not know, and none without a token, over every route.

    A few requests of each, the same ones each time; ``python -m tests.server.fuzz`` makes more.
    """
    done = run(tmp_path, examples=3, tokens=True, phases="fuzzing", more=["--generation-deterministic"])
    assert done.returncode == 0, done.stdout + done.stderr
