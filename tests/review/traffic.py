"""Calls as a journal has them, made by hand or for a month."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from costguard._catalog import Catalog
from costguard._journal import Bill
from costguard._snapshot import load
from costguard._types import Call, CostEvent, Usage

CATALOG = Catalog(load)


def at(text: str) -> float:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def made(
    id: str,
    time: float | str,
    model: str = "gpt-4o",
    counts: dict[str, int] | None = None,
    *,
    provider: str = "openai",
    tier: str = "standard",
    tags: dict[str, str] | None = None,
    stream: bool = False,
    operation: str = "chat",
    **more: Any,
) -> CostEvent:
    """A finished call, priced as the guard would price it."""
    moment = at(time) if isinstance(time, str) else time
    usages = (Usage(counts or {"input": 1_000, "output": 200}, tier=tier),)
    cost = CATALOG.cost(provider, model, usages, moment)
    fields: dict[str, Any] = {
        "duration": 1.0,
        "usages": usages,
        "cost": cost,
        "held": 2 * cost.nano,
        "tags": {"feature": "search"} if tags is None else tags,
        "budgets": (),
        "outcome": "ok",
        **more,
    }
    return CostEvent(id=id, time=moment, call=Call(provider, model, operation, stream=stream, tier=tier), **fields)


MIX = (
    ("search", "openai", "gpt-4o", 40),
    ("support-bot", "anthropic", "claude-sonnet-4-5", 30),
    ("summaries", "openai", "gpt-4o-mini", 20),
    ("<script>alert(1)</script>", "google", "gemini-2.5-flash", 5),
    ("", "openai", "gpt-4o", 5),
)


def month(calls: int, first: date = date(2026, 10, 1), days: int = 31, seed: int = 7) -> Iterator[CostEvent]:
    """Calls of some days by time, weekends quieter, some of them asked before, some failed."""
    chance = random.Random(seed)
    weights = [0.3 if (first + timedelta(days=day)).weekday() > 4 else 1.0 for day in range(days)]
    counts = [round(calls * weight / sum(weights)) for weight in weights]
    number = 0
    for day, count in enumerate(counts):
        start = datetime.combine(first + timedelta(days=day), datetime.min.time(), UTC).timestamp()
        for second in sorted(chance.uniform(0, 86_400) for _ in range(count)):
            feature, provider, model, _ = chance.choices(MIX, [one[3] for one in MIX])[0]
            size = chance.randint(200, 8_000)
            used = {"input": size, "cache_read": size // 3 * chance.randint(0, 1), "output": chance.randint(20, 900)}
            number += 1
            yield made(
                f"call-{number}",
                start + second,
                model,
                {unit: amount for unit, amount in used.items() if amount},
                provider=provider,
                tags={"feature": feature} if feature else {},
                stream=chance.random() < 0.4,
                fingerprint=f"f{chance.randint(0, calls // 2)}",
                duration=chance.uniform(0.2, 8),
                outcome="error" if chance.random() < 0.02 else "ok",
                tier="batch" if chance.random() < 0.1 else "standard",
            )


def bills(events: Iterable[CostEvent]) -> Callable[[], Iterator[Bill]]:
    """Gives the bills of these calls, each time anew."""
    kept = list(events)
    return lambda: map(Bill.of, kept)
