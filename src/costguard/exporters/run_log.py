"""The notes that a process takes of itself for ``costguard run``, which adds them up when the program has ended.

A run has a folder. Each of its processes appends a line to a file in it for every call, so that the sum is right
also when a process is killed.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Final

from .._tallies import Tally
from .._types import Alert, CostEvent

CALLS: Final = "calls"


class RunLog:
    """Notes each call of this process in the folder of its run.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def export(self, record: CostEvent | Alert) -> None:
        """Append a line about a call."""
        if isinstance(record, Alert):
            return
        tally = Tally()
        tally.add(record)
        said = {name: value for name, value in asdict(tally).items() if value}
        # Opened for each line: a program may close every descriptor when it turns into a daemon, and the number of
        # ours would then be somebody else's file.
        file = os.open(self._folder / CALLS, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, json.dumps(said).encode() + b"\n")
        finally:
            os.close(file)

    def flush(self, timeout: float) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing to let go of."""
