"""What costguard adds to a call, a streamed chunk, a price lookup and an import: `python benchmarks/overhead.py`.

Three states are compared in one run, round by round in turn, so that a busy machine slows all of them alike: the bare
SDK; a no-op `wrapt` wrapper on the same six seams, which is the least that any instrumentation costs; and costguard,
with a budget in force. Answers come from an in-process transport, so nothing but the SDK and the wrappers is timed,
in CPU time of the thread. The figure of a round is the median of its calls; the figure of a state is its best round,
which other processes disturbed the least.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import wrapt

import costguard
from costguard import Usage
from costguard._config import state
from costguard.providers.openai import OPENAI

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 80,
    "total_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
MESSAGES: Any = [{"role": "user", "content": "How far is the moon? " * 20}]
CHUNKS = 200


def _answer(request: httpx2.Request) -> httpx2.Response:
    if json.loads(request.content).get("stream"):
        return httpx2.Response(200, content=STREAM, headers={"content-type": "text/event-stream"})
    return httpx2.Response(200, content=ANSWER, headers={"content-type": "application/json"})


def _event(choices: list[Any], usage: Any) -> bytes:
    chunk = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": choices,
        "usage": usage,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


ANSWER = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Far. " * 40}, "finish_reason": "stop"}],
        "usage": USAGE,
        "service_tier": "default",
    }
).encode()
STREAM = b"".join(
    [
        *[_event([{"index": 0, "delta": {"content": "word "}, "finish_reason": None}], None) for _ in range(CHUNKS)],
        _event([], USAGE),
        b"data: [DONE]\n\n",
    ]
)


@contextmanager
def bare() -> Iterator[None]:
    """The SDK as it comes."""
    yield


@contextmanager
def no_op() -> Iterator[None]:
    """The same seams, wrapped by wrappers that only pass on."""

    def passes(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    places = []
    for seam in OPENAI.seams:
        if not seam.kind.startswith("stainless"):
            continue
        *path, name = seam.attribute.split(".")
        owner: Any = importlib.import_module(seam.module)
        for step in path:
            owner = getattr(owner, step)
        places.append((owner, name, vars(owner)[name]))
        setattr(owner, name, wrapt.FunctionWrapper(vars(owner)[name], passes))
    try:
        yield
    finally:
        for owner, name, original in places:
            setattr(owner, name, original)


@contextmanager
def guarded() -> Iterator[None]:
    """costguard, with a budget that counts the calls."""
    costguard.instrument()
    try:
        with costguard.budgeted(feature="benchmark", limit="$1000000/day"):
            yield
    finally:
        costguard.uninstrument()


STATES: dict[str, Callable[[], Any]] = {"bare SDK": bare, "no-op wrapt": no_op, "costguard": guarded}


def _clients() -> tuple[openai.OpenAI, openai.AsyncOpenAI]:
    transport = httpx2.MockTransport(_answer)
    return (
        openai.OpenAI(api_key="x", http_client=httpx2.Client(transport=transport)),
        openai.AsyncOpenAI(api_key="x", http_client=httpx2.AsyncClient(transport=transport)),
    )


def _median(work: Callable[[], Any], times: int) -> float:
    """The median microseconds of CPU that `work` takes."""
    taken = []
    for _ in range(times):
        began = time.thread_time_ns()
        work()
        taken.append(time.thread_time_ns() - began)
    return statistics.median(taken) / 1000


def _rounds(work: Callable[[], Any], rounds: int, times: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, state_of in STATES.items():
            with state_of():
                work()
                taken = _median(work, times)
            best[name] = min(taken, best.get(name, taken))
    return best


def _show(what: str, best: dict[str, float], per: int = 1) -> None:
    floor = best["bare SDK"]
    print(f"\n{what}")
    for name, taken in best.items():
        added = f"+{(taken - floor) / per:8.2f} µs   {taken / floor:6.3f} x bare" if name != "bare SDK" else ""
        print(f"  {name:<12} {taken / per:9.2f} µs   {added}")


def calls(rounds: int, times: int) -> None:
    """The time added to a call, sync and async, and to a chunk of a stream."""
    client, aclient = _clients()
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 200}
    _show("a call, sync", _rounds(lambda: client.chat.completions.create(**ask), rounds, times))

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete
    _show("a call, async", _rounds(lambda: task(aclient.chat.completions.create(**ask)), rounds, times))

    def read() -> None:
        for _ in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
            pass

    _show(f"a streamed chunk (a stream of {CHUNKS}, its call included)", _rounds(read, rounds, times // 10), CHUNKS)
    loop.run_until_complete(aclient.close())
    loop.close()


def prices(rounds: int) -> None:
    """The time of one price lookup, against adding up the same line by hand."""
    usage, at = [Usage({"input": 100, "cache_read": 20, "output": 80}, "gpt-4o-2024-08-06")], time.time()
    catalog, rates, times = state.catalog, {"input": 2_500_000, "cache_read": 1_250_000, "output": 10_000_000}, 2000

    def looked_up() -> None:
        for _ in range(times):
            catalog.cost("openai", "gpt-4o", usage, at)

    def by_hand() -> None:
        for _ in range(times):
            -(-sum([count * rates[unit] for unit, count in usage[0].counts.items()]) // 1000)

    lookup = min(_median(looked_up, 5) for _ in range(rounds)) / times
    hand = min(_median(by_hand, 5) for _ in range(rounds)) / times
    print(
        f"\na price lookup\n  by hand      {hand:9.2f} µs\n"
        f"  costguard    {lookup:9.2f} µs   {lookup / hand:6.2f} x by hand"
    )


def imports(times: int) -> None:
    """The time of `import costguard` in a fresh interpreter, against one that imports nothing, and wrapt alone."""
    programs = {"nothing": "pass", "wrapt": "import wrapt", "costguard": "import costguard", "openai": "import openai"}
    print("\nimport, in a fresh interpreter")
    floor = 0.0
    for name, program in programs.items():
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            taken.append((time.perf_counter() - began) * 1000)
        best = min(taken)
        floor = floor or best
        print(f"  {name:<12} {best:9.1f} ms   {best / floor:6.2f} x an empty program")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=200)
    chosen = parser.parse_args()
    costguard.configure()
    print(f"openai {openai.__version__}, wrapt {wrapt.__version__}, Python {sys.version.split()[0]}")
    calls(chosen.rounds, chosen.calls)
    prices(chosen.rounds)
    imports(chosen.rounds)


if __name__ == "__main__":
    main()
