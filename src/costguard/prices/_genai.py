"""Reads the installed genai-prices package, as price files write prices. It is never needed to price a call."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from typing import Any

from ..errors import MissingExtraError

Entry = dict[str, Any]


class _Package:
    """A module of genai-prices, imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(import_module(f"genai_prices.{self._name}"), name)
        except ModuleNotFoundError:
            raise MissingExtraError("prices") from None


data: Any = _Package("data")
types: Any = _Package("types")

PUBLISHED = {"0.2.3": "2026-11-10"}
"""When each release that was ever compiled came out: the day its prices were last checked."""

VERIFIED = frozenset(
    date.fromisoformat(day)
    for day in ("2026-10-12", "2026-10-14", "2026-10-15", "2026-10-20", "2026-10-29", "2026-11-03")
)
"""Days on which genai-prices verified service tiers and dated them so; the tiers themselves are older."""

TIERS = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
}

UNITS: dict[str, tuple[str, int]] = {
    "input_mtok": ("input", 10**6),
    "output_mtok": ("output", 10**6),
    "cache_read_mtok": ("cache_read", 10**6),
    "cache_write_mtok": ("cache_write", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h", 10**6),
    "input_audio_mtok": ("input_audio", 10**6),
    "input_image_mtok": ("input_image", 10**6),
    "input_video_mtok": ("input_video", 10**6),
    "cache_audio_read_mtok": ("cache_read_audio", 10**6),
    "cache_image_read_mtok": ("cache_read_image", 10**6),
    "output_audio_mtok": ("output_audio", 10**6),
    "output_image_mtok": ("output_image", 10**6),
    "output_video_mtok": ("output_image", 10**6),
    "output_reasoning_mtok": ("reasoning", 10**6),
    "input_mchars": ("characters", 10**6),
    "audio_hours": ("audio_seconds", 3600),
    "input_audio_hours": ("audio_seconds", 3600),
    "input_document_kpages": ("pages", 1000),
    "input_annotated_document_kpages": ("pages:annotated", 1000),
    "web_searches_kcount": ("web_searches", 1000),
    "storage_searches_kcount": ("file_searches", 1000),
    "requests_kcount": ("requests", 1000),
    "rerank_searches_kcount": ("rerank_searches", 1000),
    "code_executions_kcount": ("code_sessions", 1000),
}
"""Price keys as (our unit, units per price). Not taken: text messages of voice sessions and citation tokens, which no
recorded answer counts. Video tokens of an answer are counted as ``output_image``."""


def providers() -> list[Any]:
    """Every provider of the package."""
    found: list[Any] = data.providers
    return found


def models(provider: Any, free: list[str]) -> list[Entry]:
    """Every model of one provider that has explicit rates or is listed as free."""
    entries = (read_model(model, free) for model in provider.models)
    return [entry for entry in entries if entry is not None]


def read_model(model: Any, free: list[str]) -> Entry | None:
    """One model, or None when it has no explicit rate and is not known to be free."""
    names, stems = spellings(model.match)
    entry: Entry = {"id": model.id, "names": names, "stems": stems}
    if model.context_window:
        entry["context"] = model.context_window
    if model.deprecated:
        entry["retired"] = "past"
    prices = dated(model)
    if not any(price["rates"] for price in prices):
        if not (model.id.endswith(":free") or model.id in free):
            return None
        entry["free"] = True
        prices = [{"from": None, "rates": {"input": 0, "output": 0}}]
    entry["prices"] = prices
    return entry


def dated(model: Any) -> list[Entry]:
    """The model's prices, newest first, each with its tiers."""
    listed = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
    prices: list[Entry] = []
    since: str | None = None
    for item in listed:
        price: Entry = {"from": since, "rates": rates(item.prices)}
        if isinstance(item.constraint, types.StartDateConstraint):
            since = price["from"] = item.constraint.start_date.isoformat()
        elif isinstance(item.constraint, types.TimeOfDateConstraint):
            price["hours"] = [f"{item.constraint.start_time:%H:%M}", f"{item.constraint.end_time:%H:%M}"]
        prices.insert(0, price)
    add_tiers(model, prices)
    return prices


def add_tiers(model: Any, prices: list[Entry]) -> None:
    """File each tier under the price it was published with, and by its factors under every other price."""
    for variant in model.price_variants or []:
        tier = TIERS.get(next(iter(variant.when.items()))) if len(variant.when) == 1 else None
        home = None if tier is None else home_of(variant, prices)
        if home is not None and tier not in home.get("tiers", {}):
            home.setdefault("tiers", {})[tier] = rates(variant.prices)
    home = current({"prices": prices})
    for price in prices:
        for tier, listed in home.get("tiers", {}).items():
            if tier not in price.setdefault("tiers", {}):
                price["tiers"][tier] = proportional(listed, home["rates"], price["rates"])
    for price in prices:
        if price.get("tiers", {}).get("fast") == price.get("tiers", {}).get("priority"):
            price.get("tiers", {}).pop("fast", None)
        if not price.get("tiers"):
            price.pop("tiers", None)


def home_of(variant: Any, prices: list[Entry]) -> Entry | None:
    """The price that a tier was published with: the current one, or the later one of the tier's own first day."""
    start = variant.constraint.start_date if isinstance(variant.constraint, types.StartDateConstraint) else None
    since = None if start is None or start in VERIFIED else start.isoformat()
    now = current({"prices": prices})
    if since is None or since == now["from"]:
        return now
    return next((price for price in prices if price["from"] == since), None)


def proportional(listed: Entry, home: Entry, rates_then: Entry) -> Entry:
    """A tier's rates for another price: the same factor on every rate, long-context rates included."""
    found: Entry = {}
    for unit, rate in listed.items():
        then, now = rates_then.get(unit), home.get(unit)
        if then is None or now is None:
            continue
        factor = Fraction(first(rate), first(now)) if first(now) else Fraction(1)
        found[unit] = scale(then, factor)
    return found


def first(rate: int | list[Any]) -> int:
    return rate[0] if isinstance(rate, list) else rate


def scale(rate: int | list[Any], factor: Fraction) -> int | list[Any]:
    """A rate times a factor, rounded up to whole pico-dollars."""
    if isinstance(rate, int):
        return -((-rate * factor.numerator) // factor.denominator)
    return [scale(rate[0], factor), *([start, scale(pico, factor)] for start, pico in rate[1:])]


def rates(price: Any) -> Entry:
    """The rates of one price in pico-dollars per unit."""
    found: Entry = {}
    for key, value in vars(price).items():
        if value is None or key not in UNITS:
            continue
        unit, per = UNITS[key]
        rate = tiered(value, per) if isinstance(value, types.TieredPrices) else exact(value, per)
        if unit not in found or first(rate) > first(found[unit]):
            found[unit] = rate
    return found


def exact(usd: Decimal, per: int) -> int | list[int]:
    """Dollars for `per` units as whole pico-dollars for one, or as [pico-dollars, units] where that is not whole.

    Token rates are first freed of float noise: none is published with more than six decimals per million.
    """
    if per == 10**6:
        usd = usd.quantize(Decimal("0.000001"))
    pico = Fraction(usd) * 10**12 / per
    return pico.numerator if pico.denominator == 1 else [int(Fraction(usd) * 10**12), per]


def tiered(value: Any, per: int) -> list[Any]:
    """A base rate with its long-context rates, ascending."""
    steps = sorted(value.tiers, key=lambda step: step.start)
    return [exact(value.base, per), *([step.start, exact(step.price, per)] for step in steps)]


def current(entry: Entry, today: str = "") -> Entry:
    """The price in force on a day; on the day the source was published when none is said."""
    today = today or max(PUBLISHED.values())
    whole = [price for price in entry["prices"] if "hours" not in price]
    return next((price for price in whole if (price.get("from") or "") <= today), whole[-1])


_LITERAL = re.compile(r"^\^((?:[\w@/-]|\\[.\[\]]|=)+)\$$")


def spellings(match: Any) -> tuple[list[str], list[str]]:
    """Exact names, and stems: names that may carry dates and preview suffixes. Other patterns are not kept, because
    a pattern can price one model as another."""
    if isinstance(match, types.ClauseEquals):
        return [match.equals.lower()], []
    if isinstance(match, types.ClauseRegex):
        literal = _LITERAL.match(match.regex)
        return ([re.sub(r"\\(.)", r"\1", literal[1])] if literal else []), []
    if isinstance(match, (types.ClauseStartsWith, types.ClauseContains, types.ClauseEndsWith)):
        pattern = str(next(iter(vars(match).values()))).lower().lstrip("/")
        stem = re.sub(r"[-@/]$|(?<=gpt-4)-0$|-20\d\d-?$", "", pattern)
        return [stem], [stem]
    parts = match.or_ if isinstance(match, types.ClauseOr) else match.and_[:1]
    names: list[str] = []
    stems: list[str] = []
    for part in parts:
        more, wider = spellings(part)
        names += more
        stems += wider
    return names, stems
