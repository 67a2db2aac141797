"""The most input a request can be billed for, read off its fields before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ._fields import fields, size

PER_NODE: Final = 8
"""Tokens granted for each object or list item in a request: role markers, separators, names."""
FRAME: Final = 32
"""Tokens granted for the frame around a whole request."""
TOOLS: Final = 512
"""Tokens granted once for the hidden prompt that explains how tools are called."""

PER_LINE: Final = 3
"""Tokens granted for each line of a tool's description, which models are given as a comment."""

_TEXTS: Final = frozenset(
    ("arguments", "content", "description", "input", "instructions", "output", "refusal", "text", "title")
)
"""Fields whose strings a model reads as they stand."""
_UNREAD: Final = frozenset(("content", "role", "text", "type"))
"""Fields of messages and their parts whose names no model reads: what they cost is granted for the list item."""
_SCALARS: Final = frozenset((int, float, bool, type(None)))
_SHORT: Final = 10 ** (PER_NODE - 1)
"""Whole numbers below this have fewer digits than the tokens granted for a list item."""


class Bound:
    """An upper bound of a request's input: UTF-8 bytes for text, a provider's formula for media.

    Args:
        media: given an object of the request, returns the units it is billed for at most, None when it is no media,
            or raises `Unbounded`.
        telling: the keys one of which an object must have to be asked about; None asks about every object.

    Attributes:
        units: what was found so far.
        known: False once something was met whose size cannot be told from the request.
    """

    def __init__(
        self,
        media: Callable[[Mapping[str, Any]], Mapping[str, int] | None],
        telling: frozenset[str] | None = None,
    ) -> None:
        self._media = media
        self._telling = telling
        self.units: dict[str, int] = {"input": FRAME}
        self.known = True

    def add(self, value: Any) -> None:
        """Count a field of the request in; None for one that was not given."""
        if value is not None:
            tokens = self._size(value)
            # Not before: media met on the way has been added to it.
            self.units["input"] += tokens

    def add_described(self, value: Any) -> None:
        """Count tools or a schema in, which the model reads in another form."""
        self.add(value)

    def unit(self, name: str, quantity: int) -> None:
        """Count `quantity` of a unit in."""
        self.units[name] = self.units.get(name, 0) + quantity

    def _size(self, value: Any) -> int:
        # Exact types first: nearly everything in a request is a plain string, dictionary or list.
        kind = type(value)
        if kind is str:
            return len(value) if value.isascii() else size(value)
        if kind is dict:
            return self._object(value)
        if kind is list or kind is tuple:
            return sum(map(self._size, value)) + PER_NODE * len(value)
        if kind in _SCALARS:
            return _scalar(value)
        return self._foreign(value)

    def _object(self, value: Mapping[str, Any]) -> int:
        if self._telling is None or not self._telling.isdisjoint(value):
            try:
                media = self._media(value)
            except Unbounded:
                self.known = False
                return PER_NODE
            if media is not None:
                for name, quantity in media.items():
                    self.unit(name, quantity)
                return PER_NODE
        return self._fields(value)

    def _fields(self, value: Mapping[str, Any]) -> int:
        measure = self._size
        return sum([PER_NODE + size(key) + measure(item) for key, item in value.items()])

    def _foreign(self, value: Any) -> int:
        """A model instance counts by its fields; a sentinel for nothing; an iterator or file cannot be looked into."""
        if isinstance(value, str):
            return size(value)
        if isinstance(value, Mapping):
            return self._object(value)
        if type(value).__name__ in ("Omit", "NotGiven"):
            return 0
        if hasattr(type(value), "model_fields"):
            return self._object(fields(value))
        self.known = False
        return PER_NODE


class CountedBound(Bound):
    """A bound that counts the tokens of texts, for models whose tokenizer is public.

    Only what the model reads as it stands in the request is counted. Every other string, such as an encrypted or coded
    part whose tokens nobody can tell, is bounded by its bytes as before.

    Args:
        media, telling: as for `Bound`.
        count: the tokens of a text, in no case more than its bytes.
    """

    def __init__(
        self,
        media: Callable[[Mapping[str, Any]], Mapping[str, int] | None],
        telling: frozenset[str] | None,
        count: Callable[[str], int],
    ) -> None:
        super().__init__(media, telling)
        self._count = count
        self._line = 0

    def add_described(self, value: Any) -> None:
        """Count tools or a schema in, which the model reads in another form: each line of a text with a mark."""
        self._line = PER_LINE
        self.add(value)
        self._line = 0

    def _size(self, value: Any) -> int:
        return self._text(value) if type(value) is str else super()._size(value)

    def _text(self, value: str) -> int:
        count = self._count(value)
        return min(size(value), count + self._line * value.count("\n")) if self._line else count

    def _fields(self, value: Mapping[str, Any]) -> int:
        tokens = 0
        for key, item in value.items():
            if self._line or key not in _UNREAD:
                tokens += PER_NODE + size(key)
            as_it_stands = type(item) is not str or key in _TEXTS
            tokens += self._size(item) if as_it_stands else size(item)
        return tokens


class Unbounded(Exception):
    """The request refers to input of unknown size: a file id, a URL of a document, a stored conversation."""


def _scalar(value: Any) -> int:
    """A number is written out, and each of its digits can be a token of its own."""
    if isinstance(value, int):
        return PER_NODE if -_SHORT < value < _SHORT else PER_NODE + value.bit_length() // 3
    return PER_NODE if value is None else PER_NODE + len(repr(value))
