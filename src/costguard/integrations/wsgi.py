"""Middleware for WSGI applications (Flask, Django, Bottle...): calls belong to the request they are made for.

app.wsgi_app = WSGIMiddleware(app.wsgi_app, tenant=lambda environ: environ["HTTP_HOST"].partition(".")[0])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._context import Steps
from .._scope import budgeted
from ._tags import Source, checked, tags_of
from .headers import HEADER, Allowed, extract
from .headers import checked as checked_inbound

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]

_VARIABLE = "HTTP_" + HEADER.upper().replace("-", "_")


class WSGIMiddleware:
    """Attributes the calls that are made while a request is served, and while a streamed body of it is read.

    Args:
        app: the application.
        inbound: the tags that are taken from the header of other services, each with its allowed values or a function
            that is asked; left out, none are.
        tags: each a value, or a function that is given the request's environ.

    Raises:
        ConfigError: a tag or `inbound` is malformed.
    """

    def __init__(self, app: Application, *, inbound: Allowed | None = None, **tags: Source | None) -> None:
        self._app = app
        self._inbound = None if inbound is None else checked_inbound(inbound)
        self._sources = checked(tags)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        told = {} if self._inbound is None else extract(environ.get(_VARIABLE), self._inbound)
        tags: dict[str, Any] = {**told, **tags_of(self._sources, environ)}
        inside = Steps(budgeted(**tags).__enter__)
        with inside:
            body = self._app(environ, start_response)
        # A body that is there already runs no code of the application, and servers look at what kind it is.
        if isinstance(body, list | tuple) or type(body) is environ.get("wsgi.file_wrapper"):
            return body
        return _Body(body, inside)


class _Body:
    """A body that is made while it is read: each step of it in the scope of its request."""

    def __init__(self, body: Iterable[bytes], inside: Steps) -> None:
        self._body = body
        self._inside = inside
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._inside:
            if self._parts is None:
                self._parts = iter(self._body)
            return next(self._parts)

    def close(self) -> None:
        """Close the application's body, which servers do in the end."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._inside:
                close()
