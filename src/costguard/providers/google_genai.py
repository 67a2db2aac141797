"""Google's SDK google-genai, from 1.20 to major 3, with its Gemini and Vertex clients.

Everything passes the API client's four request methods, once for each request: each turn of automatic function
calling, each continuation. Above them the public methods are marked, because the SDK catches what is raised in
there. ``interactions`` go through a client of their own, which was another one before 2.4.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from .._types import Call
from ..ports import Reader, Reading, Request, Retrieval, Seam, Unmetered
from . import _stainless
from ._fields import get
from ._google_errors import was_billed
from ._google_request import FIXED, biller, capped, interaction_call, read_call
from ._google_usage import ContentReader, EmbeddingReader, ImageReader, InteractionReader

_CLIENT: Final = "google.genai._api_client"
_MODELS: Final = "google.genai.models"
_CHATS: Final = "google.genai.chats"
_TOOLS: Final = "google.genai._extra_utils"
_GAOS: Final = "google.genai._gaos"

_INTERACTIONS: Final = re.compile(r"(?:^|/)interactions(?:/([^/]+))?/?$")
_TIER_HEADER: Final = "x-vertex-ai-llm-shared-request-type"
_OF_THE_TRANSPORT: Final = ("content-", "user-agent", "x-goog-api-client", "x-goog-api-key", "x-server-timeout")
"""Beginnings of headers that say nothing of the answer."""
_PROMPT: Final = ("contents", "systemInstruction")
"""The fields besides the output cap that may be changed on the way."""
_DICT: Final = 2
"""The position of ``request_dict`` among the arguments of a request method."""


def _scopes(module: str, *attributes: str) -> tuple[Seam, ...]:
    return tuple(Seam(module, attribute, "scope", optional=True) for attribute in attributes)


def _seams() -> tuple[Seam, ...]:
    return (
        Seam(_CLIENT, "BaseApiClient.request", "function"),
        Seam(_CLIENT, "BaseApiClient.async_request", "function"),
        Seam(_CLIENT, "BaseApiClient.request_streamed", "iterator"),
        Seam(_CLIENT, "BaseApiClient.async_request_streamed", "iterator"),
        *(
            seam
            for name in ("generate_content", "generate_content_stream", "_generate_content_stream_with_continuation")
            for seam in _scopes(_MODELS, f"Models.{name}", f"AsyncModels.{name}")
        ),
        *_scopes(_CHATS, "Chat.send_message", "Chat.send_message_stream"),
        *_scopes(_CHATS, "AsyncChat.send_message", "AsyncChat.send_message_stream"),
        *_scopes(_TOOLS, "get_function_response_parts", "get_function_response_parts_async"),
        Seam(_TOOLS, "invoke_function_from_dict_args", "callback", optional=True),
        Seam(_TOOLS, "invoke_function_from_dict_args_async", "callback", optional=True),
        Seam("google.genai.live", "AsyncLive.connect", "function", optional=True),
        Seam("google.genai.live_music", "AsyncLiveMusic.connect", "function", optional=True),
        Seam(f"{_GAOS}.basesdk", "BaseSDK.do_request", "function"),
        Seam(f"{_GAOS}.basesdk", "AsyncBaseSDK.do_request_async", "function"),
        *_scopes(f"{_GAOS}.google_genai", "GeminiNextGenInteractions.create", "AsyncGeminiNextGenInteractions.create"),
        *_stainless.seams("google.genai._interactions"),
    )


class GoogleGenAI:
    """See `costguard.ports.Provider`."""

    name: Final = "google"
    seams: Final = _seams()

    def request(self, seam: Seam, client: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Request:
        """See `costguard.ports.Provider.request`."""
        if seam.attribute.endswith(".connect"):
            return Request(path=seam.module.rpartition(".")[2])
        if seam.module.startswith(_GAOS):
            return _built(arguments, keywords)
        method, path, body, options = (
            _argument(arguments, keywords, *place)
            for place in ((0, "http_method"), (1, "path"), (_DICT, "request_dict"), (3, "http_options"))
        )
        if client.vertexai and not path.startswith("projects/") and client.project:
            path = f"projects/{client.project}/locations/{client.location}/{path}"
        base = _option(options, "base_url") or _option(client._http_options, "base_url") or ""
        body = body if isinstance(body, Mapping) else {}
        for layer in (client._http_options, options):
            body = _as_sent(body, layer)
        return Request(
            method=str(method).upper(),
            path=path.partition("?")[0],
            host=urlsplit(str(base)).hostname or "",
            body=body,
            stream=seam.attribute.endswith("request_streamed"),
        )

    def read_call(self, request: Request) -> Reading:
        """See `costguard.ports.Provider.read_call`."""
        if request.path in ("live", "live_music"):
            return Unmetered(f"{request.path} session")
        interaction = _INTERACTIONS.search(request.path)
        if interaction is None:
            return read_call(request)
        if request.method == "POST" and interaction[1] is None:
            return interaction_call(request)
        if request.method == "GET" and interaction[1] is not None:
            return Retrieval(interaction[1], Call(biller(request), "", "interactions", request.host))
        return None

    def reader(self, call: Call) -> Reader:
        """See `costguard.ports.Provider.reader`."""
        match call.operation:
            case "embeddings":
                return EmbeddingReader(call)
            case "image_generation":
                return ImageReader(call)
            case "interactions":
                return InteractionReader(call)
            case _:
                return ContentReader(call)

    def adjust(self, call: Call, request: Request, max_output: int | None) -> Mapping[str, Any]:
        """See `costguard.ports.Provider.adjust`. Usage always comes unasked."""
        return request.body if call.cap is None else capped(request.body, max_output)

    def with_body(
        self,
        seam: Seam,  # noqa: ARG002 - every seam has its request in the same place
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        body: Mapping[str, Any],
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """See `costguard.ports.Provider.with_body`. The SDK merges its own extra fields in again."""
        was = _argument(arguments, keywords, _DICT, "request_dict")
        prompt = {field: body[field] for field in _PROMPT if field in was and body[field] is not was[field]}
        sent = {**capped(was, get(body, "generationConfig", "maxOutputTokens")), **prompt}
        if "request_dict" in keywords:
            return arguments, {**keywords, "request_dict": sent}
        return (*arguments[:_DICT], sent, *arguments[_DICT + 1 :]), keywords

    def with_model(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], before: str, after: str
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """See `costguard.ports.Swaps.with_model`: the model is part of the path."""
        path = _argument(arguments, keywords, 1, "path").replace(f"/{before}:", f"/{after}:")
        if "path" in keywords:
            return arguments, {**keywords, "path": path}
        return (arguments[0], path, *arguments[2:]), keywords

    def take_down(self, part: Any) -> tuple[str, Mapping[str, str]] | None:
        """See `costguard.ports.Replays.take_down`."""
        body = getattr(part, "body", None)
        return (body, getattr(part, "headers", None) or {}) if isinstance(body, str) else None

    def again(self, body: str, headers: Mapping[str, str]) -> Any:
        """See `costguard.ports.Replays.again`."""
        return sys.modules["google.genai.types"].HttpResponse(headers=dict(headers), body=body)

    def identity(self, client: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Sequence[Any]:
        """See `costguard.ports.Replays.identity`."""
        layers = (client._http_options, _argument(arguments, keywords, 3, "http_options"))
        who = [str(getattr(client, name, None) or "") for name in ("api_key", "project", "location", "custom_base_url")]
        told = [
            [str(_option(options, "base_url") or ""), str(_option(options, "api_version") or ""),
             {str(name).lower(): str(value) for name, value in (_option(options, "headers") or {}).items()
              if not str(name).lower().startswith(_OF_THE_TRANSPORT)}]
            for options in layers
        ]  # fmt: skip
        return [who, told, _argument(arguments, keywords, 1, "path").partition("?")[2]]

    def was_billed(self, error: BaseException) -> bool | None:
        """See `costguard.ports.Provider.was_billed`."""
        return was_billed(error)


def _argument(arguments: tuple[Any, ...], keywords: Mapping[str, Any], place: int, name: str) -> Any:
    return arguments[place] if len(arguments) > place else keywords.get(name)


def _option(options: Any, name: str) -> Any:
    """An HTTP option, which the SDK takes as an object or as a dictionary of either spelling."""
    if isinstance(options, Mapping):
        first, *rest = name.split("_")
        return options.get(name, options.get(first + "".join(word.title() for word in rest)))
    return getattr(options, name, None)


def _merged(body: Mapping[str, Any], extra: Any) -> Mapping[str, Any]:
    if not isinstance(extra, Mapping) or not extra:
        return body
    merged = dict(body)
    for key, value in extra.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def _as_sent(body: Mapping[str, Any], options: Any) -> Mapping[str, Any]:
    """`body` with the extra fields and the tier that these HTTP options add, under the SDK's own private mark where
    they fix the output cap: they are merged in last, so that a lower one would not be sent."""
    extra = _option(options, "extra_body")
    body = _merged(body, extra)
    if get(extra, "generationConfig", "maxOutputTokens") is not None:
        body = {**body, FIXED: True}
    for name, value in (_option(options, "headers") or {}).items():
        if name.lower() == _TIER_HEADER and isinstance(value, str):
            body = {"serviceTier": value, **body}
    return body


def _built(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Request:
    """A request of the client for interactions, which is built by the time it can be seen."""
    request = _argument(arguments, keywords, 1, "request")
    content = request.content if request.method == "POST" else b""
    body = json.loads(content) if content[:1] == b"{" else {}
    return Request(
        method=request.method,
        path=request.url.path,
        host=request.url.host,
        body=body,
        stream=bool(keywords.get("stream")),
    )


GOOGLE_GENAI: Final = GoogleGenAI()
