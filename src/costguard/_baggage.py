"""What OpenTelemetry would send along: anthropic and instrumented HTTP clients put baggage into every request.

Nothing of costguard's is ever sent to a provider, so entries of its name are taken out while a call is made.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Final

_PREFIX: Final = "costguard."
_NOTHING: Final = nullcontext()


class _Without:
    """A context without our entries, for as long as a ``with`` block runs."""

    __slots__ = ("_api", "_context", "_token")

    def __init__(self, api: Any, context: Any) -> None:
        self._api = api
        self._context = context
        self._token: Any = None

    def __enter__(self) -> None:
        self._token = self._api.attach(self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._api.detach(self._token)


def unsent() -> _Without | nullcontext[None]:
    """A block in which nothing of ours is in the baggage; free of cost where nobody has any."""
    baggage = sys.modules.get("opentelemetry.baggage")
    if baggage is None:
        return _NOTHING
    entries = baggage.get_all()
    ours = [key for key in entries if key.startswith(_PREFIX)] if entries else ()
    if not ours:
        return _NOTHING
    api = sys.modules["opentelemetry.context"]
    context = api.get_current()
    for key in ours:
        context = baggage.remove_baggage(key, context)
    return _Without(api, context)
