"""Puts the seams in place and takes them away again, leaving the SDKs exactly as they were.

A seam is wrapped when its module has been imported, never before: `instrument()` imports no SDK. Wrappers are set on
the class that defines the attribute, so clients and bound methods made earlier are covered.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

import wrapt

from ._funnels import attempts, function, stainless
from ._guard import Guard
from ._shield import log, shielded
from .ports import Provider, Seam

CurrentGuard = Callable[[], Guard | None]


class Patches:
    """The wrapped seams of this process.

    Args:
        current: gives the guard that calls are metered by, None to let them through untouched.
    """

    def __init__(self, current: CurrentGuard) -> None:
        self._current = current
        self._wanted: dict[Seam, Provider] = {}
        self._hooked: set[str] = set()
        # By owner too: a module that was imported anew, as in a notebook, has other classes beside the earlier ones.
        self._installed: dict[tuple[Seam, Any], tuple[str, Any, wrapt.FunctionWrapper[Any, Any]]] = {}

    def install(self, providers: Iterable[Provider]) -> None:
        """Wrap every seam of these providers, now or when its module is imported. Repeating it changes nothing."""
        for provider in providers:
            for seam in provider.seams:
                self._wanted[seam] = provider
        for module in dict.fromkeys(seam.module for seam in self._wanted):
            if module in sys.modules:
                self._imported(sys.modules[module])
            if module not in self._hooked:
                self._hooked.add(module)
                wrapt.register_post_import_hook(self._imported, module)

    def uninstall(self) -> None:
        """Put every original back."""
        self._wanted.clear()
        for (seam, owner), (name, original, wrapper) in self._installed.items():
            with shielded(f"restoring {seam.module}.{seam.attribute}"):
                if inspect.getattr_static(owner, name) is wrapper:
                    setattr(owner, name, original)
                else:
                    wrapt.unwrap_object(owner, name, wrapper)
        self._installed.clear()

    @property
    def wanted(self) -> bool:
        """Whether `install` is in force."""
        return bool(self._wanted)

    def installed(self) -> list[Seam]:
        """The seams that are wrapped now."""
        return list(dict.fromkeys(seam for seam, _ in self._installed))

    def _imported(self, module: Any) -> None:
        """Wrap the wanted seams of a module. Runs inside the host's import statement, which it must never break."""
        for seam, provider in list(self._wanted.items()):
            if seam.module == module.__name__:
                with shielded(f"wrapping {seam.module}.{seam.attribute}"):
                    self._wrap(seam, provider, module)

    def _wrap(self, seam: Seam, provider: Provider, module: Any) -> None:
        *path, name = seam.attribute.split(".")
        owner: Any = module
        for step in path:
            owner = getattr(owner, step, None)
        if (seam, owner) in self._installed:
            return
        original = vars(owner).get(name) if owner is not None else None
        if original is None:
            if not seam.optional:
                log.warning("%s has no %s: calls through it are not metered", seam.module, seam.attribute)
            return
        wrapper = wrapt.FunctionWrapper(original, self._around(seam, provider, original))
        setattr(owner, name, wrapper)
        self._installed[seam, owner] = (name, original, wrapper)

    def _around(self, seam: Seam, provider: Provider, original: Any) -> Callable[..., Any]:
        is_async = inspect.iscoroutinefunction(original) or seam.attribute.startswith("Async")
        match seam.kind:
            case "stainless.request":
                funnel = stainless.Funnel(provider, self._current)
                return funnel.arequest if is_async else funnel.request
            case "stainless.process_response":
                funnel = stainless.Funnel(provider, self._current)
                return funnel.aprocess_response if is_async else funnel.process_response
            case "stainless.stream":
                funnel = stainless.Funnel(provider, self._current)
                return funnel.astream if is_async else funnel.stream
            case "stainless.close":
                return stainless.Funnel(provider, self._current).close
            case kind if kind in attempts.KINDS:
                return attempts.KINDS[kind](attempts.Attempts(provider, self._current))
            case _:
                return function.wrapper(seam, provider, self._current, original)
