"""One run of a program under ``costguard run``: its processes join it here, and it is added up here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from ._config import environment, state
from ._tallies import Tally
from .errors import ConfigError
from .exporters.run_log import CALLS

UNGUARDED: Final = "unguarded"
RUNNER: Final = "runner"


def join() -> None:
    """Meter this process as part of the run that the environment names, whatever the program configures later.

    Raises:
        ConfigError: it cannot be metered, or it must not be.
    """
    if environment().run is None:
        raise ConfigError("COSTGUARD_RUN is not set, so this is no process of costguard run")
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
