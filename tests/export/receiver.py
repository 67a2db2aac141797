"""A receiver on this machine that fails in every way a test asks for, and keeps what it took."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {}, b"")


class Receiver:
    """Listens on a port of this machine while its ``with`` block runs.

    Attributes:
        answer: what to do with the events of a request; may block, and may raise `ConnectionError` to hang up.
        bodies, headers: of every request, in order.
        taken: how often the events of each id were in a request that was answered with a success.
    """

    def __init__(self, port: int = 0) -> None:
        self.answer: Callable[[list[Any]], Answer] = lambda events: OK
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.taken: Counter[str] = Counter()
        self._port = port
        self._changed = threading.Condition()

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                try:
                    status, headers, content = receiver.take(dict(self.headers.items()), json.loads(body))
                except ConnectionError:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            block_on_close = False

            def handle_error(self, *args: object) -> None:
                """A client that went away is part of the tests."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/ai-spend/track"

    def take(self, headers: dict[str, str], body: Any) -> Answer:
        """Answer a request, and count its events if it is a success."""
        events = body["events"] if isinstance(body, dict) and "events" in body else [body]
        with self._changed:
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            self._changed.notify_all()
        answer = self.answer(events)
        if answer[0] < 300:
            refused = {one["index"] for one in json.loads(answer[2] or b"{}").get("rejected", [])}
            with self._changed:
                self.taken.update(one.get("id") for place, one in enumerate(events) if place not in refused)
                self._changed.notify_all()
        return answer

    def wait(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something is so, which requests alone make so."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"it did not happen; taken: {self.taken}"


def script(*answers: Answer) -> Callable[[list[Any]], Answer]:
    """Answer the first requests so, and all others with a success."""
    left = list(answers)
    return lambda events: left.pop(0) if left else OK
