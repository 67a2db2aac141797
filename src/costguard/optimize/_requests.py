"""What a request is to the response cache: a key over all that shapes its answer, or a reason to leave it alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Final

from .._types import Call
from ..ports import Request

VERSION: Final = 1
"""Of keys and entries: another number leaves everything stored before behind."""

NOT_THE_ANSWERS: Final = frozenset(("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"))
"""Fields that say who asks and where the provider keeps its own cache, and nothing of the answer."""

OPERATIONS: Final = frozenset(("chat", "text_completion", "responses", "embeddings"))

STATE: Final = (
    "previous_response_id",
    "conversation",
    "background",
    "container",
    "context_management",
    "cachedContent",
)
"""Fields that read or leave something on the provider's side."""

_TOOLS: Final = ("tools", "functions", "mcp_servers", "web_search_options")

_PROMPTS: Final = ("messages", "input", "contents", "system", "instructions")

_IN_ORDER: Final = frozenset(
    ("tools", "functions", "response_format", "text", "output_format", "output_config", "generationConfig")
)
"""Fields with schemas in them: a model fills a schema in the order of its properties."""


class Unfit(Exception):
    """A request that is not to be cached; the message says why, in a word or three."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which requests may be answered from the cache.

    Attributes:
        sampling: also those that ask for a temperature above zero or for several answers, and so for variety.
        tools: also those with tools of the caller's own: the answer may tell the program to act.
        ignore: further request fields that do not tell requests apart.
    """

    sampling: bool = False
    tools: bool = False
    ignore: frozenset[str] = frozenset()


def check(call: Call, request: Request, rules: Rules) -> None:
    """See whether an answer to this request may be kept and given again.

    Raises:
        Unfit: it may not.
    """
    body = request.body
    if call.operation not in OPERATIONS or request.files:
        raise Unfit(f"{call.operation} is not cached")
    if not call.input_known or any(given(body.get(field)) for field in STATE):
        raise Unfit("refers to what the provider keeps")
    # A response is stored unless the request says otherwise, and goes on as a conversation under its id.
    if body.get("store") is True or (call.operation == "responses" and body.get("store") is not False):
        raise Unfit("stored by the provider")
    if not rules.tools and any(given(body.get(field)) for field in _TOOLS):
        raise Unfit("has tools")
    if any(_fetched(part) for field in _PROMPTS for part in _mappings(body.get(field))):
        raise Unfit("refers to media by their address")
    if not rules.sampling:
        _check_sampling(call, body)
    if call.output_unit not in (None, "output"):
        raise Unfit("asks for sound or images")


def _check_sampling(call: Call, body: Mapping[str, Any]) -> None:
    settings = body.get("generationConfig")
    for fields in (body, settings if isinstance(settings, Mapping) else {}):
        temperature = fields.get("temperature")
        if isinstance(temperature, int | float) and temperature > 0:
            raise Unfit("asks for a temperature")
    if call.choices > 1:
        raise Unfit("asks for several answers")


def key(secret: bytes, call: Call, request: Request, apart: Sequence[Any], rules: Rules) -> str:
    """The key of a request: a keyed hash, which tells nothing of what it was made from.

    Args:
        secret: up to 64 bytes, the store's.
        apart: what else keeps answers apart: the tenant, the credentials, headers and query.

    Raises:
        Unfit: something in the request is no plain data, so that reading it would use it up.
    """
    ignored = NOT_THE_ANSWERS | rules.ignore
    body = {name: canonical(value, ordered=name in _IN_ORDER) for name, value in request.body.items()
            if name not in ignored and not _left_out(value)}  # fmt: skip
    parts = [VERSION, call.provider, request.host, request.method, request.path, request.stream, call.asks_for_usage]
    try:
        text = json.dumps([*parts, canonical(list(apart)), dict(sorted(body.items()))], allow_nan=False)
    except ValueError:
        raise Unfit("has numbers that JSON has not") from None
    return blake2b(text.encode("ascii"), digest_size=32, key=secret).hexdigest()


def canonical(value: Any, *, ordered: bool = False) -> Any:
    """`value` as JSON data in which equal requests are equal; mappings sorted unless their order means something.

    Raises:
        Unfit: it holds an iterator, a file, or anything else that is no plain data.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Mapping):
        items = [(str(name), canonical(item, ordered=ordered)) for name, item in value.items() if not _left_out(item)]
        return dict(items if ordered else sorted(items, key=lambda item: item[0]))
    if isinstance(value, list | tuple):
        return [canonical(item, ordered=ordered) for item in value]
    if isinstance(value, bytes):
        return {"bytes": blake2b(value, digest_size=32).hexdigest()}
    if isinstance(value, Enum):
        return canonical(value.value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return canonical(dump(mode="json", exclude_unset=True, by_alias=True), ordered=ordered)
    raise Unfit(f"has a {type(value).__name__} in it")


def _left_out(value: Any) -> bool:
    """The SDKs' marks of a parameter that was not given."""
    return type(value).__name__ in ("Omit", "NotGiven")


def given(value: Any) -> bool:
    """Whether a field says anything."""
    return bool(value) and not _left_out(value)


def _mappings(value: Any) -> Iterator[Mapping[Any, Any]]:
    if isinstance(value, Mapping):
        yield value
        for item in value.values():
            yield from _mappings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _mappings(item)


def _fetched(part: Mapping[Any, Any]) -> bool:
    """Whether this part of a message is fetched by the provider: what stands at an address can change."""
    return any(isinstance(url, str) and not url.startswith("data:") for url in _addresses(part))


def _addresses(part: Mapping[Any, Any]) -> Iterator[Any]:
    match part.get("type"):
        case "image_url" | "input_image":
            image = part.get("image_url")
            yield image.get("url") if isinstance(image, Mapping) else image
        case "url":
            yield part.get("url")
        case "input_file" | "file":
            yield part.get("file_url")
        case _:
            return
