"""Stand-ins for tests: a clock that is moved by hand and an exporter that remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from .._types import Alert, CostEvent

_START: Final = datetime(2026, 5, 4, 12, tzinfo=UTC)


class FakeClock:
    """A clock for ``costguard.configure(clock=...)`` that stands still until it is moved.

    Args:
        at: where it starts; noon of Monday, 4 May 2026 UTC when left out.
    """

    def __init__(self, at: datetime = _START) -> None:
        self.now = at.timestamp()

    def __call__(self) -> float:
        """UTC epoch seconds."""
        return self.now

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Move it on, or back with negative figures."""
        self.now += timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days).total_seconds()


class RecordingExporter:
    """An exporter that keeps what it is told.

    Attributes:
        calls: every finished or refused call, in order.
        alerts: every threshold that was reached, in order.
    """

    def __init__(self) -> None:
        self.calls: list[CostEvent] = []
        self.alerts: list[Alert] = []

    def export(self, record: CostEvent | Alert) -> None:
        """Keep one record."""
        if isinstance(record, CostEvent):
            self.calls.append(record)
        else:
            self.alerts.append(record)

    def flush(self, timeout: float) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing to let go of."""

    def clear(self) -> None:
        """Forget what was told so far."""
        self.calls.clear()
        self.alerts.clear()

    @property
    def only(self) -> CostEvent:
        """The one call there was.

        Raises:
            AssertionError: there was none, or there were several.
        """
        if len(self.calls) != 1:
            raise AssertionError(f"there were {len(self.calls)} calls, not one: {self.calls}")
        return self.calls[0]
