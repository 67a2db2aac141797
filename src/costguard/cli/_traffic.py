"""What the commands over recorded calls have in common: which calls, of when, and how the answer is shown."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .._config import environment, settings, state
from .._setup import Arguments, Setup, resolve
from ..errors import ConfigError
from ..ports import Journal
from ..review import Report, Section, Span, render, review, span
from ..review._ladders import configured
from ._progress import progress
from .report import opened

TAGS: Final = ("feature", "team", "environment", "user")
FORMATS: Final = ("table", "json", "csv", "md", "html")


def add_when(parser: argparse.ArgumentParser) -> None:
    """The options that say of when."""
    when = parser.add_argument_group("when")
    when.add_argument("--month", metavar="YYYY-MM", help="a calendar month")
    when.add_argument("--since", metavar="DAY", help="the first day, such as 2026-10-01")
    when.add_argument("--until", metavar="DAY", help="the last day, included")
    when.add_argument("--timezone", default="UTC", metavar="ZONE", help="where days begin, such as Europe/Berlin")


def add_which(parser: argparse.ArgumentParser) -> None:
    """The options that say whose calls."""
    which = parser.add_argument_group("which calls")
    for tag in TAGS:
        which.add_argument(f"--{tag}", metavar="NAME", help=f"only calls of this {tag}")
    which.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="only calls with this tag")


def add_how(parser: argparse.ArgumentParser) -> None:
    """The options that say where calls are read and how the answer is shown."""
    how = parser.add_argument_group("how")
    how.add_argument("-o", "--output", default="table", choices=FORMATS, help="%(choices)s (%(default)s)")
    how.add_argument("--json", dest="output", action="store_const", const="json", help="the same as -o json")
    how.add_argument("--out", metavar="FILE", help="where it is written, instead of standard output")
    how.add_argument("--journal", metavar="URL", help="where the calls are, instead of what is configured")
    how.add_argument("--config", metavar="FILE", help="the configuration file")


def scope(options: argparse.Namespace) -> dict[str, str]:
    """The tags that calls must have."""
    found: dict[str, str] = {tag: getattr(options, tag) for tag in TAGS if getattr(options, tag) is not None}
    for pair in options.tag:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--tag {pair!r}: write it like --tag customer=acme")
        found[name] = value
    return found


def setup_of(options: argparse.Namespace) -> Setup:
    """What is configured; the prices of the configuration are in force from here on."""
    env = environment()
    return resolve(Arguments(), env, settings(env, options.config))


def span_of(options: argparse.Namespace) -> Span:
    """Of when."""
    return span(time.time(), month=options.month, since=options.since, until=options.until, timezone=options.timezone)


@contextmanager
def journal_of(options: argparse.Namespace, setup: Setup) -> Iterator[Journal]:
    """Where the calls are."""
    with opened(options.journal or setup.journal) as journal:
        yield journal


def reviewed(options: argparse.Namespace, sections: Sequence[str], settings: Mapping[str, Any] | None = None) -> Report:
    """A review with these sections alone."""
    setup = setup_of(options)
    with journal_of(options, setup) as journal, progress() as bar:
        return review(
            journal, span_of(options), compare=False, budgets=setup.budgets, scope=scope(options),
            catalog=state.catalog, sections=sections,
            options={"ladders": configured(state.catalog, setup.ladders), **(settings or {})},
            told=bar.told, reading=bar.reading,
        )  # fmt: skip


def with_section(journal: Journal, of: Span, tags: Mapping[str, str], section: Section) -> Report:
    """A report around one section, with the sums of the calls that it is about."""
    report = review(journal, of, compare=False, scope=tags, sections=())
    return Report(report.title, of, None, report.verdict, (section,), report.scope)


def show(report: Report, options: argparse.Namespace) -> None:
    """Write it where it is wanted."""
    text = render(report, options.output)
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")
        print(f"costguard: wrote {options.out}", file=sys.stderr)
    else:
        sys.stdout.write(text)
