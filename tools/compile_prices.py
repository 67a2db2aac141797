"""Compile src/costguard/prices/*.json from two published collections of prices and the reviewed tables beside this.

    pip install --no-deps genai-prices litellm      (at build time only; nothing of them is imported at run time)
    python tools/compile_prices.py                  write the files, and what changed to tools/prices/diff.txt
    python tools/compile_prices.py --check          write no prices, exit 1 when something would change
    python tools/compile_prices.py --diff FILE      the changes to another file, also with --check

genai-prices is the primary source: prices, dates, service tiers. LiteLLM's map (read as a file, never imported) adds
sizes, capabilities, retirement dates, regional uplifts and rates the first has not. What a model is called, which
disagreements were reviewed and which facts are kept by hand is in tools/prices/*.toml, each with its reason.

Rules:
- An entry without explicit rates is dropped; it is not free unless the provider's page says so.
- The day on which genai-prices verified a service tier is not taken for the tier's first day.
- Under another dated price a tier keeps its factors, so that an old price is never paired with a new tier's rates.
- A name only LiteLLM spells out belongs to the model genai-prices takes it for, unless LiteLLM's rates are dearer.
- A base rate on which the two differ by more than 1 % fails the build for openai, anthropic and google unless it is
  in tools/prices/reviewed.toml.
- What a source forgets is kept: a model that is gone as retired, a price that changed without a date as the one before.
- Patterns are not kept: a file holds exact names, and stems that may carry dates and preview suffixes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import prices_history as history
import prices_merge as merge

Entry = dict[str, Any]

TABLES = Path(__file__).parent / "prices"
TARGET = Path(__file__).parents[1] / "src" / "costguard" / "prices"
ORDER = ("id", "names", "stems", "context", "max_output", "caps", "retired", "free", "regions", "url", "prices")
STAMPS = {"models", "built", "checked", "sources"}


def main() -> int:
    """Compile everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare, exit 1 on a difference")
    today = datetime.now(UTC).date().isoformat()
    parser.add_argument("--built", default=today, help="the day to write into the headers")
    parser.add_argument("--diff", type=Path, metavar="FILE", help="where to write what changed")
    options = parser.parse_args()
    tables = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(TABLES.glob("*.toml"))}
    problems: list[str] = []
    books = merge.compile_all(tables, options.built, problems)
    if problems:
        print(*problems, f"{len(problems)} to review in tools/prices/reviewed.toml", sep="\n", file=sys.stderr)
        return 2
    for book in books:
        path = TARGET / f"{book['provider']}.json"
        if path.exists():
            history.keep(json.loads(path.read_text(encoding="utf-8")), book, tables["reviewed"], tables["hand"])
    files = {book["provider"]: render(book) for book in books}
    changes = compare({name: json.loads(text) for name, text in files.items()})
    print(*changes, sep="\n")
    diff = options.diff or (None if options.check else TABLES / "diff.txt")
    if diff is not None and changes:
        diff.write_text("\n".join((*headline(books[0]), *changes, "")), encoding="utf-8")
    if options.check:
        return 1 if changes else 0
    for provider, text in files.items():
        (TARGET / f"{provider}.json").write_text(text, encoding="utf-8")
    return 0


def headline(book: Entry) -> list[str]:
    """What was compiled from what, and from what before: the first lines of the diff."""
    path = TARGET / f"{book['provider']}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    named = [", ".join(f"{one['name']} {one['version']}" for one in of.get("sources", ())) for of in (before, book)]
    return [
        f"built {book['built']} from {named[1]}",
        f"before {before.get('built', 'never')} from {named[0] or 'nothing'}",
        "",
    ]


def render(book: Entry) -> str:
    """A file with one model a line, so that a change is one line in a diff."""
    head = [f"{json.dumps(key)}: {dump(value)}," for key, value in book.items() if key != "models"]
    models = [dump({key: entry[key] for key in ORDER if key in entry}) for entry in book["models"]]
    return "{\n" + "\n".join(head) + '\n"models": [\n' + ",\n".join(models) + "\n]}\n"


def dump(value: Any) -> str:
    """JSON on one line, in the letters of the sources."""
    return json.dumps(value, ensure_ascii=False)


def compare(files: dict[str, Entry]) -> list[str]:
    """What would change against the present files, one line a fact."""
    lines = [f"- {path.stem}: no longer compiled" for path in sorted(TARGET.glob("*.json")) if path.stem not in files]
    for provider, book in sorted(files.items()):
        path = TARGET / f"{provider}.json"
        if not path.exists():
            lines.append(f"+ {provider}: {len(book['models'])} models")
            continue
        before = json.loads(path.read_text(encoding="utf-8"))
        lines += differences(provider, {**before, "models": None}, {**book, "models": None}, STAMPS)
        old, new = ({entry["id"]: entry for entry in one["models"]} for one in (before, book))
        lines += [f"- {provider}/{name}" for name in sorted(old.keys() - new.keys())]
        lines += [f"+ {provider}/{name}" for name in sorted(new.keys() - old.keys())]
        for name in sorted(old.keys() & new.keys()):
            lines += differences(f"{provider}/{name}", old[name], new[name], set())
    return lines


def differences(where: str, old: Entry, new: Entry, ignored: set[str]) -> list[str]:
    """The keys in which two records differ, with both values."""
    keys = sorted(key for key in old.keys() | new.keys() if key not in ignored and old.get(key) != new.get(key))
    return [f"~ {where} {key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}" for key in keys]


if __name__ == "__main__":
    raise SystemExit(main())
