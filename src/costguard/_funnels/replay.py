"""An answer from the response cache, given to an SDK as if it came over the wire.

The SDK does all of its own work: it builds the request, meets a response of its HTTP library with the kept body, and
makes of it what it always does: a model, a stream, a raw response, a parsed object. Only the sending is left out.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import wrapt

from ..optimize import Entry

HIT: Final = "x-costguard-cache"
"""The header that says how a kept answer was found."""

_OF_THE_TRANSPORT: Final = (
    "x-stainless-", "idempotency-key", "user-agent", "accept", "content-", "traceparent", "tracestate", "baggage",
    "authorization", "api-key", "x-api-key", "x-request-id", "connection", "host",
)  # fmt: skip
"""Beginnings of headers that say how a request travels; the credentials among them are looked at on their own."""


def again(wrapped: Any, client: Any, args: Any, kwargs: Any, entry: Any) -> Any:
    """Run the SDK's own `request` on a stand-in of the client, which answers with `entry` instead of sending."""
    stand_in = copy.copy(client)
    kind = AnsweringAsyncTransport if inspect.iscoroutinefunction(client._client.send) else AnsweringTransport
    stand_in._client = kind(client._client, entry)
    return wrapped.__func__(stand_in, *args, **kwargs)


class AnsweringTransport(wrapt.ObjectProxy[Any]):
    """The client's HTTP client, but for what it answers."""

    def __init__(self, http: Any, entry: Entry) -> None:
        super().__init__(http)
        self._self_entry = entry

    def send(self, request: Any, *, stream: bool = False, **_: Any) -> Any:
        """Answer without sending."""
        response = _response(request, self._self_entry)
        if not stream:
            response.read()
        return response


class AnsweringAsyncTransport(AnsweringTransport):
    """`AnsweringTransport` for an async client."""

    async def send(self, request: Any, *, stream: bool = False, **_: Any) -> Any:
        """Answer without sending."""
        response = _response(request, self._self_entry)
        if not stream:
            await response.aread()
        return response


def _response(request: Any, entry: Entry) -> Any:
    """A response of the same HTTP library as the request is of."""
    library = sys.modules[type(request).__module__.partition(".")[0]]
    body = library.ByteStream("".join(entry.bodies).encode())
    # As a stream, so that it is unread until somebody reads it, like one from the network.
    response = library.Response(200, headers={**entry.headers, HIT: entry.found}, stream=body, request=request)
    response.elapsed = timedelta(0)
    return response


def identity(client: Any, options: Any) -> list[Any]:
    """What shapes an answer besides the request's body: who asks whom, and how the API is spoken to."""
    query = {**(getattr(client, "_custom_query", None) or {}), **_mapping(options.params)}
    headers = {**(getattr(client, "_custom_headers", None) or {}), **_mapping(options.headers)}
    told = {name.lower(): str(value) for name, value in headers.items()
            if not name.lower().startswith(_OF_THE_TRANSPORT)}  # fmt: skip
    who = [str(getattr(client, name, None) or "") for name in ("organization", "project", "workspace_id")]
    return [
        _credentials(client),
        who,
        str(options.url).partition("?")[2],
        {str(name): str(value) for name, value in query.items()},
        told,
    ]


def _credentials(client: Any) -> str:
    """The key that pays; one that a function renews all the time stands for nobody in particular."""
    renewed = ("_api_key_provider", "_azure_ad_token_provider", "credentials")
    if any(getattr(client, name, None) is not None for name in renewed):
        return ""
    given = (getattr(client, name, None) for name in ("api_key", "auth_token"))
    return next((value for value in given if isinstance(value, str) and value), "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
