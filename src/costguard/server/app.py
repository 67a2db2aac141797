"""The application: doors, routes and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from .._config import state
from ..errors import ConfigError
from ..ports import Stocked
from . import _budgets, _calls, _dashboard, _reports, _steps
from ._booking import Booking
from ._budgets import BudgetFile
from ._door import Door
from ._problems import add_handlers
from ._schema import describe
from ._sessions import Sessions
from ._tokens import Tokens

LOCAL: Final = ("127.0.0.1", "localhost", "::1")


def create_app(home: Path, *, hosts: Sequence[str] = LOCAL, closed: bool = False, once: str | None = None) -> Any:
    """The server as an ASGI application, over the guard that is current in this process.

    Args:
        home: where the tokens and the budgets set over HTTP are kept.
        hosts: the names by which it may be addressed.
        closed: whether a token is wanted even as long as there are none, which is so anywhere but on loopback.
        once: a secret that lets somebody into the dashboard, once.

    Raises:
        ConfigError: a file in `home` cannot be read, or the ledger hands out money in chunks: what a client reserves
            has to be known to whichever server it settles at.
    """
    if isinstance(state.guard.ledger, Stocked):
        raise ConfigError("costguard serve counts in no chunks: take chunk= out of its ledger's URL, and put it into"
                          " the URL by which programs name the server")  # fmt: skip
    app = FastAPI(
        title="costguard", version=version("costguard-ai"), docs_url=None, redoc_url=None,
        description="One ledger for every language: calls are told, reserved and settled, budgets hold.",
    )  # fmt: skip
    app.state.tokens = Tokens(home / "tokens.json")
    app.state.closed = closed
    app.state.sessions = Sessions(once)
    app.state.booking = Booking()
    app.state.alerts = _dashboard.Alerts(home / "alerts.json")
    state.guard.exporters.append(app.state.alerts)
    app.state.budgets = BudgetFile(home / "budgets.json")
    for one in app.state.budgets.budgets():
        state.guard.admission.add(one)
    for part in (_calls.router, _budgets.router, _reports.router, _reports.health, _steps.router, _dashboard.router):
        app.include_router(part)
    add_handlers(app)
    describe(app)
    return Door(app, hosts)
