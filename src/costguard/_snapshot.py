"""The price files that are part of the package, read when a provider is first asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from ._catalog import Catalog

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


def load(provider: str) -> Mapping[str, Any] | None:
    """The raw price file of a provider, None when there is none."""
    if not _NAME.fullmatch(provider):
        return None
    file = files("costguard") / "prices" / f"{provider}.json"
    if not file.is_file():
        return None
    raw: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return raw


def providers() -> list[str]:
    """Every provider that has a price file."""
    folder = files("costguard") / "prices"
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def vendored() -> Catalog:
    """A catalog of the vendored prices."""
    return Catalog(load)
