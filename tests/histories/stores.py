"""The ledgers that processes share, each with a look into its store that goes past the ledger."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from costguard.ports import Ledger

from ..contract.postgres_server import postgres_server
from ..contract.servers import RedisServer, fresh
from .books import Window

Kept: TypeAlias = tuple[dict[Window, tuple[int, int]], dict[str, tuple[str, int, int]]]
"""Spent and held of each window; state, amount and booked of each hold."""


@dataclass(frozen=True)
class Store:
    """One book.

    Attributes:
        open: a handle on it.
        kept: what is in it, once all that was under way is done.
        kill: kills its server and starts it again, where it has one.
    """

    open: Callable[[], Ledger]
    kept: Callable[[], Kept]
    kill: Callable[[], None] | None = None


@contextmanager
def sqlite() -> Iterator[Store]:
    """A file."""
    from costguard.ledgers.sqlite import SQLiteLedger

    with tempfile.TemporaryDirectory(prefix="histories-") as folder:
        path = Path(folder) / "book.db"

        def kept() -> Kept:
            with closing(sqlite3.connect(path)) as connection:
                assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
                windows = connection.execute("SELECT budget, window, spent, held FROM windows").fetchall()
                holds = connection.execute("SELECT id, state, amount, booked FROM holds").fetchall()
            return _kept(windows, holds)

        yield Store(lambda: SQLiteLedger(path), kept)


@contextmanager
def redis() -> Iterator[Store]:
    """A server that writes a log of all commands, so that ``kill -9`` of it loses nothing."""
    import redis as driver

    from costguard.ledgers._redis_told import amounts, state_of
    from costguard.ledgers.redis import RedisLedger

    with tempfile.TemporaryDirectory(prefix="histories-") as folder:
        server = RedisServer(Path(folder), appendonly="yes", appendfsync="always").start()
        namespace = fresh()
        prefix = f"cg2:{{{namespace}}}:"

        def kept() -> Kept:
            with closing(driver.Redis.from_url(server.url, decode_responses=True)) as client:
                windows, holds = [], []
                for key in client.scan_iter(f"{prefix}hold:*"):
                    holds.append((key.removeprefix(f"{prefix}hold:"), *state_of(client.get(key))))
                rows = client.hgetall(f"{prefix}books")
                for name, row in rows.items():
                    if name[0].isdigit():
                        _, budget, window = name.split(":", 2)
                        windows.append((budget, window, *amounts(row)))
            return _kept(windows, holds)

        def kill() -> None:
            server.kill()
            server.start()

        try:
            yield Store(lambda: RedisLedger(server.url, namespace=namespace, clock="client"), kept, kill)
        finally:
            server.stop()


@contextmanager
def postgresql() -> Iterator[Store]:
    """A server of Debian's or of a wheel."""
    from costguard.ledgers.postgres import open_postgres

    with postgres_server() as server:
        url = server.url("histories", timeout=20)

        def kept() -> Kept:
            # What a killed client had sent is still being done: wait until its connections are gone.
            until = time.monotonic() + 30
            busy = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'costguard' AND state <> 'idle'"
            while server.sql(busy) and time.monotonic() < until:
                time.sleep(0.01)
            windows = server.sql('SELECT budget, "window", spent, held FROM histories.windows')
            return _kept(windows, server.sql("SELECT id, state, amount, booked FROM histories.holds"))

        def kill() -> None:
            server.stop()
            server.start()

        yield Store(lambda: open_postgres(url), kept, kill)


STORES = {"sqlite": sqlite, "redis": redis, "postgresql": postgresql}
"""By the name of their kind."""


def _kept(windows: list[Any], holds: list[Any]) -> Kept:
    return (
        {(budget, window): (spent, held) for budget, window, spent, held in windows},
        {id: (state, amount, booked) for id, state, amount, booked in holds},
    )
