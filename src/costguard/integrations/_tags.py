"""Where the tags of a request come from: a fixed value, or a function of the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .._budget import clean_tags
from ..errors import ConfigError

Source = str | Callable[[Any], str | None]
"""A tag's value, or a function that is given the request and returns one, None for none."""

INVALID: Final = "(invalid)"
"""The value of a tag whose own is none: too long, say. The call stays inside the limits of its tag."""


def checked(sources: Mapping[str, Source | None]) -> dict[str, Source]:
    """The sources that were given.

    Raises:
        ConfigError: one of them is neither a value nor a function, or its tag is no tag's name.
    """
    given = {tag: source for tag, source in sources.items() if source is not None}
    clean_tags({tag: source if isinstance(source, str) else "x" for tag, source in given.items()})
    for tag, source in given.items():
        if not isinstance(source, str) and not callable(source):
            raise ConfigError(f"{tag}={source!r}: give a value, or a function that is given the request")
    return given


def tags_of(sources: Mapping[str, Source], request: Any) -> dict[str, str]:
    """The tags of one request. What a function of the program raises is the program's."""
    tags: dict[str, str] = {}
    for tag, source in sources.items():
        value = source if isinstance(source, str) else source(request)
        if value is not None and value != "":
            tags[tag] = _valid(tag, value)
    return tags


def _valid(tag: str, value: object) -> str:
    try:
        return clean_tags({tag: str(value)})[tag]
    except ConfigError:
        return INVALID
