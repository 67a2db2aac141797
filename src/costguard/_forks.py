"""What begins anew in a forked child, also where its server forks without telling Python, as uWSGI does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

Hook = Callable[[], object]


class Forks:
    """Remembers what to do in a child, for when it is noticed that this is one."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._hooks: list[Hook] = []
        self._locks: dict[int, threading.Lock] = {}
        # The first of all hooks: where they are run, nothing is left to be noticed.
        self._register(after_in_child=self._told)

    def register(
        self, *, after_in_child: Hook, before: Hook | None = None, after_in_parent: Hook | None = None
    ) -> None:
        """`os.register_at_fork`, and `after_in_child` also when `notice` finds a child that nobody told."""
        self._hooks.append(after_in_child)
        given = {"before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child}
        self._register(**{name: hook for name, hook in given.items() if hook is not None})

    def notice(self) -> None:
        """Begin anew if this is a forked child that has not yet."""
        pid = os.getpid()
        if pid == self._pid:
            return
        # A lock of this process's own: one from before the fork may be in the hands of a thread that is not here.
        with self._locks.setdefault(pid, threading.Lock()):
            if pid != self._pid:
                for hook in self._hooks:
                    hook()
                self._pid = pid

    def _told(self) -> None:
        self._pid = os.getpid()

    @staticmethod
    def _register(**hooks: Hook) -> None:
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(**hooks)


forks: Final = Forks()
