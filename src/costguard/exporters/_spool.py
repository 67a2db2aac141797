"""What is still to be sent, in files: it outlives an outage of the receiver and the end of the process, however sudden.

Each process appends to a file of its own, one write a line, and holds a lock on it for as long as it lives; the
operating system lets go of the lock when the process dies. Whoever finds a file without a lock sends what is left in
it. How far a file was sent stands in a small file beside it, so after a crash at most one batch is sent again, with the
same ids.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .._shield import log
from ..errors import ConfigError
from ._outbox import Batch, fitting

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_SEALED_AT: Final = 1 << 20
"""Bytes after which a file is finished and the next one begun."""
_LOOK_AGAIN: Final = 10.0
"""Seconds between looks for files that others left."""


class Segment:
    """One file of lines, locked by this process."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.size = os.fstat(file).st_size
        self.sent = min(_read_number(self._note), self.size)

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".sent")

    def append(self, line: bytes) -> None:
        """Write a line at the end."""
        data = line + b"\n"
        written = os.write(self.file, data)
        if written < len(data):
            os.ftruncate(self.file, self.size)
            raise OSError(f"only {written} of {len(data)} bytes could be written")
        self.size += written

    def lines(self, size: int) -> Iterator[bytes]:
        """The lines that are still to be sent, about so many bytes of them; half a line at the end is none."""
        data = os.pread(self.file, max(size, 1 << 16), self.sent)
        while b"\n" not in data and self.sent + len(data) < self.size:
            data += os.pread(self.file, max(size, 1 << 16), self.sent + len(data))
        return iter(data.split(b"\n")[:-1])

    def advance(self, to: int) -> None:
        """Note that it was sent so far."""
        self.sent = to
        note = os.open(self._note, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(note, f"{to:020d}".encode(), 0)
        finally:
            os.close(note)

    def remove(self) -> None:
        """It was sent whole."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        os.close(self.file)


class SpoolOutbox:
    """Lines in a folder that any number of processes share.

    Args:
        folder: made where it is missing, for its owner alone.
        limit: bytes that this process may have waiting; beyond them new lines are given up.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int) -> None:
        if fcntl is None:
            raise ConfigError("spool=: this platform has no file locks of the kind that a spool needs")
        self._folder = Path(folder)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"spool={str(folder)!r}: {error}") from None
        self._limit = limit
        self._mine: Segment | None = None
        self._others: list[Segment] = []
        self._looked = float("-inf")
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """Append a line to this process's file."""
        try:
            segment = self._mine
            if segment is not None and segment.size >= _SEALED_AT:
                self._others.append(segment)
                segment = self._mine = None
            if segment is None:
                segment = self._mine = self._begin()
            if sum([one.size - one.sent for one in (*self._others, segment)]) + len(line) > self._limit:
                raise OSError(f"{self._limit} bytes are waiting already")
            segment.append(line)
        except OSError as error:
            self.dropped += 1
            if self.dropped in (1, 1000, 1_000_000):
                log.error("%d events given up, as the spool in %s takes no more: %s", self.dropped, self._folder, error)

    def next(self, lines: int, size: int) -> Batch | None:
        """The oldest lines of the oldest file."""
        if time.monotonic() - self._looked > _LOOK_AGAIN:
            self.look()
        for segment in self._waiting():
            taken = fitting(segment.lines(size), lines, size)
            if taken:
                return Batch(taken, (segment, segment.sent + sum([len(line) + 1 for line in taken])))
            self._finished(segment)
        return None

    def sent(self, batch: Batch) -> None:
        """Note that they were sent; a file that was sent whole is removed."""
        segment, to = batch.mark
        segment.advance(to)
        if segment.sent >= segment.size:
            self._finished(segment)

    def rejected(self, batch: Batch) -> None:
        """Put them aside, in ``rejected.jsonl``, and go on."""
        aside = os.open(self._folder / "rejected.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(aside, b"".join([line + b"\n" for line in batch.lines]))
        finally:
            os.close(aside)
        self.sent(batch)

    def look(self) -> None:
        """Take over the files of processes that are gone."""
        self._looked = time.monotonic()
        ours = {segment.path for segment in self._waiting()}
        for path in sorted(self._folder.glob("*.jsonl")):
            if path not in ours and path.name != "rejected.jsonl":
                segment = _taken(path)
                if segment is not None:
                    self._others.append(segment)

    def is_empty(self) -> bool:
        """Whether nothing waits in the files of this process, its own and those it took over."""
        return all(one.sent >= one.size for one in self._waiting())

    def forked(self) -> None:
        """The parent's files are the parent's: closing them here leaves its locks alone."""
        for segment in self._waiting():
            os.close(segment.file)
        self._mine, self._others, self._looked, self.dropped = None, [], float("-inf"), 0

    def close(self) -> None:
        """Let go of the locks; what was not sent is for whoever comes next."""
        for segment in self._waiting():
            if segment.sent >= segment.size:
                segment.remove()
            else:
                os.close(segment.file)
        self._mine, self._others = None, []

    # -- files -------------------------------------------------------------------------------------------------

    def _waiting(self) -> list[Segment]:
        return [*self._others, *([] if self._mine is None else [self._mine])]

    def _begin(self) -> Segment:
        """A new file, which gets its name once it is locked: nobody sees it without its lock."""
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
        draft = path.with_suffix(".new")
        file = os.open(draft, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        _lock(file)
        draft.rename(path)
        return Segment(path, file)

    def _finished(self, segment: Segment) -> None:
        """Nothing in it is to be sent any more: remove it, unless this process goes on writing to it."""
        if segment in self._others:
            self._others.remove(segment)
            segment.remove()


def _lock(file: int) -> None:
    """Lock it for this process, or raise `OSError` because another one has."""
    assert fcntl is not None  # where there are no locks there is no outbox
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _taken(path: Path) -> Segment | None:
    """A file whose process is gone, locked; None when it is in use, or was sent and removed meanwhile."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return None
    try:
        _lock(file)
        if os.fstat(file).st_nlink:
            return Segment(path, file)
    except OSError:
        pass
    os.close(file)
    return None


def _read_number(path: Path) -> int:
    try:
        return int(path.read_bytes() or b"0")
    except (OSError, ValueError):
        return 0
