"""What a price file has to look like, so that one that comes from elsewhere can be trusted to be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from ._types import INPUT_UNITS, OTHER_UNITS, OUTPUT_UNITS

VERSION: Final = 1
"""The version of the format that this release reads."""

_UNITS: Final = frozenset((*INPUT_UNITS, *OUTPUT_UNITS, *OTHER_UNITS))
_MOST: Final = 10**15
"""Pico-dollars: nothing that is billed costs a thousand dollars a unit."""


def problems(raw: Any) -> list[str]:
    """What is wrong with a price file, empty when nothing is."""
    return list(_book(raw))


def _book(raw: Any) -> Iterator[str]:
    if not isinstance(raw, Mapping):
        yield "it holds no table"
        return
    if raw.get("version") != VERSION:
        yield f"its format is version {raw.get('version')!r}, this release reads {VERSION}"
        return
    if not isinstance(raw.get("provider"), str) or not raw["provider"]:
        yield "it names no provider"
    if not _is_day(raw.get("checked")):
        yield "it does not say on which day it was checked"
    yield from _rates("fees", raw.get("fees", {}), free=True)
    models = raw.get("models")
    if not isinstance(models, list) or not models:
        yield "it lists no models"
        return
    ids = set[str]()
    for entry in models:
        yield from _model(entry, ids)
    names = {
        str(name).lower() for entry in models if isinstance(entry, Mapping) for name in entry.get("names", ())
    } | ids
    for name, alias in _table(raw.get("aliases", {})).items():
        if str(_table(alias).get("to", "")).lower() not in names:
            yield f"the alias {name!r} leads to no listed model"


def _model(entry: Any, ids: set[str]) -> Iterator[str]:
    name = _table(entry).get("id")
    if not isinstance(name, str) or not name:
        yield "a model has no id"
        return
    if name.lower() in ids:
        yield f"{name} is listed twice"
    ids.add(name.lower())
    prices = entry.get("prices")
    if not isinstance(prices, list) or not prices:
        yield f"{name} has no prices"
        return
    free = entry.get("free") is True
    days = [_table(price).get("from") or "" for price in prices if not _table(price).get("hours")]
    if any(day and not _is_day(day) for day in days) or days != sorted(days, reverse=True):
        yield f"{name}: its prices are not dated, newest first"
    for price in prices:
        rates = _table(price).get("rates")
        if not isinstance(rates, Mapping) or not rates:
            yield f"{name} has a price without rates"
            continue
        yield from _rates(name, rates, free=free)
        for tier, listed in _table(price.get("tiers", {})).items():
            yield from _rates(f"{name} {tier}", listed, free=free)


def _rates(where: str, rates: Any, *, free: bool) -> Iterator[str]:
    for unit, rate in _table(rates).items():
        if str(unit).partition(":")[0] not in _UNITS:
            yield f"{where}: {unit!r} is no unit"
        elif not _is_rate(rate, 0 if free else 1):
            yield f"{where}: {unit} = {rate!r} is no rate"


def _is_rate(rate: Any, least: int) -> bool:
    """``pico``, ``[pico, per]`` or ``[base, [threshold, pico], ...]``."""
    if not isinstance(rate, list):
        return _is_whole(rate, least)
    if len(rate) < 2 or not _is_whole(rate[0], least):
        return False
    if len(rate) == 2 and not isinstance(rate[1], list):
        return _is_whole(rate[1], 2)
    steps = [step for step in rate[1:] if isinstance(step, list) and len(step) == 2]
    starts = [step[0] for step in steps]
    sound = all(_is_whole(step[0], 1) and _is_whole(step[1], least) for step in steps)
    return sound and len(steps) == len(rate) - 1 and starts == sorted(set(starts))


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= _MOST


def _is_day(value: Any) -> bool:
    try:
        return bool(date.fromisoformat(value).isoformat() == value)
    except (TypeError, ValueError):
        return False


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
