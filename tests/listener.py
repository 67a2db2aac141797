"""A server on this machine that takes what is posted to it: what collectors and receivers of the tests are made of."""

from __future__ import annotations

import gzip
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

Answer = tuple[int, dict[str, str], bytes]


class Listener(ABC):
    """Listens on a port of this machine while its ``with`` block runs."""

    def __init__(self, port: int = 0) -> None:
        self._port = port

    @abstractmethod
    def posted(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer a request, whose headers are in lower case and whose body is unpacked; `ConnectionError` hangs up."""

    def __enter__(self) -> Self:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers["content-length"]))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                try:
                    status, answered, content = listener.posted(self.path, headers, body)
                except ConnectionError:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {**answered, "content-length": str(len(content))}.items():
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
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"
