"""What ``@pytest.mark.budget(...)`` and ``--costguard-budget`` say, made into budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pytest

from .._budget import Budget, budget
from .._period import LIFETIME, Period, Window
from ..errors import ConfigError

_FIXED: Final = ("period", "timezone", "week_start", "per", "alert_at", "on_exceeded", "name", "default_period")
LIMITS: Final[pytest.StashKey[tuple[Budget, ...]]] = pytest.StashKey()


class BadMark(Exception):
    """A marker's arguments cannot be read; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class OneRun(Period):
    """One window, for one run of a test or of pytest.

    Its id is unique, so that a ledger that outlives the process never counts an earlier run.
    """

    id: str = ""

    def window(self, at: float, run: str) -> Window:  # noqa: ARG002 - as its base
        """The same window whenever and in whatever block a call is made."""
        return Window(f"pytest:{self.id}")


def limits_of(item: pytest.Item) -> tuple[Budget, ...]:
    """The budgets of a test, one for each scope: of the markers with one scope, the one nearest to the test holds.

    Raises:
        BadMark: a marker cannot be read.
    """
    limits = item.stash.get(LIMITS, None)
    if limits is None:
        found: dict[Any, Budget] = {}
        for mark in item.iter_markers("budget"):
            one = _budget(mark)
            found.setdefault(one.scope, one)
        limits = item.stash[LIMITS] = tuple(found.values())
    return limits


def _budget(mark: pytest.Mark) -> Budget:
    try:
        (limit,) = mark.args or (mark.kwargs["limit"],)
    except (KeyError, ValueError):
        raise _bad(mark, "give one limit, such as '$0.05'") from None
    knobs = {knob: value for knob, value in mark.kwargs.items() if knob != "limit" or mark.args}
    unfit = [knob for knob in knobs if knob in (*_FIXED, "limit")]
    if unfit:
        raise _bad(mark, f"{unfit[0]}= has no place here; allowed are enforcement=, clamp=, wait= and tags")
    try:
        made = budget(limit, alert_at=(), **knobs)
    except ConfigError as error:
        raise _bad(mark, str(error)) from None
    if made.period != LIFETIME:
        raise _bad(mark, "the limit is for one run of the test; leave the period out")
    return made


def _bad(mark: pytest.Mark, problem: str) -> BadMark:
    arguments = [repr(one) for one in mark.args] + [f"{knob}={value!r}" for knob, value in mark.kwargs.items()]
    return BadMark(f"@pytest.mark.budget({', '.join(arguments)}): {problem}")


def run_limit(text: str) -> int:
    """The limit of the whole run, in nano-dollars.

    Raises:
        pytest.UsageError: it is no amount of money.
    """
    try:
        made = budget(text)
    except ConfigError as error:
        raise pytest.UsageError(f"--costguard-budget={text}: {error}") from None
    if made.period != LIFETIME:
        raise pytest.UsageError(f"--costguard-budget={text}: the limit is for this run; leave the period out")
    return made.limit
