"""``costguard demo``: the main job, on the real SDKs, offline."""

from __future__ import annotations

import argparse
import sys

from ..demo import demo


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""


def run(options: argparse.Namespace) -> int:  # noqa: ARG001 - it takes none
    """Show the main job."""
    return demo(sys.stdout)
