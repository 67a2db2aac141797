"""Attribution: which feature, team, environment and user the calls of this thread or task belong to.

`budgeted` only *tags*: it puts a scope in place around a function, a generator's steps or a `with` block; the guard
reads it when a call is about to be sent. So nothing here knows of a ledger, and nothing here can fail a call.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from functools import wraps
from types import CoroutineType, TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from ._budget import (
    DEFAULT_ALERTS,
    EVERYTHING,
    Budget,
    Enforcement,
    Limit,
    OnExceeded,
    OnLedgerDown,
    budget,
    clean_tags,
    renamed,
)
from ._context import Carried, Scope, Steps, current, enter, leave
from ._period import RUN, length
from .errors import ConfigError

__all__ = ["Scope", "budgeted", "current", "declarations", "wrap"]

P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, Any, Any] | staticmethod[Any, Any]")


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` bound to the attribution of here and now, for a thread or an executor to call.

    ``executor.submit(costguard.wrap(work), item)``; a coroutine function may be wrapped too, for a loop in another
    thread. asyncio tasks and `asyncio.to_thread` need no wrapping, and no executor does after
    ``costguard.instrument(executors=True)``.
    """
    scope = current()
    if _is_coroutine_function(function):

        @wraps(function)
        async def task(*args: Any, **kwargs: Any) -> Any:
            return await _awaited(cast("Callable[..., Coroutine[Any, Any, Any]]", function)(*args, **kwargs), scope)

        return cast("Callable[P, R]", task)

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        with Carried(scope):
            return function(*args, **kwargs)

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

    ``cache=True`` answers equal calls from the response cache, ``cache="10m"`` with answers that are at most so old,
    and ``cache=False`` has every call sent, whatever is set up around it. ``compress=True`` has calls sent with shorter
    prompts, and ``compress=False`` as they are.

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
        on_ledger_down: OnLedgerDown | None = None,
        local_allowance: Limit | None = None,
        downgrade_at: float | None = None,
        cache: bool | float | str | None = None,
        compress: bool | None = None,
        team: str | None = None,
        environment: str | None = None,
        user: str | None = None,
        **tags: str | None,
    ) -> None:
        self.tags = clean_tags({"feature": feature, "team": team, "environment": environment, "user": user, **tags})
        self.cache = cache if cache is None or isinstance(cache, bool) else length("cache", cache)
        if compress is not None and not isinstance(compress, bool):
            raise ConfigError(f"compress={compress!r}: give True or False; configure(compression=...) says how")
        self.compress = compress
        self.budget: Budget | None = None
        self._unnamed = name is None
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
            on_ledger_down=on_ledger_down,
            local_allowance=local_allowance,
            downgrade_at=downgrade_at,
            default_period=RUN,
            **self.tags,
        )
        if self.budget.period is not RUN and self.tags:
            declarations.add(self.budget)

    def _enter(self) -> Scope:
        return enter(self.tags, () if self.budget is None else (self.budget,), self, self.cache, self.compress)

    def __enter__(self) -> Any:
        return self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self)

    async def __aenter__(self) -> Any:
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self)

    def __call__(self, function: Function) -> Function:
        """Return `function`, its calls attributed and limited; the signature and the kind of function stay.

        Raises:
            ConfigError: it is a class, or nothing that can be called.
        """
        if isinstance(function, classmethod | staticmethod):
            return cast("Function", type(function)(self(function.__func__)))
        if inspect.isclass(function) or not callable(function):
            raise ConfigError(f"budgeted(...) decorates functions and methods, and {function!r} is none")
        named = self._named_after(function)
        if inspect.isasyncgenfunction(function):
            return cast("Function", named._async_generator(function))
        if inspect.isgeneratorfunction(function):
            return cast("Function", named._generator(function))
        if _is_coroutine_function(function):
            return cast("Function", named._coroutine(function))
        return cast("Function", named._function(function))

    def _named_after(self, function: Callable[..., Any]) -> budgeted:
        """A limit with neither scope nor name is the function's own, and its books are named after it."""
        if self.budget is None or self.tags or not self._unnamed:
            return self
        named = type(self)(cache=self.cache, compress=self.compress)
        own = getattr(function, "__qualname__", None) or type(function).__qualname__
        rest = self.budget.name.removeprefix(EVERYTHING)
        named.budget = renamed(self.budget, f"{getattr(function, '__module__', None) or '?'}.{own}{rest}")
        return named

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                result = function(*args, **kwargs)
                # A plain function around a coroutine function, as many decorators make: its body is still to run.
                return _awaited(result, current()) if type(result) is CoroutineType else result

        return call

    def _coroutine(self, function: Callable[..., Coroutine[Any, Any, R]]) -> Callable[..., Coroutine[Any, Any, R]]:
        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> R:
            with self:
                return await function(*args, **kwargs)

        return call

    def _generator(self, function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Generator[Any, Any, Any]]:
        @wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            inside = Steps(self._enter)
            inner = function(*args, **kwargs)
            advance, value = inner.send, cast("Any", None)
            try:
                while True:
                    with inside:
                        item = advance(value)
                    try:
                        advance, value = inner.send, (yield item)
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
            inside = Steps(self._enter)
            inner = function(*args, **kwargs)
            advance, value = cast("Callable[[Any], Any]", inner.asend), cast("Any", None)
            try:
                while True:
                    with inside:
                        item = await advance(value)
                    try:
                        advance, value = inner.asend, (yield item)
                    except BaseException as error:
                        advance, value = inner.athrow, error
            except StopAsyncIteration:
                return
            finally:
                with inside:
                    await inner.aclose()

        return steps


async def _awaited(coroutine: Coroutine[Any, Any, R], scope: Scope) -> R:
    with Carried(scope):
        return await coroutine


def _is_coroutine_function(function: Any) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004 - what kind of callable it is, not whether it is one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
