"""Reads LiteLLM's model map as the file it is in the installed wheel: the secondary source of compile_prices.py."""

from __future__ import annotations

import functools
import json
import re
from decimal import Decimal
from fractions import Fraction
from importlib import metadata
from typing import Any

from costguard.prices import _genai as genai

Entry = dict[str, Any]

MAP = "litellm/model_prices_and_context_window_backup.json"

CAPS = {
    "supports_vision": "vision",
    "supports_function_calling": "tools",
    "supports_response_schema": "schema",
    "supports_prompt_caching": "caching",
    "supports_reasoning": "reasoning",
    "supports_audio_input": "audio_in",
    "supports_audio_output": "audio_out",
    "supports_pdf_input": "pdf",
    "supports_web_search": "search",
}

FIELDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "input_cost_per_audio_token": "input_audio",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "input_cost_per_image_token": "input_image",
    "cache_read_input_image_token_cost": "cache_read_image",
    "input_cost_per_video_token": "input_video",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_image_token": "output_image",
    "output_cost_per_reasoning_token": "reasoning",
}
"""Token rates. A field may end in a long-context threshold and then in a tier: ``..._above_272k_tokens_flex``."""

FEES = {
    "output_cost_per_image": "images",
    "output_cost_per_video_per_second": "video_seconds",
    "input_cost_per_character": "characters",
    "google_maps_grounding_cost_per_query": "maps_queries",
    "code_interpreter_cost_per_session": "code_sessions",
    "ocr_cost_per_page": "pages",
    "input_cost_per_query": "rerank_searches",
}

TIERS = {"": "standard", "_batches": "batch", "_flex": "flex", "_priority": "priority", "_ultrafast": "ultrafast"}
_FIELD = re.compile(
    rf"^({'|'.join(sorted(FIELDS, key=len, reverse=True))})"
    rf"(?:_above_(\d+)k_tokens)?({'|'.join(tier for tier in TIERS if tier)})?$"
)


@functools.cache
def everything() -> Entry:
    path = metadata.distribution("litellm").locate_file(MAP)
    with open(str(path), encoding="utf-8") as file:
        rows: Entry = json.load(file, parse_float=Decimal)
    return {key: row for key, row in rows.items() if isinstance(row, dict) and key != "sample_spec"}


def rows(providers: list[str]) -> dict[str, Entry]:
    """The rows of some of LiteLLM's providers by the model's bare name, lower case."""
    found: dict[str, Entry] = {}
    for provider in providers:
        lite, _, prefix = provider.partition(":")
        for key, row in everything().items():
            if row.get("litellm_provider") != lite or "-x-" in key or "commitment" in key:
                continue
            name = key.removeprefix((prefix or lite) + "/").removeprefix("accounts/fireworks/models/").lower()
            found.setdefault(name, row)
    return found


def pico(value: Any) -> int | None:
    """Dollars per unit as whole pico-dollars, freed of float noise."""
    if value is None:
        return None
    return int((Decimal(value) * 10**12).quantize(Decimal(1)))


def table(row: Entry) -> dict[str, dict[str, Any]]:
    """All explicit token rates by tier and unit, long-context steps included. A zero is not a rate here: in this
    source it stands for "unknown" as often as for "free"."""
    flat: dict[tuple[str, str], dict[int, int]] = {}
    for key, value in row.items():
        match = _FIELD.match(key)
        if match is None or value is None:
            continue
        amount = pico(value)
        if amount:
            flat.setdefault((TIERS[match[3] or ""], FIELDS[match[1]]), {})[int(match[2] or 0) * 1000] = amount
    found: dict[str, dict[str, Any]] = {}
    for (tier, unit), steps in flat.items():
        if 0 not in steps:
            continue
        rate = [steps.pop(0), *([start, steps[start]] for start in sorted(steps))]
        found.setdefault(tier, {})[unit] = rate if len(rate) > 1 else rate[0]
    return found


def rates(row: Entry) -> Entry:
    """The standard rates, fees included; empty when the row has none, for a row without rates is not free."""
    found = dict(table(row).get("standard", {}))
    if not found and "input_cost_per_token" in row and row.get("mode") in ("chat", "completion", "responses"):
        return {}
    for key, unit in FEES.items():
        amount = pico(row.get(key))
        if amount and (unit != "rerank_searches" or row.get("mode") == "rerank"):
            found[unit] = amount
    if row.get("mode") == "image_generation" and pico(row.get("input_cost_per_image")):
        found.setdefault("images", pico(row["input_cost_per_image"]))
    for key in ("output_cost_per_second", "input_cost_per_second"):
        if row.get(key):
            unit = "video_seconds" if row.get("mode") == "video_generation" else "audio_seconds"
            found[unit] = pico(row[key])
    for size in ("4k", "1080p"):
        if row.get(f"output_cost_per_second_{size}"):
            found[f"video_seconds:{size}"] = pico(row[f"output_cost_per_second_{size}"])
    search = row.get("search_context_cost_per_query")
    if found and search:
        found["web_searches"] = max(pico(value) or 0 for value in search.values())
    return found


def first(rate: Any) -> int:
    return rate[0] if isinstance(rate, list) else rate


def facts(row: Entry) -> Entry:
    """Sizes, capabilities, the day it retires, regional uplifts."""
    found: Entry = {}
    if row.get("max_input_tokens"):
        found["context"] = int(row["max_input_tokens"])
    if row.get("max_output_tokens"):
        found["max_output"] = int(row["max_output_tokens"])
    caps = [name for key, name in CAPS.items() if row.get(key)]
    if caps:
        found["caps"] = caps
    if row.get("deprecation_date"):
        found["retired"] = row["deprecation_date"]
    special = row.get("provider_specific_entry") or {}
    regions = {
        region: row.get(f"regional_processing_uplift_multiplier_{region}") or special.get(region)
        for region in ("us", "eu")
    }
    regions["*"] = row.get("regional_endpoint_uplift_multiplier")
    factors = {region: Fraction(Decimal(str(value))) for region, value in regions.items() if value}
    if factors:
        found["regions"] = {region: [factor.numerator, factor.denominator] for region, factor in factors.items()}
    return found


def complete(price: Entry, row: Entry, *, now: bool) -> None:
    """Add the rates and tiers the first source lacks; to a price of another day only in proportion to its input."""
    listed = table(row)
    standard = listed.pop("standard", {})
    if now:
        for unit, rate in rates(row).items():
            price["rates"].setdefault(unit, rate)
    else:
        factor = Fraction(first(price["rates"].get("input", 0)), first(standard.get("input", 0)) or 1)
        for unit, rate in rates(row).items():
            if unit not in FIELDS.values():
                price["rates"].setdefault(unit, rate)
            elif factor:
                price["rates"].setdefault(unit, genai.scale(rate, factor))
    if price["rates"].get("reasoning") == price["rates"].get("output"):
        price["rates"].pop("reasoning", None)
    tiers = price.get("tiers", {})
    for tier, tier_rates in listed.items():
        mine = tier_rates if now else genai.proportional(tier_rates, standard, price["rates"])
        known = tiers.get(tier, {})
        fit = {unit: rate for unit, rate in mine.items() if fits(tier, rate, price["rates"].get(unit))}
        fit.pop("reasoning", None)
        if {**fit, **known}:
            tiers[tier] = {**fit, **known}
    if tiers:
        price["tiers"] = tiers


def fits(tier: str, rate: Any, standard: Any) -> bool:
    """Whether a tier's rate is plausible: no discount tier costs more than standard, no premium one less."""
    if standard is None:
        return True
    return first(rate) >= first(standard) if tier in ("priority", "ultrafast") else first(rate) <= first(standard)
