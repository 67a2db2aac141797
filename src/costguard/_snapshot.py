"""Price files: those that are part of the package, read when a provider is first asked for, and what users write."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, Final

from ._catalog import Catalog
from ._pricebook import problems
from ._shield import log
from .errors import ConfigError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


def is_name(provider: str) -> bool:
    """Whether a provider's name can be the name of a file, and leads nowhere else."""
    return _NAME.fullmatch(provider) is not None


def load(provider: str, updated: Path | None = None) -> Mapping[str, Any] | None:
    """The raw price file of a provider, None when there is none.

    Args:
        provider: its name in the catalog.
        updated: a folder with newer files, as `costguard prices update` writes it. Of two files the one that was
            checked last counts, so that neither an old update nor an old package hides newer prices.
    """
    if not is_name(provider):
        return None
    file = files("costguard") / "prices" / f"{provider}.json"
    raw: Mapping[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    newer = _updated(updated / f"{provider}.json") if updated is not None else None
    if newer is not None and (raw is None or newer["checked"] > raw["checked"]):
        return newer
    return raw


def _updated(path: Path) -> Mapping[str, Any] | None:
    """An updated file, None when there is none; one that was damaged since it was written is told of and not used."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        raw: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raw, wrong = {}, [str(error)]
    else:
        wrong = problems(raw)
    if wrong:
        log.error("%s is no price file and is not used (%s): run `costguard prices update` again", path, wrong[0])
        return None
    return raw


def providers() -> list[str]:
    """Every provider that has a price file."""
    folder = files("costguard") / "prices"
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def vendored() -> Catalog:
    """A catalog of the vendored prices."""
    return Catalog(load)


def read_table(path: str | PathLike[str]) -> Mapping[str, Any]:
    """The table in a TOML or JSON file, with its amounts as `Decimal`.

    Raises:
        ConfigError: it cannot be read, or holds no table.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix.lower() == ".json":
            table = json.loads(text, parse_float=Decimal)
        else:
            table = tomllib.loads(text, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: a table of providers is needed, not {type(table).__name__}")
    return table
