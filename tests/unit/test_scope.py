"""Attribution: which calls a scope covers, in every kind of function, task and thread, and that it leaks into none."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import costguard
from costguard import _scope
from costguard._context import NOWHERE
from costguard.errors import ConfigError


def here() -> dict[str, str]:
    """The attribution of a call that would be made here and now."""
    return dict(_scope.current().tags)


def limits() -> list[str]:
    """The budgets of the blocks around, outermost first."""
    return [budget.name for budget, _ in _scope.current().enclosing]


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Every test ends where it began: outside any block."""
    assert _scope.current() is NOWHERE
    yield
    assert _scope.current() is NOWHERE


# -- blocks --------------------------------------------------------------------------------------------------------


def test_a_block_attributes_and_inner_blocks_inherit() -> None:
    """Tags of an inner block go over those of the outer one, which come back after it."""
    with costguard.budgeted("search", team="web"):
        assert here() == {"feature": "search", "team": "web"}
        with costguard.budgeted("rank", user="u1"):
            assert here() == {"feature": "rank", "team": "web", "user": "u1"}
        assert here() == {"feature": "search", "team": "web"}
    assert here() == {}


async def test_a_block_may_be_entered_with_async_with() -> None:
    """`async with` does the same as `with`."""
    async with costguard.budgeted("search") as block:
        await asyncio.sleep(0)
        assert here() == {"feature": "search"}
        assert isinstance(block, costguard._process.Block)
    assert here() == {}


def test_limits_of_the_blocks_around_go_on_counting() -> None:
    """An inner limit is added to the outer ones and replaces none."""
    with costguard.budgeted(limit="$1", name="outer"):
        with costguard.budgeted(limit="$2", name="inner"):
            assert limits() == ["outer", "inner"]
        assert limits() == ["outer"]


def test_each_entry_of_a_block_is_a_run_of_its_own() -> None:
    """A limit without a period is for one run; blocks inside it belong to the same outermost run."""
    block = costguard.budgeted(limit="$1", name="run")
    runs = []
    for _ in range(2):
        with block:
            outermost = _scope.current().run
            with costguard.budgeted("search"):
                assert _scope.current().run == outermost
            runs.append(_scope.current().enclosing[0][1])
    assert len(set(runs)) == 2


def test_an_exception_leaves_the_block() -> None:
    """Errors pass through unchanged, and the scope ends with them."""
    error = ValueError("theirs")
    with pytest.raises(ValueError) as caught, costguard.budgeted("search"):
        raise error
    assert caught.value is error
    assert here() == {}


def test_one_object_may_be_entered_again_inside_itself() -> None:
    """A shared `budgeted` keeps no state of who is inside it."""
    block = costguard.budgeted("search")
    with block, block:
        with block:
            assert here() == {"feature": "search"}
        assert here() == {"feature": "search"}


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12), st.randoms(use_true_random=False))
def test_blocks_left_in_any_order_leave_the_others_in_force(entered: list[int], random: Any) -> None:
    """Whatever order blocks end in, what stays is what was entered and not left, in the order it was entered."""
    blocks = [costguard.budgeted(limit="$1", name=f"b{n}", **{f"tag{n}": f"v{n}"}) for n in range(4)]

    def check() -> None:
        inside: list[int] = []
        for n in entered:
            blocks[n].__enter__()
            inside.append(n)
        while inside:
            n = random.choice(inside)
            blocks[n].__exit__(None, None, None)
            del inside[len(inside) - 1 - inside[::-1].index(n)]
            assert here() == {f"tag{n}": f"v{n}" for n in inside}
            assert limits() == [f"b{n}" for n in inside]
        assert _scope.current() is NOWHERE

    Context().run(check)  # an example that Hypothesis breaks off leaves blocks open, and the next begins anew


def test_a_block_closed_in_somebody_elses_block_takes_only_itself_away() -> None:
    """A generator that is dropped inside a `with` of its own does not end the block that its consumer is in."""

    def numbers() -> Iterator[int]:
        with costguard.budgeted("numbers"):
            yield 1
            yield 2

    steps = numbers()
    next(steps)
    with costguard.budgeted(limit="$1", name="mine", user="u1"):
        steps.close()
        assert here() == {"user": "u1"}
        assert limits() == ["mine"]
    assert here() == {}


def test_a_block_left_in_a_context_that_was_never_inside_changes_nothing_there() -> None:
    """Leaving a block elsewhere than it was entered is harmless."""
    block = costguard.budgeted("search")
    Context().run(block.__enter__)
    with costguard.budgeted("mine"):
        block.__exit__(None, None, None)
        assert here() == {"feature": "mine"}


@pytest.mark.parametrize("wrong", [{"feature": 7}, {"user": ""}, {"team": "a\nb"}, {"user": "x" * 257}, {"a b": "c"}])
def test_tags_that_cannot_be_counted_by_are_refused_where_they_are_written(wrong: dict[str, Any]) -> None:
    """A malformed tag is a ConfigError at the `budgeted`, not later at a call."""
    with pytest.raises(ConfigError):
        costguard.budgeted(**wrong)


# -- functions of every kind ---------------------------------------------------------------------------------------

tag = costguard.budgeted("search")


@tag
def plain(a: int, *, b: str = "b") -> tuple[int, str, dict[str, str]]:
    """Its own docstring."""
    return a, b, here()


@tag
async def coroutine(a: int) -> tuple[int, dict[str, str]]:
    await asyncio.sleep(0)
    return a, here()


@tag
def generator(n: int) -> Iterator[Any]:
    for _ in range(n):
        yield here()


@tag
async def async_generator(n: int) -> AsyncIterator[Any]:
    for _ in range(n):
        await asyncio.sleep(0)
        yield here()


class Things:
    @tag
    def method(self, a: int) -> tuple[Any, int, dict[str, str]]:
        return self, a, here()

    @tag
    async def amethod(self) -> dict[str, str]:
        return here()

    @classmethod
    @tag
    def made(cls, a: int) -> tuple[Any, int, dict[str, str]]:
        return cls, a, here()

    @tag
    @classmethod
    def made_the_other_way(cls, a: int) -> tuple[Any, int, dict[str, str]]:
        return cls, a, here()

    @staticmethod
    @tag
    def static(a: int) -> tuple[int, dict[str, str]]:
        return a, here()

    @tag
    @staticmethod
    def static_the_other_way(a: int) -> tuple[int, dict[str, str]]:
        return a, here()


SEARCH = {"feature": "search"}


async def test_calls_in_the_body_are_attributed() -> None:
    """A decorated function's body runs inside the scope, its caller does not."""
    assert plain(1, b="x") == (1, "x", SEARCH)
    assert await coroutine(1) == (1, SEARCH)
    assert list(generator(2)) == [SEARCH, SEARCH]
    assert [item async for item in async_generator(2)] == [SEARCH, SEARCH]
    assert here() == {}


async def test_methods_of_every_kind_are_attributed() -> None:
    """Instance, class and static methods, with the decorator on either side of `classmethod` and `staticmethod`."""
    things = Things()
    assert things.method(1) == (things, 1, SEARCH)
    assert await things.amethod() == SEARCH
    assert Things.made(1) == things.made_the_other_way(1) == (Things, 1, SEARCH)
    assert Things.static(1) == things.static_the_other_way(1) == (1, SEARCH)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (plain, None),
        (coroutine, inspect.iscoroutinefunction),
        (generator, inspect.isgeneratorfunction),
        (async_generator, inspect.isasyncgenfunction),
        (Things.amethod, inspect.iscoroutinefunction),
    ],
)
def test_a_function_stays_what_it_is(function: Any, kind: Callable[[Any], bool] | None) -> None:
    """Frameworks that look at a function see its kind, signature, name and docstring."""
    inner = function.__wrapped__
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    assert [is_it(function) for is_it in kinds] == [is_it is kind for is_it in kinds]
    assert inspect.signature(function) == inspect.signature(inner)
    assert (function.__name__, function.__qualname__, function.__doc__, function.__module__) == (
        inner.__name__, inner.__qualname__, inner.__doc__, inner.__module__,
    )  # fmt: skip


async def test_callables_without_a_name_may_be_decorated() -> None:
    """Partial objects and instances with `__call__`, coroutine ones too, are functions like any other."""

    class Called:
        def __call__(self) -> dict[str, str]:
            return here()

    class Awaited:
        async def __call__(self) -> dict[str, str]:
            await asyncio.sleep(0)
            return here()

    limited = costguard.budgeted(limit="$1")
    assert tag(functools.partial(plain.__wrapped__, 1))() == (1, "b", SEARCH)
    assert await tag(functools.partial(coroutine.__wrapped__, 1))() == (1, SEARCH)
    assert tag(Called())() == await tag(Awaited())() == SEARCH
    assert limited(functools.partial(limits))()[0].endswith("partial")


async def test_a_plain_function_around_a_coroutine_function_is_covered_to_its_end() -> None:
    """Decorators that hide a coroutine function behind a plain one hide nothing from a limit."""

    async def work() -> list[str]:
        await asyncio.sleep(0)
        return limits()

    limited = costguard.budgeted(limit="$1", name="one")(lambda: work())  # noqa: PLW0108 - on purpose
    waiting = limited()
    assert inspect.iscoroutine(waiting)
    assert here() == {}
    assert await waiting == ["one"]


@pytest.mark.parametrize("thing", [Things, 7, None])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    """A class would come back as a function and break `isinstance`, so it is not decorated."""
    with pytest.raises(ConfigError, match="decorates functions and methods"):
        tag(thing)


def test_a_functions_own_limit_has_books_of_its_own() -> None:
    """A limit with neither tags nor name is named after the function, with its period."""

    @costguard.budgeted(limit="$1")
    def one() -> list[str]:
        return limits()

    @costguard.budgeted(limit="$1/day")
    def two() -> list[str]:
        return limits()

    @costguard.budgeted(limit="$1", name="everything")
    def three() -> list[str]:
        return limits()

    prefix = "test_scope.test_a_functions_own_limit_has_books_of_its_own.<locals>."
    assert [one()[0].split("unit.")[1], two()[0].split("unit.")[1]] == [prefix + "one", prefix + "two, per day"]
    assert three() == ["everything"]


def test_recursion_counts_on_every_entry() -> None:
    """A function that calls itself is inside its own limit once for each call under way."""

    @costguard.budgeted(limit="$1", name="down")
    def down(n: int) -> int:
        return down(n - 1) if n else len(limits())

    assert down(3) == 4


# -- generators ----------------------------------------------------------------------------------------------------


def test_a_generator_leaks_nothing_into_its_consumer() -> None:
    """Between its steps the consumer's own scope is in force, also while the body is inside a block of its own."""

    @tag
    def steps() -> Iterator[dict[str, str]]:
        yield here()
        with costguard.budgeted(user="u1"):
            yield here()
            yield here()
        yield here()

    inside = {**SEARCH, "user": "u1"}
    seen = []
    running = steps()
    with costguard.budgeted(team="web"):
        for item in running:
            seen.append(item)
            assert here() == {"team": "web"}
    web = {"team": "web"}
    assert seen == [{**web, **SEARCH}, {**web, **inside}, {**web, **inside}, {**web, **SEARCH}]


def test_generators_of_one_function_may_run_interleaved() -> None:
    """Each keeps its own place, whatever order they are advanced in."""

    @tag
    def steps(user: str) -> Iterator[dict[str, str]]:
        with costguard.budgeted(user=user):
            yield here()
            yield here()

    one, two = steps("1"), steps("2")
    order = [next(one), next(two), next(two), next(one)]
    assert [item["user"] for item in order] == ["1", "2", "2", "1"]
    assert (list(one), list(two)) == ([], [])


def test_send_throw_close_and_the_return_value_pass_through() -> None:
    """A decorated generator behaves as the undecorated one in every exchange with its consumer."""
    log = []

    @tag
    def talk() -> Any:
        got = yield "ready"
        while True:
            try:
                got = yield (got, here())
            except KeyError as error:
                got = f"caught {error.args[0]}"
            except GeneratorExit:
                log.append(here())
                raise
            if got == "stop":
                return "done", here()

    running = talk()
    assert next(running) == "ready"
    assert running.send(1) == (1, SEARCH)
    assert running.throw(KeyError("k")) == ("caught k", SEARCH)
    with pytest.raises(StopIteration) as stop:
        running.send("stop")
    assert stop.value.value == ("done", SEARCH)
    with pytest.raises(ValueError):
        running = talk()
        next(running)
        running.throw(ValueError)
    running = talk()
    next(running), running.send(1)
    running.close()
    assert log == [SEARCH]


STEP = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 9)),
    st.tuples(st.just("throw"), st.sampled_from([KeyError, ValueError, StopIteration, GeneratorExit])),
    st.tuples(st.just("close"), st.none()),
)


def machine() -> Any:
    """A generator that answers whatever it is told: catches one kind of error, ends on another and at a number."""
    got: Any = None
    for count in range(6):
        try:
            got = yield count, got
        except KeyError:
            got = "key"
        except GeneratorExit:
            if count == 3:
                return "closed"
            raise
        if got == 9:
            return "nine"
        with costguard.budgeted(step=str(count)):
            got = yield count, got


@settings(deadline=None)
@given(st.lists(STEP, max_size=12))
def test_a_decorated_generator_cannot_be_told_from_the_bare_one(steps: list[tuple[str, Any]]) -> None:
    """Whatever is sent, thrown or closed, both answer the same, and the consumer's scope never changes."""

    def outcome(running: Any, step: tuple[str, Any]) -> object:
        verb, value = step
        try:
            return running.close() if verb == "close" else getattr(running, verb)(value)
        except BaseException as error:
            return type(error), getattr(error, "value", None)

    bare, decorated = machine(), tag(machine)()

    def bare_outcome(step: tuple[str, Any]) -> object:
        return context.run(outcome, bare, step)

    context = copy_context()  # the bare one leaks its blocks, so it is run where nobody minds
    for step in [("send", None), *steps]:
        assert outcome(decorated, step) == bare_outcome(step)
        assert _scope.current() is NOWHERE
    decorated.close()
    context.run(bare.close)


def test_a_generator_that_ignores_its_close_says_so() -> None:
    """The language's own complaint comes through."""

    @tag
    def stubborn() -> Iterator[int]:
        while True:
            try:
                yield 1
            except GeneratorExit:
                pass

    running = stubborn()
    next(running)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        running.close()
    with pytest.raises(ValueError):
        running.throw(ValueError)


def test_a_dropped_generator_runs_its_cleanup_in_its_scope() -> None:
    """What a body does in `finally` is attributed to it, and its consumer's block stays in force."""
    seen = []

    @tag
    def steps() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(here())

    running = steps()
    with costguard.budgeted(team="web"):
        next(running)
        del running
        gc.collect()
        assert here() == {"team": "web"}
    assert seen == [{"team": "web", **SEARCH}]


def test_yield_from_goes_through() -> None:
    """A decorated generator may be delegated to, and may delegate."""

    @tag
    def inner() -> Any:
        got = yield here()
        return got

    @costguard.budgeted(user="u1")
    def outer() -> Any:
        result = yield from inner()
        yield result, here()

    running = outer()
    assert next(running) == {"user": "u1", **SEARCH}
    assert running.send("x") == ("x", {"user": "u1"})


def test_a_generator_may_move_between_threads() -> None:
    """Steps taken by different threads are all attributed, and no thread keeps the scope."""
    running = generator(3)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(next, running).result() == SEARCH
        assert next(running) == SEARCH
        assert pool.submit(next, running).result() == SEARCH
        assert pool.submit(here).result() == {}


# -- async generators ----------------------------------------------------------------------------------------------


async def test_an_async_generator_leaks_nothing_into_its_consumer() -> None:
    """Between its steps the consumer's own scope is in force, also while the body is inside a block of its own."""

    @tag
    async def steps() -> AsyncIterator[dict[str, str]]:
        yield here()
        async with costguard.budgeted(user="u1"):
            await asyncio.sleep(0)
            yield here()
        yield here()

    seen = []
    async for item in steps():
        seen.append(item)
        assert here() == {}
    assert seen == [SEARCH, {**SEARCH, "user": "u1"}, SEARCH]


async def test_asend_athrow_and_aclose_pass_through() -> None:
    """A decorated async generator behaves as the undecorated one."""
    closed = []

    @tag
    async def talk() -> Any:
        got = None
        try:
            while True:
                try:
                    got = yield got, here()
                except KeyError:
                    got = "caught"
        finally:
            closed.append(here())

    running = talk()
    assert await anext(running) == (None, SEARCH)
    assert await running.asend(1) == (1, SEARCH)
    assert await running.athrow(KeyError()) == ("caught", SEARCH)
    with pytest.raises(ValueError):
        await running.athrow(ValueError())
    with pytest.raises(StopAsyncIteration):
        await anext(running)
    running = talk()
    await anext(running)
    await running.aclose()
    assert closed == [SEARCH, SEARCH]
    assert here() == {}


async def test_an_async_generator_cancelled_in_a_step_leaves_its_scope() -> None:
    """A cancellation goes through the body and ends in the consumer's own scope."""
    seen = []

    @tag
    async def steps() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(60)
            yield 1
        except asyncio.CancelledError:
            seen.append(here())
            raise

    with costguard.budgeted(team="web"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                async for _ in steps():
                    pass
        assert here() == {"team": "web"}
    assert seen == [{"team": "web", **SEARCH}]


async def test_a_dropped_async_generator_disturbs_nobody() -> None:
    """The loop closes it in a task of its own; the scope of whoever dropped it stays."""
    running = async_generator(3)
    await anext(running)
    with costguard.budgeted(team="web"):
        del running
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert here() == {"team": "web"}


# -- tasks and threads ---------------------------------------------------------------------------------------------


async def test_tasks_inherit_and_do_not_disturb_each_other() -> None:
    """A task belongs to the scope it was made in, and what it enters stays its own."""

    async def work(user: str) -> dict[str, str]:
        with costguard.budgeted(user=user):
            await asyncio.sleep(0.001)
            return here()

    with costguard.budgeted("search"):
        outside = asyncio.create_task(work("0"))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(str(n))) for n in range(10)]
        assert here() == SEARCH
    assert [task.result() for task in tasks] == [{**SEARCH, "user": str(n)} for n in range(10)]
    assert await outside == {**SEARCH, "user": "0"}


async def test_to_thread_inherits() -> None:
    """`asyncio.to_thread` carries the scope by nature."""
    with costguard.budgeted("search"):
        assert await asyncio.to_thread(here) == SEARCH


def test_a_bare_thread_does_not_inherit_and_a_wrapped_function_does() -> None:
    """`costguard.wrap` binds a function to the attribution of where it was wrapped."""
    seen: list[dict[str, str]] = []

    def work(name: str) -> str:
        """Work."""
        seen.append(here())
        return name

    with costguard.budgeted("search"):
        wrapped = costguard.wrap(work)
        bare = threading.Thread(target=work, args=("x",))
        bare.start()
        bare.join()
        with ThreadPoolExecutor(2) as pool:
            assert pool.submit(wrapped, "x").result() == "x"
            assert list(pool.map(wrapped, "ab")) == ["a", "b"]
            assert pool.submit(here).result() == {}
    with costguard.budgeted(team="web"):
        wrapped("y")
        assert here() == {"team": "web"}
    assert seen == [{}, SEARCH, SEARCH, SEARCH, SEARCH]
    assert (wrapped.__name__, wrapped.__doc__) == ("work", "Work.")


def test_a_wrapped_coroutine_function_belongs_to_where_it_was_wrapped() -> None:
    """A coroutine handed to a loop in another thread carries its scope along."""

    async def work() -> dict[str, str]:
        await asyncio.sleep(0)
        return here()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with costguard.budgeted("search"):
            wrapped = costguard.wrap(work)
            assert asyncio.run_coroutine_threadsafe(wrapped(), loop).result(5) == SEARCH
        assert inspect.iscoroutinefunction(wrapped)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_wrapped_function_that_raises_leaves_its_thread_clean() -> None:
    """The error comes out, and the pool's thread keeps no scope."""

    def fail() -> None:
        costguard.budgeted(user="left open").__enter__()
        raise ValueError("theirs")

    with ThreadPoolExecutor(1) as pool:
        with costguard.budgeted("search"):
            failed = pool.submit(costguard.wrap(fail))
        with pytest.raises(ValueError, match="theirs"):
            failed.result()
        assert pool.submit(here).result() == {}


def test_one_wrapped_function_may_run_in_many_threads_at_once() -> None:
    """A bound function keeps no state between its calls."""
    barrier = threading.Barrier(8, timeout=10)

    def work(_: int) -> dict[str, str]:
        barrier.wait()
        return here()

    with ThreadPoolExecutor(8) as pool, costguard.budgeted("search"):
        assert list(pool.map(costguard.wrap(work), range(8))) == [SEARCH] * 8


def test_one_shared_object_serves_many_threads_at_once() -> None:
    """A module-level `budgeted` used by every thread mixes nobody's scope with another's."""
    barrier = threading.Barrier(8, timeout=10)
    wrong: list[object] = []

    def work(user: str) -> None:
        barrier.wait()
        for _ in range(200):
            with costguard.budgeted(user=user), tag:
                if here() != {"user": user, **SEARCH}:
                    wrong.append(here())
                if plain(1)[2] != here():
                    wrong.append(user)
        if here():
            wrong.append(here())

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_one_shared_object_serves_many_tasks_at_once() -> None:
    """The same for tasks that take turns inside it."""

    async def work(user: str) -> list[dict[str, str]]:
        with costguard.budgeted(user=user):
            seen = []
            async for item in async_generator(5):
                seen += [item, here()]
            return [*seen, (await coroutine(1))[1]]

    results = await asyncio.gather(*(work(str(n)) for n in range(20)))
    for n, seen in enumerate(results):
        mine = {"user": str(n)}
        assert seen == [*[{**mine, **SEARCH}, mine] * 5, {**mine, **SEARCH}]


def test_entering_costs_microseconds() -> None:
    """A block is cheap enough to be put around anything."""
    begun = time.perf_counter()
    for _ in range(1000):
        with tag:
            pass
    assert time.perf_counter() - begun < 0.5
