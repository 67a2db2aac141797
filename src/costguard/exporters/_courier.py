"""Carries lines from an outbox to a URL, in batches, in a thread of its own, however long the receiver is away.

Nothing of it is ever waited for by a call, and no error of the network reaches one.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from .._forks import forks
from .._shield import log, shielded
from ._outbox import Batch, Outbox
from ._post import Poster, Reply

LARGEST: Final = 256 * 1024
"""Bytes of a batch before compression."""
PAUSES: Final = (0.5, 30.0)
"""Seconds between tries: a random part of a span that doubles from the first to the second."""

Body = Callable[[Sequence[bytes]], bytes]


class Courier:
    """One outbox, one receiver, one thread.

    Args:
        outbox: what is to be sent.
        poster: who sends it.
        body: makes the body out of lines.
        most: lines in a batch.
        every: seconds after which a batch goes out that is not full.
        name: for messages.
    """

    def __init__(self, outbox: Outbox, poster: Poster, body: Body, *, most: int, every: float, name: str) -> None:
        self._outbox = outbox
        self._poster = poster
        self._body = body
        self._most = most
        self._every = every
        self._name = name
        self.stopped = ""
        self.rejected = 0
        self._begin()
        couriers.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._hurried = False
        self._closed = False
        self._waiting = 0
        self._put = 0
        self._given_up_at = -1
        self._few = self._most
        self._tries = 0
        self._not_before = 0.0
        self._asked_to_wait = False
        self._why = ""

    def forked(self) -> None:
        """Start anew in a forked child: what waits is the parent's to send."""
        self._outbox.forked()
        self._poster.forked()
        self._begin()

    # -- the caller's side -------------------------------------------------------------------------------------

    def put(self, line: bytes) -> None:
        """Have a line sent soon."""
        with self._changed:
            self._outbox.put(line)
            self._put += 1
            self._waiting += 1
            self._start()
            if self._waiting >= self._most:
                self._changed.notify_all()

    def start(self) -> None:
        """Send what others left behind, also when nothing new comes."""
        with self._changed:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is sent; False when `timeout` seconds were not enough, or it never will be."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._hurried = True
            with shielded("looking for what others left"):
                self._outbox.look()
            if not self._asked_to_wait:
                self._not_before = 0.0
            self._changed.notify_all()
            while not self._outbox.is_empty():
                left = deadline - time.monotonic()
                if left <= 0 or not self._is_working() or self._thread is threading.current_thread():
                    self._given_up_at = self._put
                    return False
                self._changed.wait(left)
        return True

    def _is_working(self) -> bool:
        return not self.stopped and not self._closed and self._thread is not None and self._thread.is_alive()

    def close(self, timeout: float) -> None:
        """Send what can be sent in time, unless that was just tried, and let go of everything."""
        if self._closed:
            return
        if self._given_up_at != self._put:
            self.flush(timeout)
        with self._changed:
            self._closed = True
            self._outbox.close()
            self._changed.notify_all()

    def delivered(self, *, spooled: bool) -> bool:
        """Whether nothing would be lost if the process ended now; `spooled` where what waits outlives it."""
        with self._changed:
            return not self.rejected and (spooled or self._outbox.is_empty())

    def trouble(self) -> str:
        """What is wrong, in a sentence; empty when nothing is."""
        said = [f"{self._outbox.dropped} events dropped, as there was no room"] if self._outbox.dropped else []
        said += [f"{self.rejected} events rejected by the receiver"] if self.rejected else []
        said += [self.stopped] if self.stopped else [f"{self._why}, tried {self._tries} times"] if self._tries else []
        return "; ".join(said)

    def _start(self) -> None:
        if not self._closed and not self.stopped and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._work, name=f"costguard-{self._name}", daemon=True)
            # While the interpreter shuts down no thread can be started; a spool keeps what is then still there.
            with suppress(RuntimeError):
                self._thread.start()

    # -- the thread's side -------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                batch = self._next()
                if batch is None:
                    break
            reply = Reply("later", why="costguard failed")
            with shielded(f"sending to {self._name}"):
                reply = self._poster.post(self._body(batch.lines), self._labels(batch))
            with self._changed, shielded(f"noting what {self._name} answered"):
                if not self._closed:
                    self._told(batch, reply)
                self._changed.notify_all()
        self._poster.close()

    def _next(self) -> Batch | None:
        """Wait for the next batch; None when there will be none."""
        due = time.monotonic() + self._every
        while not self._closed and not self.stopped:
            now = time.monotonic()
            if now < self._not_before:
                self._changed.wait(self._not_before - now)
            elif not self._tries and not self._hurried and self._waiting < self._most and now < due:
                self._changed.wait(due - now)
            else:
                batch = self._outbox.next(self._few, LARGEST)
                if batch is not None:
                    return batch
                self._waiting, self._hurried, due = 0, False, now + self._every
                self._changed.notify_all()
                self._changed.wait(self._every)
        return None

    def _labels(self, batch: Batch) -> dict[str, str]:
        """The same key for the same events, however often they are sent."""
        key = uuid.uuid5(uuid.NAMESPACE_OID, b"\n".join(batch.lines).hex())
        return {"idempotency-key": str(key), "x-costguard-attempt": str(self._tries + 1)}

    def _told(self, batch: Batch, reply: Reply) -> None:
        match reply.verdict:
            case "taken":
                self._taken(batch, reply)
            case "smaller" | "never" if len(batch.lines) > 1:
                # One of them is too much; the others find their way.
                self._few, self._hurried = len(batch.lines) // 2, True
            case "smaller" | "never":
                self._reject(batch, 1, reply.why)
            case "stop":
                self.stopped = f"stopped: {self._poster.place} answered with {reply.why}"
                log.error("costguard sends nothing more to %s: it answered with %s", self._poster.place, reply.why)
            case _:
                self._again(reply)

    def _taken(self, batch: Batch, reply: Reply) -> None:
        if self._tries:
            log.info("%s takes events again", self._poster.place)
        refused = [batch.lines[place] for place in reply.rejected if 0 <= place < len(batch.lines)]
        if refused:
            self._reject(Batch(refused, batch.mark), len(refused), "it named them")
        else:
            self._outbox.sent(batch)
        self._waiting = max(0, self._waiting - len(batch.lines))
        self._tries, self._asked_to_wait, self._few = 0, False, min(self._most, 2 * self._few)

    def _reject(self, batch: Batch, count: int, why: str) -> None:
        self.rejected += count
        if self.rejected == count:
            log.error("%s rejects events (%s): they are put aside, and not sent again", self._poster.place, why)
        self._hurried = True
        self._outbox.rejected(batch)

    def _again(self, reply: Reply) -> None:
        self._tries += 1
        self._why = reply.why
        if self._tries == 1:
            log.warning("%s does not take events (%s): they are kept and tried again", self._poster.place, reply.why)
        first, last = PAUSES
        pause = max(reply.pause, random.uniform(0, min(last, first * 2 ** min(self._tries, 10))))  # noqa: S311
        self._asked_to_wait = reply.pause > 0
        self._not_before = time.monotonic() + pause


couriers: Final[WeakSet[Courier]] = WeakSet()


def _after_fork_in_child() -> None:
    for courier in list(couriers):
        with shielded("starting anew in a forked child"):
            courier.forked()


forks.register(after_in_child=_after_fork_in_child)
