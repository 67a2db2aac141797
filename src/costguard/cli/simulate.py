"""``costguard simulate --policy new.toml``: recorded calls against other limits, ladders or cache settings."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Final

from .._catalog import Catalog
from .._config import state
from .._journal import Selection, total
from .._settings import Settings, load
from ..errors import ConfigError
from ..optimize import Ladder
from ..review._ladders import Rungs, written
from ..review._ladders import of as of_configuration
from ..review.backtest import Policy, backtest
from ..review.sections.replayed import section
from ._progress import progress
from ._traffic import add_how, add_when, add_which, journal_of, scope, setup_of, show, span_of, with_section

MOST: Final = 20
"""Windows that people are shown one by one."""
_LENGTH: Final = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="a costguard.toml with budgets and ladders to try; without, the budgets in force",
    )
    parser.add_argument(
        "--ladder", action="append", default=[], metavar="MODELS",
        help="models that stand in for one another at a limit: openai/gpt-4o,openai/gpt-4o-mini",
    )  # fmt: skip
    parser.add_argument("--cache-ttl", metavar="TIME", help="try an exact cache that keeps answers so long, such as 1h")
    add_when(parser)
    add_which(parser)
    add_how(parser)


def run(options: argparse.Namespace) -> int:
    """Replay the calls and say what would have been different."""
    setup = setup_of(options)
    file = load(Path(options.policy)) if options.policy else None
    ladders = written(options.ladder)
    _check(state.catalog, ladders)
    if file is not None:
        ladders += tuple([_known(state.catalog, ladder) for ladder in file.ladders])
    budgets = setup.budgets if file is None else file.budgets
    policy = Policy(budgets, ladders, _ttl(options.cache_ttl, file), _cached(options.cache_ttl, file))
    if policy == Policy():
        raise ConfigError("simulate what? Give --policy FILE with [[budgets]], --ladder or --cache-ttl")
    of, tags = span_of(options), scope(options)
    selection = Selection(of.since, of.until, tags)
    with journal_of(options, setup) as journal, progress() as bar:
        sums = total([group.sums for group in journal.sums(selection)])
        calls = bar.over(journal.calls(selection), sums.calls + sums.refused)
        found = backtest(calls, policy, state.catalog)
        most = 0 if options.output in ("json", "csv") else MOST
        show(with_section(journal, of, tags, section(found, of, most=most)), options)
    return 0


def _known(catalog: Catalog, ladder: Ladder) -> Rungs:
    found = of_configuration(catalog, ladder)
    if found is None:
        raise ConfigError(
            f"ladder {', '.join(ladder.models)}: say whose models these are with --ladder openai/...,openai/..."
        )
    return found


def _check(catalog: Catalog, ladders: tuple[Rungs, ...]) -> None:
    for name in sorted({name for ladder in ladders for name in ladder.models}):
        provider, sign, model = name.partition("/")
        match = catalog.match(provider, model, 0.0) if sign else None
        if match is None or match.estimated:
            raise ConfigError(f"--ladder: {name!r} is not in the price lists; write it like openai/gpt-4o-mini")


def _ttl(asked: str | None, file: Settings | None) -> float | None:
    """How long answers are kept: as asked for, else as the policy's cache says; None without a cache."""
    if asked is not None or file is None or file.cache is None:
        return None if asked is None else _seconds(asked)
    kept = file.cache.get("ttl", "1h")
    return _seconds(kept) if isinstance(kept, str) else float(kept)


def _cached(asked: str | None, file: Settings | None) -> frozenset[str]:
    """The features whose answers the policy's cache keeps; empty for all."""
    return frozenset(file.cache.get("features") or ()) if asked is None and file and file.cache else frozenset()


def _seconds(text: str) -> float:
    match = _LENGTH.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise ConfigError(f"--cache-ttl {text!r}: write it like 30m, 1h or 7d")
    return float(int(match[1]) * _SECONDS[match[2] or "s"])
