"""Whether a call to Google that ended in an error was billed, told by the error's classes: no SDK is imported here.

An answer with an error status is not billed. What was lost on the way, or given up waiting for, may have been.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ._stainless import NEVER_SENT
from ._stainless import was_billed as stainless_was_billed

_NOT_CONNECTED: Final = NEVER_SENT | {
    "ClientConnectorError", "ConnectionTimeoutError",
    "NewConnectionError", "ConnectTimeoutError", "NameResolutionError",
}  # fmt: skip
"""The same in httpx, httpx2, aiohttp, requests and the urllib3 under it."""
_LOST: Final = frozenset(
    ("TransportError", "ClientConnectionError", "ClientPayloadError", "RequestException", "OSError", "RpcError",
     "UnknownApiResponseError", "JSONDecodeError")
)  # fmt: skip
"""Raised after sending: the connection broke, time ran out, or a good answer could not be read."""
_UNDECIDED: Final = frozenset(("DeadlineExceeded", "GatewayTimeout", "Cancelled"))
_UNREACHED: Final = re.compile(r"failed to connect|name resolution|dns", re.IGNORECASE)
_BROKEN: Final = re.compile(
    r"socket closed|connection (?:reset|closed|lost|timed out)|broken pipe|stream (?:removed|closed)"
    r"|recvmsg|goaway|rst_stream",
    re.IGNORECASE,
)


def was_billed(error: BaseException) -> bool | None:
    """See `costguard.ports.Provider.was_billed`."""
    if not isinstance(error, Exception):
        return None
    names = {cls.__name__ for cls in type(error).__mro__}
    if "APIConnectionError" in names:
        return stainless_was_billed(error)
    if "APIError" in names:
        return False
    if "GoogleAPIError" in names:
        return _api_core(error, names)
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if _NOT_CONNECTED & names or type(reason).__name__ in _NOT_CONNECTED:
        return False
    return None if _LOST & names else False


def _api_core(error: Any, names: set[str]) -> bool | None:
    """Errors of google-api-core, which names a lost connection as it does an overloaded model: by gRPC's status."""
    if "RetryError" in names:
        cause = error.cause
        return None if cause is None else was_billed(cause)
    if _UNDECIDED & names:
        return None
    message = str(error)
    if getattr(error, "grpc_status_code", None) is None or _UNREACHED.search(message):
        return False
    return None if _BROKEN.search(message) else False
