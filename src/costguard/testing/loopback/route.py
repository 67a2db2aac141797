"""How a provider's wire format plugs in: its routes, and how it spells an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .exchange import Answer, Exchange, Json
from .reply import Received


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. A billable one takes its reply from the script."""

    method: str
    pattern: re.Pattern[str]
    serve: Callable[[Exchange], Answer]
    billable: bool = True
    header: str | None = None

    def matches(self, request: Received) -> re.Match[str] | None:
        """The match of the path, if the request is for this endpoint."""
        if request.method != self.method or (self.header is not None and self.header not in request.headers):
            return None
        return self.pattern.fullmatch(request.path)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One provider's wire format."""

    routes: Sequence[Route]
    error: Callable[[int, Any], Json]
    error_frame: bytes
    has_tool_result: Callable[[Any], bool]
