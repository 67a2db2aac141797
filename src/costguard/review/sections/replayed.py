"""What another policy would have done to recorded calls, as a table; see `costguard.review.backtest`."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from .._figures import count, money, share
from .._model import Advice, Column, Section
from .._span import Span
from ..backtest import Backtest, Stop

SHOWN = 5
"""Windows that are told as advice."""


def section(found: Backtest, of: Span) -> Section:
    """Each window of a budget that would have refused something, in order."""
    return Section(
        "simulated",
        "Refused",
        (
            Column("budget", "budget", "text"), Column("first", "from", "text"), Column("limit", "limit", "money", 1),
            Column("calls", "calls", "count"), Column("cost", "they cost", "money"),
            Column("feature", "mostly", "text", 2),
        ),
        tuple([_row(stop, of) for stop in found.stops]),
        ("total", "—", None, found.blocked, found.blocked_nano, "—"),
        notes=tuple(_notes(found)),
        advice=tuple(_advice(found, of)),
        facts={
            name: getattr(found, name)
            for name in (
                "calls", "cost", "would_cost", "blocked", "blocked_nano", "warned", "shortened", "downgraded",
                "downgraded_saved", "hits", "hits_saved", "not_replayed",
            )
        },
    )  # fmt: skip


def _row(stop: Stop, of: Span) -> tuple[str, str, int, int, int, str]:
    feature = stop.features[0][0] or "(unattributed)"
    return (stop.budget, _when(stop.first, of), stop.limit, stop.calls, stop.nano, feature)


def _when(at: float, of: Span) -> str:
    moment = datetime.fromtimestamp(at, UTC if of.timezone == "UTC" else ZoneInfo(of.timezone))
    return f"{moment:%Y-%m-%d %H:%M}"


def _notes(found: Backtest) -> list[str]:
    less = found.cost - found.would_cost
    part = f", {share(less / found.cost)} less" if found.cost and less else ""
    said = [f"{count(found.calls)} calls, {money(found.cost)}: would have cost {money(found.would_cost)}{part}."]
    told = (
        (found.downgraded, "would have gone to a cheaper model, saving", found.downgraded_saved),
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
    dearest = sorted(found.stops, key=lambda stop: (-stop.nano, stop.first, stop.budget))[:SHOWN]
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
