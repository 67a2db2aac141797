"""``costguard prices update``: the only command that changes prices."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._config import environment
from ..prices import _update
from ._document import document


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.epilog = (
        "Newer price files go to $COSTGUARD_HOME/prices (~/.local/state/costguard/prices) and count there as long as "
        "they were checked later than the package's own. Programs that run already keep the prices they began with."
    )
    parser.add_argument(
        "source", nargs="?", type=Path, help="a price file or a folder of them; the installed genai-prices if left out"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.add_argument("--forget", action="store_true", help="remove updated files: the package's own count again")


def run(options: argparse.Namespace) -> int:
    """Take newer prices."""
    folder = environment().home / "prices"
    if options.forget:
        about = _about(folder, [], _update.forget(folder), written=True)
    else:
        today = datetime.now(UTC).date()
        found = list(
            _update.from_files(options.source, folder) if options.source else _update.from_package(folder, today)
        )
        if not options.dry_run:
            _update.write([book for book, _ in found], folder)
        changes = [line for _, lines in found for line in lines]
        about = _about(folder, changes, [book["provider"] for book, _ in found], written=not options.dry_run)
    if options.json:
        document("costguard.prices.update/1", about)
    else:
        _tell(about, forgotten=options.forget)
    return 0


def _about(folder: Path, changes: list[str], providers: list[str], *, written: bool) -> dict[str, Any]:
    return {"folder": str(folder), "written": written, "providers": providers, "changes": changes}


def _tell(about: dict[str, Any], *, forgotten: bool) -> None:
    """One line for each change, as a diff."""
    for line in about["changes"]:
        print(line)
    files = f"{len(about['providers'])} price files"
    if forgotten:
        print(f"removed {files} from {about['folder']}")
    elif not about["providers"]:
        print("nothing newer than the present prices")
    else:
        done = "written to" if about["written"] else "not written to"
        print(f"{len(about['changes'])} changes, {files} {done} {about['folder']}")
