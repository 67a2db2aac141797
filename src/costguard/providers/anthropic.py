"""Anthropic's SDK, from 0.40 to major 2, with its Bedrock, Vertex, AWS and Foundry clients.

Input tokens exclude cache reads and cache writes, output tokens include thinking. In a stream the figures of
``message_delta`` are running totals that replace those of ``message_start``, but only those they carry: the split of
cache writes by lifetime and the service tier come once, at the start.
Source: the anthropic package's type definitions (2.12) and platform.claude.com/docs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from .._types import STANDARD, Call, Usage
from ..ports import Reader, Reading, Request, Unmetered
from ._bound import TOOLS, Bound, Unbounded
from ._fields import count, counts, get, integer, items, required, size, text
from ._reader import Reading as Reads
from ._stainless import Stainless, endpoint

_MESSAGES: Final = re.compile(r"(?:^|/)(messages|complete)/?$")
_INVOKED: Final = re.compile(
    r"/model/([^/]+)/(?:invoke|invoke-with-response-stream)$|/models/([^/:]+):(?:rawPredict|streamRawPredict)$"
)
_FREE: Final = re.compile(
    r"(?:^|/)(?:messages/count_tokens|files(?:/.*)?|models(?:/.*)?|skills(?:/.*)?|.*/cancel|.*/archive)/?$"
)

_IMAGE_TOKENS: Final = 5_000
"""The most tokens one image is billed for: width times height over 750, at the largest size a model takes unscaled."""
_TOOL_USES: Final = 16
"""Uses of a server tool without ``max_uses`` that a message is reserved for."""
_TIERS: Final = {"standard_only": STANDARD, "auto": STANDARD}


class Anthropic(Stainless):
    """See `costguard.ports.Provider`."""

    def read_call(self, request: Request) -> Reading:
        """See `costguard.ports.Provider.read_call`."""
        if request.method != "POST" or _FREE.search(request.path):
            return None
        invoked = _INVOKED.search(request.path)
        if endpoint(request.path, _MESSAGES) is None and invoked is None:
            return Unmetered(f"POST {request.path}")
        model = text(request.body, "model") or (invoked and (invoked[1] or invoked[2])) or ""
        return self._message(request, model)

    def reader(self, call: Call) -> Reader:
        """See `costguard.ports.Provider.reader`."""
        return MessageReader(call)

    def adjust(self, call: Call, request: Request, max_output: int | None) -> Mapping[str, Any]:
        """See `costguard.ports.Provider.adjust`. Usage always comes unasked."""
        if max_output is None or call.cap is None:
            return request.body
        return {**request.body, call.cap: max_output}

    def _message(self, request: Request, model: str) -> Call:
        body = request.body
        bound = Bound(_media)
        for field in ("system", "messages", "prompt", "tools", "output_config", "output_format"):
            bound.add(body.get(field))
        if items(body, "tools"):
            bound.unit("input", TOOLS)
        _server_tools(body, bound)
        if isinstance(body.get("container"), str | Mapping) or items(body, "mcp_servers"):
            bound.known = False
        if bound.units["input"] and _asks_for_an_hour(body):
            bound.units["cache_write_1h"] = bound.units.pop("input")
        thinking = integer(body, "thinking", "budget_tokens") or 0
        return Call(
            provider=self.name,
            model=model,
            operation="chat",
            host=request.host,
            stream=request.stream,
            bound=bound.units,
            input_known=bound.known,
            max_output=integer(body, "max_tokens") or integer(body, "max_tokens_to_sample"),
            tier=_TIERS.get(text(body, "service_tier"), STANDARD),
            # A cap below the thinking budget is refused by the provider.
            cap="max_tokens" if not thinking and "max_tokens" in body else None,
        )


def _server_tools(body: Mapping[str, Any], bound: Bound) -> None:
    """Server tools bill a fee for each use, and the input again with each result: as much as the window holds."""
    for tool in items(body, "tools"):
        kind = text(tool, "type")
        if kind.startswith("web_search"):
            bound.unit("web_searches", integer(tool, "max_uses") or _TOOL_USES)
        if kind.startswith(("web_search", "web_fetch", "code_execution", "tool_search", "advisor")):
            bound.known = False


def _asks_for_an_hour(body: Mapping[str, Any]) -> bool:
    """Whether any part of the request is to be cached for an hour, which is billed at a rate of its own."""
    return any(_ttl(body.get(field)) for field in ("system", "messages", "tools", "cache_control"))


def _ttl(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.get("ttl") == "1h" or any(
            _ttl(item) for item in value.values() if isinstance(item, Mapping | list)
        )
    return isinstance(value, list | tuple) and any(_ttl(item) for item in value)


def _media(part: Mapping[str, Any]) -> Mapping[str, int] | None:
    match part.get("type"):
        case "image":
            return {"input": _IMAGE_TOKENS}
        case "document":
            source = part.get("source")
            if get(source, "type") == "text":
                return None
            if get(source, "type") == "base64":
                return {"input": size(get(source, "data"))}
            raise Unbounded
        case "container_upload" | "file":
            raise Unbounded
        case _:
            return None


class MessageReader(Reads):
    """A message, or the events of its stream."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._start: Any = None
        self._message: Any = None

    def feed(self, part: Any) -> bool:
        """A whole message or an event of its stream."""
        match get(part, "type"):
            case "content_block_delta":
                delta = get(part, "delta")
                self.saw(get(delta, "text") or get(delta, "partial_json") or get(delta, "thinking"))
            case "message_start":
                self._message = get(part, "message")
                self._start = get(self._message, "usage")
                self._read(self._start, None)
            case "message_delta":
                self._read(self._start, get(part, "usage"))
                self.complete = bool(self._usages) and get(part, "delta", "stop_reason") is not None
            case "ping" | "content_block_start" | "content_block_stop" | "message_stop":
                pass
            case _:
                self._message = part
                self._read(get(part, "usage"), None)
                self.complete = bool(self._usages)
        return False

    def _read(self, start: Any, delta: Any) -> None:
        try:
            self._usages = message_usages(start, delta, text(self._message, "model") or None)
        except ValueError:
            self._usages, self.complete = (), False


def message_usages(start: Any, delta: Any, model: str | None) -> tuple[Usage, ...]:
    """A message's usage in disjoint units, and one usage more for each hidden iteration that comes on top.

    Args:
        start: the message's own usage, or that of ``message_start``.
        delta: the usage of ``message_delta``, whose figures replace those of `start` where they are given.
        model: the model as served.

    Raises:
        ValueError: they hold no usable counts.
    """
    main = _usage(start, delta, model)
    every = items(delta, "iterations") or items(start, "iterations")
    extra = [iteration for iteration in every if _on_top(iteration, model)]
    return (main, *(replace(_usage(one, None, text(one, "model") or model), tier=main.tier) for one in extra))


def _on_top(iteration: Any, served: str | None) -> bool:
    """Whether an iteration comes on top of the message's own total.

    Compaction does, an advisor does under its own model, and so does the attempt of a model that declined and was
    fallen back from, unless it declined before it wrote anything, which is not billed.
    """
    match get(iteration, "type"):
        case "compaction" | "advisor_message":
            return True
        case "message":
            by = text(iteration, "model")
            return bool(by and served and by != served) and count(iteration, "output_tokens") > 0
        case _:
            return False


def _usage(start: Any, delta: Any, model: str | None) -> Usage:
    def last(name: str) -> int:
        return count(start if get(delta, name) is None else delta, name)

    if get(delta, "input_tokens") is None:
        required(start, "input_tokens")
    creation = get(delta, "cache_creation") or get(start, "cache_creation")
    hour = count(creation, "ephemeral_1h_input_tokens")
    written = max(last("cache_creation_input_tokens"), hour + count(creation, "ephemeral_5m_input_tokens"))
    output = last("output_tokens")
    thinking = min(output, count(delta or start, "output_tokens_details", "thinking_tokens"))
    tools = get(delta, "server_tool_use") or get(start, "server_tool_use")
    units = counts(
        input=last("input_tokens"),
        cache_read=last("cache_read_input_tokens"),
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output - thinking,
        reasoning=thinking,
        web_searches=count(tools, "web_search_requests"),
        web_fetches=count(tools, "web_fetch_requests"),
    )
    return Usage(counts=units, model=model, tier=_tier(delta, start), region=text(start, "inference_geo") or None)


def _tier(delta: Any, start: Any) -> str:
    """The tier as served; fast mode is priced as a tier of its own."""
    if (get(delta, "speed") or get(start, "speed")) == "fast":
        return "fast"
    tier = text(delta, "service_tier") or text(start, "service_tier")
    return _TIERS.get(tier, tier) or STANDARD


ANTHROPIC: Final = Anthropic("anthropic", "anthropic")
