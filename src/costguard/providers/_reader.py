"""What the readers of all providers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._types import Call, Usage
from ..ports import Deferred


class Reading:
    """A `costguard.ports.Reader` that a provider's reader fills in.

    A usage that is missing, null, negative or no number at all leaves the reader incomplete: the call is then charged
    by an estimate, and nothing is raised.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.complete = False
        self.text_bytes = 0
        self.deferred: Deferred | None = None
        self.was_deferred = False
        self._usages: tuple[Usage, ...] = ()

    def usages(self) -> Sequence[Usage]:
        """See `costguard.ports.Reader.usages`."""
        return self._usages

    def feed(self, part: Any) -> bool:
        """See `costguard.ports.Reader.feed`."""
        raise NotImplementedError
