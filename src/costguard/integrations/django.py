"""Middleware for Django, sync and async: calls belong to the request they are made for.

MIDDLEWARE = [..., "costguard.integrations.django.DjangoMiddleware"]
COSTGUARD = {"feature": route, "user": lambda request: request.user.get_username(), "refuse_with": 429}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import Resolver404, resolve

from .._context import Steps
from .._scope import budgeted
from ..errors import BudgetExceededError
from ._refusals import DETAIL, checked_status, retry_after
from ._tags import checked, tags_of
from .headers import HEADER, extract
from .headers import checked as checked_inbound

_END: Final = object()


class DjangoMiddleware:
    """Attributes the calls that are made while a request is served, and while a streamed answer to it is read.

    It takes the arguments of `ASGIMiddleware` from the setting ``COSTGUARD``, a dictionary; its functions are given
    Django's request, so list it after the middleware that they need, such as the one that authenticates.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        tags = dict(getattr(settings, "COSTGUARD", {}))
        inbound = tags.pop("inbound", None)
        self._refuse_with = checked_status(tags.pop("refuse_with", None))
        self._inbound = None if inbound is None else checked_inbound(inbound)
        self._sources = checked(tags)
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Serve one request."""
        headers: Any = request.headers
        told = {} if self._inbound is None else extract(headers.get(HEADER), self._inbound)
        tags: dict[str, Any] = {**told, **tags_of(self._sources, request)}
        inside = Steps(budgeted(**tags).__enter__)
        if self._is_async:
            return self._aserved(request, inside)
        with inside:
            response = self._get_response(request)
        return _streamed(response, inside)

    async def _aserved(self, request: HttpRequest, inside: Steps) -> Any:
        with inside:
            response = await self._get_response(request)
        return _streamed(response, inside)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Answer a refusal that comes out of a view."""
        if self._refuse_with is None or not isinstance(error, BudgetExceededError):
            return None
        return JsonResponse(DETAIL, status=self._refuse_with, headers=retry_after(error))


def route(request: HttpRequest) -> str:
    """The route of a request as it is declared: ``items/<int:id>``, not ``items/17``; ``(no route)`` without one."""
    try:
        return str(resolve(request.path_info, getattr(request, "urlconf", None)).route)
    except Resolver404:
        return "(no route)"


def _streamed(response: Any, inside: Steps) -> Any:
    # A file runs no code of the application, and servers send it by themselves.
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        parts = response.streaming_content
        response.streaming_content = _asteps(parts, inside) if response.is_async else _steps(parts, inside)
    return response


def _steps(parts: Iterator[bytes], inside: Steps) -> Iterator[bytes]:
    while True:
        with inside:
            part: Any = next(parts, _END)
        if part is _END:
            return
        yield part


async def _asteps(parts: AsyncIterator[bytes], inside: Steps) -> AsyncIterator[bytes]:
    while True:
        with inside:
            part: Any = await anext(parts, _END)
        if part is _END:
            return
        yield part
