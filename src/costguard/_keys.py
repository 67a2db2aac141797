"""Kinds of values that a configuration may hold: each reads a value strictly, and describes itself as JSON schema.

One description serves the reader and the schema that ships for editors, so the two cannot disagree.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, Protocol, cast

from .errors import ConfigError


class Place(NamedTuple):
    """Where a value stands: in a file, under a path of keys."""

    file: str
    path: str = ""

    def key(self, name: str) -> Place:
        """The place of a key of the table here."""
        shown = name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'
        return Place(self.file, f"{self.path}.{shown}" if self.path else shown)

    def item(self, index: int) -> Place:
        """The place of an item of the list here, counted from 1 as people count."""
        return Place(self.file, f"{self.path}[{index + 1}]")

    def wrong(self, why: str) -> ConfigError:
        """The error that says what is wrong here."""
        return ConfigError(f"{self.file}: {self.path}: {why}" if self.path else f"{self.file}: {why}")


class Kind(Protocol):
    """What a key may hold."""

    def read(self, value: Any, place: Place) -> Any:
        """The value as the rest of the package takes it.

        Raises:
            ConfigError: it is not of this kind; the message says where, and what is allowed.
        """
        ...

    def schema(self) -> dict[str, Any]:
        """The same as JSON schema."""
        ...


def near(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """``, did you mean ...?`` when a known name is close, else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def listed(names: Mapping[str, object] | tuple[str, ...]) -> str:
    """Names for an error message."""
    return ", ".join(repr(name) for name in names)


def _no(value: object, place: Place, allowed: str) -> ConfigError:
    shown = str(value) if isinstance(value, Decimal) else repr(value)
    return place.wrong(f"{shown[:80]} is not allowed here; give {allowed}")


@dataclass(frozen=True, slots=True)
class Text:
    """A string.

    Args:
        about: what it is, for the schema and for errors.
        choices: the only ones allowed, if given.
        empty: whether it may be empty.
    """

    about: str
    choices: tuple[str, ...] = ()
    empty: bool = False

    def read(self, value: Any, place: Place) -> str:
        """The string as it is."""
        if self.choices and (not isinstance(value, str) or value not in self.choices):
            hint = near(value, self.choices) if isinstance(value, str) else ""
            raise place.wrong(f"{value!r} is not allowed here{hint}; allowed are {listed(self.choices)}")
        if not isinstance(value, str) or not (value or self.empty):
            raise _no(value, place, "a string" if self.empty else "a string that is not empty")
        return value

    def schema(self) -> dict[str, Any]:
        """A string, or one of the choices."""
        least = {} if self.empty else {"minLength": 1}
        kind: dict[str, Any] = {"enum": list(self.choices)} if self.choices else {"type": "string", **least}
        return {"description": self.about, **kind}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    about: str

    def read(self, value: Any, place: Place) -> bool:
        """The value as it is."""
        if not isinstance(value, bool):
            raise _no(value, place, "true or false")
        return value

    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"description": self.about, "type": "boolean"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number.

    Args:
        about: what it is.
        least: the smallest one allowed.
        whole: whether only integers are.
        text: whether it may be written as a string too, as amounts of money are.
    """

    about: str
    least: int = 0
    whole: bool = False
    text: bool = False

    def read(self, value: Any, place: Place) -> int | Decimal | str:
        """An integer, an exact decimal, or a string."""
        allowed = ("a whole number" if self.whole else "a number") + f" of {self.least} or more"
        if self.text:
            allowed += ", or a string"
        if isinstance(value, str) and self.text and value:
            return value
        value = Decimal(repr(value)) if isinstance(value, float) else value
        number = isinstance(value, int) or (isinstance(value, Decimal) and not self.whole and value.is_finite())
        if isinstance(value, bool) or not number or value < self.least:
            raise _no(value, place, allowed)
        return cast("int | Decimal", value)

    def schema(self) -> dict[str, Any]:
        """A number, or a string that holds one."""
        number = {"type": "integer" if self.whole else "number", "minimum": self.least}
        kind = {"anyOf": [number, {"type": "string", "minLength": 1}]} if self.text else number
        return {"description": self.about, **kind}


@dataclass(frozen=True, slots=True)
class Day:
    """A date, bare or in quotes."""

    about: str

    def read(self, value: Any, place: Place) -> str:
        """The date in ISO form; whether a string is one is seen by who uses it."""
        if isinstance(value, str) and value:
            return value
        if type(value) is not date:
            raise _no(value, place, "a date such as 2026-12-01")
        return value.isoformat()

    def schema(self) -> dict[str, Any]:
        """A string; TOML's own dates have no other form in JSON schema."""
        return {"description": self.about, "type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class Several:
    """A list of values of one kind.

    Args:
        about: what it is.
        of: what each may be.
        least: how many there must be.
    """

    about: str
    of: Kind
    least: int = 0

    def read(self, value: Any, place: Place) -> tuple[Any, ...]:
        """A tuple of what each was read as."""
        if not isinstance(value, list | tuple) or len(value) < self.least:
            raise _no(value, place, f"a list of {self.least} or more" if self.least else "a list")
        return tuple(self.of.read(one, place.item(index)) for index, one in enumerate(value))

    def schema(self) -> dict[str, Any]:
        """An array."""
        least = {"minItems": self.least} if self.least else {}
        return {"description": self.about, "type": "array", "items": self.of.schema(), **least}


@dataclass(frozen=True, slots=True)
class Free:
    """Anything that TOML can say: the options of a part that checks them itself."""

    about: str

    def read(self, value: Any, place: Place) -> Any:  # noqa: ARG002 - a kind is asked where
        """The value as it is."""
        return value

    def schema(self) -> dict[str, Any]:
        """Anything."""
        return {"description": self.about}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of known keys.

    Args:
        about: what it is.
        keys: the known keys and what each may hold.
        needed: the keys that must be there.
        others: what any other key may hold; without it, others are errors.
        pattern: what the names of those look like.
        make: turns what was read into a value; a `ConfigError` it raises is told with the place.
    """

    about: str
    keys: Mapping[str, Kind]
    needed: tuple[str, ...] = ()
    others: Kind | None = None
    pattern: str = ""
    make: Callable[[dict[str, Any]], Any] | None = None

    def read(self, value: Any, place: Place) -> Any:
        """What `make` makes of the table, or the table as a dict."""
        if not isinstance(value, Mapping):
            raise _no(value, place, f"a table with the keys {listed(self.keys)}" if self.keys else "a table")
        found = {}
        for name, one in value.items():
            kind = self.keys.get(name) or (self.others if re.search(self.pattern, name) else None)
            if kind is None:
                raise place.key(name).wrong(f"unknown key{near(name, self.keys)}; allowed are {listed(self.keys)}")
            found[name] = kind.read(one, place.key(name))
        missing = [name for name in self.needed if name not in found]
        if missing:
            raise place.wrong(f"{listed(tuple(missing))} must be given")
        if self.make is None:
            return found
        try:
            return self.make(found)
        except ConfigError as error:
            raise place.wrong(str(error)) from None

    def schema(self) -> dict[str, Any]:
        """An object."""
        required = {"required": list(self.needed)} if self.needed else {}
        others = False if self.others is None or self.pattern else self.others.schema()
        like = {"patternProperties": {self.pattern: self.others.schema()}} if self.others and self.pattern else {}
        return {
            "description": self.about,
            "type": "object",
            "properties": {name: kind.schema() for name, kind in self.keys.items()},
            **required,
            **like,
            "additionalProperties": others,
        }


@dataclass(frozen=True, slots=True)
class Either:
    """A list, or a table."""

    about: str
    several: Several
    table: Table

    def read(self, value: Any, place: Place) -> Any:
        """Whatever the kind that fits reads it as."""
        return (self.table if isinstance(value, Mapping) else self.several).read(value, place)

    def schema(self) -> dict[str, Any]:
        """Any of the two."""
        return {"description": self.about, "anyOf": [self.several.schema(), self.table.schema()]}
