"""When the books of a single run are forgotten, in the ledger of one process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator

import pytest

import costguard
from costguard import _scope
from costguard._book import Row
from costguard._budget import budget
from costguard._catalog import Catalog
from costguard._context import PROCESS_RUN, Run, Runs, runs
from costguard._guard import Guard
from costguard._meter import Meter
from costguard._snapshot import load
from costguard._types import Call, Usage
from costguard.ledgers.memory import MemoryLedger

CALL = Call("openai", "gpt-4o", bound={"input": 1000}, max_output=1000)
YEAR = 366 * 86_400.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock; and what other tests pickled is not seen."""
    before, runs.travelled = runs.travelled, False
    yield Clock()
    runs.travelled = before


def made(clock: Callable[[], float], *budgets: costguard.Budget) -> Guard:
    """A guard over a ledger in memory."""
    return Guard(Catalog(load), MemoryLedger(), budgets=budgets, clock=clock)


def begun(guard: Guard) -> Meter:
    """One call, sent."""
    meter = guard.begin(CALL)
    guard.admit_sent(meter)
    return meter


def ended(guard: Guard, meter: Meter) -> None:
    """Its end."""
    guard.later(lambda: meter.arrived([Usage({"input": 1000})]))
    guard.drain()


def call(guard: Guard) -> Meter:
    """One call, to its end."""
    meter = begun(guard)
    ended(guard, meter)
    return meter


def spent_after(guard: Guard, clock: Clock, seconds: float) -> dict[str, int]:
    """What is left in the books when somebody looks through them later: spent, by the kind of run."""
    clock.now += seconds
    guard.ledger.reap(clock.now)
    ledger = guard.ledger
    assert isinstance(ledger, MemoryLedger)
    rows = [(key[1], row) for key, row in ledger._state.items() if isinstance(row, Row)]
    return {"process" if "process" in window else "block": row.spent for window, row in rows}


def test_a_block_that_was_left_is_forgotten_and_one_that_lasts_is_not(clock: Clock) -> None:
    """A server that limits each request does not keep the books of all; one block may last for a year."""
    guard = made(clock)
    with costguard.budgeted(limit="$1"):
        call(guard)
        spent = spent_after(guard, clock, YEAR)
        assert spent["block"] > 0
        call(guard)
        assert {"block": 2 * spent["block"]} == spent_after(guard, clock, 1)
    assert {} == spent_after(guard, clock, 1)


def test_calls_outside_of_blocks_are_one_run_for_as_long_as_the_process_lives(clock: Clock) -> None:
    """However long it made none."""
    guard = made(clock, budget("$1/run"))
    call(guard)
    assert spent_after(guard, clock, 2 * YEAR)["process"] > 0


def test_whoever_carries_a_scope_keeps_its_run(clock: Clock) -> None:
    """A function that was wrapped inside a block may be called after it, in another thread say."""
    guard = made(clock)
    with costguard.budgeted(limit="$1"):
        call(guard)
        later = costguard.wrap(lambda: call(guard))
    spent = spent_after(guard, clock, YEAR)["block"]
    later()
    assert {"block": 2 * spent} == spent_after(guard, clock, YEAR)
    del later
    assert {} == spent_after(guard, clock, 1)


def test_a_call_in_flight_keeps_its_run(clock: Clock) -> None:
    """A stream that is read after its block was left goes on counting there, also when nothing is held for it."""
    guard = made(clock)
    with costguard.budgeted(limit="$1"):
        call(guard)
        meter = begun(guard)
    spent = spent_after(guard, clock, 600)["block"]
    ended(guard, meter)
    assert {"block": 2 * spent} == spent_after(guard, clock, 600)
    del meter
    assert {} == spent_after(guard, clock, 1)


def test_events_keep_no_run(clock: Clock) -> None:
    """A journal remembers calls, and their runs by name only."""
    guard = made(clock)
    with costguard.budgeted(limit="$1"):
        assert type(call(guard).plan.run) is str
        assert isinstance(_scope.current().run, Run)


def test_a_run_that_travels_is_kept_for_a_day(clock: Clock) -> None:
    """Whether it comes back nobody here knows."""
    guard = made(clock)
    with costguard.budgeted(limit="$1"):
        call(guard)
        text = pickle.dumps(_scope.current())
    spent = spent_after(guard, clock, 86_000)
    assert spent
    with _scope.Carried(pickle.loads(text)):
        call(guard)
    assert {"block": 2 * spent["block"]} == spent_after(guard, clock, 86_000)
    assert {} == spent_after(guard, clock, 2 * 86_400)


def test_runs_of_others_are_never_known_to_be_over() -> None:
    """A ledger that serves other processes goes by the time alone, and so does a child for its parent's."""
    here, there = Runs(), Runs()
    own, other = str(here.begin()), there.begin()
    assert here.over(own)
    assert not here.over(other)
    assert not here.over(PROCESS_RUN)
    living = here.begin()
    assert not here.over(living)
    assert here.alive(living)
    here.forked()
    assert not here.over(own)


def test_memory_stays_bounded_over_many_runs(clock: Clock) -> None:
    """A block for each request leaves nothing behind but what is kept of ended calls."""
    guard, most = made(clock), 0
    ledger = guard.ledger
    assert isinstance(ledger, MemoryLedger)
    for _ in range(1000):
        clock.now += 1
        with costguard.budgeted(limit="$1"):
            call(guard)
        most = max(most, sum(isinstance(row, Row) for row in ledger._state.values()))
    assert most <= 32
