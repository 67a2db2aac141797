"""Many callers at once under one guard: `python crowd.py < orders`, one JSON line each way.

The first line is the cell: what is called, how often, by how many, under which guard. The program answers ``ready``,
waits for a line (so that several processes start together), calls, answers with what came of it, waits for a line
again (so that all have ended), and answers with what the guard's own books say.

It runs in the environment of the library under test and knows nothing of costguard; `adapters` knows the libraries.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Not this directory itself: a module here may be called as the library that it adapts.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from peers.adapters import Adapter, open_adapter

PROMPT = "the moon " * 177 + "far"
"""1,596 bytes, which the provider counts as 400 tokens together with the four of the word user."""


class Crowd:
    """The callers of one process.

    Args:
        cell: see `benchmarks/overspend.py`.
        adapter: the library under test.
    """

    def __init__(self, cell: dict[str, Any], adapter: Adapter) -> None:
        self.cell = cell
        self.adapter = adapter
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.ask: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]}
        if cell["cap"]:
            self.ask["max_tokens"] = cell["cap"]
        if cell["stream"]:
            self.ask["stream"] = True

    def run(self) -> dict[str, Any]:
        """Make all calls; what came of them."""
        began = time.monotonic()
        if self.cell["face"] == "asyncio":
            asyncio.run(self._tasks())
        else:
            self._threads()
        gc.collect()
        self.adapter.flush()
        return {"seconds": round(time.monotonic() - began, 2), "outcomes": dict(self.outcomes)}

    def _threads(self) -> None:
        # Each in a copy of the context: some guards live in a context variable and would not be there otherwise.
        workers = [
            threading.Thread(target=contextvars.copy_context().run, args=(self._worker,), daemon=True)
            for _ in range(self.cell["workers"])
        ]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + self.cell["timeout"]
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        self._note("hangs", sum(worker.is_alive() for worker in workers))

    def _worker(self) -> None:
        for _ in range(self.cell["calls"]):
            try:
                self._read(self.adapter.create(self.ask))
            except BaseException as error:
                self._failed(error)
            else:
                self._note("answered")

    def _read(self, answer: Any) -> None:
        if self.cell["stream"]:
            for _ in answer:
                if self.cell["stream"] == "dropped":
                    return

    async def _tasks(self) -> None:
        workers = [asyncio.create_task(self._task()) for _ in range(self.cell["workers"])]
        _, left = await asyncio.wait(workers, timeout=self.cell["timeout"])
        self._note("hangs", len(left))
        for worker in left:
            worker.cancel()
        await asyncio.wait(workers, timeout=5)
        await self.adapter.aclose()

    async def _task(self) -> None:
        for _ in range(self.cell["calls"]):
            try:
                await self._aread(await self.adapter.acreate(self.ask))
            except Exception as error:
                self._failed(error)
            else:
                self._note("answered")

    async def _aread(self, answer: Any) -> None:
        if self.cell["stream"]:
            async for _ in answer:
                if self.cell["stream"] == "dropped":
                    return

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, self.adapter.refusals):
            self._note("refused")
        else:
            self._note(f"{type(error).__name__}: {str(error)[:120]}")

    def _note(self, outcome: str, times: int = 1) -> None:
        with self._lock:
            if times:
                self.outcomes[outcome] += times


def _say(said: Any) -> None:
    print(json.dumps(said), flush=True)


def main() -> None:
    """Run one cell as told on stdin."""
    cell = json.loads(sys.stdin.readline())
    with open_adapter(cell) as adapter:
        crowd = Crowd(cell, adapter)
        _say("ready")
        sys.stdin.readline()
        _say(crowd.run())
        sys.stdin.readline()
        _say(adapter.books())
        sys.stdout.flush()


if __name__ == "__main__":
    main()
