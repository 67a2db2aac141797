"""The plugin at work: which test is running, what it may spend, and what it did spend.

Tests of one process run one after the other, so "the test that is running" is a fact of the process. It is put on the
guard, and not into a context variable, because threads that a test starts do not inherit those, and event loops that
outlive a test keep the ones of the test that began them.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator
from dataclasses import replace
from typing import Final, NoReturn

import pytest

from .._budget import Budget
from .._config import state
from .._guard import Guard
from .._money import decimal_usd
from .._types import Alert, CostEvent
from ..errors import BudgetExceededError
from . import is_worker, summary_of
from ._books import TAG, Books, Limit, less, tag_of
from ._marks import BadMark, OneRun, limits_of

OUTSIDE: Final = "(outside any test)"
RUN_LIMIT: Final = "--costguard-budget"


class Collector:
    """The exporter that tells the running test's books of each call."""

    def __init__(self, metering: Metering) -> None:
        self._metering = metering

    def export(self, record: CostEvent | Alert) -> None:
        """Count one call in."""
        if isinstance(record, CostEvent):
            self._metering.books_of(record).add(record)

    def flush(self, timeout: float) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing to let go of."""


class Metering:
    """Meters a session. Registered as a plugin of its own, so that a session that is not metered runs none of it.

    Args:
        config: pytest's.
        limit: the most the whole run may cost, in nano-dollars, or None.
    """

    def __init__(self, config: pytest.Config, limit: int | None) -> None:
        self._config = config
        self._collector = Collector(self)
        self._outside = Books(OUTSIDE, OUTSIDE, self._settle)
        self._current = self._outside
        self._tests: dict[str, Books] = {}
        self._guard: Guard | None = None
        self._limit: Limit | None = None
        self._disabled = False
        self._ours = False
        if limit is not None:
            share = getattr(config, "workerinput", {}).get("costguard_share", limit)
            self._limit = Limit.of(Budget(RUN_LIMIT, share, self._one_run(), marks=(), on_exceeded=self._refuse))

    # -- on and off ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Instrument the SDKs, and stay with whatever guard the tests configure."""
        self._ours = not state.instrumented
        self._disabled = not state.instrument()
        state.followers.append(self.follow)
        self.follow(state.guard)

    def stop(self) -> None:
        """Leave everything as it was found."""
        if self.follow in state.followers:
            state.followers.remove(self.follow)
        guard = self._guard
        if guard is not None:
            self._withdraw(self._limits(), guard)
            guard.exporters[:] = [one for one in guard.exporters if one is not self._collector]
            guard.tags = {tag: value for tag, value in guard.tags.items() if tag != TAG}
        if self._ours:
            state.uninstrument()

    def follow(self, guard: Guard) -> None:
        """`guard` takes over: what is left of the limits holds in its books."""
        before, self._guard = self._guard, guard
        for limit in self._limits():
            if before is not None:
                limit.live = less(limit.live, self._used(limit.live, before))
            guard.admission.add(limit.live)
        guard.exporters.append(self._collector)
        self._attribute(guard)

    def _attribute(self, guard: Guard) -> None:
        """Calls that are made from now on belong to the current test."""
        rest = {tag: value for tag, value in guard.tags.items() if tag != TAG}
        # A new dictionary and not a changed one: other threads may be reading it.
        guard.tags = rest if self._current is self._outside else {**rest, TAG: self._current.tag}

    def _limits(self) -> list[Limit]:
        return [*([] if self._limit is None else [self._limit]), *self._current.limits]

    def _withdraw(self, limits: list[Limit], guard: Guard) -> None:
        for limit in limits:
            guard.admission.drop(limit.live.name)

    def _used(self, budget: Budget, guard: Guard) -> int:
        balance = guard.balances_of([budget.leg(dict(budget.scope), guard.clock(), "")])[0]
        return balance.spent + balance.held

    def _settle(self) -> None:
        """Book what dropped streams left behind."""
        if self._guard is not None:
            self._guard.drain()

    # -- pytest's hooks -----------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """From here on calls belong to this test, those of fixtures that it is the first to use among them."""
        self._begin(item)
        return (yield from self._phase(item, "setup", judged=False))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Fail a test that overspent, or that went on after a call was refused."""
        return (yield from self._phase(item, "call"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """The same for what the test's fixtures do at their end."""
        return (yield from self._phase(item, "teardown"))

    def _phase(self, item: pytest.Item, phase: str, *, judged: bool = True) -> Generator[None, None, None]:
        books = self._current
        try:
            yield
        except pytest.skip.Exception:
            raise
        except BaseException as error:
            swallowed = books.swallowed()
            if swallowed is not None and error not in books.refusals:
                item.add_report_section(phase, "costguard", swallowed)
            books.told, books.judged = len(books.refusals), True
            raise
        problems = self._problems(books) if judged else []
        if problems:
            pytest.fail("costguard: " + "\n".join(problems), pytrace=False)

    @staticmethod
    def _problems(books: Books) -> list[str]:
        overspent = [] if books.judged else books.overspent()
        swallowed = books.swallowed()
        books.told = len(books.refusals)
        books.judged = books.judged or bool(overspent)
        return overspent if swallowed is None else [*overspent, swallowed]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send what the test spent along with its last report, which is how it leaves a worker of pytest-xdist."""
        if call.when != "teardown":
            return (yield)
        books = self._current
        sums = books.take()
        if sums is not None:
            item.user_properties.append(("costguard_usd", str(decimal_usd(sums["nano"]))))
        report = yield
        if sums is not None:
            report.costguard = sums  # type: ignore[attr-defined] # reports take attributes along to the controller
        books.forget()
        self._end()
        return report

    def pytest_sessionfinish(self) -> None:
        """Tell of what belongs to no report: calls outside any test, and those that ended after their test."""
        books = {**self._tests, OUTSIDE: self._outside}
        rows = {one.nodeid: sums for one in books.values() if (sums := one.take()) is not None}
        guard = self._guard_now()
        rest = {"rows": rows, "unmetered": dict(guard.unmetered_calls), "disabled": self._disabled}
        if is_worker(self._config):
            self._config.workeroutput["costguard"] = rest  # type: ignore[attr-defined]
        else:
            summary_of(self._config).add_rest(rest)

    # -- whose call it is ---------------------------------------------------------------------------------------

    def books_of(self, event: CostEvent) -> Books:
        """The books of the test in which a call was begun."""
        return self._tests.get(event.tags.get(TAG, ""), self._current)

    def open_books(self, item: pytest.Item) -> Books:
        """The books of the running test, with its holds to be read as well."""
        if self._current.nodeid != item.nodeid:  # metering was switched on by the fixture itself, inside the setup
            self._begin(item)
        books = self._current
        whole = next((limit for limit in books.limits if not limit.budget.scope), None)
        if whole is None:
            soft = Budget(item.nodeid, 0, self._one_run(), marks=(), enforcement="soft")
            whole = Limit.of(soft, counts_only=True)
            books.limits.append(whole)
            self._guard_now().admission.add(soft)
        limit = whole
        books.held_now = lambda: self._held(limit)
        return books

    def _held(self, limit: Limit) -> int:
        guard = self._guard_now()
        return guard.balances_of([limit.live.leg({}, guard.clock(), "")])[0].held

    def _guard_now(self) -> Guard:
        return state.guard if self._guard is None else self._guard

    def _begin(self, item: pytest.Item) -> None:
        books = Books(item.nodeid, tag_of(item.nodeid), self._settle)
        try:
            limits = limits_of(item)
        except BadMark as problem:  # a marker that was added after the collection
            pytest.fail(str(problem), pytrace=False)
        for asked in limits:
            name = ", ".join([item.nodeid, *(f"{tag}={value}" for tag, value in asked.scope)])
            own = replace(asked, name=name, period=self._one_run(), on_exceeded=self._refuse)
            books.limits.append(Limit.of(own))
        self._current = self._tests[books.tag] = books
        if not state.instrumented:  # a test, or the program it tests, took the seams away
            self._disabled = not state.instrument()
        guard = self._guard_now()
        for limit in books.limits:
            guard.admission.add(limit.live)
        self._attribute(guard)

    def _end(self) -> None:
        guard = self._guard_now()
        self._withdraw(self._current.limits, guard)
        self._current = self._outside
        self._attribute(guard)

    def _refuse(self, error: BudgetExceededError) -> NoReturn:
        self._current.refusals.append(error)
        raise error

    @staticmethod
    def _one_run() -> OneRun:
        return OneRun("lifetime", id=uuid.uuid4().hex)
