"""What exact token counts give and cost: how far above the bill the bound is, and what a prompt of 4 KB takes.

    python benchmarks/tokens.py                      over the requests that the tests keep, with what OpenAI billed
    python benchmarks/tokens.py requests.jsonl       over your own: {"path": ..., "body": ..., "billed": tokens} a line

CPU time, the least of several batches, so that a busy machine changes little.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from cpu import least

from costguard._tokens import Counter, Tokenizers, folders
from costguard._types import INPUT_UNITS, Call
from costguard.ports import Request
from costguard.providers.openai import OPENAI

KEPT = Path(__file__).parents[1] / "tests" / "unit" / "billed_requests.jsonl"
WORDS = 'Where is my parcel? It was to be here on Monday, and the tracking number 4711-0815 says "delivered".\n'


def bound(request: Request) -> int:
    """The input tokens that a request is reserved for."""
    call = OPENAI.read_call(request)
    return sum(call.bound.get(unit, 0) for unit in INPUT_UNITS) if isinstance(call, Call) else 0


def main() -> None:
    """Print both tables."""
    tokenizers = Tokenizers(lambda: folders(os.environ, tempfile.gettempdir()))
    began = time.thread_time()
    if tokenizers.exact("gpt-4o") is None:
        raise SystemExit("there is no tokenizer here: pip install 'costguard-ai[tokens]', then see `costguard doctor`")
    loading = (time.thread_time() - began) * 1000
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT
    tight(path, tokenizers.exact)
    print(f"\n{'reading o200k_base, once, in a thread':<48}{loading:10.0f} ms")
    speed(tokenizers.exact)


def tight(path: Path, counter: Counter) -> None:
    """How many times the bill a bound is: the median, the least, and the sum over all."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        pair = [
            bound(Request(path=one["path"], host="api.openai.com", body=one["body"], counter=by))
            for by in (None, counter)
        ]
        rows.append((one["billed"], *pair))
    print(f"{len(rows)} requests of {path.name}        times the bill: median     least       all")
    for name, kept in (("all", rows), ("of more than 200 tokens", [row for row in rows if row[0] > 200])):
        for index, unit in ((1, "bytes"), (2, "tokens")):
            times = [row[index] / row[0] for row in kept]
            total = sum(row[index] for row in kept) / sum(row[0] for row in kept)
            said = f"{name} ({len(kept)}), bound by {unit}"
            print(f"{said:<48}{statistics.median(times):10.2f}{min(times):10.2f}{total:10.2f}")


def speed(counter: Counter) -> None:
    """Of the bound of a prompt of 4 KB."""
    texts = [f"{number} " + (WORDS * 50)[:4090] for number in range(500)]

    def request(text: str, by: Counter | None) -> Request:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
        return Request(path="/chat/completions", host="api.openai.com", body=body, counter=by)

    new = iter([request(text, counter) for text in texts])
    for said, work in (
        ("4 KB in bytes", lambda: bound(request(texts[0], None))),
        ("4 KB in tokens, said before in a conversation", lambda: bound(request(texts[0], counter))),
        ("4 KB in tokens, new", lambda: bound(next(new))),
    ):
        print(f"{said:<48}{least(work, 50, 9):10.1f} us")


if __name__ == "__main__":
    main()
