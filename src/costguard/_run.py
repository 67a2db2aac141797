"""One run of a program under ``costguard run``: its processes join it here, and it is added up here.

A run has a folder. Each of its processes appends a line to a file in it for every call, so that the sum is right
also when a process is killed.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Final

from ._config import environment, state
from ._guard import Guard
from ._tallies import Tally
from ._types import Alert, CostEvent
from .errors import ConfigError

CALLS: Final = "calls"
UNGUARDED: Final = "unguarded"
RUNNER: Final = "runner"


class RunLog:
    """The exporter that notes each call of a process in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CALLS

    def export(self, record: CostEvent | Alert) -> None:
        """Append a line.

        The file is opened for each: a program may close every descriptor when it turns into a daemon, and the number
        of ours would then be somebody else's file.
        """
        if isinstance(record, Alert):
            return
        tally = Tally()
        tally.add(record)
        said = {name: value for name, value in asdict(tally).items() if value}
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, json.dumps(said).encode() + b"\n")
        finally:
            os.close(file)

    def flush(self, timeout: float) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing to let go of."""


def join() -> None:
    """Meter this process as part of the run that the environment names, whatever the program configures later.

    Raises:
        ConfigError: it cannot be metered, or it must not be.
    """
    run = environment().run
    if run is None:
        raise ConfigError("COSTGUARD_RUN is not set, so this is no process of costguard run")
    log = RunLog(run)

    def follow(guard: Guard) -> None:
        guard.exporters.append(log)

    state.followers.append(follow)
    if not state.instrument():
        raise ConfigError("COSTGUARD_DISABLED is set, and a disabled costguard guards nothing")


def begin(folder: Path) -> None:
    """Make the files that the processes of the run look for."""
    (folder / RUNNER).write_text(str(os.getpid()), encoding="utf-8")
    (folder / CALLS).touch()


def total(folder: Path) -> Tally:
    """What all processes of the run did."""
    total = Tally()
    for line in (folder / CALLS).read_text(encoding="utf-8").splitlines():
        total.merge(Tally(**json.loads(line)))
    return total


def unguarded(folder: Path) -> list[str]:
    """The processes of the run that could not be metered, and why."""
    path = folder / UNGUARDED
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
