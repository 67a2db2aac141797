"""Calls on their way to the disk: each id once, the ledger before the journal, and one flush for all who wait for it.

What is answered for was written. A call is counted in the ledger first and kept in the journal after that, so that one
that the journal knows is in the ledger, whenever the server was killed; one that only the ledger knows is not counted
again when it is told again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from .._config import state
from .._settlements import Seen
from .._types import CostEvent
from ..errors import JournalUnavailableError

PATIENCE: Final = 5.0
"""Seconds that a request waits until what it told is written."""
KEPT: Final = 50_000
"""Calls that are remembered because it is not known whether they were written."""


class _Flush:
    """One flush, and all the requests that wait for it."""

    def __init__(self) -> None:
        self.over = self.good = False

    def run(self) -> None:
        """Write what was told before it began."""
        journal = state.guard.journal
        try:
            self.good = journal is None or journal.flush(PATIENCE)
        finally:
            self.over = True


class Booking:
    """Sees that calls are booked once, and written before they are answered for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy: set[str] = set()
        self._flushing = threading.Lock()
        self._next = _Flush()
        self._unsure: dict[str, CostEvent] = {}
        self._refused = Seen(KEPT)

    @contextmanager
    def alone(self, ids: Iterable[str]) -> Iterator[None]:
        """Let nobody else book calls of these ids meanwhile: who tells of one twice at once gets to know it."""
        wanted = set(ids)
        with self._changed:
            while not wanted.isdisjoint(self._busy):
                self._changed.wait()
            self._busy |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._busy -= wanted
                self._changed.notify_all()

    def known(self, id: str) -> CostEvent | None:
        """The call of an id that was told before."""
        journal = state.guard.journal
        if journal is None:
            return None
        unsure = self._unsure.get(id)
        if unsure is None:
            return journal.call(id)
        # Told and perhaps never written: whoever asks is about to wait for a flush.
        journal.record(unsure)
        return unsure

    def write(self, events: Iterable[CostEvent], dropped: int) -> None:
        """Wait until these calls, which the journal was told of, are on disk.

        Args:
            events: them.
            dropped: how many records the journal had given up before it was told of them.

        Raises:
            JournalUnavailableError: not all of them are, or nobody knows.
        """
        told = {event.id: event for event in events}
        journal = state.guard.journal
        if not told or journal is None:
            return
        with self._changed:
            self._unsure |= told
            while len(self._unsure) > KEPT:
                del self._unsure[next(iter(self._unsure))]
        if not self._flushed():
            raise JournalUnavailableError("the journal did not take what was told in time; send it again with its id")
        if journal.dropped != dropped and (lost := [id for id in told if journal.call(id) is None]):
            raise JournalUnavailableError(
                f"the journal gave up {len(lost)} of the calls; send them again with their ids"
            )
        with self._changed:
            for id in told:
                self._unsure.pop(id, None)

    def first_refusal(self, id: str) -> bool:
        """Whether the call of this id is refused for the first time, so that asking again counts once."""
        journal = state.guard.journal
        with self._changed:
            first = self._refused.first(id)
        return first and (journal is None or journal.call(id) is None)

    def _flushed(self) -> bool:
        """Flush once for all who have come here since the last flush began."""
        with self._changed:
            mine = self._next
        with self._flushing:
            if not mine.over:
                with self._changed:
                    self._next = _Flush()
                mine.run()
        return mine.good


def dropped() -> int:
    """How many records the journal has given up so far."""
    journal = state.guard.journal
    return 0 if journal is None else journal.dropped
