"""What another policy would have done to recorded calls, as a table; see `costguard.review.backtest`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from .._figures import count, money, share
from .._model import Advice, Column, Row, Section
from .._span import Span
from ..backtest import Backtest, Stop

SHOWN = 5
"""Windows that are told as advice."""


WHAT: Final = {"refused": "refused", "downgraded": "cheaper", "cached": "cached"}


def section(found: Backtest, of: Span, *, most: int = 0) -> Section:
    """Each window of a budget that would have refused something or sent it elsewhere, and the cache, in order.

    Args:
        most: windows above which those of one budget are taken together; 0 for any number.
    """
    together = 0 < most < len(found.stops)
    stops = _together(found.stops) if together else found.stops
    notes = [f"Windows of one budget are taken together: {count(len(found.stops))} in all."] if together else []
    return Section(
        "simulated",
        "Replayed",
        (
            Column("budget", "budget", "text"), Column("what", "what", "text"), Column("first", "from", "text"),
            Column("limit", "limit", "money", 3), Column("calls", "calls", "count"),
            Column("cost", "they cost", "money"), Column("saved", "saved", "money", 1),
            Column("feature", "mostly", "text", 2),
        ),
        tuple([_row(stop, of) for stop in stops]),
        notes=(*notes, *_notes(found)),
        advice=tuple(_advice(found, of)),
        facts={
            name: getattr(found, name)
            for name in (
                "calls", "cost", "would_cost", "blocked", "blocked_nano", "warned", "shortened", "downgraded",
                "downgraded_saved", "early", "hits", "hits_saved", "not_replayed",
            )
        },
    )  # fmt: skip


def _together(stops: Sequence[Stop]) -> Sequence[Stop]:
    """One for each budget and what it would have done, from the first window on."""
    found: dict[tuple[str, str], Stop] = {}
    for stop in stops:
        before = found.setdefault((stop.what, stop.budget), stop)
        if before is not stop:
            features = Counter(dict(before.features))
            features.update(dict(stop.features))
            ordered = sorted(features.items(), key=lambda item: (-item[1], item[0]))
            found[stop.what, stop.budget] = replace(
                before, calls=before.calls + stop.calls, nano=before.nano + stop.nano, saved=before.saved + stop.saved,
                features=tuple(ordered),
            )  # fmt: skip
    return tuple(found.values())


def _row(stop: Stop, of: Span) -> Row:
    feature = stop.features[0][0] or "(unattributed)"
    limit, saved = stop.limit if stop.budget else None, stop.saved if stop.what != "refused" else None
    what = WHAT[stop.what]
    return (stop.budget or "(cache)", what, _when(stop.first, of), limit, stop.calls, stop.nano, saved, feature)


def _when(at: float, of: Span) -> str:
    moment = datetime.fromtimestamp(at, UTC if of.timezone == "UTC" else ZoneInfo(of.timezone))
    return f"{moment:%Y-%m-%d %H:%M}"


def _notes(found: Backtest) -> list[str]:
    less = found.cost - found.would_cost
    part = f", {share(less / found.cost)} less" if found.cost and less else ""
    said = [f"{count(found.calls)} calls, {money(found.cost)}: would have cost {money(found.would_cost)}{part}."]
    told = (
        (found.blocked, "would have been refused; they cost", found.blocked_nano),
        (found.downgraded, "would have gone to a cheaper model, saving", found.downgraded_saved),
        (found.early, "of those before a limit was reached (downgrade_at)", None),
        (found.hits, "would have been answered from a cache, saving", found.hits_saved),
        (found.shortened, "would have passed only with a lower output cap", None),
        (found.warned, "would have been warned of", None),
        (found.not_replayed, "were refused when they were made and are not replayed", None),
    )
    for calls, what, nano in told:
        if calls:
            said.append(f"{count(calls)} {what}{'' if nano is None else f' {money(nano)}'}.")
    said.append("Books begin empty; what a program does when it is refused, such as to try again, is not simulated.")
    return said


def _advice(found: Backtest, of: Span) -> list[Advice]:
    """The windows that would have refused most, each with when it begins."""
    stops = [stop for stop in found.stops if stop.what == "refused"]
    dearest = sorted(stops, key=lambda stop: (-stop.nano, stop.first, stop.budget))[:SHOWN]
    return [
        Advice(
            "!",
            f"{stop.budget} would have refused {count(stop.calls)} calls worth {money(stop.nano)} from"
            f" {_when(stop.first, of)} on.",
            "",
            stop.nano,
        )
        for stop in dearest
    ]
