"""Records written behind: a call only appends to a queue, and a thread writes them in batches.

The queue is bounded: when the journal is away for long, the oldest are given up and counted. A forked child begins
with nothing: the parent writes its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakSet

from .._forks import forks
from .._shield import log, shielded
from ..errors import JournalUnavailableError

KEPT: Final = 50_000
"""Records that wait to be written."""
BATCH: Final = 1_000
GATHER: Final = 0.25
"""Seconds in which a batch comes together."""
RETRY: Final = (0.5, 30.0)
"""Seconds between tries, doubling from the first to the second."""

Write = Callable[[Sequence[Any]], None]


class Behind:
    """A queue of records and the thread that writes them.

    Args:
        write: writes a batch whole or not at all, and raises `JournalUnavailableError` if it is to be tried again.
        kept: how many may wait.
    """

    def __init__(self, write: Write, kept: int = KEPT) -> None:
        self._write = write
        self._kept = kept
        self.dropped = 0
        self.begin()
        _all.add(self)

    def begin(self) -> None:
        """Start with nothing; also in a forked child."""
        self._queue: deque[Any] = deque()
        self._batch: list[Any] = []
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Condition()
        self._thread: threading.Thread | None = None
        self._away = False

    def put(self, record: Any) -> None:
        """Have a record written soon. Takes no lock, so that it can wait for nobody."""
        self._queue.append(record)
        if len(self._queue) > self._kept:
            try:
                self._queue.popleft()
            except IndexError:  # the writing thread was quicker
                pass
            else:
                self._drop(1)
        if not self._wake.is_set():
            self._wake.set()
            self._work_on()

    def flush(self, timeout: float) -> bool:
        """Wait until everything put so far was written; False when `timeout` seconds were not enough."""
        deadline = time.monotonic() + timeout
        self._hurry.set()
        if (self._queue or self._batch) and not self._work_on():
            self._write_some()
        with self._written:
            while self._queue or self._batch:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is threading.current_thread():
                    return False
                self._wake.set()
                self._written.wait(min(left, 0.1))
        self._hurry.clear()
        return True

    def close(self, timeout: float) -> None:
        """Flush, and let the thread end; what is put later starts another one."""
        self.flush(timeout)
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            self._wake.set()
            self._hurry.set()
            thread.join(timeout)
        self._hurry.clear()
        self._wake.clear()

    def _work_on(self) -> bool:
        """See that the thread runs; False where none can be started any more, as when the interpreter ends."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            return True
        try:
            self._thread = threading.Thread(target=self._work, name="costguard-journal", daemon=True)
            self._thread.start()
        except RuntimeError:
            self._thread = None
            return False
        return True

    def _work(self) -> None:
        pause = RETRY[0]
        while self._thread is threading.current_thread():
            self._wake.wait()
            self._wake.clear()
            if len(self._queue) < BATCH:
                self._hurry.wait(GATHER)
            while self._queue or self._batch:
                if self._write_some():
                    pause = RETRY[0]
                    continue
                self._hurry.clear()
                self._hurry.wait(pause)
                pause = min(RETRY[1], 2 * pause)

    def _write_some(self) -> bool:
        """Write a batch; False when the journal is away, and the batch is to be tried again."""
        while self._queue and len(self._batch) < BATCH:
            self._batch.append(self._queue.popleft())
        try:
            self._write(self._batch)
        except JournalUnavailableError as error:
            if not self._away:
                self._away = True
                log.warning("%s; calls go on, and their records wait", error)
            return False
        except Exception:
            log.exception("records could not be written together; each is tried by itself")
            self._one_by_one()
        self._away = False
        self._batch = []
        with self._written:
            self._written.notify_all()
        return True

    def _one_by_one(self) -> None:
        for record in self._batch:
            try:
                self._write([record])
            except Exception:
                self._drop(1)
                with shielded("writing a record"):
                    log.exception("a record could not be written and is dropped")

    def _drop(self, count: int) -> None:
        self.dropped += count
        if self.dropped in (1, 1_000, 1_000_000):
            log.error("%d records of calls were given up: the journal is too slow or away", self.dropped)


_all: Final[WeakSet[Behind]] = WeakSet()


def _after_fork_in_child() -> None:
    for behind in list(_all):
        behind.begin()


forks.register(after_in_child=_after_fork_in_child)
