"""OpenAI's Responses API: unary, streamed and background answers, and what is stored of them."""

from __future__ import annotations

import json
import time
from typing import Any

from .exchange import Answer, Exchange, Frame, Json, Refusal, new_id, paced, sse
from .openai_common import choose_tier, pattern, served
from .reply import Tokens
from .route import Route

_ID = "/responses/(?P<id>[^/]+)"
_LEAST_CAP = 16


def _create(exchange: Exchange) -> Answer:
    body = exchange.body
    cap = body.get("max_output_tokens")
    if cap is not None and cap < _LEAST_CAP:
        raise Refusal(f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {_LEAST_CAP}.")
    tokens = exchange.tokens(cap)
    response = _response(exchange, tokens)
    stream, background = bool(body.get("stream")), bool(body.get("background"))
    tier = str(response["service_tier"])
    bill = exchange.bill("responses", str(response["model"]), tokens, service_tier=tier, stream=stream)
    if background and not stream:
        return _queue(exchange, response, exchange.put(bill))
    if body.get("store") is not False:
        exchange.stored[str(response["id"])] = response
    if stream:
        return Answer(frames=_frames(exchange, response, tokens), bill=bill, content_type="text/event-stream")
    return exchange.whole(response, bill)


def _response(exchange: Exchange, tokens: Tokens) -> Json:
    body, reply = exchange.body, exchange.reply
    cut = exchange.is_cut(tokens)
    response: Json = {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if cut else "completed",
        "background": bool(body.get("background")),
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": served(exchange),
        "output": _output(exchange, tokens),
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "service_tier": choose_tier(exchange),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "metadata": {},
    }
    if reply.web_searches:
        response["tool_usage"] = {"web_search": {"num_requests": reply.web_searches}}
    return exchange.put_usage(response, "usage", usage(tokens))


def _output(exchange: Exchange, tokens: Tokens) -> list[Json]:
    output: list[Json] = [
        {
            "type": "web_search_call",
            "id": new_id("ws_"),
            "status": "completed",
            "action": {"type": "search", "query": ""},
        }
        for _ in range(exchange.reply.web_searches)
    ]
    if tokens.reasoning_tokens:
        output.insert(0, {"type": "reasoning", "id": new_id("rs_"), "summary": []})
    for call in exchange.reply.tool_calls:
        named = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
        identity = {"id": new_id("fc_"), "call_id": call.id or new_id("call_")}
        output.append({"type": "function_call", **identity, **named, "status": "completed"})
    if not exchange.reply.tool_calls:
        form = (exchange.body.get("text") or {}).get("format") or {}
        part = {"type": "output_text", "text": exchange.text(tokens, form.get("schema")), "annotations": []}
        message = {"type": "message", "id": new_id("msg_"), "status": "completed", "role": "assistant"}
        output.append({**message, "content": [part]})
    return output


def usage(tokens: Tokens) -> Json:
    """The usage object of responses, where every detail is part of its total."""
    written = {"ttl_30m_tokens": tokens.cache_write_tokens, "ttl_12h_tokens": tokens.cache_write_1h_tokens}
    return {
        "input_tokens": tokens.input_tokens,
        "input_tokens_details": {
            "cached_tokens": tokens.cached_tokens,
            "cache_write_tokens": sum(written.values()),
            "cache_write_tokens_details": written,
        },
        "output_tokens": tokens.output_tokens,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
    }


# -- streams ----------------------------------------------------------------------------------------------------


def _frames(exchange: Exchange, response: Json, tokens: Tokens) -> list[Frame]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    before: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    chunks: list[Json] = []
    after: list[Json] = []
    for index, item in enumerate(response["output"]):
        opening, deltas, closing = _item_events(exchange, index, item, tokens)
        (chunks if chunks else before).extend(opening)
        chunks += deltas
        (after if deltas and item is response["output"][-1] else chunks if chunks else before).extend(closing)
    after.append({"type": f"response.{response['status']}", "response": response})
    numbered = iter(range(len(before) + len(chunks) + len(after)))

    def sent(events: list[Json]) -> list[bytes]:
        return [sse({**event, "sequence_number": next(numbered)}, str(event["type"])) for event in events]

    return paced(sent(before), sent(chunks), sent(after), tokens)


def _item_events(
    exchange: Exchange, index: int, item: Json, tokens: Tokens
) -> tuple[list[Json], list[Json], list[Json]]:
    place = {"output_index": index, "item_id": item["id"]}
    added: Json = {
        "type": "response.output_item.added",
        "output_index": index,
        "item": {**item, "status": "in_progress"},
    }
    done = {"type": "response.output_item.done", "output_index": index, "item": item}
    if item["type"] == "message":
        return _message_events(exchange, place, added, done, tokens)
    if item["type"] == "function_call":
        added = {**added, "item": {**item, "status": "in_progress", "arguments": ""}}
        name = "response.function_call_arguments"
        delta = {"type": f"{name}.delta", **place, "delta": item["arguments"]}
        whole = {"type": f"{name}.done", **place, "name": item["name"], "arguments": item["arguments"]}
        return [added], [delta], [whole, done]
    return [added], [], [done]


def _message_events(
    exchange: Exchange, place: Json, added: Json, done: Json, tokens: Tokens
) -> tuple[list[Json], list[Json], list[Json]]:
    part = done["item"]["content"][0]
    added["item"]["content"] = []
    place = {**place, "content_index": 0}
    opening = [added, {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}]
    deltas: list[Json] = [
        {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        for piece in exchange.pieces(part["text"], tokens)
    ]
    closing = [
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        done,
    ]
    return opening, deltas, closing


# -- stored answers ---------------------------------------------------------------------------------------------


def _queue(exchange: Exchange, response: Json, key: int) -> Answer:
    """A background answer: the provider works on, and bills, whether or not anyone asks for it."""
    exchange.amend(key, completed=True)
    queued = {**response, "status": "queued", "output": [], "usage": None, "incomplete_details": None}
    exchange.stored[response["id"]] = {"queued": queued, "done": response, "key": key}
    return exchange.whole(queued, None)


def _kept(exchange: Exchange) -> Json:
    name = exchange.match["id"]
    if name not in exchange.stored:
        raise Refusal(f"Response with id '{name}' not found.")
    return exchange.stored[name]


def _retrieve(exchange: Exchange) -> Answer:
    kept = _kept(exchange)
    if "done" in kept:
        kept = exchange.stored[exchange.match["id"]] = kept["done"]
    if exchange.request.query.get("stream") == "true":
        tokens = Tokens(output_tokens=1)
        return Answer(frames=_frames(exchange, kept, tokens), content_type="text/event-stream")
    return exchange.whole(kept, None)


def _cancel(exchange: Exchange) -> Answer:
    kept = _kept(exchange)
    if "queued" not in kept:
        return exchange.whole(kept, None)
    exchange.amend(kept["key"], output_tokens=0, reasoning_tokens=0, completed=False)
    spent = {**(kept["done"].get("usage") or {}), "output_tokens": 0, "output_tokens_details": {"reasoning_tokens": 0}}
    spent["total_tokens"] = spent.get("input_tokens", 0)
    cancelled = {**kept["queued"], "status": "cancelled", "usage": spent}
    exchange.stored[exchange.match["id"]] = cancelled
    return exchange.whole(cancelled, None)


def _delete(exchange: Exchange) -> Answer:
    _kept(exchange)
    del exchange.stored[exchange.match["id"]]
    return exchange.whole({"id": exchange.match["id"], "object": "response", "deleted": True}, None)


def _compact(exchange: Exchange) -> Answer:
    tokens = exchange.tokens()
    item = {"type": "compaction", "id": new_id("cmp_"), "encrypted_content": "loopback"}
    body = {"id": new_id("resp_"), "object": "response.compaction", "created_at": int(time.time()), "output": [item]}
    bill = exchange.bill("compact", served(exchange), tokens)
    return exchange.whole(exchange.put_usage(body, "usage", usage(tokens)), bill)


def _count(exchange: Exchange) -> Answer:
    return exchange.whole({"object": "response.input_tokens", "input_tokens": exchange.tokens().input_tokens}, None)


def _route(method: str, path: str, serve: Any, billable: bool = False) -> Route:
    return Route(method, pattern(path), serve, billable)


ROUTES = [
    _route("POST", "/responses", _create, billable=True),
    _route("POST", "/responses/compact", _compact, billable=True),
    _route("POST", "/responses/input_tokens", _count),
    _route("GET", _ID, _retrieve),
    _route("POST", f"{_ID}/cancel", _cancel),
    _route("DELETE", _ID, _delete),
]
