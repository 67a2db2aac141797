"""What a request to one of Google's models is and the most it can cost, for both of its SDKs.

Bodies are those of the REST interface, in camel case.
Source: ai.google.dev/gemini-api/docs (tokens, image-understanding, audio, thinking, grounding).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .._types import STANDARD, Call
from ..ports import Reading, Request, Unmetered
from ._bound import TOOLS, Bound, Unbounded
from ._fields import get, integer, items, size, text

_MODEL_CALL: Final = re.compile(r"(?:^|/)(?:models|tunedModels|endpoints)/([^/:]+):(\w+)$")
_FREE: Final = re.compile(
    r"(?:^|/)(?:.*:(?:countTokens|computeTokens)|files(?::register)?|auth_tokens|fileSearchStores|webhooks(?:/.*)?|credentials|agents|environments|triggers"
    r"|interactions/[^/]+/cancel|.*:(?:cancel|fetchPredictOperation|validateReinforcementTuningReward))/?$"
)

FIXED: Final = "_fixed_cap"
"""Marks a body whose output cap cannot be changed; google-genai drops fields that begin so before it sends."""

_IMAGE_TOKENS: Final = 258 * 30
"""The most tokens one image is billed for: 258 for each tile, where a tile is two thirds of the shorter side, so that
only the aspect ratio counts: 30 tiles are 10 to 1. The newer fixed sizes end at 2,240."""
_AUDIO_TOKENS_A_SECOND: Final = 32
_SOUND_BYTES_A_SECOND: Final = 2_000
"""Speech is hardly ever coded below 16 kbit/s, so bytes over this is the longest a recording can be."""
_SEARCHES: Final = 16
"""Searches that a grounded request is reserved for; its model decides how many it runs."""
_REBILLING: Final = ("codeExecution", "urlContext", "fileSearch", "googleSearch", "googleSearchRetrieval", "googleMaps",
                     "retrieval", "computerUse", "mcpServers")  # fmt: skip
"""Tools that the provider runs: their results are billed as input, as much as the window holds."""
_TELLING: Final = frozenset(("inlineData", "fileData"))
_PICTURED: Final = frozenset(("prompt", "image", "referenceImages", "productImages", "personImage"))
"""Fields of which a request for images has one."""
_MODALITY_UNITS: Final = (("IMAGE", "output_image"), ("AUDIO", "output_audio"))


def read_call(request: Request) -> Reading:
    """See `costguard.ports.Provider.read_call`."""
    if request.method == "PATCH" and "cachedContents" in request.path:
        return Unmetered("PATCH cachedContents")
    if request.method != "POST":
        return None
    called = _MODEL_CALL.search(request.path)
    read = _VERBS.get(called[2]) if called is not None else None
    if called is not None and read is not None:
        return read(request, called[1])
    if _FREE.search(request.path):
        return None
    end = request.path.rstrip("/").rpartition("/")[2]
    return Unmetered(f"POST {end.rpartition(':')[2]}")


def biller(request: Request) -> str:
    """The catalog's provider of a request: Vertex's paths name a project or a publisher."""
    return "google-vertex" if re.search(r"(?:^|/)(?:projects|publishers)/", request.path) else "google"


def content_call(request: Request, model: str) -> Call:
    """``generateContent``, whole or streamed."""
    body = request.body
    settings = body.get("generationConfig")
    bound = Bound(media, _TELLING)
    for field in ("contents", "systemInstruction", "tools"):
        bound.add(body.get(field))
    for field in ("responseSchema", "responseJsonSchema"):
        bound.add(get(settings, field))
    if items(body, "tools"):
        bound.unit("input", TOOLS)
    _provider_tools(body, bound)
    if body.get("cachedContent"):
        bound.known = False
    return Call(
        provider=biller(request),
        model=model,
        operation="chat",
        host=request.host,
        stream=request.stream,
        bound=bound.units,
        input_known=bound.known,
        max_output=integer(settings, "maxOutputTokens"),
        choices=integer(settings, "candidateCount") or 1,
        output_unit=_output_unit(settings, model),
        tier=text(body, "serviceTier").lower() or STANDARD,
        # Below a thinking budget of the caller's own, an answer would be cut before its first word.
        cap=None if body.get(FIXED) or integer(settings, "thinkingConfig", "thinkingBudget") else "maxOutputTokens",
    )


def embedding_call(request: Request, model: str) -> Call:
    """Embeddings of one text or of several."""
    bound = Bound(media, _TELLING)
    for field in ("content", "requests", "instances"):
        bound.add(request.body.get(field))
    return _plain(request, model, "embeddings", bound)


def _prediction(request: Request, model: str) -> Reading:
    """Vertex's embeddings when the instances have content, images otherwise."""
    first = next(iter(items(request.body, "instances")), None)
    if get(first, "content") is not None:
        return embedding_call(request, model)
    if not isinstance(first, Mapping) or not _PICTURED & set(first):
        return Unmetered("POST predict")
    bound = Bound(media, _TELLING)
    bound.units = {"images": integer(request.body, "parameters", "sampleCount") or 1}
    return _plain(request, model, "image_generation", bound)


def _plain(request: Request, model: str, operation: str, bound: Bound) -> Call:
    return Call(
        provider=biller(request),
        model=model,
        operation=operation,
        host=request.host,
        bound=bound.units,
        input_known=bound.known,
        output_unit=None,
    )


def interaction_call(request: Request) -> Call:
    """An interaction; one with an agent is billed for whatever the agent does, which only its answer tells."""
    body = request.body
    settings = body.get("generation_config")
    bound = Bound(_interaction_media)
    for field in ("input", "system_instruction", "tools", "response_format"):
        bound.add(body.get(field))
    if items(body, "tools"):
        bound.unit("input", TOOLS)
    hosted = [tool for tool in items(body, "tools") if text(tool, "type") != "function"]
    stored = ("agent", "previous_interaction_id", "cached_content", "environment", "continuation_token")
    if hosted or any(body.get(field) for field in stored):
        bound.known = False
    for unit, kind in (("web_searches", "google_search"), ("maps_queries", "google_maps")):
        if any(text(tool, "type") == kind for tool in hosted):
            bound.unit(unit, _SEARCHES)
    return Call(
        provider=biller(request),
        model=(text(body, "model") or text(body, "agent")).removeprefix("models/"),
        operation="interactions",
        host=request.host,
        # Its events are read off the bytes, where a hold cannot grow with them: no stream, as far as holds go.
        stream=False,
        bound=bound.units,
        input_known=bound.known,
        max_output=integer(settings, "max_output_tokens"),
        output_unit=_output_unit(None, text(body, "model")),
        tier=text(body, "service_tier").lower() or STANDARD,
    )


_VERBS: Final[Mapping[str, Callable[[Request, str], Reading]]] = {
    "generateContent": content_call,
    "streamGenerateContent": content_call,
    "embedContent": embedding_call,
    "batchEmbedContents": embedding_call,
    "predict": _prediction,
}


def capped(body: Mapping[str, Any], max_output: int | None) -> Mapping[str, Any]:
    """`body` with a cap of output tokens, as a copy; `body` itself without one."""
    if max_output is None:
        return body
    settings = body.get("generationConfig")
    settings = settings if isinstance(settings, Mapping) else {}
    return {**body, "generationConfig": {**settings, "maxOutputTokens": max_output}}


def _output_unit(settings: Any, model: str) -> str:
    asked = [value.upper() for value in items(settings, "responseModalities") if isinstance(value, str)]
    for modality, unit in _MODALITY_UNITS:
        if modality in asked:
            return unit
    if "-image" in model:
        return "output_image"
    return "output_audio" if "-tts" in model or "-audio" in model else "output"


def _provider_tools(body: Mapping[str, Any], bound: Bound) -> None:
    for tool in items(body, "tools"):
        if not isinstance(tool, Mapping):
            continue
        if any(tool.get(name) is not None for name in _REBILLING):
            bound.known = False
        if tool.get("googleSearch") is not None or tool.get("googleSearchRetrieval") is not None:
            bound.unit("web_searches", _SEARCHES)
        if tool.get("googleMaps") is not None:
            bound.unit("maps_queries", 1)


def media(part: Mapping[str, Any]) -> Mapping[str, int] | None:
    """The most a media part is billed for; what has no size in the request, or none by its bytes, is unbounded."""
    inline = part.get("inlineData")
    if isinstance(inline, Mapping):
        return _blob(text(inline, "mimeType"), inline.get("data"))
    if part.get("fileData") is not None:
        raise Unbounded
    return None


def _interaction_media(part: Mapping[str, Any]) -> Mapping[str, int] | None:
    if part.get("type") not in ("image", "audio", "video", "document", "file"):
        return None
    if part.get("data") is None:
        raise Unbounded
    return _blob(text(part, "mime_type") or f"{part['type']}/", part.get("data"))


def _blob(kind: str, data: Any) -> Mapping[str, int]:
    coded = len(data) if isinstance(data, bytes) else size(data) * 3 // 4
    if kind.startswith("image/"):
        return {"input_image": _IMAGE_TOKENS}
    if kind.startswith("audio/"):
        return {"input_audio": coded * _AUDIO_TOKENS_A_SECOND // _SOUND_BYTES_A_SECOND + 1}
    if kind.startswith("text/"):
        return {"input": coded + 1}
    # A film or a document costs by its seconds or pages, which its bytes do not tell.
    raise Unbounded
