"""Days and features that cost far more than usual, and what made the difference."""

from __future__ import annotations

from datetime import UTC, date, datetime
from shlex import quote
from zoneinfo import ZoneInfo

from ..._journal import Selection
from ..._period import Period
from .._context import Context
from .._daily import back, daily, day_of
from .._figures import day, money
from .._model import Advice, Column, Section
from ..anomalies import Jump, Watch, jumps

SHOWN = 10


def section(context: Context) -> Section | None:
    """Jumps of features; the dearest first."""
    found = watch(context)
    if not found.jumps and found.enough:
        return None
    shown = found.jumps[:SHOWN]
    rows = tuple([(one.name, _when(one), one.spent, one.usual, one.excess, _driver(context, one)) for one in shown])
    notes = []
    if not found.enough:
        notes.append("Not enough data to tell what is unusual: a week of days before is needed.")
    if len(shown) < len(found.jumps):
        notes.append(f"And {len(found.jumps) - len(shown)} smaller ones.")
    return Section(
        "jumps",
        "Unusual",
        (
            Column("feature", "feature", "text"), Column("when", "when", "text"), Column("spent", "spent", "money"),
            Column("usual", "usual", "money", 1), Column("excess", "more", "money"),
            Column("driver", "mostly", "text", 2),
        ),
        rows,
        notes=tuple(notes),
        advice=tuple([_advice(context, one) for one in shown]),
        facts={"judged": found.watched, "not_judged": found.unknown},
    )  # fmt: skip


def watch(context: Context) -> Watch:
    """What stands out among the features' complete days of the span."""
    span = context.span
    past = daily(context.journal, back(span.since), span.ends, span.timezone, ("feature",), context.scope)
    since, until = day_of(span.since, span.timezone), day_of(span.ends, span.timezone)
    return jumps({key[0]: days for key, days in past.items()}, since, until)


def _when(jump: Jump) -> str:
    return day(jump.first) if jump.first == jump.last else f"{day(jump.first)} to {day(jump.last)}"


def _driver(context: Context, jump: Jump) -> str:
    """The model that most of it was spent on."""
    since, until = _start(context, jump.first), _start(context, date.fromordinal(jump.last.toordinal() + 1))
    selection = Selection(since, until, {**context.scope, "feature": jump.name})
    groups = context.journal.sums(selection, ("model",))
    return max(groups, key=lambda group: (group.sums.nano, group.key)).key[0] if groups else ""


def _start(context: Context, of: date) -> float:
    zone = context.span.timezone
    noon = datetime(of.year, of.month, of.day, 12, tzinfo=UTC if zone == "UTC" else ZoneInfo(zone))
    return Period("day", zone).window(noon.timestamp(), "").starts


def _advice(context: Context, jump: Jump) -> Advice:
    name = jump.name or "calls without a feature"
    usual = f"instead of {money(jump.usual)}" if jump.usual else "and nothing before"
    text = f"{name} cost {money(jump.spent)} on {_when(jump)} {usual}, mostly on {_driver(context, jump)}."
    step = f"costguard report --feature {quote(jump.name)} --since {jump.first} --until {jump.last} --group-by model"
    return Advice("!", text, step if jump.name else "", jump.excess)
