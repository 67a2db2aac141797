"""Programs that turn threads into greenlets when costguard has begun already: gevent's and eventlet's patches.

A lock that was made before stops the whole thread, and with it every greenlet, when a greenlet that has it lets others
run. gunicorn's gevent worker patches after the program was loaded, so this cannot be left to the order of imports.
"""

from __future__ import annotations

import gc
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import wrapt

from ._shield import shielded

_LOCK: Final = type(threading.Lock())
_RLOCK: Final = type(threading.RLock())
_PACKAGE: Final = __name__.partition(".")[0]


class Greens:
    """Makes costguard's own locks anew as soon as threads have become greenlets.

    Args:
        before: what is done while they are still threads: everything under way is brought to its end.
    """

    def __init__(self, before: Callable[[], object]) -> None:
        self._before = before
        self._following = False

    def follow(self) -> None:
        """From now on. Neither library is imported by it."""
        if not self._following:
            self._following = True
            wrapt.register_post_import_hook(self._gevent, "gevent.events")
            wrapt.register_post_import_hook(self._eventlet, "eventlet.patcher")

    def _gevent(self, events: Any) -> None:
        with shielded("following gevent"):
            events.subscribers.append(self._told)

    def _told(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "GeventWillPatchAllEvent":
            with shielded("ending what is under way before gevent's patches"):
                self._before()
        elif kind == "GeventDidPatchModuleEvent" and event.module_name == "threading":
            with shielded("beginning anew after gevent's patches"):
                renew()

    def _eventlet(self, patcher: Any) -> None:
        with shielded("following eventlet"):
            plain = patcher.monkey_patch
            followed = wrapt.FunctionWrapper(plain, self._patch)
            for module in (patcher, sys.modules.get("eventlet")):
                if getattr(module, "monkey_patch", None) is plain:
                    module.monkey_patch = followed  # type: ignore[union-attr]

    def _patch(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        with shielded("ending what is under way before eventlet's patches"):
            self._before()
        patched = wrapped(*args, **kwargs)
        with shielded("beginning anew after eventlet's patches"):
            renew()
        return patched


def renew() -> None:
    """Make what our objects have of `threading` anew. A worker's thread is forgotten: the next work begins another."""
    for one in gc.get_objects():
        home = getattr(type(one), "__module__", None)
        # What tests run beside the program is not part of it.
        if isinstance(home, str) and home.startswith(f"{_PACKAGE}.") and not home.startswith(f"{_PACKAGE}.testing"):
            for name, value in list(_attributes(one)):
                made = _anew(value)
                if made is not value:
                    object.__setattr__(one, name, made)


def _attributes(one: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(one, "__dict__") and not isinstance(one, type):
        yield from vars(one).items()
    for kind in inspect.getmro(type(one)):
        for name in vars(kind).get("__slots__", ()):
            if hasattr(one, name):
                yield name, getattr(one, name)


def _anew(value: Any) -> Any:
    if type(value) is _LOCK:
        return value if value.locked() else threading.Lock()
    if type(value) is _RLOCK:
        return threading.RLock()
    if type(value) is threading.Condition:
        return threading.Condition()
    if type(value) is threading.Event:
        event = threading.Event()
        if value.is_set():
            event.set()
        return event
    return None if isinstance(value, threading.Thread) and value.name.startswith(f"{_PACKAGE}-") else value
