"""``costguard doctor``: what would be metered here, by what settings, and what should be mended."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ._checks import (
    Check,
    Found,
    Patient,
    catalog,
    clock,
    configuration,
    distribution,
    examine,
    exporters,
    journal,
    ledger,
    safe,
)
from ._checks_sdks import beside, sdks
from ._checks_tokens import tokenizers

CHECKS: Final[tuple[Check, ...]] = (
    distribution,
    sdks,
    beside,
    configuration,
    ledger,
    journal,
    exporters,
    catalog,
    tokenizers,
    clock,
)

_SHOWN: Final = {"ok": "ok", "note": "note", "finding": "FINDING"}
_WIDEST: Final = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = "The exit code is 1 when something should be mended."
    parser.add_argument("--config", metavar="FILE", help="the configuration file, else the nearest one")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def run(options: argparse.Namespace) -> int:
    """Look at everything, and say what should be mended."""
    patient = Patient.here(options.config)
    found = list(examine(patient, CHECKS))
    if options.json:
        print(json.dumps(document(patient, found), indent=2))
    else:
        print("\n".join(text(patient, found, min(shutil.get_terminal_size().columns, _WIDEST))))
    return int(any(one.state == "finding" for one in found))


def document(patient: Patient, found: list[Found]) -> dict[str, Any]:
    """The report for programs."""
    return {
        "schema": "costguard.doctor/1",
        "ok": not any(one.state == "finding" for one in found),
        "checks": [{"check": one.check, "state": one.state, "said": one.said, "fix": one.fix} for one in found],
        "settings": [{"setting": name, "value": value, "source": source} for name, value, source in values(patient)],
    }


def text(patient: Patient, found: list[Found], width: int) -> Iterator[str]:
    """The report for people."""
    for one in found:
        yield from _folded(f"{_SHOWN[one.state]:<9}{one.check:<15}", one.said, width)
        if one.fix:
            yield from _folded(" " * 24, f"-> {one.fix}", width)
    lines = list(values(patient))
    if lines:
        yield ""
        for name, value, source in lines:
            yield from _folded("  ", f"{name} = {value}  ({source})", width)
    count = sum(one.state == "finding" for one in found)
    yield ""
    yield "all is well" if not count else f"{count} thing{'s' if count > 1 else ''} to mend"


def values(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Each setting with its value and where it comes from."""
    setup = patient.setup
    if setup is None:
        return
    budgets = {budget.name: budget for budget in setup.budgets}
    for name, source in setup.sources.items():
        kind, _, rest = name.partition(".")
        if kind == "tags":
            yield name, setup.tags[rest], source
        elif name.startswith("budgets["):
            yield "budget", str(budgets[name[len("budgets[") : -1]]), source
        elif name == "exporters":
            yield name, ", ".join(str(one) for one, _options in setup.exporters) or "none", source
        elif name == "cache" and isinstance(setup.cache, Mapping):
            yield name, safe(setup.cache.get("store", "memory://")), source
        elif name == "ladders":
            yield name, "; ".join(" > ".join(one.models) for one in setup.ladders), source
        else:
            value = getattr(setup, name)
            yield name, "none" if value is None else safe(value), source


def _folded(head: str, said: str, width: int) -> list[str]:
    return textwrap.wrap(
        said,
        max(width, 40),
        initial_indent=head,
        subsequent_indent=" " * max(len(head), 4),
        break_long_words=False,
        break_on_hyphens=False,
    )
