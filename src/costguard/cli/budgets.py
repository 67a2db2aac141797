"""``costguard budgets``: how budgets stand in a shared ledger, and changing them while programs run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any, Final

from .. import budgets
from .._accounts import BudgetStatus, status_of
from .._config import state
from .._forecasts import ahead_of, books
from .._money import format_usd, parse_usd
from ..budgets import Change
from ..errors import ConfigError
from ..review._figures import NOTHING, bar, money
from ..review.outlook import Outlook
from . import _budgets_check
from ._document import document

_ACTIONS: Final = {
    "list": "how every budget in the ledger stands (what is done when no action is named)",
    "set": "set a limit in place of the one in the program",
    "top-up": "add to a limit for a while",
    "pause": "let nothing more be spent on a budget",
    "resume": "end a pause",
    "history": "who changed what, when and why",
    "check": "exit with 1 when a budget is used up, for CI and cron; with the burn rate and the day it runs out",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    _common(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for action, words in _ACTIONS.items():
        own = actions.add_parser(action, help=words, description=words.capitalize() + ".")
        _common(own)
        if action == "check":
            _budgets_check.configure(own)
        elif action != "list":
            several: dict[str, Any] = {"nargs": "?"} if action == "history" else {}
            own.add_argument("name", help="the budget's name, as `list` shows it", **several)
        if action == "set":
            own.add_argument("amount", metavar="LIMIT", help="US dollars, or `own` for the program's own again")
        if action == "top-up":
            own.add_argument("amount", help="US dollars")
            own.add_argument("--until", required=True, help="24h, 7d, or an instant such as 2026-12-01T09:00+01:00")
        if action not in ("list", "history", "check"):
            own.add_argument("--author", default=_account(), help="who does it; this account's name when left out")
            own.add_argument("--reason", default="", help="why, for `history`")
            own.add_argument("--new", action="store_true", help="the name may be one that has no calls yet")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    # Nobody is told of anything by looking at books, unless that is what is asked for.
    alerts = options.action == "check" and options.alert
    guard = state.configure(ledger=options.ledger, exporters=None if alerts else ())
    if guard.ledger.inline:
        raise ConfigError(
            "a ledger in memory is each process's own, so there is nothing to see or to change from here: name the"
            " shared one with --ledger or COSTGUARD_LEDGER"
        )
    match options.action or "list":
        case "list":
            return _list(options)
        case "history":
            return _history(options)
        case "check":
            return _budgets_check.check(options)
        case action:
            change = _changed(action, options)
            if options.json:
                document("costguard.budgets.change/1", _change(change))
            else:
                print(change)
            return 0


def _changed(action: str, options: argparse.Namespace) -> Change:
    told: dict[str, Any] = {"author": options.author, "reason": options.reason, "new": options.new}
    match action:
        case "set":
            return budgets.set_limit(options.name, None if options.amount == "own" else options.amount, **told)
        case "top-up":
            return budgets.top_up(options.name, options.amount, until=options.until, **told)
        case "pause":
            return budgets.pause(options.name, **told)
        case _:
            return budgets.resume(options.name, **told)


def _list(options: argparse.Namespace) -> int:
    guard = state.guard
    every = [(status_of(one), ahead_of(guard, one)) for one in books(guard)]
    every.sort(key=lambda one: one[0].name)
    if options.json:
        told = [{**_status(one), **_budgets_check.told_ahead(ahead)} for one, ahead in every]
        document("costguard.budgets/1", {"budgets": told})
    else:
        _table(every)
    return 0


def _history(options: argparse.Namespace) -> int:
    changes = budgets.history(options.name)
    if options.json:
        document("costguard.budgets.history/1", {"changes": [_change(one) for one in changes]})
    else:
        print("\n".join(map(str, changes)) or "nobody has changed a budget")
    return 0


def _table(every: list[tuple[BudgetStatus, Outlook]]) -> None:
    from ._budgets_table import show

    show(
        [
            (
                f"{one.name}{' (paused)' if one.paused else ''}",
                _usd(one.limit), _usd(one.spent), _usd(one.held), f"{bar(one.percent / 100, 5)} {one.percent:3.0f}%",
                NOTHING if ahead.burn is None else money(ahead.burn),
                _budgets_check.runs_out(ahead, "lasts") or NOTHING,
                "" if one.resets_at is None else f"{one.resets_at:%Y-%m-%d %H:%M}".removesuffix(" 00:00"),
            )
            for one, ahead in every
        ]
    )  # fmt: skip


def _status(one: BudgetStatus) -> Mapping[str, Any]:
    return {
        "name": one.name,
        "scope": dict(one.scope),
        "limit": f"{one.limit:f}",
        "spent": f"{one.spent:f}",
        "held": f"{one.held:f}",
        "remaining": f"{one.remaining:f}",
        "percent": round(one.percent, 2),
        "resets_at": None if one.resets_at is None else one.resets_at.isoformat(),
        "paused": one.paused,
    }


def _change(one: Change) -> Mapping[str, Any]:
    return {
        "id": one.id,
        "budget": one.budget,
        "kind": one.kind,
        "at": one.at.isoformat(),
        "amount": None if one.amount is None else f"{one.amount:f}",
        "until": None if one.until is None else one.until.isoformat(),
        "author": one.author,
        "reason": one.reason,
    }


def _common(parser: argparse.ArgumentParser) -> None:
    # An option may stand before the action or behind it: one that is left out must not undo the other.
    top = parser.prog.endswith(" budgets")
    absent: dict[str, Any] = {} if top else {"default": argparse.SUPPRESS}
    parser.add_argument("--ledger", metavar="URL", help="the shared ledger; COSTGUARD_LEDGER when left out", **absent)
    parser.add_argument("--json", action="store_true", help="print one JSON document", **absent)


def _account() -> str:
    try:
        from pwd import getpwuid

        return getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return ""


def _usd(amount: object) -> str:
    return format_usd(parse_usd(f"{amount:f}"))
