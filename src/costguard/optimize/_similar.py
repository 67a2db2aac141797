"""The semantic cache: an answer to another request whose question means the same, measured before it is trusted.

All but the words of the last question has to be equal, and what means the same is for the user's own model to say.
"""

from __future__ import annotations

import json
import math
import re
import threading
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import mul
from typing import Any, Final, Literal, Protocol

from .._shield import log
from ..errors import ConfigError
from ..ports import Request, Vectors

COMPARED: Final = 10_000
"""Comparisons remembered; the oldest make room."""

_FIELDS: Final = ("messages", "input", "contents", "prompt")
_TEXTS: Final = ("text", "input_text")
_BLANK: Final = "\0"


class Embed(Protocol):
    """Turns texts into vectors of one length, as an embedding model does; called in any thread."""

    def __call__(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]: ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the answer of the nearest question would have been, against the answer that came; it holds no text.

    Attributes:
        feature, model: of the call.
        similarity: of the two questions: the cosine of their vectors.
        same: whether both answers are equal, character for character.
        distance: of both answers, see `distance`; 0 for the same words in the same order, 1 for none in common.
    """

    feature: str
    model: str
    similarity: float
    same: bool
    distance: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a threshold would have done with the calls that were compared.

    Attributes:
        threshold: the similarity from which on another question's answer would have been given.
        looked: calls that had a question to look up; `hits`: those that would have been answered so.
        same: hits with an answer equal to the real one.
        distance: between would-be and real answers, the mean of the hits; `worst`: the largest.
    """

    threshold: float
    looked: int
    hits: int
    same: int
    distance: float
    worst: float


class Semantic:
    """Gives the answer to a request that means the same, where the response cache has none to the very same one.

    As it comes it only measures (`mode` ``shadow``): every call is sent, and its answer compared with the one that the
    nearest question had got. See `report`; only then use ``live``. Model, parameters, tenant, system prompt and the
    turns before have to be equal; only the text of the last question may differ.

    Args:
        embed: texts to vectors: ``lambda texts: model.encode(list(texts)).tolist()``.
        threshold: the cosine similarity from which on questions mean the same, above 0 and up to 1.
        mode: ``shadow`` or ``live``.
        entries: questions whose vectors are remembered, in this process; those unused for longest make room.
        model: the embedding model's name. With it, processes that share the cache's store find each other's questions,
            those that name the same model; left out, each process knows its own.

    Raises:
        ConfigError: an argument is malformed.
    """

    def __init__(
        self,
        embed: Embed,
        *,
        threshold: float = 0.95,
        mode: Literal["shadow", "live"] = "shadow",
        entries: int = 1000,
        model: str = "",
    ) -> None:
        if not callable(embed):
            raise ConfigError(f"embed={embed!r} cannot be called; give a function of texts that returns vectors")
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise ConfigError(f"threshold={threshold!r}: give a similarity above 0 and up to 1, such as 0.95")
        if mode not in ("shadow", "live"):
            raise ConfigError(f"mode={mode!r}: allowed are 'shadow', which only measures, and 'live'")
        if isinstance(entries, bool) or not isinstance(entries, int) or entries < 1:
            raise ConfigError(f"entries={entries!r}: give a whole number above 0")
        if not isinstance(model, str):
            raise ConfigError(f"model={model!r}: give the embedding model's name")
        self.model = model
        self.threshold = float(threshold)
        self.mode: Literal["shadow", "live"] = mode
        self._embed = embed
        self._most = entries
        self._places: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._scopes: dict[str, dict[str, array[float]]] = {}
        self._read: dict[str, str] = {}
        self._compared: deque[Comparison] = deque(maxlen=COMPARED)
        self._looked = 0
        self._lock = threading.Lock()

    @property
    def comparisons(self) -> list[Comparison]:
        """The calls that were compared in shadow mode, the last 10,000."""
        with self._lock:
            return list(self._compared)

    def report(self, threshold: float | None = None) -> Shadow:
        """What a threshold, this one's or another one, would have done in shadow mode."""
        line = self.threshold if threshold is None else threshold
        hits = [one for one in self.comparisons if one.similarity >= line]
        far = [one.distance for one in hits]
        return Shadow(
            threshold=line,
            looked=self._looked,
            hits=len(hits),
            same=sum(one.same for one in hits),
            distance=sum(far) / len(far) if far else 0.0,
            worst=max(far, default=0.0),
        )

    # -- for the calls -----------------------------------------------------------------------------------------

    def vector(self, text: str) -> array[float]:
        """The vector of a question, of length 1.

        Raises:
            ValueError: the embedding function returned no vector that has a direction.
        """
        return _unit(array("d", next(iter(self._embed([text])))))

    def learn(self, scope: str, vectors: Vectors) -> None:
        """Remember what other processes have asked in a scope since this one looked last."""
        with self._lock:
            after = self._read.get(scope, "")
        for place, key, vector in vectors.notes(f"{scope}:{self.model}", after):
            try:
                self.remember(scope, key, _unit(array("d", json.loads(vector))))
            except (ValueError, TypeError):
                log.warning("the response cache holds a vector that is none, and does without it")
            with self._lock:
                if scope in self._scopes:
                    self._read[scope] = place

    def tell(self, scope: str, key: str, vector: array[float], expires: float, vectors: Vectors) -> None:
        """Let other processes know of a question."""
        vectors.note(f"{scope}:{self.model}", key, json.dumps([round(x, 7) for x in vector]), expires)

    def nearest(self, scope: str, vector: array[float]) -> list[tuple[float, str]]:
        """The three most similar questions of a scope, and how similar they are: the keys of their answers."""
        with self._lock:
            self._looked += 1
            there = list(self._scopes.get(scope, {}).items())
        found = [(_dot(vector, other), key) for key, other in there if len(other) == len(vector)]
        return sorted(found, reverse=True)[:3]

    def remember(self, scope: str, key: str, vector: array[float]) -> None:
        """Remember a question whose answer was kept under `key`."""
        with self._lock:
            self._places[scope, key] = None
            self._places.move_to_end((scope, key))
            self._scopes.setdefault(scope, {})[key] = vector
            if len(self._places) > self._most:
                self._drop(next(iter(self._places)))

    def used(self, scope: str, key: str) -> None:
        """A question's answer was given again."""
        with self._lock:
            if (scope, key) in self._places:
                self._places.move_to_end((scope, key))

    def forget(self, scope: str, key: str) -> None:
        """A question's answer is not there any more."""
        with self._lock:
            if (scope, key) in self._places:
                self._drop((scope, key))

    def compared(self, comparison: Comparison) -> None:
        """Note how the nearest answer would have done."""
        with self._lock:
            self._compared.append(comparison)

    def _drop(self, place: tuple[str, str]) -> None:
        scope, key = place
        del self._places[place]
        del self._scopes[scope][key]
        if not self._scopes[scope]:
            del self._scopes[scope]
            # Whoever asks there again reads it all again.
            self._read.pop(scope, None)


def _unit(vector: array[float]) -> array[float]:
    size = math.sqrt(math.fsum(x * x for x in vector))
    if not 0 < size < math.inf:
        raise ValueError(f"a vector of length {size}: the embedding function has to return ones with a direction")
    return array("d", (x / size for x in vector))


def _dot(one: array[float], other: array[float]) -> float:
    # The similarity of a question with itself is 1, not a rounding error below it.
    cosine: float = round(sum(map(mul, one, other)), 9)
    return min(1.0, cosine)


def question(request: Request) -> tuple[str, Request] | None:
    """The text of a request's last question, and the request without it; None where it has none of its own.

    A question is a user's message of text alone: with a picture, a tool's result or a file in it, words do not say
    what it means.
    """
    body = request.body
    for field in _FIELDS:
        if field in body:
            found = _last(body[field])
            if found is not None:
                text, rest = found
                return text, replace(request, body={**body, field: rest})
            return None
    return None


def _last(value: Any) -> tuple[str, Any] | None:
    if isinstance(value, str):
        return (value, _BLANK) if value.strip() else None
    if not isinstance(value, list | tuple) or not value or not isinstance(value[-1], Mapping):
        return None
    last = value[-1]
    if last.get("role", "user") != "user":
        return None
    field = "parts" if "parts" in last else "content"
    text = _text(last.get(field))
    return None if text is None else (text, [*value[:-1], {**last, field: _BLANK}])


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content if content.strip() else None
    if not isinstance(content, list | tuple) or len(content) != 1 or not isinstance(content[0], Mapping):
        return None
    # A part with anything else in it, such as a mark for the provider's cache, is not only its words.
    part = {name: item for name, item in content[0].items() if item is not None}
    if set(part) - {"type", "text"} or part.get("type", "text") not in _TEXTS:
        return None
    text = part.get("text")
    return text if isinstance(text, str) and text.strip() else None


_WORD: Final = re.compile(r"\w+")


def distance(one: str, other: str) -> float:
    """How far two answers are apart, from 0 to 1, by their words: the Dice distance.

    Words (in lower case, without punctuation) and pairs of neighbouring words are counted in both; the distance is the
    share of them that the other has not. The same words in another order are apart by their pairs. It knows nothing of
    meaning: "yes" and "no" are 1 apart, and so are two good answers in different words.
    """
    first, second = _parts(one), _parts(other)
    total = first.total() + second.total()
    if not total:
        return 0.0 if one == other else 1.0
    return 1.0 - 2 * float((first & second).total()) / total


def _parts(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    parts: Counter[tuple[str, ...]] = Counter((word,) for word in words)
    parts.update(pairwise(words))
    return parts
