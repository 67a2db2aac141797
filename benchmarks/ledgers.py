"""What a ledger costs, as multiples of the least that its store costs: `python benchmarks/ledgers.py`.

A pair is a reservation on five budgets, four by the calendar and one for a lifetime, and its settlement. The floor is
what nothing over that store can go below: a lock around an update of a dictionary, a transaction that changes one row,
Redis's PING, PostgreSQL's SELECT 1; for chunks it is a pair without them. Floor and ledger take turns within one
run, so that a busy machine slows both, and the least disturbed round of each counts.
With several clients each is a process of its own; in memory, a thread.

The exit status is 1 when a goal is missed. It takes about two minutes, and starts the servers it needs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.overspend import Ledgers

from costguard._shield import log
from costguard._types import Hold, Leg
from costguard.ledgers import open_ledger
from costguard.ports import Ledger

NOW = time.time()
CHUNK = 10
CHUNKED = f"redis, chunks of {CHUNK}"
LEGS = (
    *[Leg(f"budget-{number}", "2026-11-24T00:00Z", 10**15, NOW - 3600, NOW + 86400) for number in range(4)],
    Leg("lifetime", "lifetime", 10**15, marks=((80.0, 8 * 10**14), (100.0, 10**15))),
)
ROUNDS = 3
BLOCK = 50
"""Operations between two looks at the clock."""


@dataclass
class Times:
    """How long operations took, in microseconds.

    Attributes:
        took: by name, of each one.
        each: microseconds an operation or pair, by the clock of the slowest client.
        cpu: the same by the client's own CPU.
        server: the same by the server's CPU, where it tells.
        rate: operations or pairs a second, of all clients.
    """

    took: dict[str, list[float]] = field(default_factory=dict)
    cpu: float = 0.0
    server: float = 0.0
    rate: float = 0.0

    def at(self, name: str, percent: float) -> float:
        """A percentile."""
        ordered = sorted(self.took[name])
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


Timed = Callable[[], dict[str, float]]
"""Does one thing, and says how many microseconds each of its steps took."""


# -- floors -------------------------------------------------------------------------------------------------------


def bare_dictionary() -> Timed:
    """A lock, and one update of a dictionary in it."""
    lock, rows = threading.Lock(), {}

    def once() -> dict[str, float]:
        began = time.perf_counter_ns()
        with lock:
            rows.update({"a": began})
        return {"floor": (time.perf_counter_ns() - began) / 1000}

    return once


def bare_commit(url: str) -> Timed:
    """One row changed in a transaction, with the settings of the ledger."""
    connection = sqlite3.connect(url.partition("://")[2] + ".floor", isolation_level=None, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, value INTEGER)")
    connection.execute("INSERT OR IGNORE INTO rows VALUES (1, 0)")

    def once() -> dict[str, float]:
        began = time.perf_counter_ns()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE rows SET value = value + 1 WHERE id = 1")
        connection.execute("COMMIT")
        return {"floor": (time.perf_counter_ns() - began) / 1000}

    return once


def bare_ping(url: str) -> Timed:
    """PING on an open connection of the driver, past its client."""
    import redis

    connection = redis.Redis.from_url(url.partition("?")[0]).connection_pool.get_connection()

    def once() -> dict[str, float]:
        began = time.perf_counter_ns()
        connection.send_command("PING", check_health=False)
        connection.read_response()
        return {"floor": (time.perf_counter_ns() - began) / 1000}

    return once


def bare_select(url: str) -> Timed:
    """SELECT 1 on libpq itself."""
    import psycopg

    server = url.replace("&schema=", "?schema=").partition("?schema=")[0]
    connection = psycopg.connect(server, autocommit=True).pgconn

    def once() -> dict[str, float]:
        began = time.perf_counter_ns()
        connection.exec_(b"SELECT 1")
        return {"floor": (time.perf_counter_ns() - began) / 1000}

    return once


def without_chunks(url: str) -> Timed:
    """A pair on the same ledger, asked for each call."""
    once = pairs(open_ledger(url.replace(f"&chunk={CHUNK}", "")))
    return lambda: {"floor": sum(once().values())}


FLOORS: dict[str, Callable[..., Timed]] = {
    "sqlite": bare_commit, "redis": bare_ping, "postgres": bare_select, CHUNKED: without_chunks,
}  # fmt: skip


def pairs(ledger: Ledger) -> Timed:
    """A reservation and its settlement."""
    ids = count()
    name = f"{os.getpid()}-{threading.get_ident()}"

    def once() -> dict[str, float]:
        hold = Hold(f"{name}-{next(ids)}", 10_000_000, LEGS, NOW + 3600)
        began = time.perf_counter_ns()
        ledger.reserve(hold)
        middle = time.perf_counter_ns()
        ledger.settle(hold.id, 7_000_000)
        ended = time.perf_counter_ns()
        return {"reserve": (middle - began) / 1000, "settle": (ended - middle) / 1000}

    return once


# -- timing -------------------------------------------------------------------------------------------------------


def timed(once: Timed, seconds: float) -> tuple[dict[str, list[float]], float, float]:
    """Do it again and again: what it took, and microseconds of CPU and of the clock for each."""
    for _ in range(5):
        once()
    took: dict[str, list[float]] = {}
    done, cpu, began = 0, time.thread_time_ns(), time.perf_counter_ns()
    until = began + int(seconds * 1e9)
    while time.perf_counter_ns() < until:
        for _ in range(BLOCK):
            for name, micros in once().items():
                took.setdefault(name, []).append(micros)
        done += BLOCK
    wall = time.perf_counter_ns() - began
    return took, (time.thread_time_ns() - cpu) / 1000 / done, wall / 1000 / done


def by_threads(make: Callable[[], Timed], clients: int, seconds: float) -> Times:
    """Several threads at once."""
    return _together(make, clients, seconds, _thread)


def by_processes(make: Callable[[], Timed], clients: int, seconds: float) -> Times:
    """Several forked processes at once, each of which makes its own connection."""
    return _together(make, clients, seconds, _process)


Client = Callable[[Callable[[], Any]], Callable[[], Any]]


def _together(make: Callable[[], Timed], clients: int, seconds: float, client: Client) -> Times:
    waiting = [client(lambda: timed(make(), seconds)) for _ in range(clients)]
    times = Times()
    for join in waiting:
        took, cpu, wall = join()
        times.rate += 1e6 / wall
        times.cpu += cpu / clients
        for name, micros in took.items():
            times.took.setdefault(name, []).extend(micros)
    return times


def _thread(work: Callable[[], Any]) -> Callable[[], Any]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()

    def join() -> Any:
        thread.join()
        return found[0]

    return join


def _process(work: Callable[[], Any]) -> Callable[[], Any]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                json.dump(work(), out)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)

    def join() -> Any:
        with os.fdopen(reader) as told:
            found = json.load(told)
        os.waitpid(pid, 0)
        return found

    return join


@contextmanager
def server_cpu(kind: str, url: str) -> Iterator[Callable[[], float]]:
    """Microseconds of CPU that the server has used since; only Redis tells."""
    if kind != "redis":
        yield lambda: 0.0
        return
    import redis

    with redis.Redis.from_url(url.partition("?")[0]) as client:

        def used() -> float:
            told: Any = client.info("cpu")
            return float(1e6 * (told["used_cpu_user"] + told["used_cpu_sys"]))

        before = used()
        yield lambda: used() - before


# -- what is printed ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One ledger with so many clients."""

    kind: str
    clients: int
    floor: Times
    ledger: Times

    def goals(self, alone: Line | None) -> list[tuple[str, float, float]]:
        """What is promised: a name, the figure, and the most it may be."""
        floor, ledger = self.floor, self.ledger
        if self.kind == "memory":
            pair = ledger.cpu / floor.cpu
            return [("CPU of a pair, in bare updates", pair, 20.0), ("reserve p50, µs", ledger.at("reserve", 50), 10.0)]
        if self.kind == "sqlite" and alone is None:
            each = statistics.mean([ledger.at("reserve", 50), ledger.at("settle", 50)])
            return [("a step's p50, in bare commits", each / floor.at("floor", 50), 6.0)]
        if self.kind == "sqlite" and alone is not None:
            worst = max(ledger.at("reserve", 100), ledger.at("settle", 100)) / 1000
            spread = ledger.at("reserve", 99) / ledger.at("reserve", 50)
            return [
                ("slowest step, ms", worst, 300.0),
                ("reserve p99 in p50", spread, 1000.0),
                ("pairs a second alone, in those together", alone.ledger.rate / ledger.rate, 1.0),
            ]
        if self.kind == "redis" and alone is None:
            return [
                ("reserve p50, in PINGs", ledger.at("reserve", 50) / floor.at("floor", 50), 3.0),
                ("server's CPU of a pair, in PINGs", ledger.server / floor.server, 10.0),
            ]
        if self.kind == CHUNKED and alone is not None:
            return [("pairs a second without chunks, in those with", floor.rate / ledger.rate, 1 / 8)]
        return []

    def __str__(self) -> str:
        ledger, floor = self.ledger, self.floor
        figures = [f"{ledger.at(name, 50):,.3g} / {ledger.at(name, 99):,.0f}" for name in ("reserve", "settle")]
        columns = [
            self.kind, self.clients, *figures, f"{ledger.rate:,.0f}", f"{floor.at('floor', 50):,.3g}",
            f"{floor.rate:,.0f}", f"{ledger.at('reserve', 50) / floor.at('floor', 50):.1f}",
            f"{floor.rate / ledger.rate:.1f}",
        ]  # fmt: skip
        return "| " + " | ".join(map(str, columns)) + " |"


COLUMNS = (
    "ledger", "clients", "reserve p50 / p99, µs", "settle p50 / p99, µs", "pairs/s", "floor p50, µs", "floors/s",
    "reserve, in floors", "pair, in floors",
)  # fmt: skip


def measured(kind: str, clients: int, url: str, seconds: float) -> Line:
    """The best of some rounds, floor and ledger in turn."""
    floors: list[Times] = []
    ledgers: list[Times] = []
    for _ in range(ROUNDS):
        if kind == "memory":
            ledger, floor = open_ledger("memory://"), bare_dictionary()
            floors.append(by_threads(lambda floor=floor: floor, clients, seconds))
            ledgers.append(by_threads(lambda ledger=ledger: pairs(ledger), clients, seconds))
            continue
        for found, make in (
            (floors, lambda: FLOORS[kind](url)),
            (ledgers, lambda: pairs(open_ledger(url))),
        ):
            with server_cpu(kind, url) as used:
                times = by_processes(make, clients, seconds)
                times.server = used() / max(1, len(next(iter(times.took.values()))))
            found.append(times)
    return Line(kind, clients, max(floors, key=lambda one: one.rate), max(ledgers, key=lambda one: one.rate))


def fresh(ledgers: Ledgers, kind: str) -> str:
    """The URL of empty books."""
    return f"{ledgers.fresh('redis')}&chunk={CHUNK}" if kind == CHUNKED else ledgers.fresh(kind)


def main() -> int:
    """Print the table, and how the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ledger", nargs="+", default=["memory", "sqlite", "redis", CHUNKED, "postgres"])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8], help="threads in memory, else processes")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each round")
    chosen = parser.parse_args()
    log.setLevel(logging.ERROR)  # each client would warn of a server that writes no log
    print(
        f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} CPUs,"
        f" load {os.getloadavg()[0]:.0f}\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    told: list[str] = []
    kept = True
    with Ledgers() as ledgers:
        for kind in chosen.ledger:
            alone: Line | None = None
            for clients in chosen.clients:
                line = measured(kind, clients, fresh(ledgers, kind), chosen.seconds)
                print(line, flush=True)
                for name, figure, most in line.goals(alone if clients > 1 else None):
                    kept = kept and figure <= most
                    verdict = "met" if figure <= most else "MISSED"
                    told.append(f"{kind}, {clients}: {name}: {figure:.2f} of at most {most:g}: {verdict}")
                alone = line if clients == 1 else alone
    print("\n" + "\n".join(told))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
