"""How a process can end in the middle of a call, and what its books say then: charged at once or, when no code of ours
got to run, when its lease is over. Never given back, never lost, and in nobody's way for longer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

import costguard
from costguard._guard import LEASE
from costguard._money import decimal_usd
from costguard._types import Granted, Hold, Leg
from costguard.ledgers.sqlite import SQLiteLedger
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
ALL = Leg("all", "lifetime", 10**9)

PROGRAM = """
import asyncio, json, multiprocessing, os, signal, socket, sys, threading, time
import openai
import costguard

folder, good = sys.argv[1:]
ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
kept = []

def begin(way):
    costguard.configure(ledger=f"sqlite://{folder}/{way}.db", budgets=[costguard.budget("$1", name="all")])
    costguard.instrument()

def call(url, **more):
    client = openai.OpenAI(api_key="x", base_url=url, max_retries=0)
    return client.chat.completions.create(**ask, **more)

def silent(do):
    # A server that never answers, and does something once it was asked.
    server = socket.create_server(("127.0.0.1", 0))
    def answer():
        kept.append(server.accept()[0])
        assert kept[0].recv(9)
        do()
    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/v1"

def in_a_call(do):
    call(silent(do))

def beside_a_call():
    asked = threading.Event()
    threading.Thread(target=call, args=(silent(asked.set),), daemon=True).start()
    asked.wait()

def signalled(number):
    in_a_call(lambda: os.kill(os.getpid(), number))

def exits_on_sigterm():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    signalled(signal.SIGTERM)

def stream_left_open():
    kept.append(call(good, stream=True))
    next(iter(kept[0]))

def daemon_in_a_call():
    beside_a_call()

def worker_of_multiprocessing():
    worker = multiprocessing.get_context("fork").Process(target=call, args=(good,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0

def loop_closed_around_a_stream():
    async def leave():
        client = openai.AsyncOpenAI(api_key="x", base_url=good, max_retries=0)
        kept.append(await client.chat.completions.create(**ask, stream=True))
        await anext(aiter(kept[0]))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()

def child_that_exits():
    beside_a_call()
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        os._exit(4)

# Who runs the tests in the background of a shell may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
openai.OpenAI(api_key="x").chat.completions  # imports what every child will need
WAYS = {
    "returns": lambda: call(good),
    "os._exit": lambda: in_a_call(lambda: os._exit(3)),
    "SIGTERM": lambda: signalled(signal.SIGTERM),
    "SIGKILL": lambda: signalled(signal.SIGKILL),
    "SIGINT": lambda: signalled(signal.SIGINT),
    "SIGTERM, handled by sys.exit": exits_on_sigterm,
    "stream left open": stream_left_open,
    "daemon thread in a call": daemon_in_a_call,
    "worker of multiprocessing": worker_of_multiprocessing,
    "event loop closed around a stream": loop_closed_around_a_stream,
    "forked child exits": child_that_exits,
}
codes = {}
for way, do in WAYS.items():
    pid = os.fork()
    if pid == 0:
        sys.stderr = open(os.devnull, "w")
        begin(way)
        break
    codes[way] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
else:
    print(json.dumps(codes), flush=True)
    do = lambda: None
do()
"""

CHARGED, HELD, EITHER = "charged", "held until its lease is over", "charged or held"
ENDS = {
    "returns": (0, CHARGED),
    "os._exit": (3, HELD),
    "SIGTERM": (-signal.SIGTERM, HELD),
    "SIGKILL": (-signal.SIGKILL, HELD),
    "SIGINT": (-signal.SIGINT, CHARGED),
    "SIGTERM, handled by sys.exit": (5, CHARGED),
    "stream left open": (0, EITHER),
    "daemon thread in a call": (0, HELD),
    "worker of multiprocessing": (0, CHARGED),
    "event loop closed around a stream": (0, EITHER),
    "forked child exits": (4, HELD),
}


class Silent:
    """A server that never answers, and does something once it was asked.

    Attributes:
        url: its address.
    """

    def __init__(self, server: socket.socket, do: Callable[[], object]) -> None:
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        self._server = server
        self._do = do
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection = self._server.accept()[0]
        with connection:
            assert connection.recv(9)
            self._do()
            while connection.recv(65536):
                pass


@contextmanager
def silent(do: Callable[[], object]) -> Iterator[str]:
    """The URL of one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = Silent(server, do)
        yield one.url
        one.thread.join(30)


def test_every_way_to_end_a_process_leaves_books_that_are_right(provider: LoopbackProvider, tmp_path: Path) -> None:
    """Where code of ours still runs the call is charged; else its hold stays until its lease is over, is charged then,
    and the rest of the limit can be spent."""
    provider.reply = Reply(input_tokens="measured", output_tokens=50)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), provider.openai_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert {way: code for way, (code, _) in ENDS.items()} == codes
    assert {way: _fits(tmp_path / f"{way}.db", wanted) for way, (_, wanted) in ENDS.items()} == dict.fromkeys(ENDS, "")


def _fits(path: Path, wanted: str) -> str:
    """What is wrong with the books that a process left."""
    with closing(SQLiteLedger(path)) as ledger:
        (left,) = ledger.balances([ALL])
        found = EITHER if left.spent and left.held else CHARGED if left.spent else HELD if left.held else "lost"
        if wanted not in (found, EITHER) or found == "lost":
            return f"{found}: {left.spent} spent, {left.held} held"
        ledger.reap(time.time() + LEASE + 60)
        (after,) = ledger.balances([ALL])
        if (after.spent, after.held) != (left.spent + left.held, 0):
            return f"after its lease {after.spent} spent, {after.held} held"
        rest = Hold("rest", ALL.limit - after.spent, (ALL,), time.time() + 10)
        return "" if isinstance(ledger.reserve(rest), Granted) else "the rest cannot be spent"


@pytest.mark.usefixtures("guard")
async def test_a_task_group_that_fails_charges_the_calls_it_cancels(recorder: Recorder) -> None:
    """One task raises, its sibling is cancelled in the middle of a call that may have been billed."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()

    async def fail() -> None:
        await asked.wait()
        raise RuntimeError("another task's trouble")

    costguard.configure(exporters=[recorder], budgets=[costguard.budget("$1", name="all")])
    with silent(lambda: loop.call_soon_threadsafe(asked.set)) as url:
        async with openai.AsyncOpenAI(api_key="x", base_url=url, max_retries=0) as client:
            with pytest.raises(ExceptionGroup, match="unhandled errors"):
                async with asyncio.TaskGroup() as group:
                    group.create_task(client.chat.completions.create(**ASK))
                    group.create_task(fail())
    books = costguard.status()["all"]
    assert (recorder.only.outcome, books.held) == ("cancelled", 0)
    assert books.spent > 0
    assert recorder.only.cost.estimated


@pytest.mark.usefixtures("guard")
def test_a_signal_that_raises_in_a_call_charges_it(recorder: Recorder) -> None:
    """A time-out of the host's by SIGALRM: its own exception comes out, and the call may have been billed."""

    class TooLong(BaseException):
        """Of the host's."""

    def raises(*_: object) -> None:
        raise TooLong

    costguard.configure(exporters=[recorder], budgets=[costguard.budget("$1", name="all")])
    before = signal.signal(signal.SIGALRM, raises)
    try:
        with silent(lambda: os.kill(os.getpid(), signal.SIGALRM)) as url:
            with openai.OpenAI(api_key="x", base_url=url, max_retries=0) as client, pytest.raises(TooLong):
                client.chat.completions.create(**ASK)
    finally:
        signal.signal(signal.SIGALRM, before)
    books = costguard.status()["all"]
    assert books.held == 0
    assert books.spent == decimal_usd(recorder.only.cost.nano) > 0
