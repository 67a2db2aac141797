"""``costguard report``: the review, out of a journal."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .._config import environment, settings, state
from .._journal import Selection
from .._setup import Arguments, resolve
from ..errors import ConfigError
from ..journals import open_journal
from ..journals.memory import MemoryJournal
from ..ports import Journal
from ..review import FORMATS, render, review, span
from ..review._ladders import configured
from ..review.focus import focus_csv
from ..review.sections.moves import MOST
from ._progress import progress
from ._terminal import terminal

FOCUS: Final = "focus"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    when = parser.add_argument_group("when")
    when.add_argument("--month", metavar="YYYY-MM", help="a calendar month")
    when.add_argument("--since", metavar="DAY", help="the first day, such as 2026-10-01")
    when.add_argument("--until", metavar="DAY", help="the last day, included")
    when.add_argument(
        "--period", default="monthly", help="monthly, weekly or daily: the last one that is worth a look (%(default)s)"
    )
    when.add_argument("--timezone", default="UTC", metavar="ZONE", help="where days begin, such as Europe/Berlin")
    when.add_argument("--compare", default="previous", choices=("previous", "none"), help="with the period before")
    what = parser.add_argument_group("what")
    what.add_argument(
        "--group-by", default="feature", metavar="NAMES",
        help="feature, team, environment, user, model, provider, day, tag:NAME..., several with commas",
    )  # fmt: skip
    for tag in ("feature", "team", "environment", "user"):
        what.add_argument(f"--{tag}", metavar="NAME", help=f"only calls of this {tag}")
    what.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="only calls with this tag")
    what.add_argument("--top", type=int, metavar="N", help="rows of a table; 0 for all (20, and all in json and csv)")
    what.add_argument("--section", action="append", metavar="NAME", help="only this section; may be repeated")
    what.add_argument(
        "--deep", action="store_true", help=f"look at each call for cheaper ways, also when they are more than {MOST:,}"
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "-o", "--output", default="table", metavar="FORMAT", help=f"{', '.join((*FORMATS, FOCUS))} (%(default)s)"
    )
    how.add_argument("--json", dest="output", action="store_const", const="json", help="the same as -o json")
    how.add_argument("--out", metavar="FILE", help="where it is written, instead of standard output")
    how.add_argument("--title", default="", help="whose review it is")
    how.add_argument("--journal", metavar="URL", help="where the calls are, instead of what is configured")
    how.add_argument("--config", metavar="FILE", help="the configuration file, with the budgets")
    how.add_argument("--no-color", action="store_true", help="plain text; NO_COLOR does the same")


def run(options: argparse.Namespace) -> int:
    """Make the report and write it."""
    env = environment()
    setup = resolve(Arguments(), env, settings(env, options.config))
    reviewed = span(
        time.time(), month=options.month, since=options.since, until=options.until, period=options.period,
        timezone=options.timezone,
    )  # fmt: skip
    people = options.output in ("table", "md", "html")
    with opened(options.journal or setup.journal) as journal, progress(people) as bar:
        if options.output == FOCUS:
            _write(
                focus_csv(journal.calls(Selection(reviewed.since, reviewed.until, _scope(options))), state.catalog),
                options,
            )
            return 0
        report = review(
            journal,
            reviewed,
            compare=options.compare != "none",
            budgets=setup.budgets,
            group_by=[name.strip() for name in options.group_by.split(",") if name.strip()],
            scope=_scope(options),
            top=options.top if options.top is not None else 20 if people else 0,
            title=options.title,
            catalog=state.catalog,
            options={"ladders": configured(state.catalog, setup.ladders), **({"deep": True} if options.deep else {})},
            told=bar.told,
            reading=bar.reading,
        )
    width, color = terminal()
    color = color and not options.no_color and not options.out
    text = render(report, options.output, width=width, color=color, sections=_sections(options))
    _write(text, options)
    return 0


def _write(text: str, options: argparse.Namespace) -> None:
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")
        print(f"costguard: wrote {options.out}", file=sys.stderr)
    else:
        sys.stdout.write(text)


@contextmanager
def opened(journal: str | Journal | None) -> Iterator[Journal]:
    """The journal to read, closed afterwards.

    Raises:
        ConfigError: none is configured, or one that ends with its process.
    """
    if journal is None:
        raise ConfigError(
            "which journal? Set COSTGUARD_JOURNAL or journal = in costguard.toml, as the program does that makes the"
            " calls, or give --journal sqlite:///path/to/calls.db; costguard demo shows a review of made-up calls"
        )
    found = open_journal(journal) if isinstance(journal, str) else journal
    if isinstance(found, MemoryJournal):
        raise ConfigError("a journal in memory ends with its program: keep calls in sqlite: or postgresql:")
    try:
        yield found
    finally:
        found.close()


def _scope(options: argparse.Namespace) -> dict[str, str]:
    scope = {tag: getattr(options, tag) for tag in ("feature", "team", "environment", "user")}
    for pair in options.tag:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--tag {pair!r}: write it like --tag customer=acme")
        scope[name] = value
    return {name: value for name, value in scope.items() if value is not None}


def _sections(options: argparse.Namespace) -> tuple[str, ...] | None:
    return tuple(options.section) if options.section else None
