"""What the readers of all providers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._types import Call, Usage
from ..ports import Deferred
from ._fields import size


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
        self._parts = 0
        self._kept: list[str] | None = None

    def usages(self) -> Sequence[Usage]:
        """See `costguard.ports.Reader.usages`."""
        return self._usages

    def saw(self, text: Any) -> None:
        """A part of the answer's text arrived."""
        if type(text) is str and text:
            self._parts += 1
            self.text_bytes += len(text) if text.isascii() else size(text)
            if self._kept is not None:
                self._kept.append(text)

    def keep_text(self) -> None:
        """See `costguard.ports.Reader.keep_text`."""
        self._kept = []

    @property
    def text(self) -> str:
        """See `costguard.ports.Reader.text`."""
        return "".join(self._kept or ())

    def output_seen(self, *, at_least: bool) -> int:
        """See `costguard.ports.Reader.output_seen`. A part of text is a token or more, a token usually four bytes."""
        return self._parts if at_least else max(self._parts, self.text_bytes // 4)

    def feed(self, part: Any) -> bool:
        """See `costguard.ports.Reader.feed`."""
        raise NotImplementedError
