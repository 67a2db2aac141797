"""Compile src/costguard/prices/*.json from two published collections of prices and the reviewed tables beside this.

    pip install --no-deps genai-prices==... litellm==...      (build-time only; nothing of them is imported at run time)
    python tools/compile_prices.py            write the files, print what changed
    python tools/compile_prices.py --check    write nothing, exit 1 when something would change

genai-prices is the primary source: prices, dates, service tiers. LiteLLM's map (read as a file, never imported) adds
sizes, capabilities, retirement dates, regional uplifts and rates the first has not. What a model is called, which
disagreements were reviewed and which facts are kept by hand is in tools/prices/*.toml, each with its reason.

Rules: an entry without explicit rates is dropped, not taken as free; a tier's verification day is not taken for its
first day; a base rate on which the two sources differ by more than 1 % fails the build for openai, anthropic and
google unless it was reviewed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from datetime import date
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import prices_genai as genai
import prices_litellm as litellm

TOOLS = Path(__file__).parent / "prices"
TARGET = Path(__file__).parents[1] / "src" / "costguard" / "prices"
STRICT = ("openai", "anthropic", "google")
TOLERANCE = Fraction(1, 100)

Entry = dict[str, Any]


def main() -> int:
    """Compile everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare, exit 1 on a difference")
    parser.add_argument("--built", default=date.today().isoformat(), help="the day to write into the headers")
    options = parser.parse_args()
    tables = {path.stem: tomllib.loads(path.read_text()) for path in sorted(TOOLS.glob("*.toml"))}
    problems: list[str] = []
    files = {book["provider"]: book for book in compile_all(tables, options.built, problems)}
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        print(f"{len(problems)} disagreements to review in tools/prices/reviewed.toml", file=sys.stderr)
        return 2
    changes = compare(files)
    print(*changes, sep="\n")
    if options.check:
        return 1 if changes else 0
    for provider, book in files.items():
        (TARGET / f"{provider}.json").write_text(render(book))
    return 0


def compile_all(tables: dict[str, Any], built: str, problems: list[str]) -> list[Entry]:
    """One price file for each provider."""
    hand = tables["hand"]
    books = []
    for provider in genai.providers():
        if provider.id in hand["skip"]:
            continue
        facts = hand["provider"].get(provider.id, {})
        other = litellm.rows(facts.get("litellm", []))
        models = genai.models(provider, other, hand["free"].get(provider.id, []))
        for entry in models:
            enrich(provider.id, entry, other, tables["reviewed"], problems)
        models += extra_models(provider.id, models, other, facts, tables["reviewed"])
        for entry in models:
            retired = hand["retired"].get(provider.id, {}).get(entry["id"])
            if retired:
                entry["retired"] = retired
        for added in hand.get("model", {}).get(provider.id, []):
            models = [entry for entry in models if entry["id"] != added["id"]] + [dict(added)]
        books.append(header(provider, facts, built) | {"models": sorted(models, key=lambda entry: entry["id"])})
    for name, facts in hand.get("only", {}).items():
        other = litellm.rows(facts["litellm"])
        models = extra_models(name, [], other, facts, tables["reviewed"])
        books.append(sources(built) | {"provider": name, **public(facts), "models": sorted(models, key=lambda entry: entry["id"])})
    for book in books:
        settle_names(book, tables["aliases"].get(book["provider"], {}))
    return books


def header(provider: Any, facts: Entry, built: str) -> Entry:
    """What a file says about itself."""
    urls = [url for url in provider.pricing_urls or []]
    delegates = {"delegates": provider.fallback_model_providers} if provider.fallback_model_providers else {}
    return sources(built) | {"provider": provider.id, "name": provider.name, "urls": urls, **delegates, **public(facts)}


def sources(built: str) -> Entry:
    """Where the facts come from; `checked` is the day the primary source was published."""
    return {
        "version": 1,
        "built": built,
        "checked": genai.PUBLISHED.get(metadata.version("genai-prices"), built),
        "sources": [
            {"name": "genai-prices", "version": metadata.version("genai-prices"), "licence": "MIT"},
            {"name": "litellm model map", "version": metadata.version("litellm"), "licence": "MIT"},
        ],
    }


def public(facts: Entry) -> Entry:
    """The part of a provider's hand-kept facts that belongs into its file."""
    return {key: facts[key] for key in ("name", "hosts", "urls", "delegates", "fees") if key in facts}


def enrich(provider: str, entry: Entry, other: dict[str, Entry], reviewed: Entry, problems: list[str]) -> None:
    """Add LiteLLM's facts to one model and compare the base rates."""
    rows = [other[name] for name in (entry["id"].lower(), *entry.get("names", [])) if name in other]
    if not rows:
        return
    row = rows[0]
    for key, value in litellm.facts(row).items():
        entry.setdefault(key, value)
    allowed = reviewed.get(provider, {})
    current = genai.current(entry)
    for unit in ("input", "output"):
        ours, theirs = base(current["rates"].get(unit)), base(litellm.rates(row).get(unit))
        if ours is None or not theirs or entry["id"] in allowed:
            continue
        if abs(Fraction(theirs) - ours) > TOLERANCE * max(ours, theirs) and provider in STRICT:
            problems.append(f"{provider}/{entry['id']} {unit}: genai-prices {ours}, litellm {theirs} pico-dollars")
    if entry.get("free") or differs(current["rates"], litellm.rates(row)):
        return
    for price in entry["prices"]:
        litellm.complete(price, row, price is current)


def differs(ours: Entry, theirs: Entry) -> bool:
    """Whether the base rates disagree, so that nothing else of the second source may be mixed in."""
    pairs = [(base(ours.get(unit)), base(theirs.get(unit))) for unit in ("input", "output")]
    return any(a is not None and b is not None and abs(a - b) * 100 > max(a, b) for a, b in pairs)


def base(rate: int | list[Any] | None) -> int | None:
    """The rate of a short request."""
    return rate[0] if isinstance(rate, list) else rate


def extra_models(provider: str, known: list[Entry], other: dict[str, Entry], facts: Entry, reviewed: Entry) -> list[Entry]:
    """Models that only LiteLLM lists, from a page of the provider's own."""
    if not facts.get("litellm_only", False):
        return []
    names = {name for entry in known for name in (entry["id"].lower(), *entry.get("names", []))}
    dropped = set(reviewed.get("drop", {}).get(provider, []))
    found: dict[str, Entry] = {}
    for name, row in other.items():
        if name in names or name in dropped or not litellm.first_party(row, facts.get("pages", [])):
            continue
        rates = litellm.rates(row)
        if not rates:
            continue
        price: Entry = {"from": None, "rates": rates}
        litellm.complete(price, row, True)
        entry: Entry = {"id": name, **litellm.facts(row), "prices": [price]}
        twin = next((one for one in found.values() if one["prices"] == entry["prices"] and name.startswith(one["id"] + "-20")), None)
        if twin is not None:
            twin.setdefault("names", []).append(name)
        else:
            found[name] = entry
    return list(found.values())


def settle_names(book: Entry, aliases: Entry) -> None:
    """Keep each name with the first model that claims it, and add the alias table."""
    taken = {entry["id"].lower() for entry in book["models"]}
    for entry in book["models"]:
        names = [name for name in dict.fromkeys(entry.get("names", [])) if name not in taken]
        taken.update(names)
        entry["names"] = sorted(names)
        entry["stems"] = sorted(set(entry.get("stems", [])))
        for key in ("names", "stems"):
            if not entry[key]:
                del entry[key]
    book["aliases"] = dict(sorted(aliases.items()))
    models = book.pop("models")
    for name, alias in aliases.items():
        if alias["to"].lower() not in taken:
            raise SystemExit(f"alias {name} of {book['provider']} points to {alias['to']}, which is not listed")
    book["models"] = models


ORDER = ("id", "names", "stems", "context", "max_output", "caps", "retired", "free", "regions", "url", "prices")


def render(book: Entry) -> str:
    """A file with one model a line, so that a change is one line in a diff."""
    head = {key: value for key, value in book.items() if key != "models"}
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
    models = [json.dumps({key: entry[key] for key in ORDER if key in entry}, ensure_ascii=False, separators=(", ", ": ")) for entry in book["models"]]
    return "{\n" + "\n".join(lines) + '\n"models": [\n' + ",\n".join(models) + "\n]}\n"


def compare(files: dict[str, Entry]) -> list[str]:
    """What would change, one line a fact."""
    lines = []
    for path in sorted(TARGET.glob("*.json")):
        if path.stem not in files:
            lines.append(f"- {path.stem}: the whole file (still there; remove it by hand)")
    for provider, book in sorted(files.items()):
        path = TARGET / f"{provider}.json"
        if not path.exists():
            lines.append(f"+ {provider}: {len(book['models'])} models")
            continue
        before = json.loads(path.read_text())
        old = {entry["id"]: entry for entry in before["models"]}
        new = {entry["id"]: json.loads(json.dumps(entry)) for entry in book["models"]}
        lines += [f"- {provider}/{name}" for name in sorted(old.keys() - new.keys())]
        lines += [f"+ {provider}/{name}" for name in sorted(new.keys() - old.keys())]
        for name in sorted(old.keys() & new.keys()):
            fields = sorted(key for key in old[name].keys() | new[name].keys() if old[name].get(key) != new[name].get(key))
            lines += [f"~ {provider}/{name} {key}: {json.dumps(old[name].get(key))} -> {json.dumps(new[name].get(key))}" for key in fields]
        for key in sorted((before.keys() | book.keys()) - {"models", "built", "checked", "sources"}):
            if before.get(key) != book.get(key):
                lines.append(f"~ {provider} {key}: {json.dumps(before.get(key))} -> {json.dumps(book.get(key))}")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
