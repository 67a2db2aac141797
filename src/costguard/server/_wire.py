"""How bytes become requests: httptools where it is installed, with the bound on a request's head that it lacks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

HEAD: Final = 2**16
"""Bytes of a request's first line and headers."""


def protocol() -> Any:
    """What uvicorn takes as ``http=``. Without httptools it is h11, which is some times slower and has such a bound."""
    if find_spec("httptools") is None:
        return "h11"
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Bounded(HttpToolsProtocol):
        """Turns away a head that does not end, before it fills the memory."""

        _head = 0
        _is_open = True

        def data_received(self, data: bytes) -> None:
            if self._is_open:
                self._head += len(data)
            super().data_received(data)
            if self._is_open and self._head > HEAD and not self.transport.is_closing():
                self.send_400_response(f"the head of a request has at most {HEAD} bytes")

        def on_headers_complete(self) -> None:
            self._is_open = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._is_open, self._head = True, 0
            super().on_message_complete()

    return Bounded
