"""OpenAI's wire format: chat completions, completions, embeddings, and the free calls; Azure's paths too."""

from __future__ import annotations

import base64
import json
import re
import struct
import time
from collections.abc import Callable
from typing import Any

from . import media, responses
from .exchange import Answer, Exchange, Json, Refusal, new_id, paced, sse
from .openai_common import choose_tier, error, pattern, served
from .reply import Reply, Tokens
from .route import Dialect, Route

_DONE = b"data: [DONE]\n\n"
_NEW_CAP = re.compile(r"(o\d|gpt-5)")


def _chat(exchange: Exchange) -> Answer:
    body = exchange.body
    _check(body)
    choices = body.get("n") or 1
    tokens = exchange.tokens(body.get("max_completion_tokens") or body.get("max_tokens"), choices)
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    text = exchange.text(tokens, schema, choices)
    stream = bool(body.get("stream"))
    model, tier = served(exchange), choose_tier(exchange)
    bill = exchange.bill("chat", model, tokens, service_tier=tier, stream=stream)
    head = {"id": new_id("chatcmpl-"), "created": int(time.time()), "model": model, "service_tier": tier}
    finish = _finish(exchange, tokens, choices)
    if stream:
        return Answer(frames=_chat_frames(exchange, head, text, tokens, finish), bill=bill, content_type=EVENTS)
    message: Json = {"role": "assistant", "content": text, "refusal": None}
    if exchange.reply.tool_calls:
        message |= {"content": exchange.reply.text, "tool_calls": _calls(exchange.reply)}
    made = [{"index": i, "message": message, "finish_reason": finish, "logprobs": None} for i in range(choices)]
    whole = {**head, "object": "chat.completion", "choices": made}
    whole = exchange.put_usage(whole, "usage", chat_usage(tokens))
    if body.get("store"):
        exchange.stored[str(head["id"])] = whole
    return exchange.whole(whole, bill, **{"x-request-id": new_id("req_")})


EVENTS = "text/event-stream; charset=utf-8"


def _check(body: Json) -> None:
    """The rules that a caller who rewrites requests is likely to break."""
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refusal("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and new is not None:
        raise Refusal("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
    if old is not None and _NEW_CAP.match(str(body.get("model"))):
        raise Refusal("Unsupported parameter: 'max_tokens' is not supported with this model.")
    if any(cap is not None and cap < 1 for cap in (old, new)):
        raise Refusal("Invalid 'max_tokens': integer below minimum value. Expected a value >= 1.")


def _finish(exchange: Exchange, tokens: Tokens, choices: int) -> str:
    if exchange.is_cut(tokens, choices):
        return "length"
    return exchange.reply.finish or ("tool_calls" if exchange.reply.tool_calls else "stop")


def _calls(reply: Reply) -> list[Json]:
    return [
        {
            "index": index,
            "id": call.id or new_id("call_"),
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
        }
        for index, call in enumerate(reply.tool_calls)
    ]


def _chat_frames(exchange: Exchange, head: Json, text: str, tokens: Tokens, finish: str) -> list[Any]:
    counts_usage = bool((exchange.body.get("stream_options") or {}).get("include_usage"))
    choices = exchange.body.get("n") or 1

    def event(index: int | None, delta: Json, end: str | None = None) -> bytes:
        made = [] if index is None else [{"index": index, "delta": delta, "finish_reason": end, "logprobs": None}]
        extra: Json = {"usage": None} if counts_usage else {}
        return sse({**head, "object": "chat.completion.chunk", "choices": made, **extra})

    deltas: list[Json] = [{"content": piece} for piece in exchange.pieces(text, tokens)]
    if exchange.reply.tool_calls:
        deltas = [{"tool_calls": [call]} for call in _calls(exchange.reply)]
    chunks = [event(index, delta) for delta in deltas for index in range(choices)]
    before = [event(index, {"role": "assistant", "content": ""}) for index in range(choices)]
    if exchange.request.path.startswith("/openai/deployments/"):
        before.insert(0, sse({**head, "object": "chat.completion.chunk", "choices": [], "prompt_filter_results": []}))
    after = [event(index, {}, finish) for index in range(choices)]
    if counts_usage:
        last = {**head, "object": "chat.completion.chunk", "choices": []}
        after.append(sse(exchange.put_usage(last, "usage", chat_usage(tokens))))
    return paced(before, chunks, [*after, _DONE], tokens)


def chat_usage(tokens: Tokens) -> Json:
    """The usage object of chat completions, where every detail is part of its total."""
    return {
        "prompt_tokens": tokens.input_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached_tokens,
            "cache_write_tokens": tokens.cache_write_tokens + tokens.cache_write_1h_tokens,
            "audio_tokens": tokens.input_audio_tokens,
            "image_tokens": tokens.input_image_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning_tokens,
            "audio_tokens": tokens.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _completions(exchange: Exchange) -> Answer:
    body = exchange.body
    choices = max(body.get("n") or 1, body.get("best_of") or 1)
    tokens = exchange.tokens(body.get("max_tokens") or 16, choices)
    text, finish = exchange.text(tokens, choices=choices), _finish(exchange, tokens, choices)
    stream = bool(body.get("stream"))
    model = served(exchange)
    bill = exchange.bill("completions", model, tokens, stream=stream)
    head = {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": model}

    def event(piece: str, end: str | None) -> Json:
        choice = {"text": piece, "index": 0, "logprobs": None, "finish_reason": end}
        return {**head, "choices": [choice]}

    if not stream:
        return exchange.whole(exchange.put_usage(event(text, finish), "usage", chat_usage(tokens)), bill)
    chunks = [sse(event(piece, None)) for piece in exchange.pieces(text, tokens)]
    after = [sse(event("", finish))]
    if (body.get("stream_options") or {}).get("include_usage"):
        after.append(sse(exchange.put_usage({**head, "choices": []}, "usage", chat_usage(tokens))))
    return Answer(frames=paced([], chunks, [*after, _DONE], tokens), bill=bill, content_type=EVENTS)


def _embeddings(exchange: Exchange) -> Answer:
    body = exchange.body
    given = body.get("input")
    count = len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
    vector = [0.125] * (body.get("dimensions") or 8)
    shown: Any = vector
    if body.get("encoding_format") == "base64":
        shown = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    tokens = exchange.tokens(cap=0)
    model = served(exchange)
    data = [{"object": "embedding", "index": index, "embedding": shown} for index in range(count)]
    usage = {"prompt_tokens": tokens.input_tokens, "total_tokens": tokens.input_tokens}
    whole = exchange.put_usage({"object": "list", "data": data, "model": model}, "usage", usage)
    return exchange.whole(whole, exchange.bill("embeddings", model, tokens))


def _moderations(exchange: Exchange) -> Answer:
    result: Json = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    return exchange.whole({"id": new_id("modr-"), "model": served(exchange), "results": [result]}, None)


def _models(exchange: Exchange) -> Answer:
    model = {"id": "loopback", "object": "model", "created": 0, "owned_by": "costguard"}
    return exchange.whole({"object": "list", "data": [model]}, None)


def _stored(exchange: Exchange) -> Answer:
    name = exchange.match["id"]
    if name not in exchange.stored:
        raise Refusal(f"No such completion: {name}")
    return exchange.whole(exchange.stored[name], None)


def _stored_list(exchange: Exchange) -> Answer:
    kept = [item for item in exchange.stored.values() if item.get("object") == "chat.completion"]
    return exchange.whole({"object": "list", "data": kept, "has_more": False}, None)


def _has_tool_result(body: Any) -> bool:
    turns = (body.get("messages") or body.get("input")) if isinstance(body, dict) else None
    last = turns[-1] if isinstance(turns, list) and turns else None
    return isinstance(last, dict) and (last.get("role") == "tool" or last.get("type") == "function_call_output")


def _route(method: str, path: str, serve: Callable[[Exchange], Answer], billable: bool = True) -> Route:
    return Route(method, pattern(path), serve, billable)


DIALECT = Dialect(
    routes=[
        _route("POST", "/chat/completions", _chat),
        _route("POST", "/completions", _completions),
        _route("POST", "/embeddings", _embeddings),
        _route("POST", "/moderations", _moderations, billable=False),
        _route("GET", "/models", _models, billable=False),
        _route("GET", "/chat/completions", _stored_list, billable=False),
        _route("GET", "/chat/completions/(?P<id>[^/]+)", _stored, billable=False),
        *responses.ROUTES,
        *media.ROUTES,
    ],
    error=error,
    error_frame=sse({"error": {"message": "The server had an error", "type": "server_error", "code": None}}),
    has_tool_result=_has_tool_result,
)
