"""What is still to be sent, in memory: bounded, the oldest given up first, and counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Batch:
    """The next lines to be sent.

    Attributes:
        lines: each a JSON object.
        mark: what its outbox needs to know that they were sent.
    """

    lines: Sequence[bytes]
    mark: Any


class Outbox(Protocol):
    """Where lines wait. Its caller has a lock around every method."""

    dropped: int
    """Lines given up because there was no room."""

    def put(self, line: bytes) -> None:
        """Keep a line; never fails."""
        ...

    def next(self, lines: int, size: int) -> Batch | None:
        """The oldest lines, at most so many and so many bytes of them, but one at least; None when there are none."""
        ...

    def sent(self, batch: Batch) -> None:
        """Forget these lines."""
        ...

    def rejected(self, batch: Batch) -> None:
        """The receiver will never take these lines: forget them, or put them aside."""
        ...

    def look(self) -> None:
        """Take over what others left, now."""
        ...

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        ...

    def forked(self) -> None:
        """In a forked child: what waits is the parent's to send."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class MemoryOutbox:
    """Lines in memory.

    Args:
        kept: how many at most.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._lines: deque[bytes] = deque()
        self._first = 0
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """Keep a line, in the place of the oldest if need be."""
        self._lines.append(line)
        if len(self._lines) > self._kept:
            self._lines.popleft()
            self._first += 1
            self.dropped += 1

    def next(self, lines: int, size: int) -> Batch | None:
        """The oldest lines."""
        taken = fitting(self._lines, lines, size)
        return Batch(taken, self._first + len(taken)) if taken else None

    def sent(self, batch: Batch) -> None:
        """Forget them, those that were given up meanwhile left out."""
        while self._lines and self._first < batch.mark:
            self._lines.popleft()
            self._first += 1

    rejected = sent

    def look(self) -> None:
        """Nobody else's lines are in here."""

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._lines

    def forked(self) -> None:
        """Start with nothing."""
        self._lines = deque()
        self.dropped = 0

    def close(self) -> None:
        """Nothing to let go of."""


def fitting(lines: Any, count: int, size: int) -> list[bytes]:
    """The first of these lines, as many as fit, but one at least."""
    taken: list[bytes] = []
    for line in lines:
        size -= len(line)
        if taken and (size < 0 or len(taken) >= count):
            break
        taken.append(line)
    return taken
