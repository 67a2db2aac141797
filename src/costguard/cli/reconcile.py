"""``costguard reconcile FILE``: our books beside a provider's own export of usage or cost."""

from __future__ import annotations

import argparse
from decimal import Decimal, DecimalException
from pathlib import Path

from .._config import state
from .._journal import Selection
from ..errors import ConfigError
from ..review import Report, Span, Verdict
from ..review._exports import read_export
from ..review.reconcile import reconcile, span
from ..review.sections.reconciled import section
from ._traffic import add_how, journal_of, setup_of, show


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = "The exit code is 1 when a day of a model is further apart than --tolerance."
    parser.add_argument("file", metavar="FILE", help="OpenAI's or Anthropic's cost or usage export, CSV or JSON")
    parser.add_argument(
        "--tolerance", default="5", metavar="PERCENT", help="how far apart books may be (%(default)s percent)"
    )
    add_how(parser)


def run(options: argparse.Namespace) -> int:
    """Compare the books; the result is 1 when they drift apart."""
    tolerance = _percent(options.tolerance)
    try:
        text = Path(options.file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{options.file} cannot be read: {error}") from None
    lines = read_export(text, options.file)
    since, until = span(lines)
    setup = setup_of(options)
    with journal_of(options, setup) as journal:
        found = reconcile(lines, journal.calls(Selection(since, until)), state.catalog)
    label = f"{found.provider}, {found.first} to {found.last}"
    of = Span("range", since, until, until, "UTC", label)
    verdict = Verdict(found.total.ours or 0, None, None, found.calls, 0)
    show(Report("", of, None, verdict, (section(found, tolerance),)), options)
    return 1 if found.beyond(tolerance) else 0


def _percent(text: str) -> Decimal:
    try:
        percent = Decimal(text.rstrip("%"))
    except DecimalException:
        percent = Decimal("NaN")
    if not percent.is_finite() or percent < 0:
        raise ConfigError(f"--tolerance {text!r}: give percent, 0 or more")
    return percent
