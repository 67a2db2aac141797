"""What recorded calls would have cost elsewhere, asked from a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ._budget import clean_tags
from ._config import state
from ._journal import Selection
from ._money import decimal_usd
from .errors import ConfigError
from .journals import open_journal
from .ports import Journal


@dataclass(frozen=True, slots=True)
class Move:
    """What some calls would have cost on another model or tier. Money in US dollars.

    Attributes:
        feature: whose they are, empty for calls without one.
        model, to: where they were answered and where they would be, ``provider/model``.
        tier: the tier they would be on, empty for the one each was on.
        calls, movable: all calls of that feature to that model, and those that could move.
        cost, would_cost: of the movable ones.
        assumed: capabilities that no record shows and that were taken as needed.
        why: what makes `to` a candidate: ``ladder``, the next one down a configured ladder; ``smaller``, the next
            smaller model of the same generation; ``listed``, one of the cheapest; ``named``, you did; ``tier``.
    """

    feature: str
    model: str
    to: str
    tier: str
    calls: int
    movable: int
    cost: Decimal
    would_cost: Decimal
    assumed: tuple[str, ...] = ()
    why: str = "listed"

    @property
    def saved(self) -> Decimal:
        """What moving them would have saved."""
        return self.cost - self.would_cost

    @property
    def share(self) -> float:
        """The share of the calls that could move."""
        return self.movable / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What moving would have saved, the largest saving first. Money in US dollars.

    Attributes:
        calls, cost: what was looked at.
        models: moves to other models; those of one feature and model exclude each other.
        tiers: moves of calls that nobody waits for to a cheaper tier of the same model.
        kept: calls that could not be priced elsewhere.
        steps: for each feature and model the move that can be answered for: the smallest step down, or the best of the
            models that you named. Whether the answers stay good enough is not measured.
    """

    calls: int
    cost: Decimal
    models: tuple[Move, ...]
    tiers: tuple[Move, ...]
    kept: int
    steps: tuple[Move, ...]

    @property
    def saved(self) -> Decimal:
        """What the steps save together."""
        return sum([move.saved for move in self.steps], Decimal(0))

    @property
    def share(self) -> float:
        """The share of all calls that the steps would move."""
        return sum([move.movable for move in self.steps]) / self.calls if self.calls else 0.0


def what_if(
    *,
    month: str | None = None,
    since: str | None = None,
    until: str | None = None,
    timezone: str = "UTC",
    candidates: Sequence[str] | None = None,
    without: Mapping[str, Sequence[str]] | None = None,
    journal: str | Journal | None = None,
    **tags: str,
) -> WhatIf:
    """Price recorded calls on other models and tiers: ``what_if(month="2026-10", candidates=["openai/gpt-4o-mini"])``.

    Each call is priced by itself from what was billed, caches and tiers included, on models that can do what it used.

    Args:
        month, since, until, timezone: when; the present month, or the last one while it is fresh, when left out.
        candidates: ``provider/model`` to try; the cheapest of the same provider when left out.
        without: what features certainly do not use: ``{"search": ["vision", "tools"]}``, ``*`` for all of them.
        journal: where the calls are; the configured one when left out.
        tags: only calls with these.

    Raises:
        ConfigError: there is no journal, or something is malformed.
        JournalUnavailableError: the journal cannot be read.
    """
    # Late, because few programs ask, and a review brings much with it.
    from .review import span
    from .review._ladders import configured
    from .review.what_if import what_if as found_of

    guard = state.guard
    kept = journal if journal is not None else guard.journal
    if kept is None:
        raise ConfigError("what_if needs a journal: configure(journal=...), COSTGUARD_JOURNAL or journal=...")
    of = span(guard.clock(), month=month, since=since, until=until, timezone=timezone)
    opened = open_journal(kept) if isinstance(kept, str) else kept
    try:
        opened.flush(5.0)
        selection = Selection(of.since, of.until, clean_tags(dict(tags)))
        ladders = configured(state.catalog, state.setup.ladders if state.setup is not None else ())
        found = found_of(
            lambda: opened.bills(selection),
            state.catalog,
            candidates=candidates,
            without=without,
            ladders=ladders,
            at=of.ends,
        )
    finally:
        if isinstance(kept, str):
            opened.close()

    models, tiers = tuple(map(_move, found.models)), tuple(map(_move, found.tiers))
    return WhatIf(found.calls, decimal_usd(found.nano), models, tiers, found.kept, tuple(map(_move, found.steps)))


def _move(move: object) -> Move:
    from .review.what_if import Move as Found

    assert isinstance(move, Found)  # that is what the review gives
    return Move(
        move.feature, move.model, move.to, move.tier, move.calls, move.movable, decimal_usd(move.cost),
        decimal_usd(move.would_cost), move.assumed, move.why,
    )  # fmt: skip
