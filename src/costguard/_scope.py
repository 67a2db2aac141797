"""Attribution: which feature, team, environment and user the calls of this thread or task belong to.

A scope is an immutable value in a context variable. `budgeted` only *tags*: it puts a scope in place around a
function, a generator's steps or a `with` block; the guard reads it when a call is about to be sent. So nothing here
knows of a ledger, and nothing here can fail a call.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial, wraps
from types import MappingProxyType, TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from ._budget import DEFAULT_ALERTS, Budget, Enforcement, Limit, OnExceeded, budget, clean_tags, renamed
from ._period import RUN

P = ParamSpec("P")
R = TypeVar("R")

PROCESS_RUN: Final = uuid.uuid4().hex
"""The run that calls outside any block belong to."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a call comes from.

    Attributes:
        tags: attribution, inner blocks over outer ones.
        enclosing: the budgets of the blocks around, each with the run it was entered in.
        run: the run that ``period="run"`` budgets set with `configure` count in: the outermost block's.
        parent: the scope outside the innermost block.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    enclosing: tuple[tuple[Budget, str], ...] = ()
    run: str = PROCESS_RUN
    parent: Scope | None = None


_NOWHERE: Final = Scope()
_current: ContextVar[Scope] = ContextVar("costguard_scope", default=_NOWHERE)

current: Final = _current.get
"""Return the scope that calls made here and now belong to."""


def enter(tags: Mapping[str, str], budgets: Iterable[Budget] = ()) -> Scope:
    """Make a scope inside the current one the current one, and return it."""
    outer = _current.get()
    run = uuid.uuid4().hex
    scope = Scope(
        tags=MappingProxyType({**outer.tags, **tags}),
        enclosing=(*outer.enclosing, *((budget, run) for budget in budgets)),
        run=run if outer is _NOWHERE else outer.run,
        parent=outer,
    )
    _current.set(scope)
    return scope


def leave() -> None:
    """Go back to the scope outside. By link, not by token: a token cannot be used from another context."""
    _current.set(_current.get().parent or _NOWHERE)


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` bound to the attribution of here and now, for a thread or an executor to call.

    ``executor.submit(costguard.wrap(work), item)``. asyncio tasks and `asyncio.to_thread` need no wrapping.
    """
    scope = _current.get()

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        context = copy_context()
        context.run(_current.set, scope)
        return context.run(partial(function, *args, **kwargs))

    return within


class Declarations:
    """Every limit written in a `budgeted(...)` with a scope of its own: it holds for all calls of that scope.

    Attributes:
        budgets: a new tuple after each change, so that a reader can tell by identity whether there was one.
    """

    def __init__(self) -> None:
        self.budgets: tuple[Budget, ...] = ()

    def add(self, budget: Budget) -> None:
        """Declare a budget; the last declaration of a name holds."""
        self.budgets = (*(known for known in self.budgets if known.name != budget.name), budget)


declarations: Final = Declarations()


class budgeted:  # noqa: N801 - used as a decorator and in a with statement, where the language's habit is lower case
    """Attribute calls to a feature, team, environment, user or any tag, and limit what they may cost.

    As a decorator on a function, coroutine function, generator, async generator or method, and as a ``with`` or
    ``async with`` block::

        @costguard.budgeted(feature="customer-support", limit="$500/month", alert_at=(50, 80, 95))
        def answer(question): ...

        with costguard.budgeted(user="u-17", limit="$0.50"):
            ...

    Without `limit` it only attributes. A limit with a period belongs to the scope named here: every call with those
    tags counts, wherever it is made. A limit without a period holds for one run: each call of the function, each
    entry of the block, may spend that much. Limits of the blocks around go on counting inside.

    Raises:
        ConfigError: a limit, period, threshold or tag is malformed.
    """

    def __init__(
        self,
        feature: str | None = None,
        *,
        limit: Limit | None = None,
        period: str | None = None,
        name: str | None = None,
        alert_at: Iterable[float] = DEFAULT_ALERTS,
        timezone: str = "UTC",
        week_start: str = "monday",
        per: str | None = None,
        enforcement: Enforcement = "hard",
        on_exceeded: OnExceeded = "raise",
        wait: float = 0.0,
        clamp: bool = True,
        team: str | None = None,
        environment: str | None = None,
        user: str | None = None,
        **tags: str | None,
    ) -> None:
        self.tags = clean_tags({"feature": feature, "team": team, "environment": environment, "user": user, **tags})
        self.budget: Budget | None = None
        if limit is None:
            return
        self.budget = budget(
            limit,
            name=name,
            period=period,
            timezone=timezone,
            week_start=week_start,
            per=per,
            alert_at=alert_at,
            enforcement=enforcement,
            on_exceeded=on_exceeded,
            wait=wait,
            clamp=clamp,
            default_period=RUN,
            **self.tags,
        )
        if self.budget.period is not RUN and self.tags:
            declarations.add(self.budget)

    def _enter(self) -> Scope:
        return enter(self.tags, () if self.budget is None else (self.budget,))

    def __enter__(self) -> Any:
        return self._enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave()

    async def __aenter__(self) -> Any:
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function`, its calls attributed and limited; the signature and the kind of function stay."""
        named = self._named_after(function)
        if inspect.isasyncgenfunction(function):
            return cast("Callable[P, R]", named._async_generator(function))
        if inspect.isgeneratorfunction(function):
            return cast("Callable[P, R]", named._generator(function))
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, R]", named._coroutine(function))
        return named._function(function)

    def _named_after(self, function: Callable[..., Any]) -> budgeted:
        """A limit with neither scope nor name is the function's own, and its books are named after it."""
        if self.budget is None or self.tags or self.budget.name != "everything":
            return self
        named = type(self)()
        named.budget = renamed(self.budget, f"{function.__module__}.{function.__qualname__}")
        return named

    def _function(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return call

    def _coroutine(self, function: Callable[..., Coroutine[Any, Any, R]]) -> Callable[..., Coroutine[Any, Any, R]]:
        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> R:
            with self:
                return await function(*args, **kwargs)

        return call

    def _generator(
        self, function: Callable[..., Generator[Any, Any, Any]]
    ) -> Callable[..., Generator[Any, Any, Any]]:
        @wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            inside = _Inside(self)
            inner = function(*args, **kwargs)
            advance, value = inner.send, cast("Any", None)
            try:
                while True:
                    with inside:
                        item = advance(value)
                    try:
                        advance, value = inner.send, (yield item)
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        advance, value = inner.throw, error
            except StopIteration as stop:
                return stop.value
            finally:
                with inside:
                    inner.close()

        return steps

    def _async_generator(
        self, function: Callable[..., AsyncGenerator[Any, Any]]
    ) -> Callable[..., AsyncGenerator[Any, Any]]:
        @wraps(function)
        async def steps(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            inside = _Inside(self)
            inner = function(*args, **kwargs)
            advance, value = cast("Callable[[Any], Any]", inner.asend), cast("Any", None)
            try:
                while True:
                    with inside:
                        item = await advance(value)
                    try:
                        advance, value = inner.asend, (yield item)
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        advance, value = inner.athrow, error
            except StopAsyncIteration:
                return
            finally:
                with inside:
                    await inner.aclose()

        return steps


class _Inside:
    """The scope of a generator's body, put in place around each step so that it never leaks to the consumer.

    What the body itself entered and not yet left is kept between the steps.
    """

    __slots__ = ("_block", "_inner", "_outer")

    def __init__(self, block: budgeted) -> None:
        self._block = block
        self._inner: Scope | None = None
        self._outer = _NOWHERE

    def __enter__(self) -> None:
        self._outer = _current.get()
        if self._inner is None:
            self._inner = self._block._enter()
        else:
            _current.set(self._inner)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._inner = _current.get()
        _current.set(self._outer)
