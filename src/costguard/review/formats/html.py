"""One file for a browser, a mail or a printer: no script, nothing loaded from anywhere, a table under every chart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ...errors import MissingExtraError
from .._daily import passed_of
from .._figures import count, day, money, share, shown
from .._model import Change, Column, Report, Value
from ._charts import Bars, Burn, Part, bars, burn, mix, spark
from ._words import against, basis, unnamed

PAGE: Final = Path(__file__).with_name("page")
ROWS: Final = 40
"""Rows of a table; what is more is in the CSV. A page stays small enough to be mailed."""
ADVICES: Final = 8
_CUT: Final = 80


def render(report: Report, *, sections: tuple[str, ...] | None = None, **_: Any) -> str:
    """The review as a page.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        jinja: Any = import_module("jinja2")
    except ImportError as error:
        raise MissingExtraError("cli") from error
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(PAGE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"cell": cell, "tone": tone, "spark": spark, "share": share, "percent": percent}
    wanted = [one for one in report.sections if (one.name in sections if sections is not None else one.name != "steps")]
    text: str = environment.get_template("page.html").render(
        report=report,
        basis=basis(report),
        against=against(report),
        figures=figures(report),
        spent=f"{'at least ' if report.verdict.unpriced else ''}{money(report.verdict.spent)}",
        limit=None if report.verdict.limit is None else money(report.verdict.limit),
        used=report.verdict.spent / report.verdict.limit if report.verdict.limit else None,
        ahead=ahead(report),
        burn=_burn(report),
        daily=_daily(report),
        steps=report.section("steps"),
        mix=_mix(report),
        sections=[one for one in wanted if one.rows or one.notes],
        rows=ROWS,
        advices=ADVICES,
    )
    return text


def figures(report: Report) -> list[tuple[str, str]]:
    """A few numbers that everybody asks for first."""
    verdict = report.verdict
    found = [("calls", count(verdict.calls))]
    found += [("per call", money(verdict.spent // verdict.calls))] if verdict.calls else []
    found += [("saved", money(verdict.saved))] if verdict.saved else []
    moves = report.section("moves")
    saved = moves.facts.get("saved_nano") if moves else None
    found += [("models one step cheaper", f"{money(saved)} less")] if saved else []
    quality = report.section("quality")
    refused = quality.facts.get("refused") if quality else None
    found += [("refused", count(refused))] if refused else []
    return found


def ahead(report: Report) -> str:
    """What is to come, in one sentence; empty when the span is over or nobody can tell."""
    section = report.section("forecast")
    if section is None or not section.rows:
        return ""
    low, high = section.rows[0][3:5]
    if not isinstance(low, int) or not isinstance(high, int):
        return section.notes[0].rstrip(".") if section.notes else ""
    between = money(low) if low == high else f"{money(low)} to {money(high)}"
    outs = [row for row in section.rows[1:] if str(row[-1]).startswith("~")]
    told = f"Heading for {between} by {day(_last(report))}"
    return told + "".join(f"; {row[0]} runs out {str(row[-1]).replace('~', 'about ')}" for row in outs[:1])


def _last(report: Report) -> date:
    return report.span.date(report.span.until - 1)


def cell(value: Value, column: Column) -> str:
    """A value as text."""
    if column.kind == "text":
        text = str(value) if value else unnamed(column.name)
        return text if len(text) <= _CUT else f"{text[: _CUT - 1]}…"
    return shown(value, column.kind)


def tone(value: Value) -> str:
    """Whether a change is one for the better."""
    if not isinstance(value, Change) or value.share is None or abs(value.share) < 0.005:
        return ""
    return "up" if value.share > 0 else "down"


def percent(fraction: float) -> str:
    """As much of a bar as there is."""
    return f"{100 * min(1.0, max(0.0, fraction)):.1f}"


def _daily(report: Report) -> Bars | None:
    steps = report.section("steps")
    if steps is None or not any(row[1] for row in steps.rows):
        return None
    amounts = [_whole(row[1]) for row in steps.rows]
    labels = [_label(str(row[0])) for row in steps.rows]
    titles = [
        f"{label}: {money(amount)}, {count(_whole(row[2]))} calls"
        for label, amount, row in zip(labels, amounts, steps.rows, strict=True)
    ]
    muted = [_weekend(str(row[0])) for row in steps.rows]
    # The days to come have their room already, so that both charts have one axis.
    ahead = report.span.days[len(amounts) :] if report.span.kind == "month" else []
    labels += [day(report.span.date(at)) for at in ahead]
    empty = len(labels) - len(amounts)
    return bars([*amounts, *[0] * empty], labels, [*titles, *labels[len(amounts) :]], [*muted, *[False] * empty])


def _burn(report: Report) -> Burn | None:
    steps, span = report.section("steps"), report.span
    days = span.days
    if steps is None or span.kind != "month" or len(steps.rows) > len(days) or not report.verdict.spent:
        return None
    section = report.section("forecast")
    future: Sequence[int] = section.facts.get("days", ()) if section else ()
    low, high = (section.rows[0][3], section.rows[0][4]) if section else (None, None)
    labels = [day(span.date(at)) for at in days]
    return burn(
        [_whole(row[1]) for row in steps.rows],
        future,
        _whole(low),
        _whole(high),
        report.verdict.limit,
        labels,
        passed_of(span.ends, span.timezone),
    )


def _mix(report: Report) -> tuple[Part, ...]:
    section = report.section("models")
    if section is None:
        return ()
    place = {column.name: index for index, column in enumerate(section.columns)}
    rows = [row for row in section.rows if row[place["spend"]]]
    parts = [row[place["share"]] for row in rows]
    return mix(
        [_whole(row[place["spend"]]) for row in rows],
        [str(row[place["model"]]) for row in rows],
        [share(part) if isinstance(part, float) else "" for part in parts],
    )


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _label(text: str) -> str:
    if "T" in text:
        return text[11:16]
    return day(date.fromisoformat(text))


def _weekend(text: str) -> bool:
    return "T" not in text and date.fromisoformat(text).weekday() > 4
