"""How long a price takes: one lookup with its arithmetic, and the first look into a provider's file.

    python benchmarks/prices.py

CPU time, the least of several batches, so that a busy machine changes little. Beside it, what reading the answer's
usage out of JSON takes on the same machine, and the same price by genai-prices where that is installed: the ratios
hold on any machine.
"""

from __future__ import annotations

import json

from cpu import least

from costguard._catalog import Catalog
from costguard._snapshot import load, vendored
from costguard._types import Usage

NOW = 1_795_392_000.0
CASES = {
    "input and output": Usage({"input": 1200, "output": 300}, "gpt-4o-2024-08-06"),
    "cached, with reasoning": Usage({"input": 1200, "cache_read": 800, "output": 300, "reasoning": 50}, "gpt-5.4"),
    "flex tier": Usage({"input": 1200, "cache_read": 800, "output": 300}, "gpt-5.6-sol", "flex"),
    "long context": Usage({"input": 300_000, "output": 300}, "gpt-5.4"),
}
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello there."}}],
        "usage": {"prompt_tokens": 2000, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 800}},
    }
)


def main() -> None:
    """Print the table."""
    catalog = vendored()
    parsing = least(lambda: json.loads(ANSWER))
    print(f"{'reading one small answer as JSON':<40}{parsing:8.2f} us")
    for name, usage in CASES.items():
        taken = least(lambda usage=usage: catalog.cost("openai", usage.model or "", [usage], NOW))  # type: ignore[misc]
        print(f"{f'price: {name}':<40}{taken:8.2f} us{taken / parsing:8.2f} of reading the answer")
    theirs = _genai()
    if theirs is not None:
        ours = least(lambda: catalog.cost("openai", "gpt-4o", [CASES["input and output"]], NOW))
        print(f"{'the first price by genai-prices':<40}{theirs:8.2f} us{theirs / ours:8.0f} times ours")
    for provider in ("openai", "anthropic", "google", "openrouter"):
        first = least(lambda provider=provider: _first(provider), 5, 5) / 1000  # type: ignore[misc]
        print(f"{f'first price of {provider}':<40}{first:8.2f} ms, with reading its file")


def _first(provider: str) -> None:
    Catalog(load).cost(provider, "gpt-4o", [Usage({"input": 1})], NOW)


def _genai() -> float | None:
    try:
        from genai_prices import Usage as Theirs
        from genai_prices import calc_price
    except ImportError:
        return None
    usage = Theirs(input_tokens=1200, output_tokens=300)
    return least(lambda: calc_price(usage, "gpt-4o", provider_id="openai"), 500, 9)


if __name__ == "__main__":
    main()
