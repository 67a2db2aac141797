"""A receiver on this machine that fails in every way a test asks for, and keeps what it took."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..listener import Answer, Listener

OK: Answer = (200, {}, b"")


class Receiver(Listener):
    """Listens on a port of this machine while its ``with`` block runs.

    Attributes:
        answer: what to do with the events of a request; may block, and may raise `ConnectionError` to hang up.
        bodies, headers: of every request, in order.
        taken: how often the events of each id were in a request that was answered with a success.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.answer: Callable[[list[Any]], Answer] = lambda events: OK
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        """The address that events go to."""
        return f"{super().url}/ai-spend/track"

    def posted(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer a request, and count its events if it is a success."""
        return self._take(headers, json.loads(body))

    def _take(self, headers: dict[str, str], body: Any) -> Answer:
        events = body["events"] if isinstance(body, dict) and "events" in body else [body]
        with self._changed:
            self.bodies.append(body)
            self.headers.append(headers)
            self._changed.notify_all()
        answer = self.answer(events)
        if answer[0] < 300:
            refused = {one["index"] for one in json.loads(answer[2] or b"{}").get("rejected", [])}
            with self._changed:
                self.taken.update(one.get("id") for place, one in enumerate(events) if place not in refused)
                self._changed.notify_all()
        return answer

    def wait(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something is so, which requests alone make so."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"it did not happen; taken: {self.taken}"


def script(*answers: Answer) -> Callable[[list[Any]], Answer]:
    """Answer the first requests so, and all others with a success."""
    left = list(answers)
    return lambda events: left.pop(0) if left else OK
