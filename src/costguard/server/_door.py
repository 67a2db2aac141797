"""What stands between the network and the routes: who may come in, for what, and with how much."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from ._problems import problem
from ._tokens import Tokens

LARGEST: Final = 2**20
"""Bytes of a body, as sent and as unpacked."""
COOKIE: Final = "costguard"
"""What the dashboard is read with; good for reading only."""

_POLICY: Final = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", _POLICY.encode()),
)


class Door:
    """ASGI middleware: known hosts only, bodies of a bounded size, and headers that keep browsers careful.

    Args:
        app: what is behind it.
        hosts: the names by which the server may be addressed, without ports; ``*`` for any. A page of a stranger that
            has its own name resolve to this machine is turned away here.
    """

    def __init__(self, app: Any, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message.get("headers", [])}
                added = [header for header in _HEADERS if header[0] not in known]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._knows(headers.get("host", "")):
            answer = problem(400, f"this server is not called {headers.get('host', '')[:200]!r}; see --allow-host")
            await answer(scope, receive, told)
            return
        try:
            body = await _body(headers, receive)
        except HTTPException as error:
            await problem(error.status_code, str(error.detail))(scope, receive, told)
            return
        scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"content-encoding"]}
        await self._app(scope, _again(body, receive), told)

    def _knows(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return "*" in self._hosts or name.strip("[]").lower() in self._hosts


async def _body(headers: dict[str, str], receive: Receive) -> bytes:
    """The whole body, unpacked; given up as soon as it is too large."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise HTTPException(415, f"content-encoding {coding[:50]!r}: gzip or none")
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None
    body, seen, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk, more = message.get("body", b""), message.get("more_body", False)
        seen += len(chunk)
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, LARGEST + 1 - len(body))
        except zlib.error:
            raise HTTPException(400, "the body is no gzip") from None
        if seen > LARGEST or len(body) > LARGEST:
            raise HTTPException(413, f"a body has at most {LARGEST} bytes; send fewer events at once")
    if unpack is not None and not unpack.eof:
        raise HTTPException(400, "the gzip body ends too early")
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and then what comes after it."""
    given = False

    async def first() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first


def permit(request: Request, scope: str) -> None:
    """Let a request in that may do this. Without any tokens, which is allowed on loopback only, everybody may.

    Raises:
        HTTPException: it has no token that is known here, or one for something else.
    """
    tokens: Tokens = request.app.state.tokens
    if not tokens and not request.app.state.closed:
        return
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip() if kind.lower() == "bearer" else ""
    cookie = request.cookies.get(COOKIE, "")
    if (
        not secret
        and cookie
        and scope == "read"
        and request.method == "GET"
        and request.app.state.sessions.allow(cookie)
    ):
        return
    allowed = tokens.allow(secret, scope) if secret else None
    if allowed is None:
        raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
    if not allowed:
        raise HTTPException(403, f"this needs a token for the scope {scope!r}")


def needs(scope: str) -> Any:
    """A dependency of a route: a token for `scope`."""

    # Not a plain function, which would be run in a thread of its own for each request.
    async def check(request: Request) -> None:
        permit(request, scope)

    return Depends(check)
