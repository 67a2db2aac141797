"""One response cache for several processes: a burst of equal calls in all of them pays once, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import costguard
from costguard import Cache
from costguard.optimize.stores.sqlite import SQLiteStore
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How far is the moon?"}]}
PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import openai, costguard
costguard.configure(ledger="memory://", cache=costguard.Cache(sys.argv[2]))
costguard.instrument()
client = openai.OpenAI(api_key="x", base_url=sys.argv[1])
def ask(_):
    with costguard.budgeted("faq", cache=True):
        return client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "How far is the moon?"}]
        ).choices[0].message.content
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(10) as pool:
    assert len(set(pool.map(ask, range(10)))) == 1
costguard.flush()
spend = costguard.spend()
print(spend.calls, "free" if spend.cost == 0 else "paid", flush=True)
"""


class Crowded(SQLiteStore):
    """A store in which another process is first with the first request, for so many seconds."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__(path)
        self.tries = 0
        self.left: list[str] = []
        self._seconds = seconds

    def lease(self, key: str, owner: str, now: float, seconds: float) -> bool:
        self.tries += 1
        if self.tries == 1:
            assert super().lease(key, "another", now, self._seconds)
        return super().lease(key, owner, now, seconds)

    def give_up(self, key: str, owner: str) -> None:
        self.left.append(key)
        super().give_up(key, owner)


@pytest.fixture(autouse=True)
def _instrumented(recorder: Recorder) -> Iterator[None]:
    costguard.instrument()
    yield
    costguard.uninstrument()
    costguard.configure()


def test_a_burst_in_several_processes_pays_once(provider: LoopbackProvider, tmp_path: Path) -> None:
    """One process sends one call, and the other gets its answer out of the store they share."""
    gate = threading.Event()
    provider.reply = Reply(output_tokens=50, gate=gate)
    command = [sys.executable, "-c", PROGRAM, provider.openai_url, f"sqlite://{tmp_path}/answers.db"]
    programs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for program in programs:
            assert program.stdout is not None
            assert "ready\n" == program.stdout.readline()
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("\n")
            program.stdin.flush()
        assert provider.wait_for_requests(1, timeout=30)
        gate.set()
        said = sorted(program.communicate(timeout=60)[0].strip() for program in programs)
    finally:
        for program in programs:
            program.kill()
            program.wait()
    assert ["10 free", "10 paid"] == said
    assert 1 == provider.count


def _configured(recorder: Recorder, path: Path, *, seconds: float, patience: float) -> Crowded:
    store = Crowded(path / "answers.db", seconds)
    costguard.configure(exporters=[recorder], cache=Cache(store, patience=patience))
    return store


def test_who_dies_with_a_request_holds_nobody_up_for_long(
    provider: LoopbackProvider, recorder: Recorder, tmp_path: Path
) -> None:
    """Its lease ends, and one of those who wait sends the request, in either colour."""
    store = _configured(recorder, tmp_path, seconds=0.2, patience=60)

    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="x", base_url=provider.openai_url) as client:
            await asyncio.gather(*(client.chat.completions.create(**CHAT) for _ in range(5)))

    with costguard.budgeted(cache=True):
        asyncio.run(ask())
    assert 1 == provider.count
    assert ["allowed"] + ["cache_hit"] * 4 == sorted(event.decision for event in recorder.calls)
    costguard.flush()
    assert store.tries > 1
    assert 1 == len(store.left)


def test_who_waits_has_patience_and_no_more(provider: LoopbackProvider, recorder: Recorder, tmp_path: Path) -> None:
    """Then the request is sent after all, and its answer is kept; without patience nobody is asked."""
    store = _configured(recorder, tmp_path, seconds=3600, patience=0.1)
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client, costguard.budgeted(cache=True):
        client.chat.completions.create(**CHAT)
        costguard.flush()
        client.chat.completions.create(**CHAT)
    assert ["allowed", "cache_hit"] == [event.decision for event in recorder.calls]
    assert store.tries > 1
    hurried = _configured(recorder, tmp_path, seconds=3600, patience=0)
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client, costguard.budgeted(cache=True):
        client.chat.completions.create(**CHAT, max_tokens=7)
    assert 0 == hurried.tries


def test_a_request_that_fails_or_is_dropped_is_given_up(
    provider: LoopbackProvider, recorder: Recorder, tmp_path: Path
) -> None:
    """At once, so that another process may try; what a finaliser cannot do is done with the next call."""
    store = _configured(recorder, tmp_path, seconds=0, patience=60)
    with openai.OpenAI(api_key="x", base_url=provider.openai_url, max_retries=0) as client:
        with costguard.budgeted(cache=True):
            provider.reply = Reply(status=400)
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**CHAT)
            costguard.flush()
            assert 1 == len(store.left)
            provider.reply = Reply(output_tokens=50)
            stream = client.chat.completions.create(**CHAT, stream=True)
            next(iter(stream))
            del stream
            gc.collect()
            client.chat.completions.create(**CHAT, max_tokens=7)
        costguard.flush()
    # The failed one, the dropped one, which is another request as it is streamed, and the last one.
    assert 3 == len(set(store.left))
    deadline = time.monotonic() + 30
    while not all(store.lease(key, "somebody", time.time(), 0.01) for key in set(store.left)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
