"""Attribution from one service of yours to the next, in a header of its own, and only where a program says so.

It is not W3C baggage, because SDKs and HTTP libraries forward that by themselves, to model providers too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import quote, unquote

from .._budget import clean_tags
from .._context import current
from ..errors import ConfigError

HEADER: Final = "costguard-tags"
"""The header's name."""

Allowed = Mapping[str, Collection[str] | Callable[[str], object]]
"""Tag to the values that are taken from others, or to a function that says whether a value is."""

_LONGEST: Final = 4096


def inject(headers: MutableMapping[str, str], *, only: Iterable[str] | None = None) -> None:
    """Put the tags of here and now into the headers of a request to another service of yours.

    Args:
        headers: of the request, for example a dict; the header is replaced.
        only: the tags to send; all of them when left out.
    """
    wanted = None if only is None else set(only)
    tags = {tag: value for tag, value in current().tags.items() if wanted is None or tag in wanted}
    if tags:
        headers[HEADER] = ",".join(f"{tag}={quote(value, safe='')}" for tag, value in sorted(tags.items()))


def extract(header: str | None, allow: Allowed) -> dict[str, str]:
    """The tags in a header that came with a request, as far as they are allowed; the rest is left out.

    Whoever can reach a service can send it any header: without the list they could spend in somebody else's name, or
    past a limit of their own.
    """
    if not header or len(header) > _LONGEST:
        return {}
    found: dict[str, str] = {}
    for pair in header.split(","):
        tag, _, quoted = pair.strip().partition("=")
        allowed = allow.get(tag)
        value = unquote(quoted)
        if allowed is not None and _clean(tag, value) and (allowed(value) if callable(allowed) else value in allowed):
            found[tag] = value
    return found


def checked(allow: Any) -> Allowed:
    """The list of what is taken from others.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(allow, Mapping):
        raise ConfigError(f"inbound={allow!r}: give each tag with its allowed values, like {{'feature': {{'search'}}}}")
    for tag, allowed in allow.items():
        if isinstance(allowed, str) or not (callable(allowed) or isinstance(allowed, Collection)):
            raise ConfigError(f"inbound: {tag}={allowed!r}: give a set of values, or a function that is given one")
        clean_tags({tag: "x"})
    return allow


def _clean(tag: str, value: str) -> bool:
    try:
        return bool(clean_tags({tag: value}))
    except ConfigError:
        return False
