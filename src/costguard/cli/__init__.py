"""The command line. A command is one file here and one line in `COMMANDS`.

A command's module has ``configure(parser)``, which adds its arguments, and ``run(options)``, which carries it out and
returns the exit code. Only the module of the command that was asked for is imported.

Exit codes: 0 all is well; 1 a finding, for scripts and CI; 2 a wrong argument or setting, or an extra that is not
installed; 3 the ledger, the journal or the receiver of an alert cannot be reached; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final, NamedTuple, Protocol, cast

from ..errors import CostguardError, JournalUnavailableError, LedgerUnavailableError


class Module(Protocol):
    """What the module of a command has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Carry the command out and return the exit code."""
        ...


class Command(NamedTuple):
    """Where a command is, and the line that the list of commands has about it."""

    module: str
    help: str


COMMANDS: Final[Mapping[str, Command]] = {
    "report": Command("costguard.cli.report", "what was spent on what, against which limits, and what to do next"),
    "what-if": Command("costguard.cli.what_if", "what recorded calls would have cost on other models and tiers"),
    "simulate": Command(
        "costguard.cli.simulate", "what other limits, ladders or a cache would have done to recorded calls"
    ),
    "reconcile": Command("costguard.cli.reconcile", "compare a provider's own cost or usage export with the journal"),
    "demo": Command("costguard.cli.demo", "meter, limit and refuse calls of the real SDKs, offline and without a key"),
    "budgets": Command("costguard.cli.budgets", "how budgets stand, and changing them while programs run"),
    "prices": Command("costguard.cli.prices", "what a model costs, why a call did cost what it did, and newer prices"),
    "doctor": Command("costguard.cli.doctor", "say what would be metered here, by what settings, and what to mend"),
    "serve": Command("costguard.cli.serve", "one ledger for every language: the HTTP API and the dashboard"),
    "tokens": Command("costguard.cli.tokens", "who may use costguard serve"),
    "run": Command("costguard.cli.run", "run a program metered and limited, without editing it"),
}
"""Every command, in the order in which they are listed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    module, options = _parsed(words)
    try:
        code = module.run(options)
        sys.stdout.flush()
    except (LedgerUnavailableError, JournalUnavailableError) as error:
        return _failed(3, error)
    except CostguardError as error:
        return _failed(2, error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who read our output has gone away, such as `head`: nobody is left to be told, and the interpreter must not
        # try to flush either when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parsed(words: list[str]) -> tuple[Module, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="costguard", description="Limits on what language models cost.")
    parser.add_argument("--version", action="store_true", help="say the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    wanted = next((word for word in words if not word.startswith("-")), None)
    module: Module | None = None
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.help, description=command.help.capitalize() + ".")
        if name == wanted:
            module = cast("Module", import_module(command.module))
            module.configure(own)
    options = parser.parse_args(words)
    if options.version:
        from importlib.metadata import version

        print(f"costguard {version('costguard-ai')}")
        parser.exit()
    if module is None:
        parser.error("which command? See costguard --help")
    return module, options


def _failed(code: int, error: CostguardError) -> int:
    print(f"costguard: {error}", file=sys.stderr)
    return code
