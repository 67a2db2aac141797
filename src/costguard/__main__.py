"""``python -m costguard``: what costguard does without a program to guard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m costguard", description="Limits on what language models cost.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="meter, limit and refuse calls of the real SDKs, offline and without a key")
    parser.parse_args(arguments)
    from .demo import demo

    return demo(sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
