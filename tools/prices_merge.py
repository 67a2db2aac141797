"""Merges the two sources and the reviewed tables into price files; the rules are in compile_prices.py."""

from __future__ import annotations

import re
from fractions import Fraction
from importlib import metadata
from typing import Any

import prices_litellm as litellm
from prices_litellm import first

from costguard.prices import _genai as genai

Entry = dict[str, Any]

STRICT = ("openai", "anthropic", "google")
TOLERANCE = Fraction(1, 100)
DEAREST = 10**9
"""Pico-dollars: no provider sells a token for more than $1,000 per million."""
_REGION = re.compile(r"^((?:us-gov|us|eu|ap|sa|ca|me|af)-[a-z]+-\d)/(.+)$")
_CLASS = re.compile(
    r"^(?:together-ai|fireworks-ai)-|/\*|^(?:eu|us|us-gov|apac|global|global-standard|invoke|guardrails|claude_platform)/"
)
_DATE = re.compile(r"(?:-20\d\d-\d\d-\d\d|[-@]20\d{6}|@default|-00\d)$")


def compile_all(tables: dict[str, Any], built: str, problems: list[str]) -> list[Entry]:
    """One price file for each provider; disagreements nobody reviewed are added to `problems`."""
    hand, reviewed = tables["hand"], tables["reviewed"]
    books: dict[str, Entry] = {}
    for provider in sorted(genai.providers(), key=lambda one: bool(one.fallback_model_providers)):
        if provider.id not in hand["skip"]:
            models = provider_models(provider, hand, reviewed, books, problems)
            books[provider.id] = {**header(provider, hand, built), "models": models}
    for name, facts in hand["only"].items():
        models = resold_models(facts, books, reviewed["drop"].get(name, {}))
        models = with_added(models, hand["model"].get(name, []))
        books[name] = {**sources(built), "provider": name, **public(facts), "models": models}
    for name, book in books.items():
        problems += implausible(book)
        touch_up(book, hand)
        settle_names(book, tables["aliases"].get(name, {}))
    return list(books.values())


def provider_models(
    provider: Any, hand: Entry, reviewed: Entry, books: dict[str, Entry], problems: list[str]
) -> list[Entry]:
    """The models of a provider that the primary source knows, enriched, and those that only the second one knows."""
    facts = hand["provider"].get(provider.id, {})
    dropped = reviewed["drop"].get(provider.id, {})
    rows = {name: row for name, row in litellm.rows(facts.get("litellm", [])).items() if name not in dropped}
    models = genai.models(provider, hand["free"].get(provider.id, []))
    second = reviewed["second"].get(provider.id, {})
    for name, row in rows.items():
        claim(provider, models, name, row, preferred=name in second, dearer=facts.get("dearer", False))
    for entry in models:
        enrich(provider.id, entry, rows, reviewed.get(provider.id, {}), problems)
        if facts.get("dearer"):
            lengthen(entry, rows)
    if facts.get("litellm_only"):
        resold = [entry for other in provider.fallback_model_providers or [] for entry in books[other]["models"]]
        models += extra_models(rows, names_of(models) | same_names(resold, rows))
    models = with_added(models, hand["model"].get(provider.id, []))
    for entry in models if "cached" in facts else ():
        discount_cached(entry, Fraction(*facts["cached"]))
    return models


def discount_cached(entry: Entry, factor: Fraction) -> None:
    """Give a model that writes the provider's general rate of cached tokens, where it lists none of its own."""
    for price in entry["prices"]:
        rate = price["rates"].get("input")
        if isinstance(rate, int) and rate and "output" in price["rates"]:
            price["rates"].setdefault("cache_read", genai.scale(rate, factor))


def with_added(models: list[Entry], added: list[Entry]) -> list[Entry]:
    """The models with those that are kept by hand, which replace listed ones of the same id."""
    ids = {entry["id"] for entry in added}
    return [entry for entry in models if entry["id"] not in ids] + [dict(entry) for entry in added]


def implausible(book: Entry) -> list[str]:
    """Token rates above $1,000 per million: a source has written dollars per thousand, or a typing error."""
    return [
        f"{book['provider']}/{entry['id']} {unit}: {first(rate)} pico-dollars a token"
        for entry in book["models"]
        for price in entry["prices"]
        for unit, rate in price["rates"].items()
        if unit in litellm.FIELDS.values() and first(rate) > DEAREST
    ]


def header(provider: Any, hand: Entry, built: str) -> Entry:
    """What a file says about itself."""
    about: Entry = {
        **sources(built),
        "provider": provider.id,
        "name": provider.name,
        "hosts": provider.api_pattern,
        "urls": list(provider.pricing_urls or []),
    }
    if provider.fallback_model_providers:
        about["delegates"] = list(provider.fallback_model_providers)
    return about | public(hand["provider"].get(provider.id, {}))


def sources(built: str) -> Entry:
    """Where the facts come from; `checked` is the day the primary source was published."""
    release = metadata.version("genai-prices")
    return {
        "version": 1,
        "built": built,
        "checked": genai.PUBLISHED[release],
        "sources": [
            {"name": "genai-prices", "version": release, "licence": "MIT"},
            {"name": "litellm model map", "version": metadata.version("litellm"), "licence": "MIT"},
        ],
    }


def public(facts: Entry) -> Entry:
    """The part of a provider's hand-kept facts that belongs into its file."""
    return {key: facts[key] for key in ("name", "hosts", "urls", "delegates", "fees") if key in facts}


def names_of(models: list[Entry]) -> set[str]:
    """Every name that the models go by."""
    return {name for entry in models for name in (entry["id"].lower(), *entry.get("names", []))}


def compare_base(ours: Entry, theirs: Entry) -> tuple[bool, bool]:
    """Whether the base rates of two tables agree, and whether `theirs` is dearer somewhere."""
    agree, dearer = True, False
    for unit in ("input", "output"):
        mine, other = first(ours.get(unit, 0)), first(theirs.get(unit, 0))
        if (mine or other) and abs(mine - other) > TOLERANCE * max(mine, other):
            agree = False
            dearer = dearer or other > mine
    return agree, dearer


def claim(provider: Any, models: list[Entry], name: str, row: Entry, *, preferred: bool, dearer: bool) -> None:
    """Decide whose model a name is that the second source spells out.

    It is the primary's, when that resolves it and is not the cheaper one; then the name is added. When the second
    source is dearer, or was reviewed as the better one, the name is taken away and becomes a model of its own.
    """
    found = next((model for model in provider.models if model.is_match(name)), None)
    entry = next((entry for entry in models if found is not None and entry["id"] == found.id), None)
    if entry is None:
        return
    listed = name in (entry["id"].lower(), *entry["names"])
    agree, more = compare_base(genai.current(entry)["rates"], litellm.rates(row))
    if preferred or (more and listed and dearer and name != entry["id"].lower()):
        entry["names"] = [known for known in entry["names"] if known != name]
        entry["stems"] = [known for known in entry["stems"] if known != name]
    elif not listed and (agree or not more):
        entry["names"].append(name)


def enrich(provider: str, entry: Entry, rows: dict[str, Entry], reviewed: Entry, problems: list[str]) -> None:
    """Add the second source's facts to one model and compare the base rates."""
    row = next((rows[name] for name in (entry["id"].lower(), *entry["names"]) if name in rows), None)
    if row is None:
        return
    for key, value in litellm.facts(row).items():
        entry.setdefault(key, value)
    current = genai.current(entry)
    theirs = litellm.rates(row)
    listed = {unit: rate for unit, rate in current["rates"].items() if unit in theirs}
    agree, _ = compare_base(listed, {unit: rate for unit, rate in theirs.items() if unit in listed})
    if not agree and provider in STRICT and entry["id"] not in reviewed:
        pair = ", ".join(f"{unit} {first(listed[unit])} or {first(theirs[unit])}" for unit in listed)
        problems.append(f"{provider}/{entry['id']} in pico-dollars, genai-prices or litellm: {pair}")
    if agree and not entry.get("free"):
        for price in entry["prices"]:
            litellm.complete(price, row, now=price is current)


def same_names(resold: list[Entry], rows: dict[str, Entry]) -> set[str]:
    """The names of resold models, but for those that this provider sells for more than their maker."""
    found = set[str]()
    for entry in resold:
        for name in (entry["id"].lower(), *entry.get("names", [])):
            agree, dearer = compare_base(genai.current(entry)["rates"], litellm.rates(rows.get(name, {})))
            if name not in rows or agree or not dearer:
                found.add(name)
    return found


def lengthen(entry: Entry, rows: dict[str, Entry]) -> None:
    """Add the second source's long-context rates where the primary has plain ones, at their factor."""
    row = next((rows[name] for name in (entry["id"].lower(), *entry["names"]) if name in rows), None)
    theirs = litellm.table(row).get("standard", {}) if row else {}
    rates = genai.current(entry)["rates"]
    for unit, rate in theirs.items():
        mine = rates.get(unit)
        if isinstance(rate, list) and isinstance(mine, int):
            factor = Fraction(mine, rate[0])
            rates[unit] = [mine, *([start, genai.scale(pico, factor)] for start, pico in rate[1:])]


def extra_models(rows: dict[str, Entry], known: set[str]) -> list[Entry]:
    """Models that only the second source lists, with explicit rates."""
    found: dict[str, Entry] = {}
    for name, row in rows.items():
        if {name, _DATE.sub("", name)} & known or _CLASS.search(name) or _REGION.match(name):
            continue
        entry = from_row(name, row)
        if entry is None:
            continue
        twin = next((one for one in found.values() if same_model(one, entry)), None)
        if twin is not None:
            twin.setdefault("names", []).append(name)
        else:
            found[name] = entry
    return list(found.values())


def from_row(name: str, row: Entry) -> Entry | None:
    """A model out of one row of the second source; None when it has no explicit rate."""
    rates = litellm.rates(row)
    if not rates:
        return None
    price: Entry = {"from": None, "rates": rates}
    litellm.complete(price, row, now=True)
    return {"id": name, **litellm.facts(row), "prices": [price]}


def same_model(one: Entry, other: Entry) -> bool:
    """Whether `other` is a dated name of the same model at the same price."""
    dated = re.match(re.escape(one["id"]) + r"[-@](?:\d|default)", other["id"])
    return dated is not None and bool(one["prices"] == other["prices"])


def resold_models(facts: Entry, books: dict[str, Entry], dropped: Entry) -> list[Entry]:
    """Models of a provider that only the second source knows and that resells others' models: the original's prices
    with their dates where they agree, with this provider's regions and sizes."""
    originals = {
        name: entry
        for other in facts.get("delegates", [])
        for entry in reversed(books[other]["models"])
        for name in (entry["id"].lower(), *entry.get("names", []))
    }
    rows = {name: row for name, row in litellm.rows(facts["litellm"]).items() if name not in dropped}
    found: dict[str, Entry] = {}
    for entry in extra_models(rows, set()):
        original = originals.get(entry["id"].partition("@")[0]) or originals.get(entry["id"])
        if original is None or not compare_base(genai.current(original)["rates"], genai.current(entry)["rates"])[0]:
            found[entry["id"]] = entry
        elif original["id"] not in found:
            sizes = {key: entry[key] for key in ("context", "max_output", "retired", "regions") if key in entry}
            inherited = {key: value for key, value in original.items() if key not in ("retired", "regions")}
            names = [*original.get("names", []), entry["id"], *entry.get("names", [])]
            found[original["id"]] = {**inherited, **sizes, "names": names}
    return list(found.values())


def touch_up(book: Entry, hand: Entry) -> None:
    """Apply the hand-kept facts about single models: other names, rates, sizes, retirement, regions."""
    provider = book["provider"]
    entries = {entry["id"]: entry for entry in book["models"]}
    for name, day in hand["retired"].get(provider, {}).items():
        entries[name]["retired"] = day
        if not day:
            del entries[name]["retired"]
    for name, facts in hand["facts"].get(provider, {}).items():
        entries[name].update(facts)
    for name, rates in hand["rates"].get(provider, {}).items():
        for price in entries[name]["prices"]:
            price["rates"] = price["rates"] | rates
    for name, more in hand["names"].get(provider, {}).items():
        entries[name].setdefault("names", []).extend(more)
    for name, row in litellm.rows(hand["provider"].get(provider, {}).get("litellm", [])).items():
        match = _REGION.match(name)
        if match:
            add_region(entries.values(), match[1], match[2], litellm.rates(row))


def add_region(entries: Any, region: str, name: str, rates: Entry) -> None:
    """Turn the second source's row for one region into an uplift of the model's rates."""
    entry = next((one for one in entries if name in (one["id"].lower(), *one.get("names", []))), None)
    if entry is None or not rates:
        return
    base = genai.current(entry)["rates"]
    both = [unit for unit in ("input", "output") if first(base.get(unit, 0)) and unit in rates]
    factors = [Fraction(first(rates[unit]), first(base[unit])) for unit in both]
    if factors and max(factors) > 1:
        factor = max(factors).limit_denominator(1000)
        entry.setdefault("regions", {})[region] = [factor.numerator, factor.denominator]


def settle_names(book: Entry, aliases: Entry) -> None:
    """Keep each name with the first model that claims it, add the alias table, sort."""
    models = sorted(book.pop("models"), key=lambda entry: entry["id"])
    taken = {entry["id"].lower() for entry in models}
    for entry in models:
        names = [name for name in dict.fromkeys(entry.get("names", [])) if name not in taken]
        taken.update(names)
        entry["names"] = sorted(names)
        entry["stems"] = sorted(set(entry.get("stems", [])))
        for key in ("names", "stems"):
            if not entry[key]:
                del entry[key]
    for name, alias in aliases.items():
        if alias["to"].lower() not in taken:
            raise SystemExit(f"alias {name} of {book['provider']} points to {alias['to']}, which is not listed")
    book["aliases"] = dict(sorted(aliases.items()))
    book["models"] = models
