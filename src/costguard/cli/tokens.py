"""``costguard tokens``: who may use ``costguard serve``."""

from __future__ import annotations

import argparse

from ..server._tokens import SCOPES, Tokens
from .serve import home


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--home", metavar="FOLDER", help="where the server keeps its files")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a token and show it, this once")
    create.add_argument("name", help="whose it is")
    create.add_argument(
        "--scope", action="append", required=True, choices=SCOPES,
        help="; ".join(f"{scope}: {words}" for scope, words in SCOPES.items()),
    )  # fmt: skip
    revoke = actions.add_parser("revoke", help="take a token away")
    revoke.add_argument("name", help="whose it is")
    actions.add_parser("list", help="whose tokens there are, and for what")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    tokens = Tokens(home(options.home) / "tokens.json")
    match options.action:
        case "create":
            print(tokens.create(options.name, options.scope))
        case "revoke":
            tokens.revoke(options.name)
        case _:
            print("\n".join(tokens.names()) or "there are no tokens")
    return 0
