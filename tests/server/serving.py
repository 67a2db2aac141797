"""`costguard serve` in a thread of the test's own process, on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from costguard.server._wire import protocol
from costguard.server.app import LOCAL, create_app


@contextmanager
def serving(
    home: Path, *, hosts: Sequence[str] = LOCAL, closed: bool = False, once: str | None = None
) -> Iterator[str]:
    """The URL of a server over the guard that is current, which a test may replace while it runs."""
    application = create_app(home, hosts=hosts, closed=closed, once=once)
    config = uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning", lifespan="off", http=protocol())
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    socket.listen()  # who comes before the loop runs waits, and is not turned away
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        socket.close()
