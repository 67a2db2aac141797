"""Telling exporters: one that keeps failing is switched off and said to be, and nothing else stops."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest

from costguard._exports import TRIES, Exports
from costguard._shield import bugs
from costguard._types import Alert, Balance, Call, Cost, CostEvent
from costguard.testing import RecordingExporter

EVENT = CostEvent("id", 1.78e9, 0.5, Call("openai", "gpt-4o"), (), Cost(1))


@pytest.fixture(autouse=True)
def _quiet_bugs() -> Iterator[None]:
    """As in production: what fails is logged and not raised."""
    bugs.loud = False
    yield
    bugs.loud = True


class Failing(RecordingExporter):
    """Fails as often as it is told to."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times
        self.asked = 0

    def export(self, record: CostEvent | Alert) -> None:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise OSError("no space left on device")
        super().export(record)


class Watching(RecordingExporter):
    """Watches each call, and wants to read the books."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.books: object = None

    def attach(self, books: object) -> None:
        self.books = books

    def watch(self, call: Call) -> Watching:
        self.said.append(call.model)
        return self

    def attempt(self) -> None:
        self.said.append("attempt")

    def so_far(self, event: CostEvent) -> None:
        self.said.append(f"so far {event.cost.nano}")

    def end(self, event: CostEvent) -> None:
        self.said.append(f"end {event.cost.nano}")

    def trouble(self) -> str:
        return "3 events dropped"


def test_one_that_keeps_failing_is_switched_off_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """It is asked no more, an error says so once, and so does the list of troubles."""
    failing, good = Failing(1000), RecordingExporter()
    exports = Exports([failing, good])
    with caplog.at_level(logging.ERROR, "costguard"):
        for _ in range(3 * TRIES):
            exports.tell(EVENT)
    assert [TRIES, 3 * TRIES] == [failing.asked, len(good.calls)]
    assert 1 == sum("is switched off" in record.getMessage() for record in caplog.records)
    assert "switched off" in exports.troubles()["Failing"]
    assert "" == exports.troubles()["RecordingExporter"]


def test_one_that_fails_now_and_then_stays_on() -> None:
    """Only failures in a row count."""
    failing = Failing(0)
    exports = Exports([failing])
    for _ in range(10):
        failing.left = TRIES - 1
        for _ in range(TRIES):
            exports.tell(EVENT)
    assert 10 == len(failing.calls)
    assert "" == exports.troubles()["Failing"]


def test_a_watched_call_ends_with_its_watch() -> None:
    """It is not exported a second time; one that nobody watched is exported."""
    watching, other = Watching(), RecordingExporter()
    exports = Exports([watching, other])
    watches = exports.watch(EVENT.call)
    exports.attempt(watches)
    exports.so_far(EVENT, watches)
    exports.tell(EVENT, watches)
    assert ["gpt-4o", "attempt", "so far 1", "end 1"] == watching.said
    assert [0, 1] == [len(watching.calls), len(other.calls)]
    exports.tell(EVENT)
    assert 1 == len(watching.calls)


def test_exporters_say_what_is_wrong_and_may_read_the_books() -> None:
    """Two of a kind are told apart."""
    first, second = Watching(), Watching()
    exports = Exports([first, second])

    def books() -> Sequence[Balance]:
        return ()

    exports.attach(books)
    assert first.books is second.books is books
    assert {"Watching": "3 events dropped", "Watching 2": "3 events dropped"} == exports.troubles()
