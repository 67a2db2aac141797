"""Attribution across thread pools, when asked for: work carries the scope it was submitted in.

Threads do not inherit context variables. This carries costguard's own and no other: to run submitted work in a copy of
the whole context would change what programs see of everybody else's variables.
"""

from __future__ import annotations

import concurrent.futures
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import wrapt

from ._context import NOWHERE, Carried, Scope, current

R = TypeVar("R")

# It is a pool of threads too (Python 3.14), but what is submitted to it has to be pickled, and a scope cannot be.
_INTERPRETERS: Final[Any] = getattr(concurrent.futures, "InterpreterPoolExecutor", ())


class Executors:
    """The one wrapped method, `ThreadPoolExecutor.submit`; `map` and asyncio's ``run_in_executor`` go through it."""

    def __init__(self) -> None:
        self._wrapper: Any = None
        self._original: Any = None

    @property
    def installed(self) -> bool:
        """Whether it is wrapped by us."""
        return self._wrapper is not None

    def install(self) -> None:
        """Wrap it; repeating that changes nothing."""
        if self._wrapper is None:
            self._original = ThreadPoolExecutor.submit
            self._wrapper = wrapt.FunctionWrapper(self._original, _submit)
            ThreadPoolExecutor.submit = self._wrapper  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Put the original back, also from underneath a wrapper that somebody else put on top."""
        wrapper, self._wrapper = self._wrapper, None
        if wrapper is None:
            return
        if inspect.getattr_static(ThreadPoolExecutor, "submit") is wrapper:
            ThreadPoolExecutor.submit = self._original  # type: ignore[method-assign]
        else:
            wrapt.unwrap_object(ThreadPoolExecutor, "submit", wrapper)


def _submit(submit: Callable[..., Any], executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    scope = current()
    if scope is NOWHERE or not args or isinstance(executor, _INTERPRETERS):
        return submit(*args, **kwargs)
    return submit(_carried, scope, *args, **kwargs)


def _carried(scope: Scope, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    with Carried(scope):
        return function(*args, **kwargs)
