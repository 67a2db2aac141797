"""Who reads the dashboard: cookies, kept in memory only, so that a restart asks everybody again."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

LASTS: Final = 12 * 3600
"""Seconds that a cookie is good for."""
MOST: Final = 1000
"""Cookies at a time; the oldest is given up first."""


class Sessions:
    """The cookies that were given out, as hashes.

    Args:
        once: a secret that is exchanged for a cookie once.
    """

    def __init__(self, once: str | None = None) -> None:
        self._lock = threading.Lock()
        self._once = None if once is None else _digest(once)
        self._open: dict[bytes, tuple[float, Callable[[], bool]]] = {}

    def redeem(self, secret: str) -> bool:
        """Whether this is the one-time secret; it is none from then on."""
        with self._lock:
            found = self._once is not None and secrets.compare_digest(self._once, _digest(secret))
            if found:
                self._once = None
        return found

    def begin(self, good: Callable[[], bool]) -> str:
        """A new cookie, which is allowed as long as `good` says so."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._open) >= MOST:
                self._open.pop(next(iter(self._open)))
            self._open[_digest(secret)] = (time.monotonic() + LASTS, good)
        return secret

    def allow(self, secret: str) -> bool:
        """Whether a cookie was given out here and is still good."""
        # Looked up by the hash of a long random text: how long that takes tells nothing of the text.
        found = self._open.get(_digest(secret))
        return found is not None and time.monotonic() < found[0] and found[1]()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
