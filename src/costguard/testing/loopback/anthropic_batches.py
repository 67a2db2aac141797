"""Anthropic's message batches: made at once, read back as lines, billed on the batch tier."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from .exchange import Answer, Exchange, Json, Refusal, new_id
from .route import Route

Make = Callable[[Exchange, str], tuple[Json, int]]
"""Makes and bills one message; hands back its body and the key of its bill."""

_ID = "/v1/messages/batches/(?P<id>[^/]+)"


def routes(make: Make) -> list[Route]:
    """The batch endpoints, over a function that makes one message."""

    def create(exchange: Exchange) -> Answer:
        lines = []
        for row in exchange.body.get("requests") or []:
            one = replace(exchange, request=replace(exchange.request, body=row["params"]))
            message, key = make(one, "batch")
            exchange.amend(key, completed=True)
            lines.append({"custom_id": row["custom_id"], "result": {"type": "succeeded", "message": message}})
        name = new_id("msgbatch_")
        exchange.stored[name] = {"lines": lines}
        return exchange.whole(_batch(exchange, name, "in_progress"), None)

    return [
        Route("POST", re.compile("/v1/messages/batches"), create),
        Route("GET", re.compile(_ID), _retrieve, billable=False),
        Route("GET", re.compile(f"{_ID}/results"), _results, billable=False),
    ]


def _lines(exchange: Exchange, name: str) -> list[Json]:
    if name not in exchange.stored:
        raise Refusal(f"No such batch: {name}")
    lines: list[Json] = exchange.stored[name]["lines"]
    return lines


def _batch(exchange: Exchange, name: str, status: str) -> Json:
    count, ended = len(_lines(exchange, name)), status == "ended"
    host = exchange.request.headers.get("host", "127.0.0.1")
    return {
        "id": name,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0 if ended else count,
            "succeeded": count if ended else 0,
            "errored": 0,
            "canceled": 0,
            "expired": 0,
        },
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "ended_at": "2026-01-01T00:01:00Z" if ended else None,
        "results_url": f"http://{host}/v1/messages/batches/{name}/results" if ended else None,
    }


def _retrieve(exchange: Exchange) -> Answer:
    return exchange.whole(_batch(exchange, exchange.match["id"], "ended"), None)


def _results(exchange: Exchange) -> Answer:
    lines = [json.dumps(line) for line in _lines(exchange, exchange.match["id"])]
    return Answer(body="".join(f"{line}\n" for line in lines).encode(), content_type="application/x-jsonl")
