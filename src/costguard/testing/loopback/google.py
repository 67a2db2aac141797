"""Google's wire format: generateContent and its stream, embeddings, counting, Imagen; Gemini's and Vertex's paths."""

from __future__ import annotations

import json
import re
from typing import Any

from .exchange import Answer, Exchange, Frame, Json, new_id, paced, sse
from .reply import Tokens
from .route import Dialect, Route

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def _generate(exchange: Exchange) -> Answer:
    tokens, choices, text = _plan(exchange)
    body = _chunk(exchange, choices, _parts(exchange, text), _finish(exchange, tokens, choices))
    body = exchange.put_usage(body, "usageMetadata", _usage(exchange, tokens))
    return exchange.whole(body, exchange.bill("generate", _model(exchange), tokens, service_tier=_tier(exchange)))


def _stream(exchange: Exchange) -> Answer:
    tokens, choices, text = _plan(exchange)
    pieces = exchange.pieces(text, tokens)
    if exchange.reply.tool_calls and exchange.reply.text is None:
        pieces = [""]
    chunks: list[Json] = []
    hidden, visible = tokens.reasoning_tokens, tokens.output_tokens - tokens.reasoning_tokens
    for index, piece in enumerate(pieces, start=1):
        last = index == len(pieces)
        parts = _parts(exchange, piece) if last else [{"text": piece}]
        body = _chunk(exchange, choices, parts, _finish(exchange, tokens, choices) if last else None)
        so_far = _usage(exchange, tokens, hidden + visible * index // len(pieces))
        chunks.append(exchange.put_usage(body, "usageMetadata", so_far))
    bill = exchange.bill("generate", _model(exchange), tokens, service_tier=_tier(exchange), stream=True)
    if exchange.request.query.get("alt") == "sse":
        return Answer(frames=paced([], [sse(chunk) for chunk in chunks], [], tokens), bill=bill, content_type=_EVENTS)
    return Answer(frames=_array(chunks, tokens), bill=bill)


_EVENTS = "text/event-stream"


def _array(chunks: list[Json], tokens: Tokens) -> list[Frame]:
    """A stream as one growing JSON array, which is what is sent without `alt=sse`."""
    shown = [(b",\r\n" if index else b"[") + json.dumps(chunk).encode() for index, chunk in enumerate(chunks)]
    return paced([], shown, [b"]"], tokens)


def _plan(exchange: Exchange) -> tuple[Tokens, int, str]:
    settings = exchange.body.get("generationConfig") or {}
    choices = settings.get("candidateCount") or 1
    tokens = exchange.tokens(settings.get("maxOutputTokens"), choices)
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    return tokens, choices, exchange.text(tokens, schema, choices)


def _parts(exchange: Exchange, text: str) -> list[Json]:
    reply = exchange.reply
    calls = [{"functionCall": {"name": call.name, "args": dict(call.arguments)}} for call in reply.tool_calls]
    return [{"text": text}, *calls] if reply.text is not None or not calls else calls


def _chunk(exchange: Exchange, choices: int, parts: list[Json], finish: str | None) -> Json:
    candidates: list[Json] = []
    for index in range(choices):
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": index}
        if finish is not None:
            candidate["finishReason"] = finish
        if finish is not None and exchange.reply.web_searches:
            queries = [f"query {number}" for number in range(exchange.reply.web_searches)]
            candidate["groundingMetadata"] = {"webSearchQueries": queries}
        candidates.append(candidate)
    return {"candidates": candidates, "modelVersion": _model(exchange), "responseId": new_id("")}


def _finish(exchange: Exchange, tokens: Tokens, choices: int) -> str:
    return "MAX_TOKENS" if exchange.is_cut(tokens, choices) else exchange.reply.finish or "STOP"


def _usage(exchange: Exchange, tokens: Tokens, output: int | None = None) -> Json:
    """The usage so far: candidates exclude thoughts, the prompt excludes tool use but includes the cache."""
    output = tokens.output_tokens if output is None else output
    thoughts = min(tokens.reasoning_tokens, output)
    prompt = tokens.input_tokens - tokens.tool_use_tokens
    usage: Json = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": output - thoughts,
        "totalTokenCount": tokens.input_tokens + output,
        "promptTokensDetails": _by_modality(prompt, tokens.input_audio_tokens, tokens.input_image_tokens),
    }
    rest = {
        "cachedContentTokenCount": tokens.cached_tokens,
        "toolUsePromptTokenCount": tokens.tool_use_tokens,
        "thoughtsTokenCount": thoughts,
        "trafficType": exchange.reply.service_tier,
    }
    return {**usage, **{key: value for key, value in rest.items() if value}}


def _by_modality(total: int, audio: int, image: int) -> list[Json]:
    counts = (("TEXT", total - audio - image), ("AUDIO", audio), ("IMAGE", image))
    return [{"modality": name, "tokenCount": count} for name, count in counts if count]


def _model(exchange: Exchange) -> str:
    return str(exchange.reply.model or exchange.match["model"])


def _tier(exchange: Exchange) -> str | None:
    return exchange.reply.service_tier


# -- embeddings, images, free calls -----------------------------------------------------------------------------

_VECTOR = {"values": [0.125] * 8}


def _embed(exchange: Exchange) -> Answer:
    tokens = exchange.tokens(cap=0)
    usage = {"promptTokenCount": tokens.input_tokens, "totalTokenCount": tokens.input_tokens}
    body = exchange.put_usage({"embedding": _VECTOR}, "usageMetadata", usage)
    return exchange.whole(body, exchange.bill("embeddings", _model(exchange), tokens))


def _batch_embed(exchange: Exchange) -> Answer:
    tokens = exchange.tokens(cap=0)
    usage = {"promptTokenCount": tokens.input_tokens, "totalTokenCount": tokens.input_tokens}
    made = [_VECTOR for _ in exchange.body.get("requests") or [None]]
    body = exchange.put_usage({"embeddings": made}, "usageMetadata", usage)
    return exchange.whole(body, exchange.bill("embeddings", _model(exchange), tokens))


def _predict(exchange: Exchange) -> Answer:
    """Vertex's embeddings when the instances have content, Imagen otherwise."""
    instances = exchange.body.get("instances") or [{}]
    if "content" not in instances[0]:
        return _images(exchange)
    tokens = exchange.tokens(cap=0)
    counted = {"token_count": tokens.input_tokens // len(instances), "truncated": False}
    made = [{"embeddings": {**_VECTOR, "statistics": counted}} for _ in instances]
    return exchange.whole({"predictions": made}, exchange.bill("embeddings", _model(exchange), tokens))


def _images(exchange: Exchange) -> Answer:
    count = (exchange.body.get("parameters") or {}).get("sampleCount") or 1
    made = [{"bytesBase64Encoded": _PIXEL, "mimeType": "image/png"} for _ in range(count)]
    bill = exchange.bill("images", _model(exchange), Tokens(), units={"images": count})
    return exchange.whole({"predictions": made}, bill)


def _count(exchange: Exchange) -> Answer:
    return exchange.whole({"totalTokens": exchange.tokens().input_tokens}, None)


def error(status: int, detail: Any) -> Json:
    """An error body."""
    return {"error": {"code": status, "message": str(detail), "status": _STATUS.get(status, "UNKNOWN")}}


def _has_tool_result(body: Any) -> bool:
    turns = body.get("contents") if isinstance(body, dict) else None
    parts = turns[-1].get("parts") if isinstance(turns, list) and turns else None
    return isinstance(parts, list) and any("functionResponse" in part for part in parts)


def _path(verb: str) -> re.Pattern[str]:
    return re.compile(rf"/v1(?:beta\d*|alpha)?(?:/.+)?/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):{verb}")


DIALECT = Dialect(
    routes=[
        Route("POST", _path("generateContent"), _generate),
        Route("POST", _path("streamGenerateContent"), _stream),
        Route("POST", _path("embedContent"), _embed),
        Route("POST", _path("batchEmbedContents"), _batch_embed),
        Route("POST", _path("predict"), _predict),
        Route("POST", _path("countTokens"), _count, billable=False),
    ],
    error=error,
    error_frame=sse(error(503, "The model is overloaded.")),
    has_tool_result=_has_tool_result,
)
