"""What is reported as saved on a recorded trace is what pricing the same calls without it comes to, worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import openai

import costguard
from costguard import Cache, Compression, CostEvent
from costguard._config import state
from costguard._journal import Selection
from costguard.testing.loopback import LoopbackProvider, Reply

from ..conftest import Recorder

RATES = {
    "gpt-4o": {"input": Decimal("2.50"), "cache_read": Decimal("1.25"), "output": Decimal(10)},
    "gpt-4o-mini": {"input": Decimal("0.15"), "cache_read": Decimal("0.075"), "output": Decimal("0.60")},
}
"""US dollars for a million tokens, by the provider's page of November 2026."""
NOVEMBER = 1_795_000_000
WORDS = "Please tell me in a few words at most.\n\n\n\n\n\nAll that you know of this:"
LESS = 1
"""Tokens that four line ends are, by the rule of thumb."""


def _words(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _cost(model: str, counts: dict[str, int]) -> Decimal:
    return sum((RATES[model][unit] * count for unit, count in counts.items()), Decimal(0)) / 10**6


def test_savings_of_a_recorded_trace_are_those_of_pricing_it_by_hand(
    provider: LoopbackProvider, recorder: Recorder, tmp_path: Path
) -> None:
    """Hits, cheaper models and shorter prompts, apart and together, read back from the journal."""
    ticks = count(NOVEMBER)
    costguard.configure(
        exporters=[recorder], journal=f"sqlite://{tmp_path}/calls.db", clock=lambda: next(ticks),
        cache=Cache(features=["faq"]), compression=Compression(features=["agent", "both"]),
        ladders=[("gpt-4o", "gpt-4o-mini")],
    )  # fmt: skip
    costguard.instrument()
    asks = [("faq", f"{WORDS} {number % 4}") for number in range(12)]
    # No two features ask the same: what was billed as cached for one is not changed for another.
    asks += [(feature, f"{WORDS} {feature} {number}") for feature in ("spared", "agent", "both") for number in range(3)]
    asks += [("plain", WORDS)]
    try:
        with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
            for number, (feature, text) in enumerate(asks):
                provider.reply = Reply(input_tokens=500 + number, cached_tokens=100, output_tokens=20 + number)
                spared = {"limit": "$1", "downgrade_at": 0} if feature in ("spared", "both") else {}
                with costguard.budgeted(feature, **spared):  # type: ignore[arg-type]
                    client.chat.completions.create(model="gpt-4o", **_words(text))
        costguard.flush()
        trace = list(state.guard.journal.calls(Selection())) if state.guard.journal is not None else []
    finally:
        costguard.uninstrument()
        costguard.configure()
    assert len(asks) == len(trace)
    paid: dict[str, CostEvent] = {}
    expected = Decimal(0)
    for event, (feature, text) in zip(trace, asks, strict=True):
        counts = dict(event.usages[0].counts) if event.usages else {}
        if feature == "faq" and text in paid:
            assert "cache_hit" == event.decision
            whole = _cost("gpt-4o", dict(paid[text].usages[0].counts))
        else:
            paid[text] = event
            more = LESS if feature in ("agent", "both") else 0
            whole = _cost("gpt-4o", {**counts, "input": counts["input"] + more})
        saved = whole - Decimal(event.cost.nano) / 10**9
        assert (event.saved == 0) == (feature == "plain" or (feature == "faq" and event.decision == "allowed"))
        assert saved == Decimal(event.saved) / 10**9, event
        expected += saved
    assert expected == sum(Decimal(event.saved) for event in trace) / 10**9 > 0
    assert ["downgraded"] * 3 + ["compressed"] * 3 + ["downgraded"] * 3 == [event.decision for event in trace[12:21]]
