"""Google's SDK google-generativeai 0.8 (end of life), over REST and gRPC: the generated clients under it are wrapped.

Its usage has no thoughts, but its total includes them. Embeddings and ``generate_answer`` report no usage at all and
are charged by the bound of their request.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from .._types import Call
from ..ports import Reader, Reading, Request, Seam, SeamKind, Unmetered
from ._bound import Bound
from ._fields import get, text
from ._google_errors import was_billed
from ._google_request import capped, content_call, media, read_call
from ._google_usage import ContentReader

_VERBS: Final[Mapping[str, str]] = {
    "generate_content": "generateContent",
    "stream_generate_content": "streamGenerateContent",
    "embed_content": "embedContent",
    "batch_embed_contents": "batchEmbedContents",
    "generate_answer": "generateAnswer",
}
_UNMETERED: Final = (
    ("model_service", "ModelService", "create_tuned_model"),
    ("cache_service", "CacheService", "create_cached_content"),
    ("cache_service", "CacheService", "update_cached_content"),
)
_OPTIONS: Final = frozenset(("request", "retry", "timeout", "metadata"))


def _seams() -> tuple[Seam, ...]:
    found = []
    for version in ("v1beta", "v1", "v1alpha"):
        for service, prefix, method in (
            *(("generative_service", "GenerativeService", name) for name in _VERBS),
            *_UNMETERED,
        ):
            kind: SeamKind = "iterator" if method.startswith("stream_") else "function"
            for module, suffix in (("client", "Client"), ("async_client", "AsyncClient")):
                path = f"google.ai.generativelanguage_{version}.services.{service}.{module}"
                found.append(Seam(path, f"{prefix}{suffix}.{method}", kind, optional=True))
    return tuple(found)


class GoogleGenerativeAI:
    """See `costguard.ports.Provider`."""

    name: Final = "google"
    seams: Final = _seams()

    def request(self, seam: Seam, client: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Request:
        """See `costguard.ports.Provider.request`."""
        method = seam.attribute.rpartition(".")[2]
        body = plain(_message(arguments, keywords))
        return Request(
            path=f"{text(body, 'model')}:{_VERBS.get(method, method)}",
            host=_host(client),
            body=body,
            stream=seam.kind == "iterator",
        )

    def read_call(self, request: Request) -> Reading:
        """See `costguard.ports.Provider.read_call`."""
        model, _, verb = request.path.rpartition(":")
        if verb == "generateAnswer":
            return _answer_call(request, model)
        if verb not in _VERBS.values():
            return Unmetered(verb)
        path = request.path if "/" in model else f"models/{request.path}"
        return read_call(Request("POST", path, request.host, request.body, request.stream))

    def reader(self, call: Call) -> Reader:
        """See `costguard.ports.Provider.reader`."""
        return MessageReader(call)

    def adjust(self, call: Call, request: Request, max_output: int | None) -> Mapping[str, Any]:
        """See `costguard.ports.Provider.adjust`."""
        return request.body if call.cap is None else capped(request.body, max_output)

    def with_body(
        self,
        seam: Seam,  # noqa: ARG002 - every seam has its request in the same place
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        body: Mapping[str, Any],
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """See `costguard.ports.Provider.with_body`. Loose fields go into the request, where alone a cap can stand."""
        cap = get(body, "generationConfig", "maxOutputTokens")
        if cap is None:
            return arguments, keywords
        options = {name: value for name, value in keywords.items() if name in _OPTIONS}
        return (), {**options, "request": _capped_message(_message(arguments, keywords), cap)}

    def was_billed(self, error: BaseException) -> bool | None:
        """See `costguard.ports.Provider.was_billed`."""
        return was_billed(error)


def _message(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """The request: a message, a dictionary of one, or one made of loose fields."""
    request = arguments[0] if arguments else keywords.get("request")
    loose = {name: value for name, value in keywords.items() if name not in _OPTIONS and value is not None}
    return loose if request is None else request


def _capped_message(message: Any, cap: int) -> Any:
    if isinstance(message, Mapping):
        settings = message.get("generation_config")
        if settings is None or isinstance(settings, Mapping):
            return {**message, "generation_config": {**(settings or {}), "max_output_tokens": cap}}
        settings = copy.deepcopy(settings)
        settings.max_output_tokens = cap
        return {**message, "generation_config": settings}
    message = copy.deepcopy(message)
    message.generation_config.max_output_tokens = cap
    return message


def plain(value: Any) -> Any:
    """A message, or a dictionary with messages in it, as the REST interface spells it."""
    to_dict = getattr(type(value), "to_dict", None)
    if to_dict is not None:
        return to_dict(value, preserving_proto_field_name=False, including_default_value_fields=False)
    if isinstance(value, Mapping):
        return {_camel(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _camel(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _host(client: Any) -> str:
    endpoint = str(getattr(client, "api_endpoint", "") or "")
    return urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").hostname or ""


def _answer_call(request: Request, model: str) -> Call:
    bound = Bound(media)
    bound.add(request.body.get("contents"))
    bound.add(request.body.get("inlinePassages"))
    bound.known = request.body.get("semanticRetriever") is None
    call = content_call(request, model.rpartition("/")[2])
    return Call(call.provider, call.model, "chat", call.host, bound=bound.units, input_known=bound.known)


class MessageReader(ContentReader):
    """Answers as protocol messages; those of embeddings carry nothing that is billed by."""

    def feed(self, part: Any) -> bool:
        """A whole answer or a chunk of one."""
        if not hasattr(part, "usage_metadata"):
            return False
        body = plain(part)
        usage = get(body, "usageMetadata")
        if isinstance(usage, dict):
            body = {**body, "usageMetadata": _with_thoughts(usage)}
        return super().feed(body)


def _with_thoughts(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The usage with the thoughts that only its total tells of."""
    named = ("promptTokenCount", "candidatesTokenCount", "toolUsePromptTokenCount")
    hidden = usage.get("totalTokenCount", 0) - sum(usage.get(name, 0) for name in named)
    return usage if "thoughtsTokenCount" in usage or hidden <= 0 else {**usage, "thoughtsTokenCount": hidden}


GOOGLE_GENERATIVEAI: Final = GoogleGenerativeAI()
