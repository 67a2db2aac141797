"""Which answers are worth keeping, in any provider's wire format: whole ones, neither cut short nor refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

_GOOD: Final = frozenset(
    ("stop", "end_turn", "stop_sequence", "tool_calls", "tool_use", "function_call", "STOP", "completed")
)
"""Reasons for which an answer ended of its own accord."""


def worth_keeping(documents: Iterable[Any], *, operation: str) -> bool:
    """Whether the JSON documents of an answer, one or one for each event, tell of a whole and willing one."""
    ends: list[str] = []
    for document in documents:
        if not isinstance(document, Mapping) or _refuses(document):
            return False
        ends += _ends(document)
    if operation == "embeddings":
        return True
    return bool(ends) and all(end in _GOOD for end in ends)


def _ends(document: Mapping[str, Any]) -> list[str]:
    found = [choice.get("finish_reason") for choice in _mappings(document.get("choices"))]
    found += [candidate.get("finishReason") for candidate in _mappings(document.get("candidates"))]
    found.append(document.get("stop_reason"))
    delta = document.get("delta")
    if isinstance(delta, Mapping):
        found.append(delta.get("stop_reason"))
    response = document.get("response") if "response" in document else document
    if isinstance(response, Mapping) and response.get("object") == "response":
        status = response.get("status")
        found.append(None if status in ("in_progress", "queued") else status)
    return [str(end) for end in found if end is not None]


def _refuses(document: Mapping[str, Any]) -> bool:
    """An error inside a stream, a blocked prompt, or a model's own refusal."""
    if document.get("error") or document.get("promptFeedback", {}).get("blockReason"):
        return True
    if document.get("type") in ("error", "response.failed", "response.refusal.delta", "response.refusal.done"):
        return True
    for choice in _mappings(document.get("choices")):
        message = choice.get("message") or choice.get("delta")
        if isinstance(message, Mapping) and message.get("refusal"):
            return True
    outputs = (part for item in _mappings(document.get("output")) for part in _mappings(item.get("content")))
    return any(part.get("type") == "refusal" for part in outputs)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def events(text: str) -> list[str]:
    """The server-sent events of a body, each with what ends it."""
    parts = text.replace("\r\n", "\n").split("\n\n")
    return [f"{part}\n\n" for part in parts if part.strip()]


def document(event: str) -> Any:
    """The JSON of a server-sent event; None for a comment or the mark of the end."""
    data = "\n".join(line[5:].removeprefix(" ") for line in event.splitlines() if line.startswith("data:"))
    try:
        return json.loads(data) if data else None
    except ValueError:
        return None


def text_of(documents: Iterable[Any]) -> str:
    """The text that an answer's documents say: all that a reader would see, and nothing else."""
    found: list[str] = []
    for document in documents:
        if isinstance(document, Mapping):
            found += (text for text in _said(document) if isinstance(text, str))
    return "".join(found)


def _said(document: Mapping[str, Any]) -> Iterable[Any]:
    for choice in _mappings(document.get("choices")):
        message = choice.get("message") or choice.get("delta")
        yield message.get("content") if isinstance(message, Mapping) else choice.get("text")
    for candidate in _mappings(document.get("candidates")):
        content = candidate.get("content")
        if isinstance(content, Mapping):
            yield from (part.get("text") for part in _mappings(content.get("parts")) if not part.get("thought"))
    yield from (part.get("text") for part in _mappings(document.get("content")) if part.get("type") == "text")
    for item in _mappings(document.get("output")):
        yield from (part.get("text") for part in _mappings(item.get("content")))
    delta = document.get("delta")
    if document.get("type") == "content_block_delta" and isinstance(delta, Mapping):
        yield delta.get("text")
    elif document.get("type") == "response.output_text.delta":
        yield delta


def documents(bodies: Iterable[str], *, streamed: bool) -> list[Any]:
    """The JSON documents of kept bodies."""
    parts = [part for body in bodies for part in events(body)] if streamed else [f"data: {body}" for body in bodies]
    return [found for part in parts if (found := document(part)) is not None]
