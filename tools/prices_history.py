"""Keeps what the sources forget: last month's report has to stay true when a source has today's prices only."""

from __future__ import annotations

from typing import Any, Final

from prices_litellm import first

Entry = dict[str, Any]


FACTS: Final = {"context", "max_output", "caps", "retired"}
"""What stays known of a model that a source has dropped."""


def keep(before: Entry, after: Entry, reviewed: Entry, hand: Entry) -> None:
    """Carry a provider's present file over into the one that was just compiled.

    A model that no source lists any more stays, as retired. A price that changed in a source without dates becomes a
    new one from the day of the build, in front of those before, unless reviewed.toml says under ``corrected`` that the
    old one was never right. Models under ``drop`` are not kept.
    """
    provider = after["provider"]
    dropped, corrected = (reviewed[kind].get(provider, {}) for kind in ("drop", "corrected"))
    living = {name: {"retired"} for name, day in hand["retired"].get(provider, {}).items() if not day}
    compiled = {entry["id"]: entry for entry in after["models"]}
    taken = {name for entry in after["models"] for name in (entry["id"].lower(), *entry.get("names", ()))}
    for entry in before["models"]:
        now = compiled.get(entry["id"])
        if now is not None:
            for key in FACTS & entry.keys() - now.keys() - living.get(entry["id"], set()):
                now[key] = entry[key]
            if entry["id"] not in corrected:
                now["prices"] = history(entry["prices"], now["prices"], after["built"])
        elif entry["id"].lower() not in taken and entry["id"] not in dropped:
            names = [name for name in entry.get("names", ()) if name not in taken]
            kept = {key: value for key, value in entry.items() if key != "names"}
            after["models"].append(
                kept | ({"names": names} if names else {}) | {"retired": entry.get("retired", "past")}
            )
    after["models"].sort(key=lambda entry: entry["id"])


def history(before: list[Entry], after: list[Entry], built: str) -> list[Entry]:
    """The prices of a model, newest first. A source with dates has its own; else `after` is the one of today."""
    if len(after) > 1 or after[0].get("from") or any("hours" in price for price in before):
        return after
    head, *older = before
    if same(head["rates"], after[0]["rates"]):
        return [{**after[0], "from": head.get("from")}, *older] if older or head.get("from") else after
    return [{**after[0], "from": built}, *before]


def same(one: Entry, other: Entry) -> bool:
    """Whether every rate that both have is the same; one that is new to us is no change of price."""
    return all(first(rate) == first(other[unit]) for unit, rate in one.items() if unit in other)
