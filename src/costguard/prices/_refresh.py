"""A price file brought up to date with a newer release of genai-prices, without losing what only we know.

A price that changed becomes a new dated entry in front of the others, so that calls of last month stay priced as they
were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from . import _genai

Entry = dict[str, Any]


def refreshed(book: Mapping[str, Any], fresh: Iterable[Entry], today: str) -> tuple[Entry, list[str]]:
    """The price file with what is new in `fresh`, and what that is, a line for each fact.

    Args:
        book: the price file as it is.
        fresh: the source's models of this provider, as `_genai.models` reads them.
        today: from which day a price holds that changed without a day of its own.
    """
    provider = book["provider"]
    new: Entry = json.loads(json.dumps(book))
    mine = {entry["id"].lower(): entry for entry in new["models"]}
    taken = {name.lower() for entry in new["models"] for name in (entry["id"], *entry.get("names", ()))}
    changes: list[str] = []
    for entry in fresh:
        known = mine.get(entry["id"].lower())
        if known is None:
            if entry["id"].lower() not in taken:
                new["models"].append(_added(entry, taken))
                changes.append(f"+ {provider}/{entry['id']}")
        else:
            changes += [f"~ {provider}/{entry['id']} {change}" for change in _changed(known, entry, today)]
            known["names"] = known.get("names", []) + _free(entry, taken)
            if not known["names"]:
                del known["names"]
    new["models"].sort(key=lambda entry: entry["id"])
    return new, changes


def _added(entry: Entry, taken: set[str]) -> Entry:
    """A new model, with those of its names that no other model has."""
    taken.add(entry["id"].lower())
    names = _free(entry, taken)
    kept = {key: entry[key] for key in ("id", "context", "retired", "free") if key in entry}
    return kept | ({"names": names} if names else {}) | {"prices": [_sound(price) for price in entry["prices"]]}


def _free(entry: Entry, taken: set[str]) -> list[str]:
    names = [name for name in dict.fromkeys(entry.get("names", ())) if name and name not in taken]
    taken.update(names)
    return names


def _changed(known: Entry, entry: Entry, today: str) -> list[str]:
    """Add the prices that are new to a known model; says what changed."""
    if "hours" in str([price.keys() for price in (*known["prices"], *entry["prices"])]):
        return []
    changes = []
    last = known["prices"][0].get("from") or ""
    for price in reversed(entry["prices"]):
        start = price.get("from") or ""
        if start > last:
            changes.append(_put(known, price, start))
            last = start
    now = _genai.current(entry, today)
    if _differs(_genai.current(known, today), now):
        changes.append(_put(known, now, max(today, last)))
    return changes


def _differs(mine: Entry, theirs: Entry) -> bool:
    return any(
        mine["rates"].get(unit) != _kept(mine["rates"].get(unit), rate) for unit, rate in theirs["rates"].items()
    )


def _kept(mine: Any, theirs: Any) -> Any:
    """A new rate; where the source has a plain one and we know long-context rates, with those in proportion."""
    if isinstance(theirs, int) and isinstance(mine, list) and isinstance(mine[1], list) and mine[0]:
        return _genai.scale(mine, Fraction(theirs, mine[0]))
    return theirs


def _put(known: Entry, price: Entry, start: str) -> str:
    """Put a price in front that holds from a day on. Rates and tiers that the source lacks stay, in proportion."""
    before = known["prices"][0]
    rates = {**before["rates"]}
    for unit, rate in price["rates"].items():
        rates[unit] = _kept(rates.get(unit), rate)
    tiers = {
        tier: _genai.proportional(listed, before["rates"], rates) for tier, listed in before.get("tiers", {}).items()
    }
    for tier, listed in price.get("tiers", {}).items():
        tiers[tier] = {**tiers.get(tier, {}), **listed}
    entry: Entry = {"from": start, "rates": rates}
    if tiers:
        entry["tiers"] = tiers
    if before.get("from") == start:
        known["prices"][0] = entry
    else:
        known["prices"].insert(0, entry)
    news = {unit: rate for unit, rate in rates.items() if before["rates"].get(unit) != rate}
    return f"from {start}: {json.dumps(news)}"


def _sound(price: Entry) -> Entry:
    return {key: value for key, value in price.items() if value is not None or key == "from"}
