"""``costguard prices reprice --model MODEL --since DAY``."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import Any

from .._config import environment, settings, state
from .._hosts import provider_name
from .._journal import Selection
from ..ledgers import open_ledger
from ..ports import Ledger
from ..prices._reprice import Repriced, Repricing
from ._document import document, usd
from ._prices_common import moment
from ._prices_explain import opened_journal

SHOWN = 20
"""Calls that the table lists; the document has all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("--model", required=True, help="the model: as asked for, as served, or as it is listed")
    parser.add_argument("--since", required=True, metavar="DAY", help="the first day, such as 2026-10-01, UTC")
    parser.add_argument("--until", metavar="DAY", help="the day after the last one")
    parser.add_argument("--provider", help="only calls that this provider billed")
    parser.add_argument("--journal", metavar="URL", help="where they are recorded; the configured one when left out")
    parser.add_argument("--ledger", metavar="URL", help="whose windows are corrected; the configured one when left out")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")


def run(options: argparse.Namespace) -> int:
    """Price the calls again."""
    selection = Selection(
        since=_start(options.since),
        until=_start(options.until) if options.until else math.inf,
        provider=provider_name(options.provider) if options.provider else None,
    )
    ledger = _ledger(options.ledger)
    try:
        with opened_journal(options.journal) as journal:
            repricing = Repricing(journal, state.prices(), options.model, selection)
            changes = repricing.changes()
            if not options.dry_run:
                changes = repricing.apply(changes, ledger, time.time())
    finally:
        if ledger is not None:
            ledger.close()
    about = _about(options, changes, repricing)
    if options.json:
        document("costguard.prices.reprice/1", about)
    else:
        from ._prices_tables import repriced

        repriced(about, SHOWN)
    return 0


def _start(day: str) -> float:
    return moment(f"{day}T00:00" if len(day) == 10 else day)


def _ledger(url: str | None) -> Ledger | None:
    """The ledger to correct; none where money is counted in the memory of processes that are gone."""
    env = environment()
    named = url or env.ledger or settings(env).ledger or "memory://"
    return None if named.startswith("memory:") else open_ledger(named)


def _about(options: argparse.Namespace, changes: Sequence[Repriced], repricing: Repricing) -> dict[str, Any]:
    return {
        "model": options.model,
        "since": options.since,
        "until": options.until,
        "written": not options.dry_run,
        "changed": len(changes),
        "same": repricing.same,
        "left_out": repricing.left_out,
        "ledger_corrected": sum(change.booked for change in changes),
        "before_usd": usd(sum(change.event.cost.nano for change in changes)),
        "after_usd": usd(sum(change.cost.nano for change in changes)),
        "calls": [
            {
                "id": change.event.id,
                "time": change.event.time,
                "before_usd": usd(change.event.cost.nano),
                "before_entry": change.event.cost.entry,
                "after_usd": usd(change.cost.nano),
                "after_entry": change.cost.entry,
                "ledger_corrected": change.booked,
            }
            for change in changes
        ],
    }
