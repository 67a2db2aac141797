"""Simulated traffic: months of calls of a small company, the same for the same seed, priced as real ones.

It is for demos, tests of reviews and measurements. There are features that grow, that jump one day and that cost more
than they are worth; retries after failures, streams that ended early, batch work at night, prompts that repeat, a model
without a price, calls that nobody attributed.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final

from .._catalog import Catalog
from .._journal import Result
from .._snapshot import load
from .._types import Call, Cost, CostEvent, Decision, Outcome, Usage

DAY: Final = 86_400

FIRST: Final = datetime(2026, 9, 1, tzinfo=UTC).timestamp()
"""When the usual simulation begins: September and October of 2026."""


@dataclass(frozen=True, slots=True)
class Work:
    """A feature of the company.

    Attributes:
        feature, team: empty for calls that nobody attributed.
        weight: its share of calls at the beginning.
        models: provider and model, the second of two after `switch` days.
        growth: by what factor its calls grow in 30 days.
        tokens: input and output of a usual call.
        cached: the part of the input that is read from the provider's cache.
        repeats: the part of requests that were asked before.
        outcome: what a run of it achieves, with its worth in dollars and how often it does.
        jump: the day on which its calls triple, if one does.
        night: whether it runs as batch work at night.
    """

    feature: str
    team: str
    weight: float
    models: tuple[tuple[str, str], ...]
    growth: float = 1.0
    tokens: tuple[int, int] = (900, 250)
    cached: float = 0.0
    repeats: float = 0.05
    outcome: tuple[str, float, float] | None = None
    switch: int | None = None
    jump: int | None = None
    night: bool = False


COMPANY: Final = (
    Work("search", "discovery", 30, (("openai", "gpt-4o-mini"),), 1.3, (1_400, 120), 0.4, 0.35),
    Work("support-bot", "support", 22, (("anthropic", "claude-sonnet-4-5"),), 1.05, (3_200, 420), 0.6, 0.1,
         ("ticket_resolved", 0.25, 0.4)),
    Work("summaries", "content", 18, (("openai", "gpt-4.1-mini"), ("openai", "gpt-4.1")), 0.95, (5_200, 380), 0.0, 0.15,
         ("summary_read", 0.02, 0.7), switch=40),
    Work("onboarding", "growth", 6, (("openai", "gpt-4o"),), 1.1, (6_400, 700), 0.1, 0.05, ("lead", 0.05, 0.3),
         jump=44),
    Work("nightly-eval", "platform", 10, (("google", "gemini-2.5-flash"),), 1.0, (2_000, 600), night=True),
    Work("embeddings", "discovery", 9, (("openai", "text-embedding-3-small"),), 1.0, (700, 0)),
    Work("", "", 4, (("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5"))),
    Work("labs", "platform", 1, (("acme-gateway", "acme-experimental-9"),), 1.0, (1_000, 1_000)),
)  # fmt: skip
"""What the usual simulation simulates."""


@dataclass
class Simulation:
    """Months of calls.

    Args:
        calls: about how many; retries come on top.
        days: over how many days.
        first: UTC epoch seconds of the first day.
        seed: the same seed makes the same calls.
    """

    calls: int = 20_000
    days: int = 61
    first: float = FIRST
    seed: int = 7
    company: tuple[Work, ...] = COMPANY
    _catalog: Catalog = field(default_factory=lambda: Catalog(load))
    _costs: dict[object, Cost] = field(default_factory=dict)

    def records(self) -> Iterator[CostEvent | Result]:
        """Every call and result, day by day."""
        chance = random.Random(self.seed)  # noqa: S311 - simulated
        weights = [[self._weight(work, day) for work in self.company] for day in range(self.days)]
        per_weight = self.calls / sum(map(sum, weights))
        number = 0
        for day, of_day in enumerate(weights):
            sums = list(accumulate(of_day))
            for _ in range(round(sums[-1] * per_weight)):
                work = self.company[bisect_left(sums, chance.random() * sums[-1])]
                number += 1
                yield from self._run(chance, work, day, number)

    def _weight(self, work: Work, day: int) -> float:
        free = datetime.fromtimestamp(self.first + day * DAY, UTC).weekday() >= 5 and not work.night
        weekend = 0.45 if free else 1.0
        jump = 3.0 if work.jump is not None and day >= work.jump else 1.0
        return float(work.weight * weekend * jump * work.growth ** (day / 30))

    def _run(self, chance: random.Random, work: Work, day: int, number: int) -> Iterator[CostEvent | Result]:
        """One piece of work: a call, again if it fails, and what came of it."""
        run = f"{self.seed:04x}{number:028x}"
        second = chance.triangular(0, 4 * 3_600) if work.night else chance.triangular(6 * 3_600, DAY - 60, 14 * 3_600)
        at = self.first + day * DAY + int(second * 1_000) / 1_000
        model = work.models[-1 if work.switch is not None and day >= work.switch else 0]
        if not work.feature:
            model = chance.choice(work.models)
        tags = self._tags(chance, work)
        fingerprint = self._fingerprint(chance, work, number)
        for attempt in range(3):
            draw = chance.random()
            outcome: Outcome = (
                "error" if draw < 0.02 else "unknown" if draw < 0.025 else "partial" if draw < 0.03 else "ok"
            )
            yield self._call(chance, work, model, at + 2 * attempt, f"{run}{attempt}", outcome, tags, run, fingerprint)
            if outcome in ("ok", "partial"):
                break
        if work.outcome is not None and chance.random() < work.outcome[2]:
            name, dollars, _ = work.outcome
            yield Result(f"{run}r", at + 5, name, round(dollars * 10**9), tags, run)

    def _call(
        self, chance: random.Random, work: Work, model: tuple[str, str], at: float, id: str, outcome: Outcome,
        tags: dict[str, str], run: str, fingerprint: str,
    ) -> CostEvent:  # fmt: skip
        provider, name = model
        tier = "batch" if work.night else "standard"
        decision: Decision = "allowed"
        call = Call(
            provider, name, "embeddings" if "embedding" in name else "chat", stream=work.tokens[1] > 300, tier=tier
        )
        usages: tuple[Usage, ...] = ()
        if outcome != "error":
            tokens_in = max(20, round(work.tokens[0] * chance.triangular(0.3, 2.2, 0.8)))
            cached = round(tokens_in * work.cached) if chance.random() < 0.8 else 0
            out = round(work.tokens[1] * chance.triangular(0.2, 2.5, 0.8))
            counts = {"input": tokens_in - cached, "cache_read": cached, "output": out}
            usages = (
                Usage({unit: count for unit, count in counts.items() if count}, name, tier, estimated=outcome != "ok"),
            )
        cost = self._catalog.cost(provider, name, usages, at) if usages else Cost(0)
        duration = round(chance.lognormvariate(0, 0.6), 3)
        return CostEvent(
            id, at, duration, call, usages, cost, tags=tags, outcome=outcome,
            error="APIConnectionError" if outcome in ("error", "unknown") else None,
            decision=decision, fingerprint=fingerprint, run=run,
        )  # fmt: skip

    def _tags(self, chance: random.Random, work: Work) -> dict[str, str]:
        tags = {"environment": "production" if chance.random() < 0.9 else "staging"}
        if work.feature:
            tags |= {"feature": work.feature, "team": work.team, "user": f"u-{chance.randrange(400)}"}
            tags["customer"] = f"c-{min(39, int(chance.expovariate(0.12)))}"
        return tags

    def _fingerprint(self, chance: random.Random, work: Work, number: int) -> str:
        """One of a few often asked questions, or one that was never asked."""
        if chance.random() < work.repeats:
            return f"{hash_of(work.feature):016x}{int(chance.expovariate(0.05)):016x}"
        return f"{0:016x}{number:016x}"


def hash_of(text: str) -> int:
    """A number for a text, the same in every process."""
    return int.from_bytes(text.encode().ljust(8, b".")[:8], "big")
