"""Celery: a task's calls belong to where the task was sent from.

import costguard.integrations.celery
costguard.integrations.celery.install()

Call it wherever tasks are sent and in the workers; the module that makes the Celery app is a good place.
"""

from __future__ import annotations

from typing import Any, Final

from celery import signals  # type: ignore[import-untyped]

from .._accounts import flush
from .._budget import clean_tags
from .._context import current
from .._scope import budgeted
from .._shield import shielded
from ..errors import ConfigError

HEADER: Final = "costguard_tags"

_BLOCK: Final = "_costguard_block"


class Tasks:
    """What is connected to Celery's signals.

    Args:
        tag: the tag that a task's name becomes, None for none.
    """

    def __init__(self, tag: str | None) -> None:
        self._tag = tag

    def publishing(self, headers: dict[str, Any] | None = None, **_: Any) -> None:
        """Put the tags of here and now into a message."""
        with shielded("sending attribution along with a task"):
            tags = dict(current().tags)
            if headers is not None and tags:
                # Celery takes headers of others from one place or the other, depending on the message's version.
                headers[HEADER] = tags
                headers.setdefault("headers", {})[HEADER] = tags

    def beginning(self, task: Any = None, **_: Any) -> None:
        """Enter the scope that a task was sent from."""
        with shielded("attributing a task"):
            block = budgeted(**self._tags(task))
            block.__enter__()
            setattr(task.request, _BLOCK, block)

    def ended(self, task: Any = None, **_: Any) -> None:
        """Leave it."""
        with shielded("ending the attribution of a task"):
            block = getattr(task.request, _BLOCK, None)
            if block is not None:
                delattr(task.request, _BLOCK)
                block.__exit__(None, None, None)

    def stopping(self, **_: Any) -> None:
        """Book what is under way: a worker's process ends without running what is registered for its exit."""
        with shielded("flushing at the end of a worker"):
            flush()

    def _tags(self, task: Any) -> dict[str, Any]:
        request = task.request
        told = request.get(HEADER) or (request.get("headers") or {}).get(HEADER) or {}
        try:
            tags = clean_tags(dict(told))
        except (ConfigError, TypeError, ValueError):
            tags = {}  # not written by us
        return tags if self._tag is None else {**tags, self._tag: task.name}


class _Installed:
    """What is connected in this process: Celery holds its receivers weakly."""

    tasks: Tasks | None = None


def install(*, task_tag: str | None = "task") -> None:
    """Let tasks carry their attribution along, and tag their calls with the task's name.

    Args:
        task_tag: the tag that the name goes into; None for no such tag.

    Raises:
        ConfigError: it is no name of a tag.
    """
    clean_tags({} if task_tag is None else {task_tag: "x"})
    uninstall()
    tasks = _Installed.tasks = Tasks(task_tag)
    for signal, receiver in _connections(tasks):
        signal.connect(receiver, weak=False)


def uninstall() -> None:
    """Undo `install`."""
    tasks, _Installed.tasks = _Installed.tasks, None
    if tasks is not None:
        for signal, receiver in _connections(tasks):
            signal.disconnect(receiver)


def _connections(tasks: Tasks) -> list[tuple[Any, Any]]:
    return [
        (signals.before_task_publish, tasks.publishing),
        (signals.task_prerun, tasks.beginning),
        (signals.task_postrun, tasks.ended),
        (signals.worker_process_shutdown, tasks.stopping),
    ]
