"""The program as a server that has its calls made by workers of `multiprocessing`, which are spawned."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import app


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 100


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def work(number: int) -> dict[str, Any]:
    """One call, in a worker, where `app.ask` is itself."""
    return app.ask(number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pool = ProcessPoolExecutor(3, mp_context=multiprocessing.get_context(sys.argv[2]))
    app.ask = lambda number: pool.submit(work, number).result()
    make_server("127.0.0.1", int(sys.argv[1]), app.application, _Server, _Silent).serve_forever()
