"""A guard against programs that go round in circles: the same request, again and again, within a short time."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Final

from .._period import length
from .._types import Call
from ..errors import ConfigError, LoopDetectedError
from ..ports import Request
from . import _requests
from ._requests import Rules, Unfit

KINDS: Final = 10_000
"""Requests remembered; the one unseen for longest is forgotten."""


class LoopGuard:
    """Stops a request that was sent `repeats` times already within a window, before it is sent once more.

    Only identical requests count: every field the same, and the same attribution, so that two users who ask the same
    do not add up. What is answered from the response cache is not sent, and does not count.

    Args:
        repeats: how often the same request may be sent.
        within: in how long a time: ``"1m"``, seconds.
        features: the features it watches; empty for all.

    Raises:
        ConfigError: an argument is malformed.
    """

    def __init__(self, repeats: int = 10, within: str | float = "1m", *, features: Iterable[str] = ()) -> None:
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise ConfigError(f"repeats={repeats!r}: give a whole number above 0")
        self.repeats = repeats
        self.within = length("within", within)
        self.features = frozenset([features] if isinstance(features, str) else features)
        self._secret = secrets.token_bytes(32)
        self._sent: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, call: Call, request: Request, tags: Mapping[str, str]) -> str:
        """What tells a request from others; empty for one that is not watched, or holds what only the SDK may read."""
        if self.features and tags.get("feature") not in self.features:
            return ""
        try:
            return _requests.key(self._secret, call, request, (dict(tags),), Rules())
        except Unfit:
            return ""

    def check(self, key: str, model: str, now: float) -> None:
        """Count a request that is about to be sent.

        Raises:
            LoopDetectedError: it was sent too often already.
        """
        with self._lock:
            times = self._sent.pop(key, None)
            if times is None:
                times = deque(maxlen=self.repeats)
            self._sent[key] = times
            if len(self._sent) > KINDS:
                self._sent.popitem(last=False)
            if len(times) == self.repeats and now - times[0] < self.within:
                raise LoopDetectedError(model, self.repeats, self.within)
            times.append(now)
