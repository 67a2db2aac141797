"""Price every model on random usage with costguard, genai-prices and LiteLLM, and say why each disagreement stands.

    pip install genai-prices litellm         (LiteLLM's own function is used where it can be imported, else its map)
    python tools/compare_prices.py           the counts, and every disagreement with its reason
    python tools/compare_prices.py --rounds 50 --seed 3

Exit code 1 when a disagreement has no reason. Reasons are found in the tables beside this (tools/prices/*.toml) and in
the price files; what stays is either a mistake of ours or a line for tools/prices/reviewed.toml.
"""

from __future__ import annotations

import argparse
import os
import random
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import prices_litellm as lite

from costguard._rates import price_at
from costguard._snapshot import load, vendored
from costguard._types import INPUT_UNITS, Usage
from costguard.prices import _genai as genai

TABLES = Path(__file__).parent / "prices"
NANO = Decimal(2).scaleb(-9)
"""Ours is rounded up to a nano-dollar, theirs are not, or are floats."""
UNITS = ("input", "cache_read", "cache_write", "output")

Counts = Mapping[str, int]


class Row(NamedTuple):
    """One model, priced by somebody else."""

    source: str
    provider: str
    model: str
    price: Callable[[Counts], Decimal | None]
    has: Callable[[str], bool]
    region: str | None = None


def main() -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="random usages for each model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tables = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(TABLES.glob("*.toml"))}
    compared = Compared(tables, random.Random(options.seed), options.rounds)
    for row in (*genai_rows(compared.when), *litellm_rows(tables["hand"])):
        compared.add(row)
    return compared.report()


class Compared:
    """What was compared so far."""

    def __init__(self, tables: dict[str, Any], chance: random.Random, rounds: int) -> None:
        self.catalog = vendored()
        self.when = datetime.fromisoformat(f"{max(genai.PUBLISHED.values())}T12:00").replace(tzinfo=UTC)
        self.tables, self.chance, self.rounds = tables, chance, rounds
        self.counts: Counter[str] = Counter()
        self.stands: dict[str, list[str]] = {}
        self.open: list[str] = []

    def add(self, row: Row) -> None:
        """Price a model some times."""
        match = self.catalog.match(row.provider, row.model, self.when.timestamp())
        if match is None or match.estimated:
            self.counts[f"{row.source}: models that costguard does not list"] += 1
            return
        for _ in range(self.rounds):
            counts = self.usage()
            theirs = row.price(counts)
            ours = self.catalog.cost(row.provider, row.model, [Usage(counts, region=row.region)], self.when.timestamp())
            if theirs is None or ours.unpriced:
                self.counts[f"{row.source}: not priced by one of the two"] += 1
            elif abs(Decimal(ours.nano).scaleb(-9) - theirs) <= NANO + thirds(counts):
                self.counts[f"{row.source}: the same"] += 1
            else:
                self.counts[f"{row.source}: different"] += 1
                self.explain(row, match.model, counts, Decimal(ours.nano).scaleb(-9), theirs)
                return

    def usage(self) -> dict[str, int]:
        """Random counts, on both sides of every long-context threshold, with and without a cache."""
        size = self.chance.choice((1_000, 150_000, 250_000, 600_000))
        most = {"input": size, "cache_read": size // 2, "cache_write": size // 4, "output": 20_000}
        used = UNITS if self.chance.random() < 0.6 else ("input", "output")
        return {unit: count for unit in used if (count := self.chance.randrange(most[unit]))}

    def explain(self, row: Row, model: Any, counts: Counts, ours: Decimal, theirs: Decimal) -> None:
        """File a disagreement under its reason, or as open."""
        line = f"{row.source} {row.provider}/{row.model}: ours {ours}, theirs {theirs} for {dict(counts)}"
        reason = self.reason(row, model, counts, theirs)
        if reason is None and ours > theirs:
            reason = "ours is the dearer, and nobody confirmed the other"
        if reason is None:
            self.open.append(line)
        else:
            self.stands.setdefault(reason, []).append(line)

    def reason(self, row: Row, model: Any, counts: Counts, theirs: Decimal) -> str | None:
        """Why ours stands, None when nobody has said."""
        hand, reviewed = self.tables["hand"], self.tables["reviewed"]
        provider, name = model.provider, model.id
        rates = price_at(model.prices, self.when.timestamp()).rates
        dated = len(model.prices) > 1
        checks = {
            "theirs is zero without being listed as free": theirs == 0 and not model.free,
            "the name is an alias of ours, which moves": row.model in self.tables["aliases"].get(row.provider, {}),
            "reviewed: " + str(reviewed.get(provider, {}).get(name)): name in reviewed.get(provider, {}),
            "reviewed, the second source was taken": row.model in reviewed["second"].get(row.provider, {})
            or name in reviewed["second"].get(provider, {}),
            "a row of the second source that was dropped as wrong": row.model in reviewed["drop"].get(row.provider, {}),
            "kept by hand": any(one["id"] == name for one in hand["model"].get(provider, [])),
            "it is billed by the provider that it is resold from": provider != row.provider,
            "it has a fee for each request": "requests" in rates,
        }
        for unit in counts:
            if unit in rates and not row.has(unit):
                checks[f"they have no rate of {unit}, we have one of the other source"] = True
            if unit not in rates and row.has(unit):
                checks[f"their rate of {unit} was not taken"] = unit.startswith("cache")
        fresh = {unit: count for unit, count in counts.items() if not unit.startswith("cache_")}
        checks["cached tokens, for which they have no rate, cost nothing with them"] = (
            len(fresh) < len(counts) and not row.has("cache_read") and row.price(fresh) == theirs
        )
        stands = reviewed["stands"].get(row.provider, {})
        said = stands.get(name) or stands.get(row.model) or stands.get("*")
        checks[f"reviewed, ours stands: {said}"] = said is not None and (name in stands or row.model in stands)
        checks["dated prices: theirs has one price only, or another first day"] = dated
        checks["long-context rates that one of the two lacks"] = bool(
            any(rate.steps for rate in rates.values()) and sum(counts.get(unit, 0) for unit in INPUT_UNITS) > 100_000
        )
        checks[f"reviewed, ours stands: {said} (all of the provider)"] = "*" in stands and theirs > 0
        return next((reason for reason, holds in checks.items() if holds), None)

    def report(self) -> int:
        """Print everything; the exit code."""
        for what, count in sorted(self.counts.items()):
            print(f"{count:7,}  {what}")
        for reason, lines in sorted(self.stands.items()):
            print(f"\n{reason} ({len(lines)})", *sorted(lines), sep="\n  ")
        print(f"\nwithout a reason ({len(self.open)})", *sorted(self.open), sep="\n  ")
        return 1 if self.open else 0


def thirds(counts: Counts) -> Decimal:
    """Some of their rates are thirds, which ours round to a pico-dollar a token."""
    return Decimal(sum(counts.values())).scaleb(-12)


def genai_rows(when: datetime) -> Iterator[Row]:
    """Every model of genai-prices, priced by its own function."""
    from genai_prices import Usage as Theirs
    from genai_prices import calc_price

    for provider in genai.providers():
        if load(provider.id) is None:
            continue
        for model in provider.models:

            def price(counts: Counts, provider: str = provider.id, model: str = model.id) -> Decimal | None:
                usage = Theirs(
                    input_tokens=sum(counts.get(unit, 0) for unit in UNITS[:3]),
                    cache_read_tokens=counts.get("cache_read"),
                    cache_write_tokens=counts.get("cache_write"),
                    output_tokens=counts.get("output", 0),
                )
                try:
                    return calc_price(usage, model, provider_id=provider, genai_request_timestamp=when).total_price
                except LookupError:
                    return None

            entry = genai.read_model(model, [])
            rates = genai.current(entry)["rates"] if entry else {}
            yield Row("genai-prices", provider.id, model.id, price, rates.__contains__)


def litellm_rows(hand: Mapping[str, Any]) -> Iterator[Row]:
    """Every chat model of LiteLLM's map whose provider we list."""
    function = litellm_function()
    for provider, facts in hand["provider"].items():
        for name, row in lite.rows(facts.get("litellm", [])).items():
            if row.get("mode") not in ("chat", "completion", "responses", "embedding"):
                continue
            listed = lite.table(row).get("standard", {})
            price = by_map(listed) if function is None else function(name, row)
            region, _, bare = name.rpartition("/") if provider == "aws" else ("", "", name)
            yield Row("litellm", provider, bare or name, price, listed.__contains__, region or None)


def by_map(listed: Mapping[str, Any]) -> Callable[[Counts], Decimal | None]:
    """Prices by the rates of a row: for who has LiteLLM's file and not all that it wants installed."""

    def price(counts: Counts) -> Decimal | None:
        if "input" not in listed:
            return None
        size = sum(counts.get(unit, 0) for unit in UNITS[:3])
        pico = 0
        for unit, count in counts.items():
            rate = listed.get(unit, listed["input"] if unit != "output" else 0)
            steps = rate[1:] if isinstance(rate, list) else []
            pico += count * next((high for start, high in reversed(steps) if size > start), lite.first(rate))
        return Decimal(pico).scaleb(-12)

    return price


def litellm_function() -> Callable[[str, Mapping[str, Any]], Callable[[Counts], Decimal | None]] | None:
    """LiteLLM's own arithmetic, None where it cannot be imported. It is kept from fetching its map."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    try:
        cost_per_token: Callable[..., tuple[float, float]] = import_module("litellm").cost_per_token
    except ImportError as error:
        print(f"LiteLLM's rates are taken from its map, because it cannot be imported here: {error}\n")
        return None

    def of_model(name: str, row: Mapping[str, Any]) -> Callable[[Counts], Decimal | None]:
        def price(counts: Counts) -> Decimal | None:
            try:
                parts = cost_per_token(
                    model=name,
                    custom_llm_provider=row["litellm_provider"],
                    prompt_tokens=sum(counts.get(unit, 0) for unit in UNITS[:3]),
                    completion_tokens=counts.get("output", 0),
                    cache_read_input_tokens=counts.get("cache_read", 0),
                    cache_creation_input_tokens=counts.get("cache_write", 0),
                )
            except Exception:
                return None
            return Decimal(str(round(sum(parts), 12)))

        return price

    return of_model


if __name__ == "__main__":
    raise SystemExit(main())
