"""Alerts of processes that share a Redis, and that are killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.ledgers.redis import RedisLedger

from .servers import RedisServer, command, fresh
from .shared import Opener, SharedAlertsContract


class TestRedisAlerts(SharedAlertsContract):
    """Each is told once, or by whoever takes over."""

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        self.server = RedisServer(tmp_path).start()
        yield
        self.server.stop()

    def make_opener(self) -> Opener:
        namespace = fresh()
        # Alerts are taken over after a minute, which the test does not wait for.
        return lambda: RedisLedger(self.server.url, namespace=namespace, clock="client")

    def settle_down(self, opener: Opener) -> None:
        """The server notices that a process is gone after it has done what that one had sent."""
        until = time.monotonic() + 60
        while command(self.server.url, "CLIENT", "LIST").count("id=") > 1:
            assert time.monotonic() < until
            time.sleep(0.01)
