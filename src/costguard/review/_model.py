"""What a review says: plain frozen records, without a word on how they are shown.

A section is a table whose columns say of what kind their values are, so that every format can show every section:

- ``text``: a string, ``""`` where there is none;
- ``money``: nano-dollars;
- ``count``: a whole number;
- ``share``: a fraction, 0.5 for a half; ``used``: the same, of a limit;
- ``change``: a `Change`;
- ``trend``: a tuple of amounts, one for each step of the span;

and None where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .._types import Nano
from ._span import Span

ColumnKind = Literal["text", "money", "count", "share", "used", "change", "trend"]


@dataclass(frozen=True, slots=True)
class Change:
    """An amount, and what it was before."""

    now: int
    before: int

    @property
    def share(self) -> float | None:
        """By what part of the amount before it changed; None where that was nothing."""
        return (self.now - self.before) / self.before if self.before else None


Value: TypeAlias = str | int | float | Change | tuple[int, ...] | None
Row: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a section.

    Attributes:
        name: its key in JSON and CSV.
        title: its heading.
        kind: of its values.
        rank: 0 is always shown; where room is scarce, the highest go first.
    """

    name: str
    title: str
    kind: ColumnKind
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to look into.

    Attributes:
        level: ``!`` for what is wrong, ``?`` for what is not known, ``i`` for what is good to know.
        text: one sentence.
        step: what to do about it: a command, or a line of code.
        nano: how much money it is about; larger comes first.
    """

    level: Literal["!", "?", "i"]
    text: str
    step: str = ""
    nano: Nano = 0


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the review.

    Attributes:
        name: its key in JSON.
        total: a last row that sums up, or None.
        notes: what a reader has to know of its figures.
        advice: what follows from it.
        detail: whether people are shown it only when they ask; it is always in JSON.
        facts: figures that are no table, for JSON and for formats that know the section.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    total: Row | None = None
    notes: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
    detail: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The review in one line. Money is in nano-dollars.

    Attributes:
        spent: in the span.
        limit: the budget of all calls in it, None where there is none.
        before: spent in the span it is compared with, None without one.
        calls: how many were made.
        saved: what they cost less than without costguard's optimisations.
        trend: spent in each step of the span.
        unpriced: calls of which a part has no price, so that more than `spent` was spent.
    """

    spent: Nano
    limit: Nano | None
    before: Nano | None
    calls: int
    saved: Nano
    trend: tuple[int, ...] = ()
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """A review.

    Attributes:
        title: whose review it is.
        span: what is reviewed; `compared`: what with, None for nothing.
        scope: only calls with these tags are reviewed.
        prices: what is known of the prices behind the costs, such as the date of their list.
        sections: in the order in which they are shown.
    """

    title: str
    span: Span
    compared: Span | None
    verdict: Verdict
    sections: tuple[Section, ...]
    scope: Mapping[str, str] = field(default_factory=dict)
    prices: str = ""

    @property
    def advice(self) -> list[Advice]:
        """What follows from all sections: what is wrong first, and of that the dearest."""
        found = [advice for section in self.sections for advice in section.advice]
        return sorted(found, key=lambda one: ("!?i".index(one.level), -one.nano, one.text))

    def section(self, name: str) -> Section | None:
        """The section of a name, if the review has it."""
        return next((one for one in self.sections if one.name == name), None)
