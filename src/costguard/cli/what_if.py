"""``costguard what-if``: what the calls of a month would have cost on other models and tiers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from ..errors import ConfigError
from ._traffic import add_how, add_when, add_which, reviewed, show


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_when(parser)
    add_which(parser)
    parser.add_argument(
        "--to", action="append", metavar="PROVIDER/MODEL",
        help="a model to try, several with more --to; without, the cheapest of the same provider that can do the same",
    )  # fmt: skip
    parser.add_argument(
        "--without", action="append", default=[], metavar="[FEATURE=]CAPS",
        help="what calls certainly do not use, such as vision or search=tools,schema",
    )  # fmt: skip
    add_how(parser)


def run(options: argparse.Namespace) -> int:
    """Price the calls anew."""
    settings = {"deep": True, "every": True, "candidates": options.to, "without": without(options.without)}
    show(reviewed(options, ["moves"], settings), options)
    return 0


def without(words: Iterable[str]) -> dict[str, list[str]]:
    """Read ``search=vision,tools``, and ``vision`` for every feature.

    Raises:
        ConfigError: nothing is named.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        feature, sign, caps = word.rpartition("=")
        named = [cap.strip() for cap in caps.split(",") if cap.strip()]
        if not named:
            raise ConfigError(f"--without {word!r}: write it like --without search=vision,tools")
        found.setdefault(feature if sign else "*", []).extend(named)
    return found
