"""The loopback provider's own count: requests, bills, errors and calls in flight, safe to share between threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from .reply import Billed, Received


class Books:
    """Every method is one step under one lock; what is handed out is a snapshot."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: dict[int, Received] = {}
        self._billed: dict[int, Billed] = {}
        self._errors: list[Exception] = []
        self._in_flight = 0
        self._peak = 0
        self._key = 0

    def receive(self, request: Received) -> int:
        """Note a request, and hand back its key."""
        with self._changed:
            self._key += 1
            self._requests[self._key] = request
            self._changed.notify_all()
            return self._key

    def answer(self, key: int, status: int) -> None:
        """Note the status that a request is answered with."""
        with self._changed:
            if key in self._requests:
                self._requests[key] = replace(self._requests[key], status=status)

    def put(self, bill: Billed) -> int:
        """Enter a bill, and hand back its key."""
        with self._changed:
            self._key += 1
            self._billed[self._key] = bill
            return self._key

    def amend(self, key: int, **changes: Any) -> None:
        """Change a bill, unless it was cleared meanwhile."""
        with self._changed:
            if key in self._billed:
                self._billed[key] = replace(self._billed[key], **changes)

    def fail(self, error: Exception) -> None:
        """Keep a bug of the provider itself, to be looked at by the test."""
        with self._changed:
            self._errors.append(error)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a request as in flight."""
        with self._changed:
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def wait(self, *, in_flight: int | None = None, requests: int = 0, timeout: float) -> bool:
        """Wait until so many are in flight and at least so many have arrived; false when time ran out."""

        def reached() -> bool:
            return len(self._requests) >= requests and in_flight in (None, self._in_flight)

        with self._changed:
            return self._changed.wait_for(reached, timeout)

    def clear(self) -> None:
        """Forget all that was counted so far."""
        with self._changed:
            self._requests.clear()
            self._billed.clear()
            self._errors.clear()
            self._peak = self._in_flight

    @property
    def requests(self) -> list[Received]:
        """All requests, in order of arrival."""
        with self._changed:
            return list(self._requests.values())

    @property
    def billed(self) -> list[Billed]:
        """All bills, in the order in which answers began."""
        with self._changed:
            return list(self._billed.values())

    @property
    def errors(self) -> list[Exception]:
        """Bugs of the provider itself."""
        with self._changed:
            return list(self._errors)

    @property
    def peak(self) -> int:
        """The most requests that were in flight at once."""
        with self._changed:
            return self._peak
