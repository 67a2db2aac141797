"""Sentences that several formats have in common."""

from __future__ import annotations

from .._figures import change, count, money, share
from .._model import Change, Report

UNNAMED = "(none)"


def headline(report: Report) -> str:
    """Whose review it is, and of when."""
    who = f" · {report.title}" if report.title else ""
    scope = "".join(f" · {tag}={value or UNNAMED}" for tag, value in report.scope.items())
    return f"AI spend review · {report.span.label}{who}{scope}"


def basis(report: Report) -> str:
    """How much of the span there is, on which prices, over how many calls."""
    span = report.span
    days = len(span.days)
    done = sum(at < span.ends for at in span.days)
    if span.kind == "day":
        state = "closed" if span.closed else "so far"
    else:
        state = f"{days} day{'s' if days > 1 else ''} closed" if span.closed else f"day {done} of {days}, so far"
    zone = "" if span.timezone == "UTC" else f" · {span.timezone}"
    prices = f" · {report.prices}" if report.prices else ""
    return f"{state}{zone}{prices} · {count(report.verdict.calls)} calls"


def spent(report: Report) -> str:
    """What was spent, against which limit."""
    verdict = report.verdict
    least = "at least " if verdict.unpriced else ""
    if verdict.limit is None:
        return f"{least}{money(verdict.spent)} spent"
    used = share(verdict.spent / verdict.limit) if verdict.limit else "over"
    return f"{least}{money(verdict.spent)} of {money(verdict.limit)} ({used})"


def against(report: Report) -> str:
    """How that compares with the span before."""
    verdict, compared = report.verdict, report.compared
    if compared is None or verdict.before is None:
        return ""
    it = Change(verdict.spent, verdict.before)
    if it.share is None:
        return f"nothing was spent in {compared.label}"
    arrow = "▲" if it.now > it.before else "▼" if it.now < it.before else "="
    return f"{arrow} {change(it)} vs {compared.label} ({money(it.before)})"


def unnamed(column: str) -> str:
    """What stands for no value in a column that groups calls."""
    return "(unattributed)" if column in ("feature", "team", "environment", "user") else UNNAMED
