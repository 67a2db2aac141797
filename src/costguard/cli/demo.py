"""``costguard demo``: the main job, on the real SDKs, offline; then a simulated month and its review."""

from __future__ import annotations

import argparse
import sys

from .._config import environment
from ..demo import demo
from ._demo_month import month
from ._terminal import terminal


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--no-review", action="store_true", help="leave the simulated month and its review out")


def run(options: argparse.Namespace) -> int:
    """Show the main job, and the review."""
    code = demo(sys.stdout)
    if code == 0 and not options.no_review:
        width, color = terminal()
        month(sys.stdout, environment().home / "demo", width, color)
    return code
