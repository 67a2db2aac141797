"""The program as a Celery application, whose broker and results are folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import app as program
import celery

for _name in ("queue", "control", "results"):
    Path(_name).mkdir(exist_ok=True)
app = celery.Celery("tasks", broker="filesystem://", backend=f"file://{Path('results').absolute()}")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
}  # fmt: skip


@app.task(name="ask")
def ask(number: int) -> dict[str, Any]:
    """One call."""
    return program.ask(number)
