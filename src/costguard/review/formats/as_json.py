"""For programs: one document with stable keys. Money is a decimal string in US dollars, times are UTC."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ..._money import decimal_usd
from .._model import Change, Column, Report, Section, Value
from .._span import Span

SCHEMA = "costguard.report/1"


def render(report: Report, **_: Any) -> str:
    """The review as a JSON document."""
    return json.dumps(document(report), ensure_ascii=False, indent=2) + "\n"


def document(report: Report) -> dict[str, Any]:
    """The same as plain data."""
    verdict = report.verdict
    return {
        "schema": SCHEMA,
        "title": report.title,
        "currency": "USD",
        "span": _span(report.span),
        "compared": None if report.compared is None else _span(report.compared),
        "scope": dict(report.scope),
        "prices": report.prices,
        "verdict": {
            "spent": _usd(verdict.spent),
            "budget": None if verdict.limit is None else _usd(verdict.limit),
            "spent_before": None if verdict.before is None else _usd(verdict.before),
            "calls": verdict.calls,
            "calls_without_a_price": verdict.unpriced,
            "saved": _usd(verdict.saved),
        },
        "sections": {section.name: _section(section) for section in report.sections},
        "advice": [
            {"level": one.level, "text": one.text, "step": one.step, "amount": _usd(one.nano)} for one in report.advice
        ],
    }


def _section(section: Section) -> dict[str, Any]:
    def row(values: tuple[Value, ...]) -> dict[str, Any]:
        return {
            column.name: plain(value, column) for column, value in zip(section.columns, values, strict=True)
        }  # fmt: skip

    return {
        "title": section.title,
        "columns": [{"name": column.name, "kind": column.kind} for column in section.columns],
        "rows": [row(values) for values in section.rows],
        "total": None if section.total is None else row(section.total),
        "notes": list(section.notes),
        "facts": dict(section.facts),
    }


def plain(value: Value, column: Column) -> Any:
    """A value of a section as JSON has it."""
    match value:
        case Change():
            return None if value.share is None else round(value.share, 6)
        case tuple():
            return [_usd(one) for one in value]
        case float():
            return round(value, 6)
        case int() if column.kind == "money":
            return _usd(value)
        case _:
            return value


def _span(span: Span) -> dict[str, Any]:
    return {
        "label": span.label,
        "kind": span.kind,
        "since": _time(span.since),
        "until": _time(span.until),
        "figures_until": _time(span.ends),
        "closed": span.closed,
        "timezone": span.timezone,
    }


def _usd(nano: int) -> str:
    return f"{decimal_usd(nano):f}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
