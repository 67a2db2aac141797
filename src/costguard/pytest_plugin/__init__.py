"""Budgets for tests: a pytest plugin, installed with costguard and off until it is asked for.

It switches itself on when a test carries ``@pytest.mark.budget("$0.05")`` or uses the fixture `costguard_ledger`, or
when pytest is given ``--costguard`` or ``--costguard-budget="$1"`` (ini: ``costguard_budget``). Until then no SDK is
touched and nothing is printed.

Under pytest-xdist the limit of the whole run is divided evenly among the workers, so that it holds without any of
them asking another; a worker that takes the place of a crashed one gets nothing, as nobody knows what the crashed
one spent.

This module imports the standard library and pytest only, for it is loaded in every pytest run.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._books import Books
    from ._metering import Metering
    from ._summary import Summary

METERING: pytest.StashKey[Metering] = pytest.StashKey()
SUMMARY: pytest.StashKey[Summary] = pytest.StashKey()
_SHARES: pytest.StashKey[int] = pytest.StashKey()

MARKER = (
    "budget(limit, *, enforcement='hard', clamp=True, **tags): the most this test may cost, for example '$0.05'; a "
    "call that could pass it is refused, and the test fails. With enforcement='soft' the test fails afterwards. "
    "Tags such as feature='search' restrict it to the calls that carry them."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; none of them changes anything until it is used."""
    group = parser.getgroup("costguard", "costguard: what tests spend on language models")
    group.addoption(
        "--costguard", action="store_true", default=False,
        help="meter the calls of all tests and list what they cost; refuse nothing",
    )  # fmt: skip
    group.addoption(
        "--costguard-budget", metavar="LIMIT", default=None,
        help="the most the whole run may cost, for example '$1': calls beyond are refused before they are sent. "
        "pytest-xdist workers get an equal share each.",
    )  # fmt: skip
    group.addoption(
        "--costguard-top", metavar="N", type=int, default=10,
        help="how many of the dearest tests to list, 0 for all (default: %(default)s)",
    )  # fmt: skip
    parser.addini("costguard_budget", "the default of --costguard-budget", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and switch metering on if an option asks for it."""
    config.addinivalue_line("markers", MARKER)
    if not is_worker(config):
        config.pluginmanager.register(_Reports(config), "costguard-reports")
    limit = config.getoption("costguard_budget") or config.getini("costguard_budget")
    if not (limit or config.getoption("costguard")):
        return
    from ._marks import run_limit

    nano = run_limit(limit) if limit else None
    if not is_worker(config):
        summary_of(config).limit = nano
    if not _is_controller(config):
        metering_of(config, nano)


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def _is_controller(config: pytest.Config) -> bool:
    """Whether this process only hands out tests: it makes no calls of its own."""
    return not is_worker(config) and getattr(config.option, "dist", "no") != "no"


def metering_of(config: pytest.Config, limit: int | None = None) -> Metering:
    """The session's metering, switched on by the first who asks."""
    metering = config.stash.get(METERING, None)
    if metering is None:
        from ._metering import Metering

        metering = config.stash[METERING] = Metering(config, limit)
        metering.start()
        config.add_cleanup(metering.stop)
        config.pluginmanager.register(metering, "costguard-metering")
    return metering


def summary_of(config: pytest.Config) -> Summary:
    """What is listed at the end of the run."""
    summary = config.stash.get(SUMMARY, None)
    if summary is None:
        from ._summary import Summary

        summary = config.stash[SUMMARY] = Summary(config.option.costguard_top)
    return summary


# -- collection ------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report a test whose budget cannot be read as an error of that test alone."""
    report = yield
    fit = []
    for node in report.result or ():
        problem = _problem(node) if isinstance(node, pytest.Item) else None
        if problem is None:
            fit.append(node)
        else:
            bad = pytest.CollectReport(node.nodeid, "failed", longrepr=f"{node.nodeid}: {problem}", result=[])
            node.ihook.pytest_collectreport(report=bad)
    report.result = fit
    return report


def _problem(item: pytest.Item) -> str | None:
    if item.get_closest_marker("budget") is None:
        return None
    from ._marks import BadMark, limits_of

    try:
        limits_of(item)
    except BadMark as problem:
        return str(problem)
    return None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Switch metering on if one of the tests that will run asks for it."""
    if session.config.option.collectonly or METERING in session.config.stash:
        return
    if any(
        item.get_closest_marker("budget") is not None or "costguard_ledger" in getattr(item, "fixturenames", ())
        for item in session.items
    ):
        metering_of(session.config)


@pytest.fixture
def costguard_ledger(request: pytest.FixtureRequest) -> Books:
    """The books of this test: `spent`, `held`, `calls`, `refused`, `by_model()`, `by(tag)`."""
    return metering_of(request.config).open_books(request.node)


# -- pytest-xdist, and the end ---------------------------------------------------------------------------------


class _Reports:
    """Takes in what tests spent, wherever they ran; an object, because that hook is given no configuration."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what the last report of a test brings."""
        sums = getattr(report, "costguard", None)
        if sums is not None:
            summary_of(self._config).add(report.nodeid, sums)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker its share of the run's limit: an equal one to the first workers, nothing to replacements."""
    summary = node.config.stash.get(SUMMARY, None)
    if summary is None or summary.limit is None:
        return
    workers = node.workerinput["workercount"]
    handed_out = node.config.stash.get(_SHARES, 0)
    node.config.stash[_SHARES] = handed_out + 1
    summary.shares = workers
    node.workerinput["costguard_share"] = summary.limit // workers if handed_out < workers else 0


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take in what a worker has to say that belongs to no test's report."""
    rest = getattr(node, "workeroutput", {}).get("costguard")
    if rest is not None:
        summary_of(node.config).add_rest(rest)


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """List what the tests did cost, dearest first."""
    summary = config.stash.get(SUMMARY, None)
    if summary is None or config.option.collectonly:
        return
    lines = summary.lines(asked=bool(config.getoption("costguard") or summary.limit is not None))
    if lines:
        terminalreporter.section("costguard: what the tests spent")
        for line in lines:
            terminalreporter.write_line(line)
