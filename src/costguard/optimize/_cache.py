"""The response cache: the same request again gets the answer that was paid for already."""

from __future__ import annotations

import math
import threading
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .._period import length
from .._types import Call
from .._writer import Writer
from ..errors import ConfigError
from ..ports import AnswerStore, Leases, Request, Vectors
from . import _requests
from ._entries import Entry
from ._flights import Flights
from ._requests import Rules, Unfit
from ._similar import Semantic, question
from .stores import open_store

APART: Final = ("environment", "team", "tenant")
LARGEST: Final = 2**20
"""Characters of an answer that is still kept."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache did in this process.

    Attributes:
        hits: calls answered from it.
        misses: calls that could have been.
        kept: answers kept.
        left_out: calls and answers that are not cached, by the reason.
        similar: those of the hits that were the answer to another question.
    """

    hits: int
    misses: int
    kept: int
    left_out: Mapping[str, int]
    similar: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits among the calls that could be answered, between 0 and 1."""
        looked = self.hits + self.misses
        return self.hits / looked if looked else 0.0


class Cache:
    """Keeps answers and gives them again to equal requests, where a feature asks for it.

    It is off for every call but those of `features` and of blocks with ``budgeted(cache=True)`` (or ``cache="10m"``).
    Then it holds prompts' answers, which costguard otherwise never keeps: only here, and only until they expire.

    Args:
        store: ``memory://``, ``sqlite:answers.db``, ``redis://host/0``, or a store object.
        ttl: how long an answer is used: ``"1h"``, ``"10m"``, seconds.
        features: features whose calls are all answered from it where they can be.
        apart: tags that keep answers apart, so that no tenant is given another one's.
        sampling: also answer requests with a temperature above zero, or for several answers. They ask for variety,
            and would get the same again.
        tools: also answer requests that carry tools. The answer may tell your program to act, and acting again on an
            old decision is rarely wanted.
        ignore: further fields of requests that do not shape the answer, such as ``("user",)``.
        patience: seconds that a call waits for an equal one under way, before it is sent itself.
        semantic: also looks for questions that mean the same, or measures what that would do; see `Semantic`.

    Raises:
        ConfigError: an argument is malformed, or no store is registered for the URL.
    """

    def __init__(
        self,
        store: str | AnswerStore = "memory://",
        *,
        ttl: str | float = "1h",
        features: Iterable[str] = (),
        apart: Iterable[str] = APART,
        sampling: bool = False,
        tools: bool = False,
        ignore: Iterable[str] = (),
        patience: float = 30.0,
        semantic: Semantic | None = None,
    ) -> None:
        if semantic is not None and not isinstance(semantic, Semantic):
            raise ConfigError(f"semantic={semantic!r}: give a costguard.Semantic(embed, threshold=...)")
        self.semantic = semantic
        self.ttl = length("ttl", ttl)
        self.features = frozenset(_names("features", features))
        self.apart = tuple(_names("apart", apart))
        self.rules = Rules(sampling=bool(sampling), tools=bool(tools), ignore=frozenset(_names("ignore", ignore)))
        if isinstance(patience, bool) or not isinstance(patience, int | float) or not 0 <= patience < math.inf:
            raise ConfigError(f"patience={patience!r}: give seconds, 0 or more")
        self.patience = float(patience)
        self.store = open_store(store)
        self.leases = self.store if isinstance(self.store, Leases) and self.patience else None
        shared = semantic is not None and semantic.model and isinstance(self.store, Vectors)
        self.vectors = self.store if shared and isinstance(self.store, Vectors) else None
        self.flights = Flights()
        self._left: deque[tuple[str, str]] = deque()
        self._writer = Writer()
        self._lock = threading.Lock()
        self._secret: bytes | None = None
        self._hits = self._misses = self._kept = self._similar = 0
        self._left_out: Counter[str] = Counter()

    @property
    def stats(self) -> CacheStats:
        """What it did so far."""
        return CacheStats(self._hits, self._misses, self._kept, dict(self._left_out), self._similar)

    def clear(self) -> None:
        """Forget every answer in the store, those of other processes included."""
        self._writer.flush(5.0)
        self.store.clear()

    def flush(self, timeout: float) -> None:
        """Write what is still to be written."""
        self.drain()
        self._writer.flush(timeout)

    def close(self) -> None:
        """Write what is still to be written, and let go of the store."""
        self.flush(2.0)
        self.store.close()

    # -- for the calls -----------------------------------------------------------------------------------------

    def key(self, call: Call, request: Request, tags: Mapping[str, str], identity: Callable[[], Any]) -> str:
        """The key of a request; empty when it is not to be cached, which is counted with its reason."""
        try:
            _requests.check(call, request, self.rules)
            secret = self._key()
            if secret is None:
                raise Unfit("the store is away")
            parts = [[tags.get(tag, "") for tag in self.apart], identity()]
            return _requests.key(secret, call, request, parts, self.rules)
        except Unfit as reason:
            self.left_out(str(reason))
            return ""

    def alike(
        self, call: Call, request: Request, tags: Mapping[str, str], identity: Callable[[], Any]
    ) -> tuple[str, str] | None:
        """The question of a request that is cached, and a key of all the rest of it; None where it has none."""
        found = None if call.operation == "embeddings" else question(request)
        secret = self._key()
        if found is None or secret is None:
            return None
        text, rest = found
        parts = ["semantic", [tags.get(tag, "") for tag in self.apart], identity()]
        return text, _requests.key(secret, call, rest, parts, self.rules)

    def find(self, key: str, now: float) -> Entry | None:
        """The answer kept under a key."""
        text = self.store.get(key, now)
        entry = None if text is None else Entry.from_json(text)
        return entry if entry is not None and now < entry.expires else None

    def keep(self, key: str, entry: Entry) -> bool:
        """Keep an answer; False when it is too large. A lease of the key is still to be given up."""
        text = entry.to_json()
        if len(text) > LARGEST:
            self.left_out("too large")
            self.flights.over(key)
            return False
        with self._lock:
            self._kept += 1
        if self.store.inline:
            self.store.put(key, text, entry.expires)
            self.flights.over(key)
        else:
            # The flight stays until the answer can be found in the store, so that nobody falls between the two.
            self._writer.put(lambda: self._write(key, text, entry.expires))
        return True

    def tell(self, scope: str, key: str, vector: array[float], expires: float) -> None:
        """Let the other processes know of the question whose answer was kept under a key."""
        vectors, semantic = self.vectors, self.semantic
        if vectors is not None and semantic is not None:
            self._writer.put(lambda: semantic.tell(scope, key, vector, expires, vectors))

    def give_up(self, key: str, owner: str) -> None:
        """Let other processes send the request of a key, once what was kept before can be found."""
        leases = self.leases
        if leases is not None:
            self._writer.put(lambda: leases.give_up(key, owner))

    def give_up_later(self, key: str, owner: str) -> None:
        """`give_up` for a finaliser: takes no lock, done with the next call."""
        self._left.append((key, owner))

    def drain(self) -> None:
        """Give up what finalisers left."""
        while self._left:
            try:
                key, owner = self._left.popleft()
            except IndexError:
                return
            self.give_up(key, owner)

    def counted(self, *, hit: bool, similar: bool = False) -> None:
        """Count a call that was looked up."""
        with self._lock:
            self._hits += hit
            self._misses += not hit
            self._similar += similar

    def left_out(self, reason: str) -> None:
        """Count a call or an answer that is not cached."""
        with self._lock:
            self._left_out[reason] += 1

    def _write(self, key: str, text: str, expires: float) -> None:
        try:
            self.store.put(key, text, expires)
        finally:
            self.flights.over(key)

    def _key(self) -> bytes | None:
        if self._secret is None:
            self._secret = self.store.secret()
        return self._secret


def _names(knob: str, given: Iterable[str]) -> list[str]:
    names = [given] if isinstance(given, str) else list(given)
    if any(not isinstance(name, str) or not name for name in names):
        raise ConfigError(f"{knob}={given!r}: give names, such as ('search', 'faq')")
    return names
