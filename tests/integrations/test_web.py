"""Middleware: what a request's calls are attributed to, in FastAPI and Flask, with real SDK calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient

import costguard
from costguard import ConfigError, _scope
from costguard.integrations.asgi import ASGIMiddleware, route
from costguard.integrations.headers import HEADER, extract, inject
from costguard.integrations.wsgi import WSGIMiddleware
from costguard.testing.loopback import LoopbackProvider

from ..conftest import Recorder

ASK: dict[str, Any] = {"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}

pytestmark = [
    pytest.mark.usefixtures("guard"),
    # FastAPI and Starlette of their own test clients and of asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*httpx.*"),
]


def tags() -> dict[str, str]:
    return dict(_scope.current().tags)


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        yield client


def user(scope: Any) -> str | None:
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


@pytest.fixture
def api(client: openai.OpenAI, provider: LoopbackProvider) -> FastAPI:
    """Endpoints of both colours, and a streamed one."""
    app, router = FastAPI(), APIRouter(prefix="/items")

    @app.get("/sync")
    def sync() -> str:
        client.chat.completions.create(**ASK)
        return "ok"

    @router.get("/{number}")
    async def item(number: int) -> str:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as aclient:
            await aclient.chat.completions.create(**ASK)
        return "ok"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "a"
            async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as aclient:
                await aclient.chat.completions.create(**ASK)
            yield "b"

        return StreamingResponse(body())

    app.include_router(router)
    return app


# -- ASGI ------------------------------------------------------------------------------------------------------


def test_calls_belong_to_the_request_they_are_made_for(api: FastAPI, recorder: Recorder) -> None:
    """In coroutines, in the threads of plain functions, and in a body that is streamed."""
    api.add_middleware(ASGIMiddleware, route=route, user=user, team="web")
    with TestClient(api) as http:
        for path in ("/sync", "/items/17", "/stream"):
            assert http.get(path, headers={"x-user": "ada"}).status_code == 200
    assert [call.tags for call in recorder.calls] == [
        {"route": "/sync", "user": "ada", "team": "web"},
        {"route": "/items/{number}", "user": "ada", "team": "web"},
        {"route": "/stream", "user": "ada", "team": "web"},
    ]
    assert tags() == {}


def test_a_user_without_money_left_is_told_when_to_come_back(api: FastAPI, recorder: Recorder) -> None:
    """With `refuse_with`; without it the error is the application's. The figures are nobody's business."""
    costguard.configure(
        budgets=[costguard.budget("$0.0001/day", per="user", clamp=False)], exporters=[recorder], ledger="memory://"
    )
    api.add_middleware(ASGIMiddleware, user=user, refuse_with=429)
    with TestClient(api) as http:
        refused = http.get("/sync", headers={"x-user": "ada"})
        assert (refused.status_code, refused.json()) == (429, {"detail": "budget exceeded"})
        assert 1 <= int(refused.headers["retry-after"]) <= 86400
        assert http.get("/sync").status_code == 200
    plain = FastAPI()
    plain.add_api_route("/", lambda: (_ for _ in ()).throw(KeyError("theirs")))
    plain.add_middleware(ASGIMiddleware, refuse_with=429)
    with TestClient(plain) as http, pytest.raises(KeyError):
        http.get("/")


def test_routes_of_starlette_are_told_as_they_are_declared() -> None:
    """Mounted ones whole, websockets too, and what has no route has one value."""
    seen = []

    async def endpoint(request: Any) -> PlainTextResponse:
        seen.append(tags()["route"])
        return PlainTextResponse("ok")

    async def socket(websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_json(tags())
        await websocket.close()

    inner = [Route("/{name}", endpoint), Route("/", endpoint, methods=["POST"])]
    app = Starlette(
        routes=[Mount("/v1", routes=inner), Mount("/files", app=endpoint), WebSocketRoute("/ws/{id}", socket)]
    )
    app.add_middleware(ASGIMiddleware, route=route)
    with TestClient(app) as http:
        http.get("/v1/ada")
        http.post("/v1/")
        assert http.get("/nowhere").status_code == 404
        with http.websocket_connect("/ws/3") as websocket:
            assert websocket.receive_json() == {"route": "/ws/{id}"}
    assert seen == ["/v1/{name}", "/v1/"]
    assert route({"type": "http", "path": "/"}) == "(no route)"


def test_a_value_that_is_none_of_a_tags_stays_inside_its_limit() -> None:
    """A stranger's user id of a thousand letters does not make its calls untagged."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(tags())

    async def nothing() -> Any: ...

    async def nowhere(message: Any) -> None: ...

    import asyncio

    for value in ("x" * 300, "a\nb", 17, "", None):
        served = ASGIMiddleware(app, user=lambda scope, value=value: value)
        asyncio.run(served({"type": "http", "headers": []}, nothing, nowhere))
    assert seen == [{"user": "(invalid)"}, {"user": "(invalid)"}, {"user": "17"}, {}, {}]


@pytest.mark.parametrize("middleware", [ASGIMiddleware, WSGIMiddleware])
@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"user": 3}, "user=3: give a value, or a function"),
        ({"user": "a\nb"}, "printable"),
        ({"inbound": ["feature"]}, "give each tag with its allowed values"),
        ({"inbound": {"feature": "search"}}, "give a set of values"),
    ],
)
def test_a_mistake_is_found_when_the_application_is_made(middleware: Any, knobs: Any, said: str) -> None:
    """Not at the first request."""
    with pytest.raises(ConfigError, match=said):
        middleware(object(), **knobs)


def test_a_status_of_refusal_is_one_of_https() -> None:
    """`refuse_with=True` is no status."""
    with pytest.raises(ConfigError, match="refuse_with=True: give an HTTP status"):
        ASGIMiddleware(None, refuse_with=True)  # type: ignore[arg-type]


# -- WSGI ------------------------------------------------------------------------------------------------------


def test_flask_requests_and_their_streamed_bodies_are_attributed(client: openai.OpenAI, recorder: Recorder) -> None:
    """The body of a generator runs when the server reads it, and still belongs to its request."""
    app = Flask("app")

    @app.get("/whole")
    def whole() -> str:
        client.chat.completions.create(**ASK)
        return "ok"

    @app.get("/parts")
    def parts() -> Any:
        def body() -> Iterator[str]:
            yield "a"
            client.chat.completions.create(**ASK)
            yield "b"

        return body(), {"Content-Type": "text/plain"}

    app.wsgi_app = WSGIMiddleware(app.wsgi_app, tenant=lambda environ: environ["HTTP_HOST"], feature="web")  # type: ignore[method-assign]
    http = app.test_client()
    assert http.get("/whole").text == "ok"
    answer = http.get("/parts", buffered=False)
    for _ in answer.iter_encoded():
        assert tags() == {}
    answer.close()
    assert [call.tags for call in recorder.calls] == [{"tenant": "localhost", "feature": "web"}] * 2
    assert tags() == {}


def test_a_body_that_is_there_is_handed_on_as_it_is() -> None:
    """Servers treat lists and files of their own in ways of their own; a body's own `close` runs inside."""
    closed = []

    class File:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

        def close(self) -> None:
            closed.append(tags())

    made: list[Any] = [[b"x"], File(), File()]
    app = WSGIMiddleware(lambda environ, start: made[environ["index"]], feature="web")
    assert app({"index": 0}, None) is made[0]
    assert app({"index": 1, "wsgi.file_wrapper": File}, None) is made[1]
    body: Any = app({"index": 2}, None)
    assert list(body) == [b"x"]
    body.close()
    assert closed == [{"feature": "web"}]


# -- from service to service -----------------------------------------------------------------------------------

ALLOW: Any = {"feature": {"search", "chät, x=1"}, "user": str.isdigit}


def test_tags_travel_in_a_header_that_is_ours() -> None:
    """Put there by hand, whatever characters are in them, all of them or some."""
    headers: dict[str, str] = {}
    inject(headers)
    assert headers == {}
    with costguard.budgeted(feature="chät, x=1", user="17", team="web"):
        inject(headers)
        assert extract(headers[HEADER], ALLOW) == {"feature": "chät, x=1", "user": "17"}
        inject(headers, only=["team"])
        assert headers == {HEADER: "team=web"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, {}),
        ("", {}),
        ("feature=search", {"feature": "search"}),
        ("feature=search,user=17, other=1", {"feature": "search", "user": "17"}),
        ("feature=billing", {}),
        ("user=ada", {}),
        ("feature=search%0aset", {}),
        ("feature,=,==,%=1", {}),
        ("feature=search," + "x" * 5000, {}),
        ("user=" + "1" * 300, {}),
    ],
)
def test_only_what_is_allowed_is_taken_from_others(header: str | None, expected: dict[str, str]) -> None:
    """Whoever can reach a service can send it a header."""
    assert extract(header, ALLOW) == expected


def test_a_service_takes_tags_of_others_only_when_told_to(api: FastAPI, recorder: Recorder) -> None:
    """And its own word goes before theirs. A header that comes twice is none."""
    headers = {HEADER: "feature=search,user=17,team=mine"}
    with TestClient(ASGIMiddleware(api)) as http:
        http.get("/sync", headers=headers)
    with TestClient(ASGIMiddleware(api, inbound={"feature": {"search"}, "user": str.isdigit}, user=user)) as http:
        http.get("/sync", headers=headers)
        http.get("/sync", headers={**headers, "x-user": "ada"})
        http.get("/sync", headers=[(HEADER, "user=1"), (HEADER, "user=2")])
    assert [call.tags for call in recorder.calls] == [
        {},
        {"feature": "search", "user": "17"},
        {"feature": "search", "user": "ada"},
        {},
    ]
    seen = []
    app = WSGIMiddleware(lambda environ, start: seen.append(tags()) or [], inbound={"feature": {"search"}})
    app({"HTTP_COSTGUARD_TAGS": "feature=search,user=17"}, None)
    assert seen == [{"feature": "search"}]
