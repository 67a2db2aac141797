"""Answers in this process's memory, within bounds: those unused for longest make room."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Final
from urllib.parse import parse_qs, urlsplit

from ...errors import ConfigError

ENTRIES: Final = 10_000
VECTORS: Final = 2_000
"""Questions whose vectors a shared store keeps at most, of all scopes or of each."""
SIZE: Final = 64 * 2**20
"""Characters of all answers together."""


class MemoryStore:
    """Keeps answers for one process.

    Args:
        entries: answers kept at most.
        size: characters kept at most, all answers together.
    """

    inline = True

    def __init__(self, entries: int = ENTRIES, size: int = SIZE) -> None:
        self._most, self._room = entries, size
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    def get(self, key: str, now: float) -> str | None:
        """See `costguard.ports.AnswerStore.get`."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            text, expires = found
            if now >= expires:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return text

    def put(self, key: str, text: str, expires: float) -> None:
        """See `costguard.ports.AnswerStore.put`."""
        with self._lock:
            if key in self._kept:
                self._drop(key)
            self._kept[key] = (text, expires)
            self._size += len(text)
            while len(self._kept) > self._most or self._size > self._room:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """See `costguard.ports.AnswerStore.clear`."""
        with self._lock:
            self._kept.clear()
            self._size = 0

    def secret(self) -> bytes:
        """See `costguard.ports.AnswerStore.secret`."""
        return self._secret

    def close(self) -> None:
        """Nothing to let go of."""

    def _drop(self, key: str) -> None:
        self._size -= len(self._kept.pop(key)[0])


def open_memory(url: str) -> MemoryStore:
    """``memory://``, or ``memory://?entries=1000``."""
    return MemoryStore(entries=entries_of(url, ENTRIES))


def entries_of(url: str, default: int) -> int:
    """The option ``entries`` of a store's URL.

    Raises:
        ConfigError: it is no number above zero, or there is another option.
    """
    options = parse_qs(urlsplit(url).query, keep_blank_values=True)
    (given,) = options.pop("entries", [str(default)])
    if options:
        raise ConfigError(f"store={url!r}: the only option is entries")
    if not given.isdecimal() or not int(given):
        raise ConfigError(f"store={url!r}: entries is a whole number above 0")
    return int(given)
