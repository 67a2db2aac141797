"""A JSON object a line, appended to a file that any number of processes write to."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from .._types import Alert, CostEvent
from ..ports import Exporter
from ._record import as_json
from .stdout import StdoutExporter


class JsonlExporter:
    """Appends a line for each call and alert to a file.

    Each line is one write at the end of the file, which the operating system never mixes with another one's, so threads
    and processes share a file without a lock. Moving the file away, as logrotate does, starts a new one.

    Args:
        path: the file; it and its folder are made where they are missing.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._torn = False
        self._file: int | None = None
        self._place: tuple[int, int] | None = None
        self._opened()

    def export(self, record: CostEvent | Alert) -> None:
        """Append one line."""
        line = json.dumps(as_json(record), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            # A line that the disk had no room for ends here, so that the next one can be read.
            data = b"\n" + line if self._torn else line
            written = os.write(self._opened(), data)
            self._torn = written < len(data)
            if self._torn:
                raise OSError(f"{self._path}: only {written} of {len(data)} bytes could be written")

    def flush(self, timeout: float) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        with self._lock:
            self._shut()

    def _opened(self) -> int:
        """The file at the path, which may be another one by now."""
        try:
            there = os.stat(self._path)
            place = (there.st_dev, there.st_ino)
        except FileNotFoundError:
            place = None
        if self._file is None or place != self._place:
            self._shut()
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            its = os.fstat(self._file)
            self._place = (its.st_dev, its.st_ino)
        return self._file

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def jsonl_exporter(path: str | None = None) -> Exporter:
    """JSON lines appended to the file at `path`, or on standard output."""
    return StdoutExporter(json_lines=True) if path is None else JsonlExporter(path)
