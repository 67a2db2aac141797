"""A real HTTP server on the loopback interface that speaks the providers' wire formats and misbehaves on request."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from . import anthropic, google, openai
from .books import Books
from .exchange import Answer, Exchange, Json, Refusal
from .handler import Handler
from .reply import Billed, Received, Reply
from .route import Dialect, Route

DIALECTS: tuple[Dialect, ...] = (anthropic.DIALECT, google.DIALECT, openai.DIALECT)

Replies = Reply | Callable[[Received], Reply]
"""A fixed reply, or a function that chooses one by the request."""


class LoopbackProvider:
    """OpenAI, Anthropic and Google in one local server, with its own count of what it billed.

    ```python
    with LoopbackProvider(output_tokens=50) as provider:
        provider.script(Reply(status=429, retry_after=0), Reply(text="second try"))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="none")
        ...
        assert provider.billed[0].output_tokens == 50
    ```
    """

    def __init__(
        self,
        *,
        input_tokens: int | Literal["measured"] = 1000,
        output_tokens: int = 1000,
        chunks: int = 10,
        latency: float = 0.0,
        chunk_delay: float = 0.0,
    ) -> None:
        self._default = Reply(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            chunks=chunks,
            latency=latency,
            chunk_delay=chunk_delay,
        )
        self.reply: Replies = self._default
        self._script: deque[Replies] = deque()
        self._stored: dict[str, Json] = {}
        self._books = Books()
        self._server: _Server | None = None

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Bind a free port and serve from a background thread; `with` does this."""
        if self._server is None:
            self._server = _Server(self._books, self._answer)
        return self

    def close(self) -> None:
        """Drop every connection, stop every thread, free the port. What was counted stays readable."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- where it is --------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise RuntimeError("the loopback provider is not running: use it in a `with` block, or call start()")
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The server's root; also an Azure endpoint, and the api_endpoint of google-generativeai (REST)."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """The base_url of an OpenAI client."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The base_url of an Anthropic client."""
        return self.url

    @property
    def google_url(self) -> str:
        """The base_url in google-genai's http_options."""
        return self.url

    def env(self) -> dict[str, str]:
        """Environment variables that point the three SDKs here."""
        return {
            "OPENAI_BASE_URL": self.openai_url,
            "OPENAI_API_KEY": "loopback",
            "ANTHROPIC_BASE_URL": self.anthropic_url,
            "ANTHROPIC_API_KEY": "loopback",
            "GOOGLE_GEMINI_BASE_URL": self.google_url,
            "GOOGLE_VERTEX_BASE_URL": self.google_url,
            "GEMINI_API_KEY": "loopback",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    # -- what it is told ----------------------------------------------------------------------------------------

    def script(self, *replies: Replies) -> None:
        """Queue replies for the next billable requests, one each; after them comes `reply` again."""
        self._script.extend(replies)

    @property
    def scripted(self) -> int:
        """How many scripted replies are still unused."""
        return len(self._script)

    # -- what it counted ----------------------------------------------------------------------------------------

    @property
    def billed(self) -> list[Billed]:
        """What was billed, in the order in which the answers began."""
        return self._books.billed

    @property
    def count(self) -> int:
        """How many answers were billed."""
        return len(self._books.billed)

    @property
    def input_tokens(self) -> int:
        """All input billed so far."""
        return sum(bill.input_tokens + bill.compaction_input_tokens for bill in self._books.billed)

    @property
    def output_tokens(self) -> int:
        """All output billed so far."""
        return sum(bill.output_tokens + bill.compaction_output_tokens for bill in self._books.billed)

    @property
    def requests(self) -> list[Received]:
        """Everything that arrived, errors and free calls included."""
        return self._books.requests

    @property
    def errors(self) -> list[Exception]:
        """Bugs of this server, which a test should find empty."""
        return self._books.errors

    @property
    def peak_in_flight(self) -> int:
        """The most requests that were being served at once."""
        return self._books.peak

    def wait_idle(self, timeout: float = 5.0) -> bool:
        """Wait until no request is being served; false when time ran out."""
        return self._books.wait(in_flight=0, timeout=timeout)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until so many requests have arrived; false when time ran out."""
        return self._books.wait(requests=count, timeout=timeout)

    def clear(self) -> None:
        """Forget the script, the counts and the stored objects; keep the default reply."""
        self._script.clear()
        self._stored.clear()
        self._books.clear()

    # -- answering ----------------------------------------------------------------------------------------------

    def _answer(self, request: Received) -> tuple[Answer, Reply]:
        for dialect in DIALECTS:
            for route in dialect.routes:
                match = route.matches(request)
                if match is not None:
                    return self._by(
                        dialect,
                        route,
                        Exchange(request, self._default, match, self._stored, self._books.put, self._books.amend),
                    )
        return _error(openai.DIALECT, 404, f"Invalid URL ({request.method} {request.path})"), Reply()

    def _by(self, dialect: Dialect, route: Route, exchange: Exchange) -> tuple[Answer, Reply]:
        if route.billable:
            exchange.reply = self._next(exchange.request, dialect)
        reply = exchange.reply
        try:
            served = route.serve(exchange) if reply.status < 400 or reply.billed else None
        except Refusal as refusal:
            return _error(dialect, 400, str(refusal)), Reply()
        answer = served if served is not None and reply.status < 400 else _error(dialect, reply.status, reply.error)
        if served is not None:
            answer.bill = served.bill
        if reply.billed is False:
            answer.bill = None
        answer.error_frame = dialect.error_frame
        return answer, reply

    def _next(self, request: Received, dialect: Dialect) -> Reply:
        try:
            chosen, scripted = self._script.popleft(), True
        except IndexError:
            chosen, scripted = self.reply, False
        reply = chosen(request) if callable(chosen) else chosen
        if not scripted and reply.tool_calls and dialect.has_tool_result(request.body):
            reply = replace(reply, text="done", tool_calls=(), finish=None)
        return reply.filled(self._default)


def _error(dialect: Dialect, status: int, error: Any) -> Answer:
    body = dict(error) if isinstance(error, dict) else dialect.error(status, error or f"scripted error {status}")
    return Answer(body=json.dumps(body).encode(), status=status)


class _Server(ThreadingHTTPServer):
    """The stdlib server with a long backlog, threads that can be joined, and connections that can be dropped."""

    request_queue_size = 1024
    daemon_threads = True
    block_on_close = False

    def __init__(self, books: Books, answer: Callable[[Received], tuple[Answer, Reply]]) -> None:
        self.books = books
        self.answer = answer
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", 0), Handler)
        self._loop = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="loopback-provider", daemon=True
        )
        self._loop.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread that `stop` can join."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="loopback-connection", daemon=True
        )
        with self._lock:
            self._connections[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close one connection and forget it."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that left is no news, and the handler records everything else."""

    def stop(self) -> None:
        """Stop accepting, drop every connection, join every thread."""
        self.shutdown()
        self._loop.join()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in connections.values():
            thread.join(timeout=5)
        self.server_close()
