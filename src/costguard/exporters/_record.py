"""Calls and alerts as plain JSON objects: one vocabulary for every exporter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .._money import decimal_usd
from .._types import Alert, CostEvent


def as_json(record: CostEvent | Alert) -> dict[str, Any]:
    """A record as a JSON object. Money is a decimal string in US dollars, so that no reader rounds it."""
    return _call(record) if isinstance(record, CostEvent) else _alert(record)


def _call(event: CostEvent) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for usage in event.usages:
        for unit, quantity in usage.counts.items():
            counts[unit] = counts.get(unit, 0) + quantity
    return {
        "type": "call",
        "id": event.id,
        "time": _time(event.time),
        "duration_s": round(event.duration, 6),
        "provider": event.call.provider,
        "operation": event.call.operation,
        "model": event.model,
        "requested_model": event.call.model,
        "stream": event.call.stream,
        "outcome": event.outcome,
        "error": event.error,
        "usage": counts,
        "service_tier": next((usage.tier for usage in event.usages), event.call.tier),
        "cost_usd": str(decimal_usd(event.cost.nano)),
        "price": event.cost.entry,
        "estimated": event.cost.estimated,
        "unpriced": list(event.cost.unpriced),
        "held_usd": str(decimal_usd(event.held)),
        "overrun_usd": str(decimal_usd(event.overrun)),
        "tags": dict(event.tags),
        "budgets": list(event.budgets),
        "would_block": list(event.would_block),
        "decision": event.decision,
        "asked_model": event.asked or event.call.model,
        "saved_usd": str(decimal_usd(event.saved)),
        "run": event.run,
    }


def _alert(alert: Alert) -> dict[str, Any]:
    balance = alert.balance
    return {
        "type": "alert",
        "id": alert.id,
        "time": _time(alert.time),
        "budget": balance.leg.budget,
        "scope": dict(balance.leg.scope),
        "percent": alert.percent,
        "limit_usd": str(decimal_usd(balance.leg.limit)),
        "spent_usd": str(decimal_usd(balance.spent)),
        "held_usd": str(decimal_usd(balance.held)),
        "resets_at": None if balance.leg.ends is None else _time(balance.leg.ends),
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
