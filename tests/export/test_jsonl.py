"""JSON lines in a file that several processes append to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from costguard._types import Call, Cost, CostEvent
from costguard.exporters import open_exporter
from costguard.exporters.jsonl import JsonlExporter

PROGRAM = """
import os, sys
from costguard._types import Call, Cost, CostEvent
from costguard.exporters.jsonl import JsonlExporter
exporter = JsonlExporter(sys.argv[1])
os.fork()
for number in range(200):
    exporter.export(CostEvent(f"{os.getpid()}-{number}", 1.78e9, 0.5, Call("openai", "m"), (), Cost(1),
                              tags={"feature": "x" * (number * 100)}))
"""


def event(id: str) -> CostEvent:
    """A call that is over."""
    return CostEvent(id, 1.78e9, 0.5, Call("openai", "gpt-4o"), (), Cost(1), tags={"feature": "s\u00e4arch\u2028"})


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    """Also long ones, and those of a forked child."""
    path = tmp_path / "calls.jsonl"
    programs = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)]) for _ in range(2)]
    assert [0, 0] == [one.wait(60) for one in programs]
    ids = [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert 800 == len(ids) == len(set(ids))


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """As logrotate does it."""
    path = tmp_path / "calls.jsonl"
    exporter = open_exporter(f"jsonl:{path}")
    assert isinstance(exporter, JsonlExporter)
    exporter.export(event("one"))
    path.rename(tmp_path / "calls.jsonl.1")
    exporter.export(event("two"))
    exporter.close()
    exporter.export(event("three"))
    exporter.close()
    assert 1 == len((tmp_path / "calls.jsonl.1").read_bytes().splitlines())
    assert 2 == len(path.read_bytes().splitlines())


def test_a_full_disk_is_an_error_and_tears_no_later_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is ended before the next one."""
    path = tmp_path / "calls.jsonl"
    exporter = JsonlExporter(path)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(OSError, match="only 10 of"):
            exporter.export(event("half"))
    exporter.export(event("whole"))
    exporter.close()
    _, second = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert "whole" == json.loads(second)["id"]
