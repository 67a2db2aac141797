"""What the calls were for: the cost of each outcome, and its margin."""

from __future__ import annotations

from ..._journal import Worth
from .._context import Context
from .._figures import money
from .._model import Advice, Change, Column, Section
from .._span import Span

WORSE = 0.1
"""An outcome of which the cost per unit, or per dollar of value, grew by this much is worth a look."""

Key = tuple[str, str]


def section(context: Context) -> Section | None:
    """Outcomes by feature: what each did cost, failed attempts and retries included, and what is left of its value."""
    now = worth(context, context.span)
    if not now:
        return None
    before = {} if context.compared is None else worth(context, context.compared)
    keys = sorted(now, key=lambda key: (-now[key].cost, key))
    change = () if context.compared is None else (Column("change", "change", "change", 1),)
    rows = []
    for key in keys:
        it, was = now[key], before.get(key)
        each = () if context.compared is None else (_change(it, was),)
        rows.append((
            *key, it.count, it.cost, it.each, *each, it.value, it.value - it.cost if it.value else None,
            (it.value - it.cost) / it.value if it.value else None, it.calls, it.failed,
        ))  # fmt: skip
    return Section(
        "value",
        "Value",
        (
            Column("outcome", "outcome", "text"), Column("feature", "feature", "text", 4),
            Column("count", "count", "count"), Column("cost", "cost", "money"), Column("each", "each", "money"),
            *change, Column("value", "value", "money", 2), Column("margin", "margin", "money", 2),
            Column("margin_share", "", "share", 3), Column("calls", "calls", "count", 5),
            Column("failed", "failed", "count", 6),
        ),
        tuple(rows),
        notes=tuple(_notes(context)),
        advice=tuple(_advice(context, keys, now, before)),
    )  # fmt: skip


def worth(context: Context, span: Span) -> dict[Key, Worth]:
    """The results told in a span, with the cost of their runs."""
    return {(one.name, one.feature): one for one in context.journal.worth(context.of(span))}


def _change(now: Worth, before: Worth | None) -> Change:
    return Change(now.each or 0, (before.each or 0) if before is not None else 0)


def _notes(context: Context) -> list[str]:
    pruned = context.journal.extent().calls_since
    if pruned is not None and pruned > context.span.since:
        return [f"Calls before {context.span.date(pruned)} are not kept any more and not in these costs."]
    return []


def _advice(context: Context, keys: list[Key], now: dict[Key, Worth], before: dict[Key, Worth]) -> list[Advice]:
    found = []
    for key in keys:
        it, was = now[key], before.get(key)
        name = key[0] + (f" of {key[1]}" if key[1] else "")
        if it.value and it.cost > it.value:
            text = f"{name} costs more than it is worth: {money(it.cost)} for {money(it.value)}."
            found.append(Advice("!", text, "", it.cost - it.value))
        elif was is not None and _ratio(was) and _ratio(it) > (1 + WORSE) * _ratio(was):
            per = "dollar of value" if it.value and was.value else "outcome"
            grown = _ratio(it) / _ratio(was) - 1
            text = f"{name} got dearer: {grown:+.0%} cost per {per}, {money(it.each or 0)} each."
            step = context.step("report", "--group-by model", feature=key[1]) if key[1] else ""
            found.append(Advice("!", text, step, it.cost))
    return found


def _ratio(it: Worth) -> float:
    """Cost per dollar of value, or per outcome where no value is told."""
    return it.cost / (it.value or it.count)
