"""Models that could do what some calls did: as far as their records tell, and careful where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .._catalog import Catalog
from .._journal import Bill
from .._match import without_dates
from .._models import Model
from .._rates import price_at
from .._types import Unit
from ..errors import ConfigError

UNSEEN: Final = ("schema", "tools", "vision")
"""What a request may have asked for that its record does not show: taken as used wherever the model that served could
do it."""

TEXT: Final = frozenset(("chat", "text_completion", "interactions"))
"""Operations that another chat model could carry out."""

_SEEN: Final = {
    "cache_read": "caching",
    "cache_write": "caching",
    "cache_write_1h": "caching",
    "cache_write_12h": "caching",
    "input_audio": "audio_in",
    "cache_read_audio": "audio_in",
    "output_audio": "audio_out",
    "input_image": "vision",
    "cache_read_image": "vision",
    "reasoning": "reasoning",
    "web_searches": "search",
}
"""Units of a bill with the capability that they prove. A cache that is not there costs money, and no answer."""
_ONLY_MONEY: Final = frozenset({"caching"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that calls might move to, as `provider` sells it."""

    provider: str
    model: Model

    @property
    def name(self) -> str:
        """The provider and the model, as price entries spell them."""
        return f"{self.provider}/{self.model.id}"


def named(catalog: Catalog, names: Iterable[str], at: float) -> list[Candidate]:
    """The models that a user means by ``provider/model`` or ``provider:model``.

    Raises:
        ConfigError: a name says no provider, or is not in the price lists.
    """
    found = []
    for name in names:
        provider, sign, model = name.replace(":", "/", 1).partition("/")
        if not sign:
            raise ConfigError(f"candidate {name!r}: say whose it is, such as 'openai/gpt-4o-mini'")
        match = catalog.match(provider, model, at)
        if match is None or match.estimated:
            near = f"; did you mean {provider}/{match.model.id}?" if match else ""
            raise ConfigError(f"candidate {name!r} is not in the price lists{near}")
        found.append(Candidate(provider, match.model))
    return found


def current(catalog: Catalog, provider: str, at: float) -> list[Candidate]:
    """Every model of a provider's that can be called now and has a price for text."""
    return [
        Candidate(provider, model)
        for model in catalog.models(provider)
        if model.current(at) and not model.free and {"input", "output"} <= price_at(model.prices, at).rates.keys()
    ]


def needs(units: Iterable[Unit], served: Model | None, without: Sequence[str] = ()) -> frozenset[str]:
    """The capabilities that calls with these units on their bill used, or may have used."""
    seen = {_SEEN[unit] for unit in units if unit in _SEEN} - _ONLY_MONEY
    unseen = {cap for cap in UNSEEN if served is not None and cap in served.caps}
    return frozenset((seen | unseen) - set(without))


def is_text(bill: Bill) -> bool:
    """Whether a call is of the kind that another chat model could answer, and has a bill to price again."""
    return bill.operation in TEXT and any([usage.counts for usage in bill.usages])


_SIZES: Final = frozenset(
    ("ultra", "opus", "pro", "large", "sol", "sonnet", "medium", "terra", "flash", "haiku", "small", "luna", "mini",
     "lite", "nano")
)  # fmt: skip
"""Words that tell models of one generation apart by their size."""


def generation(id: str) -> tuple[str, ...]:
    """What is left of a model's name without its size and date: the same for ``gpt-4.1`` and ``gpt-4.1-mini``, for
    ``claude-sonnet-4-5-20250929`` and ``claude-haiku-4-5``, and another for ``gpt-4o`` or ``gpt-4.1-codex``."""
    *_, undated = without_dates(id)
    return tuple([word for word in undated.split("-") if word not in _SIZES])
