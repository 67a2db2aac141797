"""One call's question: looked up among those that were answered, and remembered or compared once it is answered."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace

from . import _answers
from ._cache import Cache
from ._entries import Entry
from ._similar import Comparison, Semantic, distance


class Alike:
    """A call's way to the semantic cache and back.

    Args:
        cache: where answers are kept.
        semantic: knows which questions mean the same.
        question: the text.
        scope: a key of all the rest of the request.
        tags: the call's attribution.
    """

    def __init__(self, cache: Cache, semantic: Semantic, question: str, scope: str, tags: Mapping[str, str]) -> None:
        self._cache = cache
        self._semantic = semantic
        self._question = question
        self._scope = scope
        self._feature = tags.get("feature", "")
        self._vector: array[float] | None = None
        self._would: tuple[float, Entry] | None = None

    def look(self, now: float) -> Entry | None:
        """The answer to a question that means the same; in shadow mode None, and it is noted for later."""
        semantic = self._semantic
        self._vector = semantic.vector(self._question)
        if self._cache.vectors is not None:
            semantic.learn(self._scope, self._cache.vectors)
        live = semantic.mode == "live"
        for similarity, key in semantic.nearest(self._scope, self._vector):
            if live and similarity < semantic.threshold:
                return None
            entry = self._cache.find(key, now)
            if entry is None:
                semantic.forget(self._scope, key)
                continue
            if live:
                semantic.used(self._scope, key)
                return replace(entry, found="similar")
            self._would = similarity, entry
            return None
        return None

    def arrived(self, key: str, entry: Entry) -> None:
        """The call was sent and its answer is kept under `key`."""
        if self._vector is None:
            return
        if self._would is not None:
            similarity, other = self._would
            would, real = _text(other), _text(entry)
            apart = distance(would, real)
            self._semantic.compared(Comparison(self._feature, entry.model, similarity, would == real, apart))
        self._semantic.remember(self._scope, key, self._vector)
        self._cache.tell(self._scope, key, self._vector, entry.expires)


def _text(entry: Entry) -> str:
    return _answers.text_of(_answers.documents(entry.bodies, streamed=entry.streamed))
