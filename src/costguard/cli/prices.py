"""``costguard prices``: what a model costs, why a call did cost what it did, and newer prices."""

from __future__ import annotations

import argparse
from importlib import import_module

_ACTIONS = {
    "show": "the prices of a model: every rate, tier and day, and where they are from",
    "explain": "the arithmetic behind a cost, of a usage or of a recorded call",
    "update": "take newer prices, from the installed genai-prices or from files",
    "reprice": "price recorded calls again, and correct the journal and the ledger's windows",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, words in _ACTIONS.items():
        own = actions.add_parser(name, help=words, description=words.capitalize() + ".")
        own.add_argument("--json", action="store_true", help="print one JSON document")
        import_module(f"costguard.cli._prices_{name}").configure(own)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    code: int = import_module(f"costguard.cli._prices_{options.action}").run(options)
    return code
