"""`instrument(executors=True)` and work in other processes: it belongs to where it was submitted, however they start."""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import costguard
from costguard import _context, _scope
from costguard._context import NOWHERE, Scope

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
METHODS = ("fork", "spawn")


def here(*_: object) -> tuple[dict[str, str], list[str], str]:
    """The attribution, the enclosing limits and the run of a call that would be made here and now."""
    scope = _scope.current()
    return dict(scope.tags), [budget.name for budget, _ in scope.enclosing], scope.run


def tags(*_: object) -> dict[str, str]:
    return here()[0]


def tell(queue: Any, *_: object) -> None:
    queue.put(tags())


@pytest.fixture(autouse=True)
def _executors() -> Iterator[None]:
    costguard.instrument(executors=True)
    yield
    costguard.uninstrument()


@pytest.mark.parametrize("method", METHODS)
def test_a_process_pool_executor_carries_scopes(method: str) -> None:
    """Tags, limits and the run travel; what is submitted outside any block belongs to none, wherever the worker began."""
    with costguard.budgeted("start", limit="$1"):
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method))
        with pool:
            assert pool.submit(here).result(60) == here()
            with costguard.budgeted("inner", user="u"):
                one, many = pool.submit(tags), pool.map(tags, range(2))
            assert one.result(60) == {"feature": "inner", "user": "u"}
            assert list(many) == [{"feature": "inner", "user": "u"}] * 2
            with _context.Carried(NOWHERE):
                assert pool.submit(tags).result(60) == {}


@pytest.mark.parametrize("method", METHODS)
def test_a_multiprocessing_pool_carries_scopes(method: str) -> None:
    """Every way of giving it work, also with the function by name."""
    with costguard.budgeted("start"):
        pool: Any = multiprocessing.get_context(method).Pool(1)
    with pool:
        with costguard.budgeted("inner"):
            results = [
                pool.apply(tags),
                pool.apply_async(func=tags).get(60),
                *pool.map(tags, [1]),
                *pool.starmap(tags, [(1, 2)]),
                *pool.imap(tags, [1]),
                *pool.imap_unordered(tags, [1, 2], chunksize=2),
            ]
        assert results == [{"feature": "inner"}] * 7
        assert pool.apply(tags) == {}
        with pytest.raises(TypeError):
            pool.apply_async()


def test_a_pool_of_threads_under_the_same_roof_does_too() -> None:
    """`multiprocessing.pool.ThreadPool` shares the methods."""
    with multiprocessing.pool.ThreadPool(1) as pool, costguard.budgeted("inner"):
        assert pool.map(tags, [1]) == [{"feature": "inner"}]


@pytest.mark.parametrize("method", METHODS)
def test_a_process_carries_the_scope_it_is_started_in(method: str) -> None:
    """Not the one it was made in."""
    context: Any = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    with costguard.budgeted("made"):
        process = context.Process(target=tell, args=(queue,))
    with costguard.budgeted("started"):
        process.start()
    assert queue.get() == {"feature": "started"}
    process.join(60)


def test_what_travels_is_what_a_call_needs() -> None:
    """Not the blocks around it; a function that cannot be pickled gives way to the strict answer."""
    budget = costguard.budgeted("x", limit="$1", on_exceeded=lambda error: None)
    with budget:
        before = _scope.current()
        after = pickle.loads(pickle.dumps(before))
    assert (after.tags, after.run, after.parent, after.block) == (before.tags, before.run, None, None)
    [(travelled, run)] = after.enclosing
    assert (travelled.on_exceeded, travelled.limit, run) == ("raise", 10**9, before.enclosing[0][1])
    with costguard.budgeted("y", limit="$1", on_exceeded=print):
        assert pickle.loads(pickle.dumps(_scope.current())).enclosing[0][0].on_exceeded is print


def test_outside_any_block_stays_outside() -> None:
    """So that a block entered over there begins a run of its own."""
    assert pickle.loads(pickle.dumps(NOWHERE)) is NOWHERE
    assert pickle.loads(pickle.dumps(Scope())) is not NOWHERE


def test_uninstrument_takes_it_back() -> None:
    """Every method is the original again."""
    costguard.uninstrument()
    for owner, name in (
        (ProcessPoolExecutor, "submit"),
        (multiprocessing.pool.Pool, "imap"),
        (multiprocessing.process.BaseProcess, "start"),
    ):
        assert type(vars(owner)[name]).__name__ == "function"
