"""`instrument(executors=True)`: work in thread pools belongs to where it was submitted, and nothing else changes."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import wrapt

import costguard
from costguard import _scope

ORIGINAL = ThreadPoolExecutor.submit


def here(*_: object) -> dict[str, str]:
    """The attribution of a call that would be made here and now."""
    return dict(_scope.current().tags)


@pytest.fixture
def _executors() -> Iterator[None]:
    costguard.instrument(executors=True)
    yield
    costguard.uninstrument()
    assert ThreadPoolExecutor.submit is ORIGINAL


@pytest.mark.usefixtures("_executors")
def test_submitted_and_mapped_work_carries_its_scope() -> None:
    """Work belongs to where it was submitted; what is submitted outside any block belongs to none."""
    with ThreadPoolExecutor(1) as pool:
        with costguard.budgeted("search"):
            one, many = pool.submit(here), pool.map(here, range(2))
        with costguard.budgeted("rank"):
            two = pool.submit(here)
        three = pool.submit(here)
        assert (one.result(), two.result(), three.result()) == ({"feature": "search"}, {"feature": "rank"}, {})
        assert list(many) == [{"feature": "search"}] * 2


@pytest.mark.usefixtures("_executors")
async def test_run_in_executor_carries_its_scope() -> None:
    """asyncio's own bridge to threads goes through the same door."""
    with costguard.budgeted("search"):
        assert await asyncio.get_running_loop().run_in_executor(None, here) == {"feature": "search"}
        assert await asyncio.to_thread(here) == {"feature": "search"}


@pytest.mark.usefixtures("_executors")
def test_nothing_else_of_the_context_is_carried() -> None:
    """Other libraries' context variables stay as they would be without costguard."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="thread's")
    variable.set("caller's")
    with ThreadPoolExecutor(1) as pool, costguard.budgeted("search"):
        assert pool.submit(variable.get).result() == "thread's"
        pool.submit(variable.set, "left by earlier work").result()
        assert pool.submit(variable.get).result() == "left by earlier work"


@pytest.mark.usefixtures("_executors")
def test_arguments_results_and_errors_pass_through() -> None:
    """`submit` takes and gives what it did before, and complains about what it did before."""

    def work(function: str, *args: int, fn: str = "", **kwargs: int) -> Any:
        return function, args, fn, kwargs

    def fail() -> None:
        raise KeyError("theirs")

    with ThreadPoolExecutor(1) as pool, costguard.budgeted("search"):
        assert pool.submit(work, "f", 1, 2, fn="x", a=3).result() == ("f", (1, 2), "x", {"a": 3})
        assert isinstance(pool.submit(fail).exception(), KeyError)
        with pytest.raises(TypeError):
            pool.submit()  # type: ignore[call-arg]
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(here)


@pytest.mark.usefixtures("_executors")
def test_pools_and_bound_methods_made_before_are_covered() -> None:
    """The method is wrapped on the class, so a pool's age does not matter; subclasses that call it are covered too."""

    class Pool(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(fn, *args, **kwargs)

    with Pool(1) as pool, costguard.budgeted("search"):
        assert pool.submit(here).result() == {"feature": "search"}


def test_it_is_off_unless_asked_for_and_undone_by_uninstrument() -> None:
    """Plain `instrument` leaves thread pools alone; asking twice wraps once; `uninstrument` restores the original."""
    costguard.instrument()
    assert ThreadPoolExecutor.submit is ORIGINAL
    costguard.instrument(executors=True)
    wrapper = inspect.getattr_static(ThreadPoolExecutor, "submit")
    costguard.instrument(executors=True)
    assert inspect.getattr_static(ThreadPoolExecutor, "submit") is wrapper
    assert inspect.signature(ThreadPoolExecutor.submit) == inspect.signature(ORIGINAL)
    costguard.uninstrument()
    costguard.uninstrument()
    assert inspect.getattr_static(ThreadPoolExecutor, "submit") is ORIGINAL


def test_it_leaves_from_underneath_somebody_elses_wrapper() -> None:
    """A wrapper that another library put on top keeps working."""
    seen = []

    def theirs(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        seen.append(args[0])
        return wrapped(*args, **kwargs)

    costguard.instrument(executors=True)
    wrapt.wrap_function_wrapper("concurrent.futures", "ThreadPoolExecutor.submit", theirs)
    try:
        costguard.uninstrument()
        with ThreadPoolExecutor(1) as pool, costguard.budgeted("search"):
            assert pool.submit(here).result() == {}
        assert seen == [here]
    finally:
        ThreadPoolExecutor.submit = ORIGINAL  # type: ignore[method-assign]
