"""The review: what was spent on what, against which limits, for which results, and what to do next.

It reads a journal and makes a `Report`, a record without a word on how it is shown; formats show it. A section is one
file in `sections` and one line in `SECTIONS`; a format is one file in `formats` and one line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, Final

from .._budget import Budget
from .._catalog import Catalog
from .._journal import check_groups
from ..errors import ConfigError
from ..ports import Journal
from ._context import Build, Context
from ._model import Advice, Change, Column, Report, Section, Verdict
from ._span import Span, span
from .sections.budgets import limit_of_all

__all__ = [
    "FORMATS",
    "SECTIONS",
    "Advice",
    "Change",
    "Column",
    "Context",
    "Report",
    "Section",
    "Span",
    "Verdict",
    "render",
    "review",
    "span",
]

SECTIONS: Final[Mapping[str, str]] = {
    "spend": "costguard.review.sections.spend:section",
    "budgets": "costguard.review.sections.budgets:section",
    "models": "costguard.review.sections.models:section",
    "value": "costguard.review.sections.value:section",
    "forecast": "costguard.review.sections.forecast:section",
    "jumps": "costguard.review.sections.jumps:section",
    "moves": "costguard.review.sections.moves:section",
    "cache": "costguard.review.sections.cache:section",
    "quality": "costguard.review.sections.quality:section",
    "steps": "costguard.review.sections.steps:section",
}
"""Name to ``module:function``, in the order in which they are shown. The function takes a `Context` and returns a
`Section`, or None when it has nothing to say."""

FORMATS: Final[Mapping[str, str]] = {
    "table": "costguard.review.formats.table:render",
    "html": "costguard.review.formats.html:render",
    "json": "costguard.review.formats.as_json:render",
    "csv": "costguard.review.formats.as_csv:render",
    "md": "costguard.review.formats.markdown:render",
}
"""Name to ``module:function``. The function takes a `Report` and keyword options, ignores those it does not know, and
returns text. Another package adds its own with an entry point in the group ``costguard.reports``."""


def review(
    journal: Journal,
    span: Span,
    *,
    compare: bool = True,
    budgets: Sequence[Budget] = (),
    group_by: Sequence[str] = ("feature",),
    scope: Mapping[str, str] | None = None,
    top: int = 0,
    title: str = "",
    prices: str = "",
    catalog: Catalog | None = None,
    sections: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    told: Callable[[str], object] = str,
    reading: Callable[[int, int], object] = lambda _done, _of: None,
) -> Report:
    """Review what a journal has of a span.

    Args:
        journal: it should have been flushed.
        span: see `costguard.review.span`.
        compare: whether to compare with the span before.
        budgets: the limits to compare with.
        group_by: what the main table is grouped by: names in `costguard._journal.GROUPS`, ``tag:name``, ``day``.
        scope: only calls with these tags.
        top: rows of a table before the rest is taken together; 0 for all.
        title: whose review it is.
        prices: what is known of the prices, for the reader.
        catalog: today's prices, for sections that price calls anew.
        sections: the names of those wanted; all that there are when left out.
        options: settings of single sections.
        told: called with the name of each section before it is made.
        reading: called while calls are gone through one by one, with how many of how many it were.

    Raises:
        ConfigError: calls cannot be grouped by that, or there is no such section.
        JournalUnavailableError: the journal cannot be read.
    """
    check_groups([name for name in group_by if name != "day"])
    wanted = list(SECTIONS) if sections is None else list(sections)
    if unknown := [name for name in wanted if name not in SECTIONS]:
        raise ConfigError(f"there is no section {unknown[0]!r}: known are {', '.join(SECTIONS)}")
    context = Context(
        journal, span, span.before() if compare else None, budgets=budgets, group_by=group_by, scope=scope, top=top,
        catalog=catalog, options=options, reading=reading,
    )  # fmt: skip
    made = []
    for name in wanted:
        told(name)
        build: Build = resolve_name(SECTIONS[name])
        section = build(context)
        if section is not None:
            made.append(section)
    return Report(title, span, context.compared, _verdict(context), tuple(made), context.scope, prices)


def render(report: Report, format: str = "table", **options: Any) -> str:
    """A report as text.

    Raises:
        ConfigError: there is no such format.
        MissingExtraError: it needs an extra that is not installed.
    """
    known = {point.name: point.value for point in entry_points(group="costguard.reports")} | dict(FORMATS)
    if format not in known:
        raise ConfigError(f"there is no format {format!r}: known are {', '.join(known)}")
    text: str = resolve_name(known[format])(report, **options)
    return text


def _verdict(context: Context) -> Verdict:
    sums = context.total()
    before = None if context.compared is None else context.total(before=True).nano
    whole = context.trends(("feature",)).values()
    trend = tuple(map(sum, zip(*whole, strict=True)))
    return Verdict(sums.nano, limit_of_all(context), before, sums.calls, sums.saved, trend, sums.unpriced)
