"""Newer price files, checked as a whole before any is written, each written at once."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from .._pricebook import problems
from .._snapshot import is_name, load, providers
from ..errors import ConfigError, MissingExtraError
from . import _genai, _refresh

Book = Mapping[str, Any]

PACKAGE: Final = "genai-prices"


def from_package(folder: Path, today: date) -> Iterator[tuple[Book, list[str]]]:
    """The present price files brought up to date with the installed genai-prices, with what changes in each.

    Nothing where that release is the one the files are from, or an older one.

    Raises:
        MissingExtraError: genai-prices is not installed.
    """
    try:
        release = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise MissingExtraError("prices") from None
    known = set(providers())
    for provider in _genai.providers():
        book = load(provider.id, folder) if provider.id in known else None
        if book is None or _number(release) <= _number(_release(book)):
            continue
        free = [model["id"] for model in book["models"] if model.get("free")]
        fresh, changes = _refresh.refreshed(book, _genai.models(provider, free), today.isoformat())
        fresh["checked"] = _genai.PUBLISHED.get(release, today.isoformat())
        fresh["built"] = today.isoformat()
        fresh["sources"] = [
            {**one, "version": release} if one.get("name") == PACKAGE else one for one in book.get("sources", ())
        ]
        yield fresh, changes


def from_files(source: Path, folder: Path) -> Iterator[tuple[Book, list[str]]]:
    """The price files at a place, a file or a folder of them, that were checked later than the present ones.

    Raises:
        ConfigError: there are none, or one of them is no price file.
    """
    files = sorted(source.glob("*.json")) if source.is_dir() else [source]
    if not files:
        raise ConfigError(f"{source} holds no price files")
    for file in files:
        book = _read(file)
        present = load(book["provider"], folder)
        if present is None or book["checked"] > present["checked"]:
            yield book, _compared(book, present)


def write(books: list[Book], folder: Path) -> None:
    """Write price files, each at once or not at all: who reads one meanwhile has the old one or the new one.

    Raises:
        ConfigError: one of them is no price file; none is written then. Or the folder cannot be written to.
    """
    for book in books:
        _check(book, f"the new file of {book.get('provider')}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for book in books:
            _replace(folder / f"{book['provider']}.json", json.dumps(book, ensure_ascii=False, indent=0))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written to: {error}") from None


def forget(folder: Path) -> list[str]:
    """Remove updated price files, so that the package's own count again; returns the providers."""
    files = sorted(folder.glob("*.json"))
    for file in files:
        file.unlink()
    return [file.stem for file in files]


def _read(file: Path) -> Book:
    try:
        book = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    _check(book, str(file))
    found: Book = book
    return found


def _check(book: Any, where: str) -> None:
    wrong = problems(book)
    if not wrong and not is_name(book["provider"]):
        wrong = [f"{book['provider']!r} is no name of a provider"]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ConfigError(f"{where} is no price file: {wrong[0]}{more}")


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _compared(book: Book, present: Book | None) -> list[str]:
    provider = book["provider"]
    if present is None:
        return [f"+ {provider}: {len(book['models'])} models"]
    old, new = ({entry["id"]: entry for entry in one["models"]} for one in (present, book))
    lines = [f"- {provider}/{name}" for name in sorted(old.keys() - new.keys())]
    lines += [f"+ {provider}/{name}" for name in sorted(new.keys() - old.keys())]
    changed = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    return lines + [f"~ {provider}/{name} {json.dumps(new[name]['prices'][0])}" for name in changed]


def _release(book: Book) -> str:
    return next((str(one["version"]) for one in book.get("sources", ()) if one.get("name") == PACKAGE), "0")


def _number(release: str) -> tuple[int, ...]:
    """A release to compare by; what is no number in it counts as nothing."""
    return tuple(int(part) if part.isdigit() else 0 for part in release.split("."))
