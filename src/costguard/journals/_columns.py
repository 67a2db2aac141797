"""A call as a row of a table, and back; and what it adds to the sums."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from .._journal import QUARTER, Bill, Correction, Result, Sums
from .._types import Call, Cost, CostEvent, Decision, Outcome, Usage

MICROS: Final = 10**6
OWN_TAGS: Final = ("feature", "team", "environment", "user")
"""Tags with a column of their own."""
FAILED: Final = ("error", "unknown", "cancelled")
"""Outcomes of calls that gave no answer."""

CALLS: Final[tuple[str, ...]] = (
    "id", "at", "provider", "model", "sent", "asked", "operation", "tier", "host", "stream",
    "feature", "team", "environment", "user", "tags", "run", "outcome", "error", "decision",
    "nano", "saved", "held", "entry", "estimated", "unpriced",
    "input", "output", "cache_read", "cache_write", "reasoning", "micros",
    "usages", "budgets", "would_block", "fingerprint",
)  # fmt: skip
"""The columns of a call, in order: served as `model`, sent as `sent`, asked for as `asked`."""
BILLS: Final[tuple[str, ...]] = (
    "at", "micros", "provider", "model", "operation", "stream", "feature", "user", "outcome", "decision",
    "nano", "saved", "fingerprint", "usages",
)  # fmt: skip
"""The columns of a bill, in order."""
CORRECTIONS: Final = ("id", "call", "at", "before", "after", "why")
RESULTS: Final[tuple[str, ...]] = ("id", "at", "name", "value", "feature", "team", "environment", "user", "tags", "run")

CELL: Final[tuple[str, ...]] = (
    "slot", "provider", "model", "asked", "operation", "tier", "feature", "team", "environment", "outcome", "decision",
    "entry",
)  # fmt: skip
"""What tells the rows of kept sums apart; `slot` is a quarter of an hour."""
ADDED: Final = (
    "calls", "nano", "saved", "input", "output", "cache_read", "cache_write", "reasoning", "estimated",
    "estimated_nano", "unpriced", "would_block", "micros",
)  # fmt: skip
"""What kept sums are sums of. All calls count in `calls` here; the outcome tells refused ones apart."""

_CACHED: Final = ("cache_read", "cache_read_audio", "cache_read_image")
_WRITTEN: Final = ("cache_write", "cache_write_1h", "cache_write_12h")


_VALUES: Final[Mapping[str, Callable[[CostEvent], str]]] = {
    "provider": lambda event: event.call.provider,
    "model": lambda event: event.model,
    "asked": lambda event: event.asked or event.call.model,
    "operation": lambda event: event.call.operation,
    "tier": lambda event: next((usage.tier for usage in event.usages), event.call.tier),
    "outcome": lambda event: event.outcome,
    "decision": lambda event: event.decision,
    "entry": lambda event: event.cost.entry,
}


def value_of(event: CostEvent, name: str) -> str:
    """What a call is grouped under."""
    read = _VALUES.get(name)
    return event.tags.get(name.removeprefix("tag:"), "") if read is None else read(event)


def sums_of(event: CostEvent) -> Sums:
    """One call, as sums over it alone."""
    if event.outcome == "refused":
        return Sums(refused=1)
    cost = event.cost
    return Sums(
        calls=1,
        nano=cost.nano,
        saved=event.saved,
        **_tokens(event),
        estimated=int(cost.estimated),
        estimated_nano=cost.nano if cost.estimated else 0,
        unpriced=int(bool(cost.unpriced)),
        failed=int(event.outcome in FAILED),
        cache_hits=int(event.decision == "cache_hit"),
        downgraded=int(event.decision == "downgraded"),
        would_block=int(bool(event.would_block)),
        micros=round(event.duration * MICROS),
    )


def _tokens(event: CostEvent) -> dict[str, int]:
    def counted(units: tuple[str, ...]) -> int:
        return sum([usage.counts.get(unit, 0) for usage in event.usages for unit in units])

    return {
        "input_tokens": sum([usage.input_tokens for usage in event.usages]),
        "output_tokens": sum([usage.output_tokens for usage in event.usages]),
        "cache_read": counted(_CACHED),
        "cache_write": counted(_WRITTEN),
        "reasoning": counted(("reasoning",)),
    }


def row_of(event: CostEvent) -> tuple[Any, ...]:
    """A call as the columns of `CALLS`."""
    call, cost, tokens = event.call, event.cost, _tokens(event)
    own = [_text(event.tags.get(tag, "")) for tag in OWN_TAGS]
    return (
        event.id, round(event.time * MICROS), call.provider, _text(event.model), _text(call.model),
        _text(event.asked or call.model), call.operation, value_of(event, "tier"), call.host, int(call.stream),
        *own, _rest(event.tags), event.run, event.outcome, event.error or "", event.decision,
        cost.nano, event.saved, event.held, _text(cost.entry), int(cost.estimated), _json(list(cost.unpriced)),
        tokens["input_tokens"], tokens["output_tokens"], tokens["cache_read"], tokens["cache_write"],
        tokens["reasoning"], round(event.duration * MICROS),
        _json([_usage(usage) for usage in event.usages]), _json(list(event.budgets)), _json(list(event.would_block)),
        event.fingerprint,
    )  # fmt: skip


def event_of(row: Sequence[Any]) -> CostEvent:
    """A call out of the columns of `CALLS`."""
    # Behind them is where the row is kept.
    it: dict[str, Any] = dict(zip(CALLS, row, strict=False))
    call = Call(
        it["provider"], it["sent"], it["operation"], it["host"], stream=bool(it["stream"]), tier=it["tier"]
    )  # fmt: skip
    cost = Cost(it["nano"], it["entry"], bool(it["estimated"]), tuple(_list(it["unpriced"])))
    return CostEvent(
        id=it["id"],
        time=it["at"] / MICROS,
        duration=it["micros"] / MICROS,
        call=call,
        usages=tuple([_read(one) for one in _list(it["usages"])]),
        cost=cost,
        held=it["held"],
        tags=_tags(it),
        budgets=tuple(_list(it["budgets"])),
        outcome=cast("Outcome", it["outcome"]),
        error=it["error"] or None,
        would_block=tuple(_list(it["would_block"])),
        decision=cast("Decision", it["decision"]),
        asked="" if it["asked"] == it["sent"] else it["asked"],
        saved=it["saved"],
        fingerprint=it["fingerprint"],
        run=it["run"],
    )


def bill_of(row: Sequence[Any]) -> Bill:
    """A bill out of the columns of `BILLS`; there may be many, so nothing is done twice."""
    told = tuple([Usage(**one) for one in json.loads(row[13])]) if row[13] else ()
    return Bill._make((row[0] / MICROS, row[1] / MICROS, *row[2:5], bool(row[5]), *row[6:13], told))


def result_row(result: Result) -> tuple[Any, ...]:
    """A result as the columns of `RESULTS`."""
    own = [_text(result.tags.get(tag, "")) for tag in OWN_TAGS]
    at = round(result.time * MICROS)
    return (result.id, at, _text(result.name), result.value, *own, _rest(result.tags), result.run)


def result_of(row: Sequence[Any]) -> Result:
    """A result out of the columns of `RESULTS`."""
    it: dict[str, Any] = dict(zip(RESULTS, row, strict=True))
    return Result(it["id"], it["at"] / MICROS, it["name"], it["value"], _tags(it), it["run"])


def corrected(row: Sequence[Any], cost: Cost) -> tuple[Any, ...]:
    """A call's row with another cost."""
    it = dict(zip(CALLS, row, strict=True))
    it |= {
        "nano": cost.nano,
        "entry": _text(cost.entry),
        "estimated": int(cost.estimated),
        "unpriced": _json(list(cost.unpriced)),
    }
    return tuple(it.values())


def correction_row(one: Correction) -> tuple[Any, ...]:
    """A correction as the columns of `CORRECTIONS`."""
    return (one.id, one.call, round(one.time * MICROS), _cost(one.before), _cost(one.after), _text(one.why))


def correction_of(row: Sequence[Any]) -> Correction:
    """A correction out of the columns of `CORRECTIONS`."""
    id, call, at, before, after, why = row
    return Correction(id, call, at / MICROS, _read_cost(before), _read_cost(after), why)


def _cost(cost: Cost) -> str:
    return _json([cost.nano, cost.entry, cost.estimated, list(cost.unpriced)])


def _read_cost(told: str) -> Cost:
    nano, entry, estimated, unpriced = json.loads(told)
    return Cost(nano, entry, estimated, tuple(unpriced))


def added_by(row: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The row of kept sums that a call's row counts in, and what it adds there."""
    it = dict(zip(CALLS, row, strict=True))
    slot = it["at"] // (QUARTER * MICROS)
    key = (slot, *[it[name] for name in CELL[1:]])
    return key, (
        1, it["nano"], it["saved"], it["input"], it["output"], it["cache_read"], it["cache_write"], it["reasoning"],
        it["estimated"], it["nano"] if it["estimated"] else 0, int(it["unpriced"] != ""),
        int(it["would_block"] != ""), it["micros"],
    )  # fmt: skip


def _usage(usage: Usage) -> dict[str, Any]:
    """A usage as JSON, what is usual left out."""
    told: dict[str, Any] = {"counts": dict(usage.counts)}
    if usage.model is not None:
        told["model"] = usage.model
    if usage.tier != "standard":
        told["tier"] = usage.tier
    if usage.region is not None:
        told["region"] = usage.region
    if usage.reported is not None:
        told["reported"] = usage.reported
    if usage.estimated:
        told["estimated"] = True
    return told


def _read(told: dict[str, Any]) -> Usage:
    return Usage(**told)


def _rest(tags: Any) -> str:
    return _json({tag: value for tag, value in sorted(tags.items()) if tag not in OWN_TAGS})


def _tags(it: Mapping[Any, Any]) -> dict[str, str]:
    own = {tag: it[tag] for tag in OWN_TAGS if it[tag]}
    return own | (json.loads(it["tags"]) if it["tags"] else {})


def _json(thing: Any) -> str:
    """JSON in ASCII, which every database keeps whatever its encoding; nothing at all is the empty string."""
    return json.dumps(thing, separators=(",", ":")) if thing else ""


def _list(text: str) -> list[Any]:
    return list(json.loads(text)) if text else []


def _text(text: str) -> str:
    """A text as databases can keep it: without NUL and without halves of characters."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
