"""Anthropic's wire format: messages, on its own host and on Vertex and Bedrock; counting and batches."""

from __future__ import annotations

import json
import re
from typing import Any

from . import anthropic_batches
from .exchange import Answer, Exchange, Frame, Json, Refusal, new_id, paced, sse
from .reply import Tokens
from .route import Dialect, Route

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_VERTEX = r"(?:/v1(?:beta1)?)?/projects/.+/publishers/anthropic/models/(?P<model>[^/:]+)"


def _messages(exchange: Exchange) -> Answer:
    return _serve(exchange, stream=bool(exchange.body.get("stream")))


def _streamed(exchange: Exchange) -> Answer:
    """The same, where the path rather than the body asks for a stream."""
    return _serve(exchange, stream=True)


def _serve(exchange: Exchange, *, stream: bool) -> Answer:
    _check(exchange.body)
    tokens = exchange.tokens(exchange.body["max_tokens"])
    tier = exchange.reply.service_tier or "standard"
    message = _message(exchange, tokens, tier)
    bill = exchange.bill("messages", str(message["model"]), tokens, service_tier=tier, stream=stream)
    if stream:
        return Answer(frames=_frames(exchange, message, tokens), bill=bill, content_type="text/event-stream")
    return exchange.whole(message, bill, **{"request-id": new_id("req_")})


def _check(body: Json) -> None:
    """The rules that a caller who rewrites requests is likely to break."""
    cap = body.get("max_tokens")
    if not isinstance(cap, int):
        raise Refusal("max_tokens: Field required")
    if cap < 1:
        raise Refusal("max_tokens: must be greater than or equal to 1")
    thinking = (body.get("thinking") or {}).get("budget_tokens")
    if thinking is not None and thinking >= cap:
        raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _message(exchange: Exchange, tokens: Tokens, tier: str) -> Json:
    reply = exchange.reply
    model = reply.model or exchange.body.get("model") or exchange.match.groupdict().get("model") or "loopback"
    finish = "max_tokens" if exchange.is_cut(tokens) else reply.finish
    message: Json = {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _content(exchange, tokens),
        "stop_reason": finish or ("tool_use" if reply.tool_calls else "end_turn"),
        "stop_sequence": None,
    }
    return exchange.put_usage(message, "usage", _usage(exchange, tokens, tier))


def _content(exchange: Exchange, tokens: Tokens) -> list[Json]:
    reply, body = exchange.reply, exchange.body
    content: list[Json] = []
    if tokens.reasoning_tokens:
        content.append({"type": "thinking", "thinking": "one two six ten", "signature": "loopback"})
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    if reply.text is not None or not reply.tool_calls:
        content.append({"type": "text", "text": exchange.text(tokens, form.get("schema"))})
    content += [
        {"type": "tool_use", "id": call.id or new_id("toolu_"), "name": call.name, "input": dict(call.arguments)}
        for call in reply.tool_calls
    ]
    return content


def _usage(exchange: Exchange, tokens: Tokens, tier: str) -> Json:
    """The usage object, whose input excludes what was read from the cache and written to it."""
    body = exchange.body
    usage: Json = {
        "input_tokens": tokens.fresh_input_tokens,
        "output_tokens": tokens.output_tokens,
        "cache_read_input_tokens": tokens.cached_tokens,
        "cache_creation_input_tokens": tokens.cache_write_tokens + tokens.cache_write_1h_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_tokens,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h_tokens,
        },
        "service_tier": tier,
    }
    if tokens.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning_tokens}
    if exchange.reply.web_searches:
        usage["server_tool_use"] = {"web_search_requests": exchange.reply.web_searches, "web_fetch_requests": 0}
    iterations = [*_compaction(tokens), *map(dict, exchange.reply.iterations)]
    echoed: Json = {key: body[key] for key in ("speed", "inference_geo") if key in body}
    return {**usage, **echoed, **({"iterations": iterations} if iterations else {})}


def _compaction(tokens: Tokens) -> list[Json]:
    """The entries of a compacted turn; the compaction's own tokens are not in the totals."""
    if not tokens.compaction_input_tokens and not tokens.compaction_output_tokens:
        return []
    counts = (
        ("compaction", tokens.compaction_input_tokens, tokens.compaction_output_tokens),
        ("message", tokens.input_tokens, tokens.output_tokens),
    )
    cache = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "cache_creation": None}
    return [{"type": kind, "input_tokens": read, "output_tokens": made, **cache} for kind, read, made in counts]


# -- streams ----------------------------------------------------------------------------------------------------


def _frames(exchange: Exchange, message: Json, tokens: Tokens) -> list[Frame]:
    start = {**message, "content": [], "stop_reason": None}
    usage = message.get("usage")
    if isinstance(usage, dict):
        first = {key: value for key, value in usage.items() if key not in ("iterations", "output_tokens_details")}
        start["usage"] = {**first, "output_tokens": min(1, tokens.output_tokens)}
    before: list[Json] = [{"type": "message_start", "message": start}]
    chunks: list[Json] = []
    for index, block in enumerate(message["content"]):
        place = {"index": index}
        opened = {"type": "content_block_start", **place, "content_block": _emptied(block)}
        deltas = [
            {"type": "content_block_delta", **place, "delta": delta} for delta in _deltas(exchange, block, tokens)
        ]
        (chunks if chunks else before).append(opened)
        if index == 0:
            before.append({"type": "ping"})
        chunks += deltas
        chunks.append({"type": "content_block_stop", **place})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    after: list[Json] = [{"type": "message_delta", "delta": ending}, {"type": "message_stop"}]
    if "usage" in message:
        after[0]["usage"] = _last_usage(usage)
    return _told(before, chunks, after, tokens)


def _told(before: list[Json], chunks: list[Json], after: list[Json], tokens: Tokens) -> list[Frame]:
    """Frames of which only the deltas count as chunks."""
    deltas = [sse(event, event["type"]) for event in chunks if event["type"] == "content_block_delta"]
    paces = iter(paced([], deltas, [], tokens))
    frames = [Frame(sse(event, event["type"]), 0, is_chunk=False) for event in before]
    for event in chunks:
        is_delta = event["type"] == "content_block_delta"
        frames.append(next(paces) if is_delta else Frame(sse(event, event["type"]), 0, is_chunk=False))
    return frames + [Frame(sse(event, event["type"]), tokens.output_tokens, is_chunk=False) for event in after]


def _last_usage(usage: Any) -> Any:
    """The cumulative counts of message_delta, which leave out what message_start told once."""
    told_once = ("cache_creation", "service_tier", "speed", "inference_geo")
    return {k: v for k, v in usage.items() if k not in told_once} if isinstance(usage, dict) else usage


def _emptied(block: Json) -> Json:
    empty: dict[str, Json] = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}
    return {**block, **empty.get(block["type"], {"input": {}})}


def _deltas(exchange: Exchange, block: Json, tokens: Tokens) -> list[Json]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": piece} for piece in exchange.pieces(block["text"], tokens)]
    if block["type"] == "thinking":
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return [{"type": "thinking_delta", "thinking": block["thinking"]}, signature]
    return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]


def _one_of_batch(exchange: Exchange, tier: str) -> tuple[Json, int]:
    _check(exchange.body)
    tokens = exchange.tokens(exchange.body["max_tokens"])
    message = _message(exchange, tokens, tier)
    return message, exchange.put(exchange.bill("batch", str(message["model"]), tokens, service_tier=tier))


# -- free calls, errors -----------------------------------------------------------------------------------------


def _count(exchange: Exchange) -> Answer:
    return exchange.whole({"input_tokens": exchange.tokens().input_tokens}, None)


def _models(exchange: Exchange) -> Answer:
    model = {"type": "model", "id": "loopback", "display_name": "Loopback", "created_at": "2026-01-01T00:00:00Z"}
    return exchange.whole({"data": [model], "has_more": False, "first_id": None, "last_id": None}, None)


def error(status: int, detail: Any) -> Json:
    """An error body."""
    kind = _TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(detail)}, "request_id": new_id("req_")}


def _has_tool_result(body: Any) -> bool:
    turns = body.get("messages") if isinstance(body, dict) else None
    content = turns[-1].get("content") if isinstance(turns, list) and turns else None
    return isinstance(content, list) and any(isinstance(b, dict) and b.get("type") == "tool_result" for b in content)


DIALECT = Dialect(
    routes=[
        Route("POST", re.compile("/v1/messages"), _messages),
        Route("POST", re.compile("/v1/messages/count_tokens"), _count, billable=False),
        *anthropic_batches.routes(_one_of_batch),
        Route("GET", re.compile("/v1/models"), _models, billable=False, header="anthropic-version"),
        Route("POST", re.compile(f"{_VERTEX}:rawPredict"), _messages),
        Route("POST", re.compile(f"{_VERTEX}:streamRawPredict"), _streamed),
        Route("POST", re.compile("/model/(?P<model>[^/]+)/invoke"), _messages),
    ],
    error=error,
    error_frame=sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"),
    has_tool_result=_has_tool_result,
)
