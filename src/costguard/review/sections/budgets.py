"""Spend against each budget, as the journal tells it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from ..._budget import Budget
from ..._journal import Selection
from ..._period import Window
from .._context import Context
from .._figures import day, money, share
from .._model import Advice, Column, Section

MOST = 120
"""Windows of a budget that are looked at one by one; of an hourly budget over a month there are more."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a budget was used in its fullest window of the span.

    Attributes:
        name: the budget's, with the value of its ``per`` tag.
        spent: in that window.
        starts, ends: that window; None for a lifetime.
        over: windows in which more was spent than the limit.
        windows: how many there were.
        passed: when the limit was passed in that window, to the quarter of an hour, or None.
    """

    budget: Budget
    name: str
    spent: int
    starts: float
    ends: float | None
    over: int
    windows: int
    passed: float | None = None


def section(context: Context) -> Section | None:
    """Every budget with calendar windows or a lifetime, the fullest first."""
    uses = [use for budget in context.budgets for use in uses_of(context, budget)]
    uses.sort(key=lambda use: (-(use.spent / use.budget.limit if use.budget.limit else 0), use.name))
    left_out = [budget.name for budget in context.budgets if budget.period.kind in ("rolling", "run")]
    if not uses and not left_out:
        return None
    rows = [
        (
            use.name, str(use.budget.period), use.budget.limit, use.spent,
            use.spent / use.budget.limit if use.budget.limit else None,
            use.over, use.windows, use.budget.enforcement,
        )
        for use in uses
    ]  # fmt: skip
    notes = [f"Rolling budgets and those of runs are not looked at here: {', '.join(left_out)}."] if left_out else []
    return Section(
        "budgets",
        "Against budgets",
        (
            Column("budget", "budget", "text"), Column("period", "period", "text", 6),
            Column("limit", "limit", "money"), Column("spent", "spent", "money"), Column("used", "used", "used"),
            Column("over", "over", "count", 3), Column("windows", "of", "count", 3),
            Column("enforcement", "kind", "text", 5),
        ),
        tuple(rows),
        notes=tuple(notes),
        advice=tuple([advice for use in uses for advice in _advice(context, use)]),
    )  # fmt: skip


def uses_of(context: Context, budget: Budget) -> list[Use]:
    """How a budget was used in the span; one for each value of its ``per`` tag."""
    windows = _windows(context, budget)
    if not windows or any(context.scope.get(tag, value) != value for tag, value in budget.scope):
        return []
    first, last = windows[0].starts, windows[-1].ends
    until = context.of(context.span).until
    selection = Selection(first, until if last is None else min(last, until), {**context.scope, **dict(budget.scope)})
    by = [] if budget.per is None else [_group(budget.per)]
    spent: dict[str, dict[float, int]] = {}
    for group in context.journal.sums(selection, by, [window.starts for window in windows[1:]]):
        if not by or group.key[0]:
            spent.setdefault("".join(group.key), {})[group.starts] = group.sums.nano
    if not by and not spent:
        spent[""] = {}
    return [_use(context, budget, value, windows, by_window) for value, by_window in sorted(spent.items())]


def _use(context: Context, budget: Budget, value: str, windows: list[Window], spent: dict[float, int]) -> Use:
    fullest = max(windows, key=lambda window: spent.get(window.starts, 0))
    most = spent.get(fullest.starts, 0)
    name = budget.name if budget.per is None else f"{budget.name}, {budget.per}={value}"
    over = sum(amount > budget.limit for amount in spent.values())
    passed = _passed(context, budget, value, fullest) if most > budget.limit else None
    return Use(budget, name, most, fullest.starts, fullest.ends, over, len(windows), passed)


def _passed(context: Context, budget: Budget, value: str, window: Window) -> float | None:
    """The day on which the spend of a window passed the limit."""
    if window.ends is None or window.ends - window.starts <= 86_400:
        return None
    tags = {**context.scope, **dict(budget.scope)}
    if budget.per is not None:
        tags[budget.per] = value
    days = [at for at in context.span.days if window.starts < at < window.ends]
    groups = context.journal.sums(Selection(window.starts, window.ends, tags), (), days)
    sums = accumulate(group.sums.nano for group in groups)
    return next((group.starts for group, spent in zip(groups, sums, strict=True) if spent > budget.limit), None)


def _windows(context: Context, budget: Budget) -> list[Window]:
    """The windows of a budget that the span touches."""
    kind, span = budget.period.kind, context.span
    if kind in ("rolling", "run"):
        return []
    if kind == "lifetime":
        return [Window("lifetime")]
    windows: list[Window] = []
    at = span.since
    while at < span.ends or not windows:
        window = budget.period.window(at, "")
        assert window.ends is not None
        windows.append(window)
        at = window.ends
        if len(windows) > MOST:
            return []
    return windows


def limit_of_all(context: Context) -> int | None:
    """The limit on all calls of the scope in the span, where there is one."""
    found = [budget.limit for budget in _of_the_span(context) if dict(budget.scope) == context.scope]
    return min(found, default=None)


def limits_by(context: Context) -> dict[tuple[str, ...], int]:
    """The limits of the groups of the main table, where it is grouped by tags."""
    names = [name.removeprefix("tag:") for name in context.group_by]
    found: dict[tuple[str, ...], int] = {}
    for budget in _of_the_span(context):
        scope = {tag: value for tag, value in budget.scope if context.scope.get(tag) != value}
        if scope and set(scope) == set(names):
            key = tuple([scope[name] for name in names])
            found[key] = min(budget.limit, found.get(key, budget.limit))
    return found


def _of_the_span(context: Context) -> list[Budget]:
    """The budgets that have one window which is the span itself."""
    span, found = context.span, []
    for budget in context.budgets:
        if budget.per is None and budget.period.kind == span.kind:
            window = budget.period.window(span.since, "")
            if (window.starts, window.ends) == (span.since, span.until):
                found.append(budget)
    return found


def _group(tag: str) -> str:
    return tag if tag in ("feature", "team", "environment", "user") else f"tag:{tag}"


def _advice(context: Context, use: Use) -> list[Advice]:
    limit = use.budget.limit
    if use.spent > limit:
        when = f" on {day(context.span.date(use.passed))}" if use.passed is not None else ""
        many = f" in {use.over} of {use.windows} windows" if use.windows > 1 else ""
        text = f"{use.name} passed its limit of {money(limit)}{when}{many}: {money(use.spent)} spent."
        step = "raise its limit, or set enforcement='hard'" if use.budget.enforcement != "hard" else "raise its limit"
        return [Advice("!", text, step, use.spent - limit)]
    if limit and use.spent >= 0.9 * limit:
        text = f"{use.name} has used {share(use.spent / limit)} of its limit of {money(limit)}."
        return [Advice("i", text, "", use.spent)]
    return []
