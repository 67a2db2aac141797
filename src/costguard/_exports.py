"""The exporters of a guard: each is told of everything, and one that keeps failing is switched off, not the program."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from ._shield import log, shielded
from ._types import Alert, Balance, Call, CostEvent
from .ports import Exporter, Watch

TRIES: Final = 5
"""Failures in a row after which an exporter is switched off."""

T = TypeVar("T")

Watches = tuple[tuple[Exporter, Watch], ...]
"""Who watches a call in flight, each with the exporter it belongs to."""


class Exports:
    """Tells exporters of calls and alerts.

    Args:
        exporters: who is told; the list may be changed at any time.
    """

    def __init__(self, exporters: list[Exporter]) -> None:
        self._exporters = exporters
        self._failed: dict[int, int] = {}

    def attach(self, books: Callable[[], Sequence[Balance]]) -> None:
        """Let the exporters that want to read the books read them."""
        for exporter in self._exporters:
            attach = getattr(exporter, "attach", None)
            if attach is not None:
                self._do(exporter, "attaching an exporter", attach, books)

    def watch(self, call: Call) -> Watches:
        """Who wants to be there while this call, which is about to be made here and now, is in flight."""
        watches = []
        for exporter in self._exporters:
            begin = getattr(exporter, "watch", None)
            if begin is not None and self._on(exporter):
                watch = self._do(exporter, "watching a call", begin, call)
                if watch is not None:
                    watches.append((exporter, watch))
        return tuple(watches)

    def attempt(self, watches: Watches) -> None:
        """The provider has answered an attempt, and the SDK is working on it here and now."""
        for exporter, watch in watches:
            self._do(exporter, "watching an attempt", watch.attempt)

    def so_far(self, event: CostEvent, watches: Watches) -> None:
        """An answer has been read; the SDK may still make others."""
        for exporter, watch in watches:
            self._do(exporter, "watching an answer", watch.so_far, event)

    def tell(self, record: CostEvent | Alert, watches: Watches = ()) -> None:
        """Tell every exporter, once: a call that it watched ends there."""
        watched = {id(exporter): watch for exporter, watch in watches}
        for exporter in self._exporters:
            if not self._on(exporter):
                continue
            watch = watched.get(id(exporter))
            if watch is not None and isinstance(record, CostEvent):
                self._do(exporter, "exporting a call", watch.end, record)
            else:
                self._do(exporter, "exporting", exporter.export, record)

    def flush(self, timeout: float) -> None:
        """Let all of them deliver what they have buffered, within `timeout` seconds together."""
        deadline = time.monotonic() + timeout
        # The first round tells each to begin, so that one whose receiver is dead takes no time of the others.
        waits = [0.0, timeout] if len(self._exporters) > 1 else [timeout]
        for wait in waits:
            for exporter in list(self._exporters):
                with shielded("flushing an exporter"):
                    exporter.flush(min(wait, max(0.0, deadline - time.monotonic())))

    def delivered(self) -> bool:
        """Whether everything that was told has arrived, as far as exporters know; ask after `flush`."""
        said = []
        for exporter in self._exporters:
            arrived = False
            with shielded("asking an exporter what arrived"):
                arrived = bool(getattr(exporter, "delivered", lambda: True)())
            said.append(arrived and self._on(exporter))
        return all(said)

    def close(self) -> None:
        """Let each go of what it holds."""
        for exporter in self._exporters:
            with shielded("closing an exporter"):
                exporter.close()

    def troubles(self) -> Mapping[str, str]:
        """The exporters by name, each with what is wrong with it: empty when nothing is."""
        said: dict[str, str] = {}
        for exporter in self._exporters:
            trouble = ""
            with shielded("asking an exporter how it is"):
                trouble = getattr(exporter, "trouble", str)()
            if not self._on(exporter):
                trouble = f"switched off after {TRIES} failures in a row; the log says which"
            name, number = type(exporter).__name__, 2
            while name in said:
                name, number = f"{type(exporter).__name__} {number}", number + 1
            said[name] = trouble
        return said

    def _on(self, exporter: Exporter) -> bool:
        return self._failed.get(id(exporter), 0) < TRIES

    def _do(self, exporter: Exporter, doing: str, deed: Callable[..., T], *given: object) -> T | None:
        """Do it, and count failures in a row; what was switched off stays so until exporters are configured anew."""
        key = id(exporter)
        failed = self._failed.get(key, 0)
        self._failed[key] = failed + 1
        with shielded(f"{doing} ({type(exporter).__name__})"):
            done = deed(*given)
            self._failed[key] = 0
            return done
        if self._failed[key] == TRIES:
            log.error(
                "exporter %s failed %d times in a row and is switched off: it is told of no further calls or alerts; "
                "costguard.configure(exporters=...) switches it on again", type(exporter).__name__, TRIES,
            )  # fmt: skip
        return None
