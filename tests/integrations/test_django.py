"""Django's own kind of middleware: sync and async views, streams and refusals, with real SDK calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
import openai
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import path

import costguard
from costguard import ConfigError, _scope
from costguard.integrations.django import DjangoMiddleware, route
from costguard.integrations.headers import HEADER
from costguard.testing.loopback import LoopbackProvider

from ..conftest import Recorder

ASK: dict[str, Any] = {"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
COSTGUARD: dict[str, Any] = {
    "route": route,
    "user": lambda request: request.headers.get("x-user"),
    "inbound": {"team": {"search"}},
    "refuse_with": 429,
}

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="none",
        MIDDLEWARE=["costguard.integrations.django.DjangoMiddleware"],
    )
    django.setup()

pytestmark = [pytest.mark.usefixtures("guard", "clients"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

made: dict[str, Any] = {}


@pytest.fixture
def clients(provider: LoopbackProvider) -> Iterator[None]:
    made["url"] = provider.openai_url
    with override_settings(COSTGUARD=COSTGUARD), openai.OpenAI(api_key="x", base_url=made["url"]) as made["client"]:
        yield
    made.clear()


def sync(_request: HttpRequest, id: int) -> HttpResponse:
    made["client"].chat.completions.create(**ASK)
    return HttpResponse(str(id))


async def coloured(_request: HttpRequest, id: int) -> HttpResponse:
    # A client of its own, because a sync server gives an async view a loop of its own.
    async with openai.AsyncOpenAI(api_key="x", base_url=made["url"]) as client:
        await client.chat.completions.create(**ASK)
    return HttpResponse(str(id))


def stream(_request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        for _ in range(2):
            made["client"].chat.completions.create(**ASK)
            yield "part"

    return StreamingHttpResponse(parts())


async def astream(_request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        async with openai.AsyncOpenAI(api_key="x", base_url=made["url"]) as client:
            for _ in range(2):
                await client.chat.completions.create(**ASK)
                yield "part"

    return StreamingHttpResponse(parts())


def refused(_request: HttpRequest) -> HttpResponse:
    with costguard.budgeted(feature="poor", limit="0.000001/day"):
        made["client"].chat.completions.create(**ASK)
    return HttpResponse("never")


def file(_request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


urlpatterns = [
    path("items/<int:id>", sync),
    path("async/<int:id>", coloured),
    path("stream", stream),
    path("astream", astream),
    path("refused", refused),
    path("file", file),
]


def get(url: str, **headers: str) -> Any:
    """Ask as a WSGI server does."""
    handler = WSGIHandler()
    return handler.get_response(RequestFactory().get(url, headers=headers))


async def aget(url: str, **headers: str) -> Any:
    """Ask as an ASGI server does."""
    handler = ASGIHandler()
    return await handler.get_response_async(AsyncRequestFactory().get(url, headers=headers))


@pytest.mark.parametrize("place", ["items", "async"])
def test_a_sync_server_serves_both_colours_with_tags(place: str, recorder: Recorder) -> None:
    """A call belongs to the route and user of its request, and nothing of it is left afterwards."""
    assert get(f"/{place}/7", **{"x-user": "u-1", HEADER: "team=search,feature=stolen"}).content == b"7"
    assert {"route": f"{place}/<int:id>", "user": "u-1", "team": "search"} == dict(recorder.only.tags)
    assert not _scope.current().tags


@pytest.mark.parametrize("place", ["items", "async"])
async def test_an_async_server_serves_both_colours_with_tags(place: str, recorder: Recorder) -> None:
    """The same for a server with an event loop."""
    assert (await aget(f"/{place}/7", **{"x-user": "u-1"})).content == b"7"
    assert {"route": f"{place}/<int:id>", "user": "u-1"} == dict(recorder.only.tags)
    assert not _scope.current().tags


def test_a_stream_is_attributed_while_it_is_read(recorder: Recorder) -> None:
    """Its calls are made after the view has returned, between steps of somebody else's."""
    for part in get("/stream", **{"x-user": "u-1"}):
        assert part == b"part"
        assert not _scope.current().tags
    assert [{"route": "stream", "user": "u-1"}] * 2 == [dict(call.tags) for call in recorder.calls]
    assert len({call.run for call in recorder.calls}) == 1


async def test_an_async_stream_is_attributed_while_it_is_read(recorder: Recorder) -> None:
    """The same for a server with an event loop."""
    async for part in await aget("/astream", **{"x-user": "u-1"}):
        assert part == b"part"
        assert not _scope.current().tags
    assert [{"route": "astream", "user": "u-1"}] * 2 == [dict(call.tags) for call in recorder.calls]


async def test_a_refusal_becomes_the_answer_that_was_asked_for() -> None:
    """Without figures, and with the time to come back at; without `refuse_with` it is an error like any other."""
    for answer in (get("/refused"), await aget("/refused")):
        assert (429, b'{"detail": "budget exceeded"}') == (answer.status_code, answer.content)
        assert 1 <= int(answer.headers["Retry-After"]) <= 86_400
    with override_settings(COSTGUARD={}), pytest.raises(costguard.BudgetExceededError):
        DjangoMiddleware(refused)(RequestFactory().get("/refused"))


def test_what_runs_no_code_is_left_alone() -> None:
    """A file stays one that servers can send by themselves; a path that nobody declared is no route of its own."""
    answer = get("/file")
    assert answer.file_to_stream is not None
    answer.close()
    assert route(RequestFactory().get("/nobody/declared/17")) == "(no route)"


def test_a_malformed_setting_is_told_when_the_program_starts() -> None:
    """Not at the first request."""
    with override_settings(COSTGUARD={"refuse_with": 200}), pytest.raises(ConfigError, match="refuse_with"):
        WSGIHandler()
