"""How often the same was asked, and what an exact cache would have saved; see `costguard.review.caching`."""

from __future__ import annotations

from typing import Final

from .._context import Context
from .._figures import count, money, share
from .._model import Advice, Column, Section
from ..caching import Caching, caching
from .moves import WORTH, wanted

_UNITS: Final = ((604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"))


def section(context: Context) -> Section | None:
    """A row for each time to live; None when that was not worked out, or no call can be told from another."""
    if not wanted(context):
        return None
    found = caching(context.bills()) if context.asked_before is None else context.asked_before
    if not found.known and not found.hits and not found.cached_tokens:
        return None
    rows = [
        (length(would.ttl), would.hits / found.known if found.known else None, would.saved, would.hits, _most(would))
        for would in found.would
        if found.known
    ]
    return Section(
        "cache",
        "Asked before",
        (
            Column("ttl", "kept for a", "text"), Column("rate", "hit rate", "share"),
            Column("saved", "worth", "money"), Column("hits", "hits", "count", 1),
            Column("most", "most of it", "text", 2),
        ),
        tuple(rows),
        notes=tuple(_notes(found)),
        advice=tuple(_advice(context, found)),
        facts={
            "requests": found.requests, "known": found.known, "hits": found.hits, "saved_nano": found.saved,
            "cached_tokens": found.cached_tokens, "input_tokens": found.input_tokens,
        },
    )  # fmt: skip


def length(seconds: int) -> str:
    """A time to live in words."""
    for size, name in _UNITS:
        if seconds % size == 0:
            number = seconds // size
            return name if number == 1 else f"{number} {name}s"
    return f"{seconds} seconds"


def _most(would: object) -> str:
    features = getattr(would, "features", ())
    return (features[0][0] or "(unattributed)") if features else "—"


def _notes(found: Caching) -> list[str]:
    said = []
    if found.requests:
        rate = share(found.hits / found.requests)
        said.append(f"costguard's cache answered {count(found.hits)} of {count(found.requests)} calls ({rate}).")
    if found.input_tokens:
        said.append(f"{share(found.cached_tokens / found.input_tokens)} of input tokens came from providers' caches.")
    if found.known < found.requests:
        said.append(f"{count(found.requests - found.known)} calls have no fingerprint: nothing is said of them.")
    return said


def _advice(context: Context, found: Caching) -> list[Advice]:
    day = next((would for would in found.would if would.ttl == 86_400), None)
    if day is None or not day.features or day.saved * WORTH < context.total().nano or day.saved <= found.saved:
        return []
    feature, hits, saved = day.features[0]
    name = feature or "calls without a feature"
    text = f"{name} asked the same within a day {count(hits)} times: a cache would have saved {money(saved)}."
    return [Advice("i", text, "docs/optimize.md: the response cache", saved)]
