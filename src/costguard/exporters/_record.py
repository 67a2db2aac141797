"""Calls and alerts as plain JSON objects: one vocabulary for every exporter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .._money import decimal_usd
from .._types import Alert, CostEvent, ForecastAlert
from ._sentences import sentence


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
        "cost_usd": _usd(event.cost.nano),
        "price": event.cost.entry,
        "estimated": event.cost.estimated,
        "unpriced": list(event.cost.unpriced),
        "held_usd": _usd(event.held),
        "overrun_usd": _usd(event.overrun),
        "tags": dict(event.tags),
        "budgets": list(event.budgets),
        "would_block": list(event.would_block),
        "decision": event.decision,
        "asked_model": event.asked or event.call.model,
        "saved_usd": _usd(event.saved),
        "run": event.run,
    }


def as_spend(event: CostEvent) -> dict[str, Any]:
    """A call as the AI Spend API takes it, with what we know besides."""
    counts: dict[str, int] = {}
    for usage in event.usages:
        for unit, quantity in usage.counts.items():
            counts[unit] = counts.get(unit, 0) + quantity
    parts = {
        "cached_input_tokens": sum(count for unit, count in counts.items() if unit.startswith("cache_read")),
        "cache_write_tokens": sum(count for unit, count in counts.items() if unit.startswith("cache_write")),
        "reasoning_tokens": counts.get("reasoning", 0),
    }
    return {
        "id": event.id,
        "timestamp": _time(event.time),
        "provider": event.call.provider,
        "model": event.model,
        "input_tokens": sum(usage.input_tokens for usage in event.usages),
        "output_tokens": sum(usage.output_tokens for usage in event.usages),
        **{name: count for name, count in parts.items() if count},
        "cost_usd": _usd(event.cost.nano),
        "outcome": event.outcome,
        "decision": event.decision,
        "estimated": event.cost.estimated,
        "unpriced": list(event.cost.unpriced),
        "saved_usd": _usd(event.saved),
        "metadata": dict(event.tags),
    }


def _alert(alert: Alert) -> dict[str, Any]:
    if isinstance(alert, ForecastAlert):
        burn = None if alert.burn is None else _usd(alert.burn)
        # Of a type of its own: who acts on a threshold that is reached must not take this for one.
        return {**_reached(alert), "type": "forecast_alert", "runs_out": alert.runs_out.isoformat(),
                "burn_usd_per_day": burn, "message": sentence(alert)}  # fmt: skip
    return _reached(alert)


def _reached(alert: Alert) -> dict[str, Any]:
    balance = alert.balance
    return {
        "type": "alert",
        "id": alert.id,
        "time": _time(alert.time),
        "budget": balance.leg.budget,
        "scope": dict(balance.leg.scope),
        "percent": alert.percent,
        "limit_usd": _usd(balance.leg.limit),
        "spent_usd": _usd(balance.spent),
        "held_usd": _usd(balance.held),
        "resets_at": None if balance.leg.ends is None else _time(balance.leg.ends),
    }


def _usd(nano: int) -> str:
    """Plain digits, without an exponent."""
    return format(decimal_usd(nano), "f")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
