"""Ladders of models as the review knows them: with their providers, over which records are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .._catalog import Catalog
from ..optimize import Ladder
from ..optimize import ladders as ladders_of


@dataclass(frozen=True, slots=True)
class Rungs:
    """Models that stand in for one another at a limit.

    Attributes:
        models: ``provider/model``, each dearer than the next.
        features: the features it is for; empty for all.
        always: whether it is tried at any limit; else only where a budget says ``on_exceeded="downgrade"`` or
            ``downgrade_at``, as in a program.
    """

    models: tuple[str, ...]
    features: frozenset[str] = frozenset()
    always: bool = False


def rungs_below(ladders: Iterable[Rungs], model: str, feature: str | None) -> tuple[str, ...]:
    """The models under this one on the first ladder that has it."""
    ladder = ladder_of(ladders, model, feature)
    return () if ladder is None else ladder.models[ladder.models.index(model) + 1 :]


def ladder_of(ladders: Iterable[Rungs], model: str, feature: str | None) -> Rungs | None:
    """The first ladder for a feature that has this model."""
    for ladder in ladders:
        if model in ladder.models and (not ladder.features or feature in ladder.features):
            return ladder
    return None


def written(text: Iterable[str]) -> tuple[Rungs, ...]:
    """Ladders out of ``openai/gpt-4o, openai/gpt-4o-mini``."""
    names = [tuple([name.strip().replace(":", "/", 1) for name in one.split(",") if name.strip()]) for one in text]
    return tuple([Rungs(models, always=True) for models in names])


def configured(catalog: Catalog, ladders: Iterable[Ladder | Sequence[str]]) -> tuple[Rungs, ...]:
    """Ladders of a configuration, whose models are of whichever provider lists them; without those that none lists."""
    return tuple([found for ladder in ladders_of(ladders) if (found := of(catalog, ladder)) is not None])


def of(catalog: Catalog, ladder: Ladder) -> Rungs | None:
    """One ladder of a configuration; None where no provider lists all of its models."""
    for provider in ("openai", "anthropic", "google"):
        found = [catalog.match(provider, model, 0.0) for model in ladder.models]
        if all(match is not None and not match.estimated for match in found):
            names = tuple([f"{provider}/{match.model.id}" for match in found if match is not None])
            return Rungs(names, ladder.features)
    return None
