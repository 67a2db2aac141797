"""Fixtures of the whole suite: a loopback provider that counts, a fresh guard, and our bugs made loud."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import costguard
from costguard import _scope
from costguard._book import Row
from costguard._config import state
from costguard._guard import Guard
from costguard._shield import bugs
from costguard._types import Alert, CostEvent
from costguard.ledgers.memory import MemoryLedger
from costguard.testing.loopback import LoopbackProvider

# No test is set up by a file that happens to lie in a folder above; those that are about such files look for them.
os.environ["COSTGUARD_CONFIG"] = ""


@pytest.fixture(autouse=True, scope="session")
def _loud_bugs() -> Iterator[None]:
    """A bug of ours that production would log fails the test that met it."""
    bugs.loud = True
    yield
    bugs.loud = False


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What belongs to the machine is not that of the machine that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSTGUARD_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _fresh_declarations() -> Iterator[None]:
    """Budgets that one test declares with a decorator do not meet the calls of the next."""
    before = _scope.declarations.budgets
    yield
    _scope.declarations.budgets = before


class Recorder:
    """An exporter that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[CostEvent] = []
        self.alerts: list[Alert] = []

    def export(self, record: CostEvent | Alert) -> None:
        if isinstance(record, Alert):
            self.alerts.append(record)
        else:
            self.calls.append(record)

    def flush(self, timeout: float) -> None:
        pass

    def close(self) -> None:
        pass

    @property
    def only(self) -> CostEvent:
        """The one call there was."""
        assert len(self.calls) == 1, self.calls
        return self.calls[0]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def guard(recorder: Recorder) -> Iterator[Guard]:
    """A fresh guard over a fresh memory ledger, the SDKs instrumented; afterwards nothing may still be held."""
    costguard.configure(exporters=[recorder], ledger="memory://")
    costguard.instrument()
    guard = state.guard
    yield guard
    costguard.uninstrument()
    costguard.configure(ledger="memory://")


@pytest.fixture(scope="session")
def _provider() -> Iterator[LoopbackProvider]:
    with LoopbackProvider() as provider:
        yield provider


@pytest.fixture
def provider(_provider: LoopbackProvider) -> Iterator[LoopbackProvider]:
    """The loopback provider, its count at zero."""
    from costguard.testing.loopback import Reply

    _provider.clear()
    _provider.reply = Reply()
    yield _provider
    assert _provider.errors == []


@pytest.fixture
def settled() -> Callable[[], None]:
    """Collect what was dropped and assert that nothing is held any more."""

    def check() -> None:
        gc.collect()
        costguard.flush()
        ledger = state.guard.ledger
        assert isinstance(ledger, MemoryLedger)
        assert 0 == sum(row.held for row in ledger._state.values() if isinstance(row, Row))

    return check


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Crowd:
    """Callers that meet at the provider: the answers of those let through wait until all the others were refused.

    So the holds of the first stand while the last one tries, however slow the machine is.
    """

    def __init__(self, refusals: int) -> None:
        self.gate = threading.Event()
        self._lock = threading.Lock()
        self._left = refusals
        # A limit that does not hold must fail the test, not hang it.
        self._timer = threading.Timer(20, self.gate.set)
        self._timer.daemon = True
        self._timer.start()

    def refused(self) -> None:
        """One more caller was refused."""
        with self._lock:
            self._left -= 1
            if not self._left:
                self._timer.cancel()
                self.gate.set()
