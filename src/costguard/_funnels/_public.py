"""Public methods inside which an SDK sends several requests and catches errors: a refusal in one of them is final.

google-genai resumes a stream after any exception, and turns what a tool function raises into a message to the model.
So a refusal is written down in the public call it happened in; every later request of that call is refused with it,
and it is what comes out of the public method. The caller's own code never runs inside: neither what he does between
two parts of a stream, nor the functions the SDK calls for the model, where he may catch a refusal himself.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from .._streams import Answer
from ..errors import BudgetExceededError, LoopDetectedError


class PublicCall:
    """One call of a public method.

    Attributes:
        refusal: the first refusal inside it.
        streams: the streamed answers begun inside it.
    """

    __slots__ = ("refusal", "streams")

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.streams: list[Answer] = []

    def refused(self, error: Exception) -> None:
        """A request of this call was refused, or an exception that refuses it was raised in it."""
        if self.refusal is None:
            self.refusal = error

    def failed(self) -> None:
        """The call is over: its streams will not be read on, even while the error's traceback keeps them alive."""
        for answer in self.streams:
            answer.closed()


_around: Final[ContextVar[PublicCall | None]] = ContextVar("costguard_public_call", default=None)


def around() -> PublicCall | None:
    """The public call that is being worked on here."""
    return _around.get()


class _Inside:
    """The context variable set for one step. What it was is put back by value: a token would be refused where an
    async generator is closed, which is in another context than the one it ran in."""

    __slots__ = ("_before", "_call", "_set")

    def __init__(self, call: PublicCall | None, within: PublicCall | None) -> None:
        self._set = within
        self._call = call
        self._before: PublicCall | None = None

    def __enter__(self) -> None:
        self._before = _around.get()
        _around.set(self._set)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _around.set(self._before)
        call = self._call
        if call is None or (error is None and call.refusal is None):
            return
        call.failed()
        refusal = call.refusal
        if refusal is not None and error is not refusal and (error is None or isinstance(error, Exception)):
            raise refusal from error


def _step(call: PublicCall) -> _Inside:
    return _Inside(call, call)


def _joined() -> PublicCall:
    """The public call around, which this one belongs to, or a new one."""
    return _around.get() or PublicCall()


# -- public methods --------------------------------------------------------------------------------------------------


def public(original: Any) -> Callable[..., Any]:
    """The wrapper for a public method, of the kind that `original` is."""
    if inspect.isgeneratorfunction(original):
        return _generator
    if inspect.isasyncgenfunction(original):
        return _async_generator
    return _coroutine if inspect.iscoroutinefunction(original) else _function


def _function(wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any) -> Any:
    call = _joined()
    with _step(call):
        return _reading(wrapped(*args, **kwargs), call)


async def _coroutine(wrapped: Callable[..., Awaitable[Any]], _instance: Any, args: Any, kwargs: Any) -> Any:
    call = _joined()
    with _step(call):
        result = await wrapped(*args, **kwargs)
    return _named(_async_steps(result, call), result) if inspect.isasyncgen(result) else _reading(result, call)


def _generator(wrapped: Callable[..., Iterator[Any]], _instance: Any, args: Any, kwargs: Any) -> Any:
    items = wrapped(*args, **kwargs)
    return _named(_steps(items, None), items)


def _async_generator(wrapped: Callable[..., AsyncIterator[Any]], _instance: Any, args: Any, kwargs: Any) -> Any:
    items = wrapped(*args, **kwargs)
    return _named(_async_steps(items, None), items)


def _named(ours: Any, theirs: Any) -> Any:
    """Our generator under the name of theirs: the caller is handed the same type as without costguard."""
    ours.__name__, ours.__qualname__ = theirs.__name__, theirs.__qualname__
    return ours


def _reading(result: Any, call: PublicCall) -> Any:
    """A stream object goes on sending requests while it is read, from the generator that it holds."""
    items = getattr(result, "generator", None)
    if inspect.isgenerator(items):
        result.generator = _named(_steps(items, call), items)
    elif inspect.isasyncgen(items):
        result.generator = _named(_async_steps(items, call), items)
    return result


def _steps(items: Any, call: PublicCall | None) -> Iterator[Any]:
    call = call or _joined()
    try:
        while True:
            with _step(call):
                try:
                    item = next(items)
                except StopIteration:
                    break
            yield item
    finally:
        items.close()


async def _async_steps(items: Any, call: PublicCall | None) -> AsyncIterator[Any]:
    call = call or _joined()
    try:
        while True:
            with _step(call):
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
            yield item
    finally:
        await items.aclose()


# -- the caller's functions ------------------------------------------------------------------------------------------


def callback(original: Any) -> Callable[..., Any]:
    """The wrapper for what calls a function of the caller's and wraps what it raises."""
    return _async_callback if inspect.iscoroutinefunction(original) else _callback


def _callback(wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any) -> Any:
    call = _around.get()
    try:
        with _Inside(None, None):
            return wrapped(*args, **kwargs)
    except Exception as error:
        _note(call, error)
        raise


async def _async_callback(wrapped: Callable[..., Awaitable[Any]], _instance: Any, args: Any, kwargs: Any) -> Any:
    call = _around.get()
    try:
        with _Inside(None, None):
            return await wrapped(*args, **kwargs)
    except Exception as error:
        _note(call, error)
        raise


def _note(call: PublicCall | None, error: Exception) -> None:
    """The caller's function let a refusal out: the SDK's own error has it as its cause or context."""
    for one in (error, error.__cause__, error.__context__):
        if call is not None and isinstance(one, BudgetExceededError | LoopDetectedError):
            call.refused(one)
