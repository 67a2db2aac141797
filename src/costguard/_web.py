"""What every HTTP request of costguard's own has in common: the client library, and that nobody traces it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Final

from opentelemetry import context

from .errors import MissingExtraError

_HIDE: Final = ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")


def client_library() -> Any:
    """The HTTP client that today's SDKs bring along, or its forerunner, which older ones bring and which is used in the
    same way.

    Raises:
        MissingExtraError: there is neither; the extra ``http`` has one.
    """
    found = next((name for name in ("httpx2", "httpx") if find_spec(name) is not None), None)
    if found is None:
        raise MissingExtraError("http")
    return import_module(found)


class untraced(AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """Requests made inside are nobody's spans, whatever instrumentations of HTTP clients are installed."""

    def __enter__(self) -> None:
        inside = context.get_current()
        for name in _HIDE:
            key: Any = getattr(context, name, None)
            if key is not None:
                inside = context.set_value(key, True, inside)
        self._token = context.attach(inside)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        context.detach(self._token)
