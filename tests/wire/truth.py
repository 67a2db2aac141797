"""What the loopback provider billed, priced without the code under test reading any usage."""

from __future__ import annotations

from decimal import Decimal

from costguard._config import state
from costguard._money import decimal_usd
from costguard._types import Usage
from costguard.testing.loopback import Billed


def usage(billed: Billed) -> Usage:
    """The provider's own count, in the catalog's disjoint units."""
    counts = {
        "input": billed.fresh_input_tokens - billed.input_audio_tokens - billed.input_image_tokens,
        "cache_read": billed.cached_tokens,
        "cache_write": billed.cache_write_tokens,
        "cache_write_1h": billed.cache_write_1h_tokens,
        "input_audio": billed.input_audio_tokens,
        "input_image": billed.input_image_tokens,
        "output": billed.output_tokens - billed.reasoning_tokens - billed.output_audio_tokens,
        "reasoning": billed.reasoning_tokens,
        "output_audio": billed.output_audio_tokens,
        "web_searches": billed.web_searches,
    }
    tier = billed.service_tier or "standard"
    return Usage(
        {unit: count for unit, count in counts.items() if count}, tier="standard" if tier == "default" else tier
    )


def cost(provider: str, *billed: Billed) -> Decimal:
    """What these answers cost, each rounded up on its own as a call is."""
    at = state.guard.clock()
    return sum(
        (decimal_usd(state.catalog.cost(provider, one.model, [usage(one)], at).nano) for one in billed), Decimal(0)
    )
