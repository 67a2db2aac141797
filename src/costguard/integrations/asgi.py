"""Middleware for ASGI applications (FastAPI, Starlette, Django...): calls belong to the request they are made for.

app.add_middleware(ASGIMiddleware, feature=route, user=lambda scope: scope["session"].get("user"))
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from .._scope import budgeted
from .._shield import shielded
from ..errors import BudgetExceededError
from ._refusals import DETAIL, checked_status, retry_after
from ._tags import Source, checked, tags_of
from .headers import HEADER, Allowed, extract
from .headers import checked as checked_inbound

Request = MutableMapping[str, Any]
"""What ASGI calls the scope of a connection."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Request, Receive, Send], Awaitable[None]]

_UNMATCHED: Final = "(no route)"


class ASGIMiddleware:
    """Attributes the calls that are made while a request or a websocket is served, the body of its answer included.

    Args:
        app: the application.
        inbound: the tags that are taken from the header of other services, each with its allowed values or a function
            that is asked; left out, none are.
        refuse_with: the HTTP status, such as 429, to answer with when a `BudgetExceededError` comes out of the
            application; left out, it goes on to the server.
        tags: each a value, or a function that is given the connection's scope.

    Raises:
        ConfigError: a tag or `inbound` is malformed.
    """

    def __init__(
        self,
        app: Application,
        *,
        inbound: Allowed | None = None,
        refuse_with: int | None = None,
        **tags: Source | None,
    ) -> None:
        self._app = app
        self._inbound = None if inbound is None else checked_inbound(inbound)
        self._refuse_with = checked_status(refuse_with)
        self._sources = checked(tags)

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        tags: dict[str, Any] = {**self._told(scope), **tags_of(self._sources, scope)}
        if self._refuse_with is None or scope["type"] != "http":
            with budgeted(**tags):
                await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            with budgeted(**tags):
                await self._app(scope, receive, watched)
        except BudgetExceededError as error:
            if started:
                raise
            await _refuse(self._refuse_with, error, send)

    def _told(self, scope: Request) -> dict[str, str]:
        if self._inbound is None:
            return {}
        name = HEADER.encode()
        values = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
        return extract(values[0] if len(values) == 1 else None, self._inbound)


def route(scope: Request) -> str:
    """The route of a request in Starlette and FastAPI, as it is declared: ``/items/{id}``, not ``/items/17``.

    Of what strangers ask for there is no end, so a request without a route is ``(no route)``.
    """
    with shielded("finding the route of a request"):
        return _route(getattr(scope.get("app"), "routes", ()), scope, "") or _UNMATCHED
    return _UNMATCHED


def _route(routes: Iterable[Any], scope: Request, prefix: str) -> str:
    partial = ""
    for one in routes:
        # Some matches leave notes in the scope.
        match, inner = one.matches({**scope}) if hasattr(one, "matches") else (None, {})
        if match is None or match.name == "NONE":
            continue
        path = prefix + (getattr(one, "path", "") or getattr(getattr(one, "starlette_route", None), "path", ""))
        # What FastAPI includes from a router has paths that are whole already.
        included = getattr(one, "effective_candidates", None)
        below = included() if included is not None else getattr(one, "routes", None)
        found = _route(below, {**scope, **inner}, path) if below else path
        if match.name == "FULL":
            return found or path
        partial = partial or found
    return partial


async def _refuse(status: int, error: BudgetExceededError, send: Send) -> None:
    """Say no, and when to come back."""
    headers = [(b"content-type", b"application/json")]
    headers += [(name.lower().encode(), value.encode()) for name, value in retry_after(error).items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(DETAIL, separators=(",", ":")).encode()})
