"""Attribution across pools of threads and processes, when asked for: work carries the scope it was submitted in.

Neither inherits context variables. This carries costguard's own and no other: to run submitted work in a copy of
the whole context would change what programs see of everybody else's variables.
"""

from __future__ import annotations

import concurrent.futures
import inspect
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import wrapt

from ._context import NOWHERE, Carried, Scope, current

R = TypeVar("R")

# It is a pool of threads too (Python 3.14), but what is submitted to it has to be pickled by its own rules.
_INTERPRETERS: Final[Any] = getattr(concurrent.futures, "InterpreterPoolExecutor", ())


class _Wrapped(NamedTuple):
    owner: Any
    name: str
    original: Any
    wrapper: Any


class Executors:
    """The wrapped methods through which work is given to pools: one of thread pools, and those of process pools."""

    def __init__(self) -> None:
        self._wrapped: dict[str, _Wrapped] = {}
        self._hooked: set[str] = set()
        self.installed = False

    def install(self) -> None:
        """Wrap them, those of modules that are not imported yet once they are; repeating that changes nothing."""
        self.installed = True
        self._wrap(ThreadPoolExecutor, "submit", _submit)
        for module in _DOORS:
            if module in sys.modules:
                self._imported(sys.modules[module])
            if module not in self._hooked:
                self._hooked.add(module)
                wrapt.register_post_import_hook(self._imported, module)

    def uninstall(self) -> None:
        """Put the originals back, also from underneath a wrapper that somebody else put on top."""
        self.installed = False
        for owner, name, original, wrapper in self._wrapped.values():
            if inspect.getattr_static(owner, name) is wrapper:
                setattr(owner, name, original)
            else:
                wrapt.unwrap_object(owner, name, wrapper)
        self._wrapped.clear()

    def _imported(self, module: Any) -> None:
        if self.installed:
            for path, around in _DOORS[module.__name__].items():
                owner, _, name = path.partition(".")
                self._wrap(getattr(module, owner), name, around)

    def _wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        key = f"{owner.__module__}.{owner.__qualname__}.{name}"
        if key not in self._wrapped:
            original = vars(owner)[name]
            wrapper = wrapt.FunctionWrapper(original, around)
            setattr(owner, name, wrapper)
            self._wrapped[key] = _Wrapped(owner, name, original, wrapper)


def _submit(submit: Callable[..., Any], executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    scope = current()
    if scope is NOWHERE or not args or isinstance(executor, _INTERPRETERS):
        return submit(*args, **kwargs)
    return submit(_carried, scope, *args, **kwargs)


def _submit_to_processes(submit: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Also outside any block: the worker may have been forked inside one, and the work does not belong there."""
    return submit(_carried, current(), *args, **kwargs) if args else submit(*args, **kwargs)


def _map(method: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The methods of `multiprocessing.Pool`, which take a function first, or by name."""
    carried = partial(partial, _carried, current())
    if args:
        return method(carried(args[0]), *args[1:], **kwargs)
    if "func" in kwargs:
        return method(**{**kwargs, "func": carried(kwargs["func"])})
    return method(**kwargs)


def _start(start: Callable[..., Any], process: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A forked process inherits the scope anyway; one that is spawned gets it with its target."""
    target = getattr(process, "_target", None)
    if target is not None and current() is not NOWHERE:
        process._target = partial(_carried, current(), target)
    return start(*args, **kwargs)


_DOORS: Final[dict[str, dict[str, Callable[..., Any]]]] = {
    "concurrent.futures.process": {"ProcessPoolExecutor.submit": _submit_to_processes},
    "multiprocessing.pool": dict.fromkeys(
        ("Pool.apply_async", "Pool._map_async", "Pool.imap", "Pool.imap_unordered"), _map
    ),
    "multiprocessing.process": {"BaseProcess.start": _start},
}
"""Of process pools: module, method, and what is put around it. `map`, `starmap` and `apply` go through these."""


def _carried(scope: Scope, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    with Carried(scope):
        return function(*args, **kwargs)
