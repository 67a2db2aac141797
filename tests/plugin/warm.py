"""Runs of pytest in processes of their own that need not import the SDK first: that is most of what a run costs.

They are forked from a process that has imported the SDK and pytest, and nothing of costguard.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from coverage import process_startup

SECONDS = 300


def run(folder: Path, arguments: Sequence[str]) -> pytest.RunResult:
    """Run pytest in a folder, with the environment that this process has now."""
    said = folder / "said.out", folder / "said.err"
    began = time.monotonic()
    process = _warm().Process(target=_run, args=(folder, dict(os.environ), list(arguments), said))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"the run took more than {SECONDS} s: {said[0].read_text()}")
    out, err = (path.read_text().splitlines() for path in said)
    return pytest.RunResult(process.exitcode, out, err, time.monotonic() - began)


@cache
def _warm() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "pytest_asyncio.plugin", "xdist.plugin", "openai"])
    with pytest.MonkeyPatch.context() as patch:
        # Each run measures its own coverage: that of the process they are forked from would be everybody's.
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        forkserver.ensure_running()
    return context


def _run(folder: Path, environ: Mapping[str, str], arguments: Sequence[str], said: tuple[Path, Path]) -> None:
    for descriptor, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    sys.path.insert(0, "")
    measured = process_startup()
    code = pytest.main(list(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    if measured is not None:
        measured.stop()
        measured.save()
    os._exit(code)
