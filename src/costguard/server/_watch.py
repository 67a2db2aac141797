"""Once an hour the server tells which budgets are on course to be exhausted; see `costguard.forecast_alerts`."""

from __future__ import annotations

import threading
from typing import Final

from .._config import state
from .._forecasts import forecast_alerts
from .._shield import log, shielded
from ..errors import CostguardError

HOUR: Final = 3_600.0


def watch(every: float = HOUR) -> threading.Event | None:
    """Check now and then in a thread of its own, until the event is set; None where nobody would be told."""
    if state.setup is None or not state.setup.exporters:
        return None
    stop = threading.Event()
    threading.Thread(target=_work, args=(stop, every), name="costguard-forecasts", daemon=True).start()
    return stop


def _work(stop: threading.Event, every: float) -> None:
    while True:
        with shielded("looking for budgets that run out"):
            try:
                forecast_alerts()
            except CostguardError as error:
                log.warning("no look at which budgets run out: %s", error)
        if stop.wait(every):
            return
