"""``kill -9`` of a server under load: ``python -m tests.server.kills --kills 50``.

A real ``costguard serve`` with its ledger and its journal in SQLite; clients that tell of calls, one and many at a time,
and reserve, settle and release. The server is killed in the middle of it and started again, and a client that heard no
answer sends the same again, or gives up. Then the files are read: every call that was acknowledged is in the journal and
in the ledger with the amount it was told with, and nothing is counted that was not told. In the end everything is sent
once more with the ids it had, those that were given up too: then the ledger's sums are the sums of what was told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

PATIENCE = 120.0
"""Seconds within which a server that was started answers, and a load gets on."""
TIGHT = 10_000_000
"""Nano-dollars of the budget that does not suffice for all."""
LOOSE = 9 * 10**15


class Server:
    """A ``costguard serve`` that is killed and started again, under another address each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self._up = threading.Condition()
        self._url: str | None = None
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and let those who wait for it go on."""
        command = [sys.executable, "-m", "costguard", "serve", "--home", str(self.folder), "--port", "0"]
        with self.log.open("a") as log:
            place = log.tell()
            self._process = subprocess.Popen(
                command, stderr=log, env={**os.environ, "HOME": str(self.folder)}, text=True
            )
        until = time.monotonic() + PATIENCE
        while "\n" not in (said := self.log.read_text()[place:]):
            assert self._process.poll() is None, said
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.02)
        with self._up:
            self._url = said.split("\n")[0].rpartition(" ")[2]
            self._up.notify_all()

    def kill(self) -> None:
        """``kill -9``."""
        assert self._process is not None
        with self._up:
            self._url = None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE)

    def url(self) -> str:
        """Its address, once it is up."""
        with self._up:
            assert self._up.wait_for(lambda: self._url is not None, PATIENCE)
            assert self._url is not None
            return self._url


@dataclass
class Book:
    """What was told and heard, by the ids of calls.

    Attributes:
        told: what each call did cost, in nano-dollars, once it is certain that it is told of in the end.
        heard: those that the server acknowledged.
        replays: what was asked for, to ask it once more: path and body, by the ids that it is about.
        faults: what should not have happened.
        answers: how many were heard since the server was started.
    """

    told: dict[str, int] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    replays: list[tuple[str, dict[str, Any], Mapping[str, int]]] = field(default_factory=list)
    unended: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    answers: int = 0
    refused: int = 0
    unheard: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def answered(self) -> None:
        """One more was heard."""
        with self.changed:
            self.answers += 1
            self.changed.notify_all()


class Client(threading.Thread):
    """Tells of calls until it is told to stop."""

    def __init__(self, number: int, server: Server, book: Book, stop: threading.Event, seed: int) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self._server, self._book, self._stopped = server, book, stop
        self._random = random.Random(seed * 1000 + number)
        self._number, self._count = number, 0
        self._http = httpx2.Client(timeout=30)

    def run(self) -> None:
        """Any of what clients do, again and again."""
        with self._http:
            while not self._stopped.is_set():
                try:
                    self._random.choice((self._one, self._many, self._reserved, self._reserved))()
                except Exception as error:
                    self._book.faults.append(f"{self.name}: {error!r}")
                    self._book.answered()
                    return

    def _id(self) -> str:
        self._count += 1
        return f"c{self._number}-{self._count}"

    def _event(self) -> tuple[dict[str, Any], int]:
        nano = self._random.randrange(1, 2_000_000)
        cost = f"{Decimal(nano).scaleb(-9):f}"
        return {"id": self._id(), "model": "gpt-4o", "feature": "loose", "cost_usd": cost, "input_tokens": 5}, nano

    def _one(self) -> None:
        body, nano = self._event()
        self._tell(body, {body["id"]: nano})

    def _many(self) -> None:
        events = [self._event() for _ in range(self._random.randrange(2, 6))]
        amounts = {body["id"]: nano for body, nano in events}
        self._tell({"events": [body for body, _ in events]}, amounts)

    def _tell(self, body: dict[str, Any], amounts: Mapping[str, int]) -> None:
        self._book.told.update(amounts)
        self._book.replays.append(("/ai-spend/track", body, amounts))
        answer = self._ask("/ai-spend/track", body)
        if answer is not None:
            if answer.status_code not in (200, 201) or answer.json().get("rejected"):
                self._book.faults.append(f"track: {answer.status_code} {answer.text}")
            self._book.heard |= set(amounts)

    def _reserved(self) -> None:
        most = self._random.randrange(1, 4_000_000)
        feature = self._random.choice(("loose", "tight"))
        asked = {
            "id": self._id(), "model": "gpt-4o", "feature": feature, "max_cost": f"{Decimal(most).scaleb(-9):f}",
            "ttl": 3600,
        }  # fmt: skip
        answer = self._ask("/ai-spend/reserve", asked)
        if answer is None:
            self._book.unended.append((asked, most))
            return
        if answer.status_code == 402:
            self._book.refused += 1
            return
        ticket = answer.json().get("reservation")
        if answer.status_code != 201:
            self._book.faults.append(f"reserve: {answer.status_code} {answer.text}")
            return
        self._end(ticket, asked["id"], self._random.randrange(0, most))

    def _end(self, ticket: str, id: str, nano: int) -> None:
        if self._random.random() < 0.3:
            path, body, amounts = "/ai-spend/release", {"reservation": ticket}, dict[str, int]()
        else:
            body = {"reservation": ticket, "cost_usd": f"{Decimal(nano).scaleb(-9):f}"}
            path, amounts = "/ai-spend/settle", {id: nano}
        self._book.told.update(amounts)
        self._book.replays.append((path, body, amounts))
        answer = self._ask(path, body)
        if answer is not None:
            if answer.status_code != 200:
                self._book.faults.append(f"{path}: {answer.status_code} {answer.text}")
            self._book.heard |= set(amounts)

    def _ask(self, path: str, body: dict[str, Any]) -> httpx2.Response | None:
        """The answer; after a kill the same is sent again, or, by who loses heart, not. Then it is None."""
        while True:
            try:
                answer = self._http.post(self._server.url() + path, json=body)
            except httpx2.TransportError:
                self._book.unheard += 1
                if self._random.random() < 0.3:
                    return None
                continue
            if answer.status_code != 503:
                self._book.answered()
                return answer


@dataclass
class Outcome:
    """How it went."""

    kills: int
    acknowledged: int
    unheard: int
    refused: int
    faults: list[str]


def run(folder: Path, *, kills: int, clients: int, seed: int) -> Outcome:
    """Kill a server in `folder` so often, and check its books after each kill and in the end."""
    chance, book, stop = random.Random(seed), Book(), threading.Event()
    server = Server(folder)
    server.start()
    for feature, nano in (("loose", LOOSE), ("tight", TIGHT)):
        limit = {"feature": feature, "limit": f"{Decimal(nano).scaleb(-9):f} USD/lifetime"}
        assert httpx2.post(f"{server.url()}/ai-spend/budget", json=limit, timeout=60).status_code == 201
    threads = [Client(number, server, book, stop, seed) for number in range(clients)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        wanted = book.answers + chance.randrange(10, 80)
        with book.changed:
            assert book.changed.wait_for(lambda wanted=wanted: book.answers >= wanted or book.faults, PATIENCE)
        heard = set(book.heard)
        server.kill()
        book.faults += list(_wrong(folder, book, heard))
        if book.faults:
            break
        server.start()
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    if not book.faults:
        heard = set(book.heard)
        book.faults += list(_replayed(server.url(), book))
        book.faults += list(_wrong(folder, book, heard, finished=True))
    server.kill()
    if "Traceback" in server.log.read_text():
        book.faults.append(server.log.read_text())
    return Outcome(kills, len(book.heard), book.unheard, book.refused, book.faults)


def _replayed(url: str, book: Book) -> Iterator[str]:
    """Everything is sent once more; what was reserved and then given up is settled now."""
    with httpx2.Client(base_url=url, timeout=60) as http:
        for asked, most in book.unended:
            answer = http.post("/ai-spend/reserve", json=asked)
            if answer.status_code == 201:
                body = {"reservation": answer.json()["reservation"], "cost_usd": f"{Decimal(most).scaleb(-9):f}"}
                book.told[asked["id"]] = most
                book.replays.append(("/ai-spend/settle", body, {asked["id"]: most}))
            elif answer.status_code != 402:
                yield f"reserve again: {answer.status_code} {answer.text}"
        for path, body, amounts in book.replays:
            answer = http.post(path, json=body)
            if answer.status_code not in (200, 201) or answer.json().get("rejected"):
                yield f"{path} again: {answer.status_code} {answer.text}"
            book.heard |= set(amounts)


def _wrong(folder: Path, book: Book, heard: set[str], *, finished: bool = False) -> Iterator[str]:
    """What the files of a server that was killed should not say, given what was heard before."""
    with _opened(folder / "calls.db") as calls, _opened(folder / "ledger.db") as ledger:
        kept = dict(calls.execute("SELECT id, nano FROM calls WHERE outcome <> 'refused'").fetchall())
        summed = calls.execute("SELECT coalesce(sum(nano), 0) FROM quarters").fetchone()[0]
        holds = {id: (state, amount, booked, legs) for id, state, amount, booked, legs in
                 ledger.execute("SELECT id, state, amount, booked, legs FROM holds")}  # fmt: skip
        windows = {budget: (spent, held) for budget, spent, held in
                   ledger.execute("SELECT budget, spent, held FROM windows")}  # fmt: skip
    for id in heard - kept.keys():
        yield f"{id} was acknowledged and is not in the journal"
    for id, nano in kept.items():
        if book.told.get(id) != nano:
            yield f"{id} is in the journal with {nano}, told were {book.told.get(id)}"
        state, _, booked, _ = holds.get(id, ("lost", 0, 0, ""))
        if (state, booked) != ("settled", nano):
            yield f"{id} is in the journal with {nano}, and {state} with {booked} in the ledger"
    if summed != sum(kept.values()):
        yield f"the journal's sums are {summed}, its calls {sum(kept.values())}"
    for budget, (spent, held) in windows.items():
        mine = [hold for hold in holds.values() if budget in {leg[0] for leg in json.loads(hold[3])}]
        booked, open_ = sum(one[2] for one in mine), sum(one[1] for one in mine if one[0] == "open")
        if (spent, held) != (booked, open_):
            yield f"{budget}: {spent} spent and {held} held, its holds say {booked} and {open_}"
        if "tight" in budget and spent + held > TIGHT:
            yield f"{budget}: {spent} spent and {held} held of {TIGHT}"
    if finished:
        total, told = sum(spent for spent, _ in windows.values()), sum(book.told.values())
        if total != told or kept.keys() != book.told.keys() or any(held for _, held in windows.values()):
            yield f"in the end {total} is spent and {told} was told: {windows}"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()


def main() -> int:
    """0 when all held, 1 when something did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how often the server is killed")
    parser.add_argument("--clients", type=int, default=8, help="clients at a time")
    parser.add_argument("--seed", type=int, help="what they do and when it is killed; the scheduler has a part in it")
    chosen = parser.parse_args()
    seed = random.randrange(10**6) if chosen.seed is None else chosen.seed
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        outcome = run(Path(folder), kills=chosen.kills, clients=chosen.clients, seed=seed)
    print(
        f"seed {seed}: {outcome.kills} kills, {outcome.acknowledged:,} calls acknowledged, {outcome.unheard} requests"
        f" without an answer, {outcome.refused} refusals: {'FAILED' if outcome.faults else 'all agree'}"
        f" ({time.monotonic() - began:.0f} s)"
    )  # fmt: skip
    for fault in outcome.faults[:20]:
        print(f"  {fault}")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
