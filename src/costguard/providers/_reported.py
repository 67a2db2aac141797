"""What the provider itself says that a call cost, from those whose word is a bill.

Only the hosts named here are believed, each in the field it documents: a field of the same name in another's answer
may be credits, another currency or a gateway's estimate. A zero proves nothing, because it is also what is returned
for a key of one's own, for bought capacity and by resellers that do not fill the field in.
Source: openrouter.ai/docs (usage accounting), docs.x.ai (cost tracking), docs.perplexity.ai, vercel.com/docs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from .._money import parse_usd
from .._types import Nano
from ._fields import get

_TICKS_PER_NANO: Final = 10
"""xAI counts in ticks, 1e-10 dollars."""


def reported(provider: str, usage: Any) -> Nano | None:
    """The cost in nano-dollars that `provider` returned in `usage`, None when it returned none that can be believed."""
    read = _READ.get(provider)
    return read(usage) if read is not None else None


def _usd(value: Any) -> Nano | None:
    """A positive amount of dollars. A float is what it was written as, to a billionth of a dollar, rounded up."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0 or not math.isfinite(value):
        return None
    try:
        return parse_usd(value)
    except ValueError:
        return None


def _cost(usage: Any) -> Nano | None:
    return _usd(get(usage, "cost"))


def _openrouter(usage: Any) -> Nano | None:
    """With a key of one's own the maker bills its part and OpenRouter a fee: both are the call's cost."""
    if get(usage, "is_byok") is not True:
        return _cost(usage)
    upstream = _usd(get(usage, "cost_details", "upstream_inference_cost"))
    return None if upstream is None else upstream + (_cost(usage) or 0)


def _vercel(usage: Any) -> Nano | None:
    """With a key of one's own the gateway bills nothing; what the maker bills is then its list price."""
    return _usd(get(usage, "market_cost")) if get(usage, "is_byok") is True else _cost(usage)


def _xai(usage: Any) -> Nano | None:
    ticks = get(usage, "cost_in_usd_ticks")
    return -(-ticks // _TICKS_PER_NANO) if type(ticks) is int and ticks > 0 else None


def _perplexity(usage: Any) -> Nano | None:
    currency = get(usage, "cost", "currency")
    return _usd(get(usage, "cost", "total_cost")) if currency in (None, "USD") else None


_READ: Final[Mapping[str, Callable[[Any], Nano | None]]] = {
    "avian": _cost,
    "openrouter": _openrouter,
    "perplexity": _perplexity,
    "vercel": _vercel,
    "x-ai": _xai,
}
