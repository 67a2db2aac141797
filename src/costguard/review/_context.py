"""What the sections of a review have in common: a journal, a span, and what was asked of it already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Any, Final

from .._budget import Budget
from .._catalog import Catalog
from .._journal import Bill, Group, Selection, Sums, total
from ..ports import Journal
from ._span import Span
from .caching import Caching

OWN_TAGS: Final = ("feature", "team", "environment", "user")
"""Tags that are options of their own on the command line."""
_STEP: Final = 2_000
"""Calls after which it is told how far reading has got."""


class Context:
    """Read by each section.

    Args:
        journal: where the calls are.
        span: what is reviewed.
        compared: what it is compared with, or None.
        budgets: the limits that are known.
        group_by: what the main table is grouped by.
        scope: only calls with these tags.
        top: rows of a table before the rest is taken together; 0 for all.
        catalog: today's prices, for sections that price calls anew.
        options: settings of single sections, by name.
        reading: told, while calls are gone through, how many of how many it were.

    Attributes:
        asked_before: what a cache would have done, where a section that went through all calls worked that out too.
    """

    def __init__(
        self,
        journal: Journal,
        span: Span,
        compared: Span | None,
        *,
        budgets: Sequence[Budget] = (),
        group_by: Sequence[str] = ("feature",),
        scope: Mapping[str, str] | None = None,
        top: int = 0,
        catalog: Catalog | None = None,
        options: Mapping[str, Any] | None = None,
        reading: Callable[[int, int], object] = lambda _done, _of: None,
    ) -> None:
        self.journal = journal
        self.span = span
        self.compared = compared
        self.budgets = tuple(budgets)
        self.group_by = tuple(group_by)
        self.scope = dict(scope or {})
        self.top = top
        self.catalog = catalog
        self.options = dict(options or {})
        self.reading: Callable[[int, int], object] = reading
        self.asked_before: Caching | None = None
        self._asked: dict[Any, Sequence[Group]] = {}

    @property
    def selection(self) -> Selection:
        """The calls that are reviewed."""
        return self.of(self.span)

    def of(self, span: Span) -> Selection:
        """The calls of another span in the same scope."""
        return Selection(span.since, span.until if span.closed else _quarter_after(span.ends), self.scope)

    def step(self, command: str, *more: str, **tags: str) -> str:
        """A command that looks closer at the same stretch of time, as it can be pasted into a shell."""
        own = {name: value for name, value in self.scope.items() if name not in tags}
        asked = [_option(name, value) for name, value in {**own, **tags}.items()]
        return " ".join(["costguard", command, self.span.words, *asked, *more])

    def bills(self) -> Iterator[Bill]:
        """The bills of the reviewed calls, by time."""
        sums = self.total()
        whole = sums.calls + sums.refused
        for number, bill in enumerate(self.journal.bills(self.selection)):
            if number % _STEP == 0:
                self.reading(min(number, whole), whole)
            yield bill
        self.reading(whole, whole)

    def groups(self, by: Sequence[str], edges: Sequence[float] = (), *, before: bool = False) -> Sequence[Group]:
        """The reviewed calls summed by these, or those they are compared with; asked of the journal once."""
        span = self.compared if before else self.span
        if span is None:
            return ()
        key = (tuple(by), tuple(edges), before)
        if key not in self._asked:
            self._asked[key] = self.journal.sums(self.of(span), by, edges)
        return self._asked[key]

    def sums(self, by: Sequence[str], *, before: bool = False) -> dict[tuple[str, ...], Sums]:
        """The same by key."""
        return {group.key: group.sums for group in self.groups(by, before=before)}

    def total(self, *, before: bool = False) -> Sums:
        """All of them together."""
        return total(self.sums(("feature",), before=before).values())

    def trends(self, by: Sequence[str]) -> dict[tuple[str, ...], tuple[int, ...]]:
        """What was spent in each step of the span, by key."""
        steps = [at for at in self.span.steps if at < self.span.ends] or [self.span.since]
        place = {at: index for index, at in enumerate(steps)}
        found: dict[tuple[str, ...], list[int]] = {}
        for group in self.groups(by, steps):
            found.setdefault(group.key, [0] * len(steps))[place[group.starts]] += group.sums.nano
        return {key: tuple(spent) for key, spent in found.items()}


def _option(name: str, value: str) -> str:
    if name in OWN_TAGS:
        return f"--{name} {quote(value)}"
    return f"--tag {quote(f'{name}={value}')}"


Build = Callable[[Context], Any]
"""A section: a function of the context that returns a `Section`, or None when it has nothing to say."""


def _quarter_after(at: float) -> float:
    """The end of the quarter of an hour of an instant: the future has no calls, and whole quarters are read quickly."""
    return (at // 900 + 1) * 900
