"""For spreadsheets: one section, its figures exact and unformatted."""

from __future__ import annotations

import csv
import io
from typing import Any

from ...errors import ConfigError
from .._model import Column, Report, Value
from .as_json import plain

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(report: Report, *, sections: tuple[str, ...] | None = None, **_: Any) -> str:
    """One section, the main table unless another one is named, as comma-separated values.

    Raises:
        ConfigError: several sections are wanted, or one that the report does not have.
    """
    name = (sections or ("spend",))[0]
    section = report.section(name)
    if section is None or len(sections or ()) > 1:
        known = ", ".join(one.name for one in report.sections)
        raise ConfigError(f"csv shows one section, not {', '.join(sections or (name,))}: there are {known}")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [column for column in section.columns if column.kind != "trend"]
    writer.writerow([f"{column.name}_usd" if column.kind == "money" else column.name for column in columns])
    for row in section.rows:
        values = [value for value, column in zip(row, section.columns, strict=True) if column.kind != "trend"]
        writer.writerow([_cell(value, column) for value, column in zip(values, columns, strict=True)])
    return out.getvalue()


def _cell(value: Value, column: Column) -> Any:
    """Text that a spreadsheet would take for a formula is quoted: a feature's name may come from anywhere."""
    told = plain(value, column)
    if column.kind == "text" and isinstance(told, str) and told.startswith(_FORMULA):
        return f"'{told}"
    return "" if told is None else told
