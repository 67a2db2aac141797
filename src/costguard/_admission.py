"""Which budgets a call touches: those set up, those of the blocks around it, and those declared for its tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ._budget import Budget
from ._scope import Scope, declarations
from ._types import Leg
from .errors import ConfigError

_KEPT = 8192


class Admission:
    """Finds the legs of a call. Windows are worked out once and used until they end."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self.budgets: dict[str, Budget] = {}
        for budget in budgets:
            if self.budgets.setdefault(budget.name, budget) != budget:
                raise ConfigError(f"two budgets are called {budget.name!r}: give one of them another name=")
        self._legs: dict[tuple[str, str], tuple[Budget, Leg]] = {}
        self._known: tuple[object, tuple[Budget, ...]] = (None, ())

    def add(self, budget: Budget) -> None:
        """Set up one more budget; one of the same name is replaced and keeps its books."""
        self.budgets[budget.name] = budget
        self._known = (None, ())

    def drop(self, name: str) -> None:
        """Take a budget away; its books stay."""
        self.budgets.pop(name, None)
        self._known = (None, ())

    def known(self) -> tuple[Budget, ...]:
        """Every budget set up or declared."""
        of, known = self._known
        if of is not declarations.budgets:
            of = declarations.budgets
            known = tuple({**{budget.name: budget for budget in declarations.budgets}, **self.budgets}.values())
            self._known = (of, known)
        return known

    def legs(self, scope: Scope, at: float) -> tuple[tuple[Budget, Leg], ...]:
        """The windows that a call made in `scope` at the UTC epoch second `at` touches, each once."""
        found: dict[tuple[str, str], tuple[Budget, Leg]] = {}
        for budget, run in self._applying(scope):
            leg = self._leg(budget, scope, at, run)
            key = (leg.budget, leg.window)
            if key not in found or _strictness(budget) > _strictness(found[key][0]):
                found[key] = (budget, leg)
        return tuple(found.values())

    def _applying(self, scope: Scope) -> Iterator[tuple[Budget, str]]:
        tags = scope.tags
        for budget in self.known():
            if budget.matches(tags):
                yield budget, scope.run
        for budget, run in scope.enclosing:
            if budget.per is None or budget.per in tags:
                yield budget, run

    def _leg(self, budget: Budget, scope: Scope, at: float, run: str) -> Leg:
        if budget.period.kind == "run":
            return budget.leg(scope.tags, at, run)
        key = (budget.name, scope.tags[budget.per] if budget.per is not None else "")
        known = self._legs.get(key)
        if known is not None and known[0] is budget:
            leg = known[1]
            if leg.starts <= at and (leg.ends is None or at < leg.ends):
                return leg
        leg = budget.leg(scope.tags, at, run)
        if len(self._legs) >= _KEPT:
            self._legs.clear()
        self._legs[key] = (budget, leg)
        return leg


def _strictness(budget: Budget) -> tuple[int, bool, int]:
    """Of budgets that share a name, and so their books, the one that lets the least through holds."""
    return ("soft", "expected", "hard").index(budget.enforcement), budget.on_exceeded != "warn", -budget.limit
