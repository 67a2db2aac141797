"""What was spent on what: the main table."""

from __future__ import annotations

from ..._journal import Sums
from .._context import OWN_TAGS, Context
from .._figures import count, money, share
from .._model import Advice, Change, Column, Row, Section
from .budgets import limit_of_all, limits_by

JUMP = 0.5
"""A group that grew by this much, and is no small part of the whole, is worth a look."""
PART = 0.05

Key = tuple[str, ...]


def section(context: Context) -> Section:
    """Groups by what they cost, those without a name last."""
    by = context.group_by
    now, before = _sums(context, before=False), _sums(context, before=True)
    trends = {} if "day" in by else context.trends(by)
    limits = limits_by(context)
    keys = [key for key, sums in now.items() if sums.calls or sums.refused]
    keys.sort(key=(lambda key: key) if "day" in by else lambda key: (not any(key), -now[key].nano, key))
    shown = keys if not context.top or len(keys) <= context.top + 1 else keys[: context.top]
    rows = [_row(context, key, now[key], before.get(key), trends.get(key), limits.get(key)) for key in shown]
    if len(shown) < len(keys):
        rest = keys[len(shown) :]
        label = (f"({len(rest)} others)", *[""] * (len(by) - 1))
        others = sum([now[key] for key in rest], Sums())
        trend = tuple(map(sum, zip(*[trends[key] for key in rest], strict=True))) if trends else None
        rows.append(_row(context, label, others, sum([before.get(key, Sums()) for key in rest], Sums()), trend, None))
    whole = None if not trends else tuple(map(sum, zip(*trends.values(), strict=True)))
    label, was = ("total", *[""] * (len(by) - 1)), context.total(before=True)
    total = _row(context, label, context.total(), was, whole, limit_of_all(context))
    return Section(
        "spend",
        f"By {', '.join(name.removeprefix('tag:') for name in by)}",
        _columns(context, bool(limits)),
        tuple(rows),
        total,
        advice=(*_unattributed(context, now), *_jumps(context, now, before)),
    )


def _sums(context: Context, *, before: bool) -> dict[Key, Sums]:
    by = context.group_by
    if "day" not in by:
        return context.sums(by, before=before)
    place = by.index("day")
    if before:
        return {}
    rest = [name for name in by if name != "day"]
    found = {}
    for group in context.groups(rest, context.span.days):
        day = context.span.date(group.starts).isoformat()
        found[*group.key[:place], day, *group.key[place:]] = group.sums
    return found


def _columns(context: Context, limits: bool) -> tuple[Column, ...]:
    names = [Column(name.removeprefix("tag:"), name.removeprefix("tag:"), "text") for name in context.group_by]
    budget = [Column("budget", "budget", "money", 1), Column("used", "used", "used", 1)] if limits else []
    day = "day" in context.group_by
    compared = [] if context.compared is None or day else [Column("change", "change", "change", 2)]
    trend = [] if day else [Column("trend", "trend", "trend", 3)]
    return (
        *names, Column("spend", "spend", "money"), *budget, *compared, *trend,
        Column("calls", "calls", "count", 5), Column("per_call", "$/call", "money", 4),
        Column("cached", "cached", "share", 6), Column("failed", "failed", "count", 7),
    )  # fmt: skip


def _row(
    context: Context, key: Key, sums: Sums, before: Sums | None, trend: tuple[int, ...] | None, limit: int | None
) -> Row:
    values = {
        # Calls that nobody can price did not cost nothing.
        "spend": sums.nano if sums.nano or not sums.unpriced else None,
        "budget": limit,
        "used": None if not limit else sums.nano / limit,
        "change": None if context.compared is None else Change(sums.nano, 0 if before is None else before.nano),
        "trend": trend,
        "calls": sums.calls,
        "per_call": sums.nano // sums.calls if sums.calls and (sums.nano or not sums.unpriced) else None,
        "cached": sums.cache_read / sums.input_tokens if sums.input_tokens else None,
        "failed": sums.failed,
    }
    columns = _columns(context, bool(limits_by(context)))[len(context.group_by) :]
    return (*key, *[values[column.name] for column in columns])


def _unattributed(context: Context, now: dict[Key, Sums]) -> list[Advice]:
    nobody = now.get(("",)) if len(context.group_by) == 1 else None
    name = context.group_by[0]
    if nobody is None or not nobody.calls or name not in ("feature", "team", "environment", "user"):
        return []
    whole = context.total()
    part = f" ({money(nobody.nano)}, {share(nobody.nano / whole.nano)} of spend)" if whole.nano else ""
    text = f"{count(nobody.calls)} calls{part} carry no {name}."
    return [Advice("?", text, f'costguard.budgeted({name}="...") around them', nobody.nano)]


def _jumps(context: Context, now: dict[Key, Sums], before: dict[Key, Sums]) -> list[Advice]:
    if context.compared is None or "day" in context.group_by:
        return []
    whole, found = context.total().nano, []
    for key, sums in now.items():
        was = before.get(key, Sums()).nano
        if any(key) and was and sums.nano - was > JUMP * was and sums.nano - was > PART * whole:
            why = _why(sums, before[key])
            text = f"{' / '.join(filter(None, key))} went from {money(was)} to {money(sums.nano)}: {why}."
            found.append(Advice("!", text, _look(context, key), sums.nano - was))
    return found


def _why(now: Sums, before: Sums) -> str:
    """Whether there are more calls, or dearer ones."""
    if not now.calls or not before.calls:
        return "its calls changed"
    calls = now.calls / before.calls - 1
    each = (now.nano / now.calls) / (before.nano / before.calls) - 1
    return f"{calls:+.0%} calls, {each:+.0%} cost per call"


def _look(context: Context, key: Key) -> str:
    name = context.group_by[0]
    if len(key) == 1 and name in OWN_TAGS:
        return context.step("report", "--group-by model", **{name: key[0]})
    return ""
