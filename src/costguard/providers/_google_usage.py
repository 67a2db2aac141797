"""Google's usage shapes, as Gemini's API, Vertex and both SDKs hand them out.

The prompt includes what was read from a cache; the results of tools come on top of it, thoughts on top of the
candidates. In a stream every chunk carries the running total of that request, so the last one counts. Grounding is
billed by the search from Gemini 3 on and by the grounded prompt before, and is found in the candidates.
Source: the google-genai package's types (3.4), ai.google.dev/gemini-api/docs/pricing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from .._hosts import host_region
from .._types import STANDARD, Call, Usage
from ..ports import Deferred
from ._fields import count, counts, get, items, required, text
from ._reader import Reading

_MEDIA: Final = ("audio", "video", "image")
_MODALITIES: Final[Mapping[Any, str]] = {**{name.upper(): name for name in _MEDIA}, 2: "image", 3: "video", 4: "audio"}
"""Media that have rates of their own; Vertex's REST interface has been seen to answer with the enum's numbers."""
_TIERS: Final[Mapping[str, str]] = {
    "": "",
    "TRAFFIC_TYPE_UNSPECIFIED": "",
    "ON_DEMAND": STANDARD,
    # Bought in advance, so that a call costs nothing more; its share of that is unknown, the list price stands in.
    "PROVISIONED_THROUGHPUT": STANDARD,
    "ON_DEMAND_OFFPEAK": STANDARD,
}
_TIER_HEADER: Final = "x-gemini-service-tier"
_GENERATION: Final = re.compile(r"gemini-(\d+)")


def decoded(part: Any) -> Mapping[str, Any]:
    """The JSON object in what google-genai's client hands out: the object itself or, since 1.21, its text."""
    body = part if type(part) is dict or isinstance(part, Mapping) else getattr(part, "body", None)
    if isinstance(body, str | bytes) and body:
        try:
            body = json.loads(body)
        except ValueError:
            return {}
    return body if isinstance(body, Mapping) else {}


def usage_counts(usage: Any) -> dict[str, int]:
    """``usageMetadata`` in disjoint units.

    Raises:
        ValueError: it holds no usable counts.
    """
    prompt, tool = required(usage, "promptTokenCount"), count(usage, "toolUsePromptTokenCount")
    cached = min(count(usage, "cachedContentTokenCount"), prompt)
    in_cache = _by_modality(usage, "cacheTokensDetails")
    whole, tools = _by_modality(usage, "promptTokensDetails"), _by_modality(usage, "toolUsePromptTokensDetails")
    fresh = {name: max(0, whole[name] - in_cache[name]) + tools[name] for name in _MEDIA}
    candidates = count(usage, "candidatesTokenCount")
    out = _by_modality(usage, "candidatesTokensDetails")
    return {
        **_split(prompt - cached + tool, "input", input_audio=fresh["audio"], input_video=fresh["video"],
                 input_image=fresh["image"]),
        **_split(cached, "cache_read", cache_read_audio=in_cache["audio"], cache_read_image=in_cache["image"]),
        **_split(candidates, "output", output_image=out["image"], output_audio=out["audio"]),
        **counts(reasoning=count(usage, "thoughtsTokenCount")),
    }  # fmt: skip


def _by_modality(usage: Any, field: str, amount: str = "tokenCount") -> dict[str, int]:
    found = {"audio": 0, "image": 0, "video": 0}
    for detail in items(usage, field):
        if get(detail, "modality") == "TEXT":
            continue
        modality = get(detail, "modality")
        name = _MODALITIES.get(modality.upper() if isinstance(modality, str) else modality)
        if name is not None:
            found[name] += count(detail, amount)
    return found


def _split(total: int, rest: str, **parts: int) -> dict[str, int]:
    """Split `total` into parts and the rest. Parts that add up to more than the whole are cut to it, dearest last."""
    units = {}
    for unit, part in parts.items():
        if part and total:
            units[unit] = min(part, total)
            total -= units[unit]
    return {rest: total, **units} if total else units


def served_tier(usage: Any, headers: Any, asked: str) -> str:
    """The tier as served: Vertex says it in the usage, Gemini's API in a header; else the one asked for."""
    said = text(usage, "trafficType") or text(usage, "serviceTier")
    if not said:
        values = [value for name, value in headers.items() if name.lower() == _TIER_HEADER] if headers else []
        said = str(values[0]) if values else ""
    return _TIERS.get(said.upper(), said.lower()) or asked


class GoogleReading(Reading):
    """What the readers of all of Google's answers share."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._region = host_region(call.host) or None
        self._headers: Any = None

    def output_seen(self, *, at_least: bool) -> int:
        """See `costguard.ports.Reader.output_seen`. Gemini's chunks carry running totals."""
        counted = sum(usage.output_tokens for usage in self._usages)
        return max(counted, super().output_seen(at_least=at_least))

    def feed(self, part: Any) -> bool:
        """A whole answer or a chunk of one, decoded or not."""
        body = decoded(part)
        self._headers = getattr(part, "headers", None)
        try:
            self._read(body)
        except ValueError:
            self.complete = False
        return False

    def _read(self, body: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _usage(self, units: Mapping[str, int], body: Any, tier: str | None = None) -> Usage:
        return Usage(
            counts=units,
            model=text(body, "modelVersion").removeprefix("models/") or None,
            tier=tier or self.call.tier,
            region=self._region,
        )


class ContentReader(GoogleReading):
    """``generateContent``, whole or streamed."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._base: Usage | None = None
        self._open: dict[Any, bool] = {}
        self._searched: set[str] = set()
        self._maps = 0
        self._blocked = False

    def _read(self, body: Mapping[str, Any]) -> None:
        self.complete = False
        self._blocked = self._blocked or get(body, "promptFeedback", "blockReason") is not None
        for candidate in items(body, "candidates"):
            self._candidate(candidate)
        usage = get(body, "usageMetadata")
        if usage is not None:
            self._base = self._usage(usage_counts(usage), body, served_tier(usage, self._headers, self.call.tier))
            # A running total covers the text up to here: only what comes after it has to be estimated.
            self.text_bytes = 0
        if self._base is not None:
            self._usages = (self._with_fees(self._base) if self._searched or self._maps else self._base,)
            over = self._blocked or (bool(self._open) and True not in self._open.values())
            self.complete = not self.text_bytes and (over or not self.call.stream)

    def _candidate(self, candidate: Any) -> None:
        index = get(candidate, "index")
        self._open[index] = get(candidate, "finishReason") is None and self._open.get(index, True)
        for part in items(candidate, "content", "parts"):
            self.saw(get(part, "text"))
            if get(part, "functionCall") is not None:
                self.saw(str(get(part, "functionCall")))
        grounding = get(candidate, "groundingMetadata")
        if grounding is not None:
            self._grounded(grounding)

    def _grounded(self, grounding: Any) -> None:
        for field in ("webSearchQueries", "imageSearchQueries"):
            self._searched.update(query for query in items(grounding, field) if isinstance(query, str) and query)
        if any(get(chunk, "maps") is not None for chunk in items(grounding, "groundingChunks")):
            self._maps = 1

    def _with_fees(self, usage: Usage) -> Usage:
        generation = _GENERATION.search(usage.model or self.call.model)
        by_prompt = generation is not None and int(generation[1]) <= 2
        searches = len(self._searched)
        fees = counts(web_searches=min(1, searches) if by_prompt else searches, maps_queries=self._maps)
        return replace(usage, counts={**usage.counts, **fees})


class EmbeddingReader(GoogleReading):
    """Embeddings: Gemini's usage, or what Vertex counts for each instance; some answers carry neither."""

    def _read(self, body: Mapping[str, Any]) -> None:
        usage = get(body, "usageMetadata")
        characters = count(body, "metadata", "billableCharacterCount")
        if usage is not None:
            self._finish(usage_counts(usage), body)
        elif characters and self.call.model.startswith(("text-", "multimodal")):
            self._finish(counts(characters=characters), body)
        else:
            counted = [get(one, "embeddings", "statistics") for one in items(body, "predictions")]
            if counted and all(one is not None for one in counted):
                self._finish(counts(input=sum(required(one, "token_count") for one in counted)), body)

    def _finish(self, units: Mapping[str, int], body: Any) -> None:
        self._usages, self.complete = (self._usage(units, body),), True


class ImageReader(GoogleReading):
    """Imagen: no usage, billed by the images that were made; those held back by a filter are not."""

    def _read(self, body: Mapping[str, Any]) -> None:
        made = get(body, "predictions")
        if isinstance(made, list):
            images = sum(1 for one in made if get(one, "bytesBase64Encoded") or get(one, "gcsUri"))
            self._usages, self.complete = (self._usage(counts(images=images), body),), True


class InteractionReader(Reading):
    """An interaction, or the events of its stream; its counts are those of one request.

    Source: the google-genai package's ``_gaos.types.interactions`` (3.4).
    """

    _PENDING = frozenset(("in_progress", "queued"))
    _ENDS = frozenset(("interaction.completed", "interaction.complete"))

    def feed(self, part: Any) -> bool:
        """A response whose body is read, an interaction, or an event."""
        content = getattr(part, "content", None)
        if isinstance(content, bytes):
            try:
                part = json.loads(content)
            except ValueError:
                return False
        kind = text(part, "event_type")
        delta = get(part, "delta")
        self.saw(get(delta, "text"))
        self.saw(get(delta, "partial_arguments"))
        try:
            self._read(get(part, "interaction") if kind else part, part, kind)
        except ValueError:
            self.complete = False
        return False

    def _read(self, interaction: Any, event: Any, kind: str) -> None:
        usage = get(interaction, "usage") or get(event, "usage") or get(event, "metadata", "total_usage")
        status = text(interaction, "status")
        if usage is not None:
            tier = text(interaction, "service_tier") or self.call.tier
            model = text(interaction, "model").removeprefix("models/") or None
            self._usages = (Usage(_interaction_counts(usage), model, tier, host_region(self.call.host) or None),)
            self.text_bytes = 0
        self.complete = bool(self._usages) and (kind in self._ENDS or (not kind and status not in self._PENDING))
        self.deferred = None
        if not kind and not self.complete and status in self._PENDING and text(interaction, "id"):
            self.deferred = Deferred(text(interaction, "id"))


def _interaction_counts(usage: Any) -> dict[str, int]:
    total, cached = required(usage, "total_input_tokens"), count(usage, "total_cached_tokens")
    tool, thoughts = count(usage, "total_tool_use_tokens"), count(usage, "total_thought_tokens")
    written = count(usage, "total_output_tokens")
    if thoughts <= written and count(usage, "total_tokens") == total + tool + written:
        # The total tells whether the thoughts are among the output; they are not in what has been seen.
        written -= thoughts
    cached = min(cached, total)
    fresh, in_cache = (_by_modality(usage, f"{kind}_tokens_by_modality", "tokens") for kind in ("input", "cached"))
    media = {f"input_{name}": max(0, fresh[name] - in_cache[name]) for name in _MEDIA}
    out = _by_modality(usage, "output_tokens_by_modality", "tokens")
    return {
        **_split(total - cached + tool, "input", **media),
        **_split(cached, "cache_read", cache_read_audio=in_cache["audio"], cache_read_image=in_cache["image"]),
        **_split(written, "output", output_image=out["image"], output_audio=out["audio"]),
        **counts(reasoning=thoughts, **_grounding(items(usage, "grounding_tool_count"))),
    }


_GROUNDING: Final = {"google_search": "web_searches", "google_maps": "maps_queries"}


def _grounding(tools: Iterable[Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tool in tools:
        unit = _GROUNDING.get(text(tool, "type"))
        if unit is not None:
            found[unit] = found.get(unit, 0) + count(tool, "count")
    return found
