"""What other models and other tiers would have cost for the same calls; see `costguard.review.what_if`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .._context import Context
from .._figures import count, money, share
from .._model import Advice, Column, Row, Section
from ..caching import Asked
from ..what_if import Move, WhatIf, what_if

MOST: Final = 100_000
"""Calls of a span up to which each is priced anew unasked."""
WORTH: Final = 50
"""A saving below one part in this many of the spend is no advice."""

COLUMNS: Final = (
    Column("feature", "feature", "text"), Column("provider", "provider", "text", 8),
    Column("model", "from", "text", 2), Column("to", "to", "text"), Column("tier", "tier", "text", 8),
    Column("movable", "movable", "share", 2),
    Column("cost", "cost", "money", 2), Column("would_cost", "would be", "money", 2),
    Column("saved", "saved", "money"), Column("why", "why", "text", 5), Column("calls", "calls", "count", 4),
)  # fmt: skip

_ALWAYS: Final = (
    "Priced call by call from what was billed, caches and tiers included. What moves to a model cannot move to a tier"
    " too."
)
_UNTRIED: Final = (
    "{how} would have saved {saved} ({part}) on {movable} of {calls} calls. Whether its answers are"
    " good enough is not measured: try it on some of them first, with an evaluation or side by side."
)
_HOW: Final = {
    "ladder": "the next model of the configured ladder", "smaller": "the next smaller model of the same generation",
    "named": "the best of the models asked for",
}  # fmt: skip
WHY: Final = {
    "ladder": "your ladder", "smaller": "next smaller", "listed": "cheapest listed", "named": "asked for",
    "tier": "nobody waits",
}  # fmt: skip
"""What makes a move one, in a word or two."""


def section(context: Context) -> Section | None:
    """Moves that would have saved something; None when that was not worked out, or there is nothing to move."""
    if context.catalog is None:
        return None
    if not wanted(context):
        return _unasked(context)
    found = context.options.get("what_if") or of(context)
    if not found.models and not found.tiers:
        return None
    every = [*found.models, *found.tiers]
    if not context.options.get("every"):
        every = sorted([*found.steps, *_tiers(found)], key=lambda one: (-one.saved, one.feature, one.model, one.tier))
    shown = every[: context.top or None]
    return Section(
        "moves",
        "Cheaper ways",
        COLUMNS,
        tuple([row(move) for move in shown]),
        notes=notes(found),
        advice=tuple(_advice(context, found)),
        facts={
            "calls": found.calls, "not_movable": found.kept, "saved_nano": found.saved, "movable": found.movable,
        },
    )  # fmt: skip


def _unasked(context: Context) -> Section | None:
    calls = context.total().calls
    if calls <= MOST:
        return None
    note = f"Not worked out for {calls:,} calls, which takes a while: costguard report --deep does."
    return Section("moves", "Cheaper ways", COLUMNS, (), notes=(note,))


def of(context: Context) -> WhatIf:
    """The moves of the context's calls."""
    assert context.catalog is not None  # the caller looked
    asked = Asked()
    found = what_if(
        context.bills,
        context.catalog,
        candidates=context.options.get("candidates"),
        without=context.options.get("without"),
        ladders=context.options.get("ladders", ()),
        at=context.span.ends,
        seen=asked.add,
    )
    context.asked_before = asked.result()
    return found


def wanted(context: Context) -> bool:
    """Whether each call is to be looked at: when that was asked for, or there are not too many."""
    deep = context.options.get("deep")
    return bool(deep) if deep is not None else 0 < context.total().calls <= MOST


def _tiers(found: WhatIf) -> list[Move]:
    """The tier of each feature and model that saves most."""
    first: dict[tuple[str, str], Move] = {}
    for move in found.tiers:
        first.setdefault((move.feature, move.model), move)
    return list(first.values())


def row(move: Move) -> Row:
    """A move as the section's columns."""
    movable = move.movable / move.calls if move.calls else None
    provider, _, model = move.model.partition("/")
    # Two names that begin alike would be cut where they begin to differ.
    to = move.to.removeprefix(f"{provider}/") if not move.tier else f"{move.tier} tier"
    tier = move.tier or "as now"
    costs = (move.cost, move.would_cost, move.saved)
    return (move.feature, provider, model, to, tier, movable, *costs, WHY[move.why], move.calls)


def notes(found: WhatIf) -> tuple[str, ...]:
    """What a reader has to know of the figures."""
    said = [_ALWAYS]
    hows = [_HOW[why] for why in _HOW if any(move.why == why for move in found.steps)]
    if hows:
        part = share(found.saved / found.nano) if found.nano else ""
        counts = {"movable": count(found.movable), "calls": count(found.calls)}
        how = " or ".join(hows)
        said.insert(0, _UNTRIED.format(how=how[0].upper() + how[1:], saved=money(found.saved), part=part, **counts))
    assumed = sorted({cap for move in found.models for cap in move.assumed})
    if assumed:
        said.append(f"Taken as needed, because no record shows it: {', '.join(assumed)}.")
    if found.tiers:
        said.append("A cheaper tier is told for calls that were not streamed and are no user's: nobody seems to wait.")
    if found.kept:
        said.append(f"{found.kept:,} calls could not be priced elsewhere: embeddings, images, costs without tokens.")
    return tuple(said)


def _advice(context: Context, found: WhatIf) -> Sequence[Advice]:
    advice = []
    for move in sorted([*found.steps, *_tiers(found)], key=lambda one: (-one.saved, one.feature, one.model)):
        if move.saved * WORTH < found.nano:
            continue
        where = f"in the {move.tier} tier" if move.tier else f"on {move.to}"
        name = move.feature or "what has no feature"
        text = (
            f"{name}: {share(move.movable / move.calls)} of its calls on {move.model} would have cost"
            f" {money(move.saved)} less {where}{'' if move.tier else ', if its answers are good enough'}."
        )
        step = context.step("what-if", feature=move.feature)
        advice.append(Advice("i", text, step, move.saved))
    return advice[:5]
