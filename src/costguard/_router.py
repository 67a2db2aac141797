"""Hugging Face's router: whom it can have sent a call to, and what the call then costs at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from ._hosts import ROUTED
from ._models import Match, Model, weight
from ._rates import Price, Rates, Sheet, dearest, price_at, stretch

_WHY: Final = "which provider the router chose is not known, priced at the dearest rates of those that sell the model"


def choices(
    listed: Callable[[str, str], Match | None],
    kin: Callable[[str, str, float], Match | None],
    name: str,
    at: float,
) -> list[Match]:
    """What the router can send a model's call to: all who list the model, else the nearest kin; the dearest first."""
    found = [match for seller in ROUTED if (match := listed(seller, name)) is not None]
    if not found:
        near = [match for seller in ROUTED if (match := kin(seller, name, at)) is not None]
        closest = max((match.closeness for match in near), default=0)
        found = [match for match in near if match.closeness == closest]
    ordered = sorted(found, key=lambda match: weight(match.model, at), reverse=True)
    return [replace(match, estimated=True, why=match.why or _WHY) for match in ordered]


def unrouted(
    found: Sequence[Match],
    tier: str,
    at: float,
    at_tier: Callable[[Model, Price, str], tuple[Rates, str]],
    discounted: Callable[[Rates], Rates],
) -> Sheet:
    """The dearest rates of all who can have been chosen, unit by unit.

    Args:
        found: see `choices`; one at least.
        at_tier: the rates of a model's price at a tier.
        discounted: takes off what the user negotiated.
    """
    models = [match.model for match in found]
    rates = dearest(at_tier(model, price_at(model.prices, at), tier)[0] for model in models)
    times = [stretch(model.prices, at) for model in models]
    return Sheet(
        models[0].entry(price_at(models[0].prices, at), tier),
        discounted(rates),
        (max(starts for starts, _ in times), min(ends for _, ends in times)),
        sizes=(_largest(model.context for model in models), _largest(model.max_output for model in models)),
        estimated=True,
        why=found[0].why,
    )


def _largest(sizes: Iterable[int | None]) -> int | None:
    """The largest of them; None, which is taken as larger than any, when one is unknown."""
    known = list(sizes)
    return None if None in known else max((size for size in known if size is not None), default=None)
