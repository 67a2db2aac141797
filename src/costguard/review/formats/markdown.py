"""For a pull request, a wiki or a chat."""

from __future__ import annotations

from typing import Any

from .._figures import shown
from .._model import Column, Report, Section, Value
from ._words import against, basis, headline, spent, unnamed


def render(report: Report, *, sections: tuple[str, ...] | None = None, **_: Any) -> str:
    """The review as Markdown."""
    wanted = [one for one in report.sections if (one.name in sections if sections is not None else not one.detail)]
    lines = [f"# {_safe(headline(report))}", "", _safe(basis(report)), "", f"**{spent(report)}**"]
    compared = against(report)
    lines += ["", compared] if compared else []
    for section in wanted:
        if section.rows or section.notes:
            lines += ["", *_section(section)]
    if report.advice:
        lines += ["", "## What to do", ""]
        for advice in report.advice:
            step = f" → `{advice.step}`" if advice.step else ""
            lines.append(f"- **{advice.level}** {_safe(advice.text)}{step}")
    return "\n".join(lines) + "\n"


def _section(section: Section) -> list[str]:
    lines = [f"## {_safe(section.title)}", ""]
    if section.rows:
        lines.append(_line([column.title for column in section.columns]))
        lines.append(_line(["---" if column.kind in ("text", "trend") else "---:" for column in section.columns]))
        rows = [*section.rows, *([] if section.total is None else [section.total])]
        lines += [
            _line([_cell(value, column) for value, column in zip(row, section.columns, strict=True)]) for row in rows
        ]
    lines += ["", *[_safe(note) for note in section.notes]] if section.notes else []
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Value, column: Column) -> str:
    text = value or unnamed(column.name) if column.kind == "text" else shown(value, column.kind)
    return _safe(str(text))


def _safe(text: str) -> str:
    """Names of features come from anywhere: none may end a table, or become markup."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")
