"""``costguard budgets check``: for CI and cron, exit code 1 when a budget is used up or about to be."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from .._accounts import status_of
from .._config import state
from .._forecasts import ahead_of, books, forecast_alerts
from .._money import decimal_usd
from .._types import Balance, ForecastAlert
from ..errors import ConfigError
from ..exporters._record import as_json
from ..review._figures import bar, money, share
from ..review.outlook import Outlook
from ._document import document
from ._terminal import terminal


@dataclass(frozen=True, slots=True)
class Checked:
    """A budget's window, how quickly it is used up, and what is wrong with it, if anything."""

    balance: Balance
    ahead: Outlook
    finding: str

    @property
    def used(self) -> float:
        """The part of the limit that is spent."""
        return self.balance.spent / self.balance.leg.limit if self.balance.leg.limit else 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what only this action takes."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these budgets; all of them when left out")
    parser.add_argument("--max", type=float, default=100.0, metavar="PERCENT", help="of a limit, at most (%(default)g)")
    parser.add_argument(
        "--alert", action="store_true",
        help="tell the configured exporters of budgets that will run out before they reset, each once",
    )  # fmt: skip
    parser.add_argument(
        "--runs-out", action="store_true", help="a budget that runs out before it resets is a finding, too"
    )


def check(options: argparse.Namespace) -> int:
    """Look at every budget; the exit code is 1 when one of them is over, or will be, and 3 when an alert of that could
    not be delivered.

    Raises:
        ConfigError: a name is not known, or an alert would go to nobody.
    """
    guard = state.guard
    windows = books(guard)
    if missing := set(options.names) - {one.leg.budget for one in windows}:
        raise ConfigError(f"there is no budget {min(missing)!r}: costguard budgets lists them")
    chosen = [one for one in windows if not options.names or one.leg.budget in options.names]
    checked = [_checked(one, options) for one in chosen]
    checked.sort(key=lambda one: (not one.finding, -one.used, one.balance.leg.budget))
    ok = not any(one.finding for one in checked)
    told = _alerted(options) if options.alert else ()
    if options.json:
        alerts: dict[str, Any] = {"alerts": [as_json(one) for one in told]} if options.alert else {}
        document("costguard.budgets.check/1", {"ok": ok, "budgets": [_told(one) for one in checked], **alerts})
    else:
        _table(checked)
    return 3 if told and not guard.exports.delivered() else 0 if ok else 1


def _alerted(options: argparse.Namespace) -> Sequence[ForecastAlert]:
    """Tell of budgets that will run out. Standard output is for what was asked for, so exporters that write there
    write to standard error."""
    if not state.guard.exporters:
        raise ConfigError(
            '--alert tells exporters, and none is configured: set exporters = ["webhook:https://..."] in'
            " costguard.toml, or COSTGUARD_EXPORTERS"
        )
    with redirect_stdout(sys.stderr):
        return forecast_alerts(budgets=options.names)


def _checked(balance: Balance, options: argparse.Namespace) -> Checked:
    leg, ahead = balance.leg, ahead_of(state.guard, balance)
    finding = ""
    if balance.spent * 100 >= leg.limit * options.max:
        finding = f"{share(balance.spent / leg.limit) if leg.limit else '100%'} of its limit is spent"
    elif options.runs_out and ahead.runs_out is not None:
        finding = f"runs out on {ahead.runs_out}" + (", before it resets" if leg.ends is not None else "")
    return Checked(balance, ahead, finding)


def _told(one: Checked) -> dict[str, Any]:
    status, ahead = status_of(one.balance), one.ahead
    return {
        "name": status.name,
        "scope": dict(status.scope),
        "limit": f"{status.limit:f}",
        "spent": f"{status.spent:f}",
        "percent": round(status.percent, 2),
        **told_ahead(ahead),
        "resets_at": None if status.resets_at is None else status.resets_at.isoformat(),
        "finding": one.finding,
    }


def told_ahead(ahead: Outlook) -> dict[str, Any]:
    """What a document says of it; `runs_out` is a day."""
    return {
        "burn_per_day": None if ahead.burn is None else f"{decimal_usd(ahead.burn):f}",
        "burn_basis": ahead.basis,
        "runs_out": None if ahead.runs_out is None else ahead.runs_out.isoformat(),
    }


def _table(checked: Sequence[Checked]) -> None:
    width, _ = terminal()
    if not checked:
        print("no budget in this ledger yet")
        return
    rows = [("", "budget", "limit", "spent", "used", "a day", "runs out"), *[_row(one) for one in checked]]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    widths[1] = max(len("budget"), min(widths[1], width - sum(widths) + widths[1] - 2 * (len(widths) - 1)))
    for row in rows:
        # A name goes on below where it is long; no figure is ever cut.
        name, *below = wrap(row[1], widths[1]) or [""]
        cells = [row[0].ljust(widths[0]), name.ljust(widths[1])]
        cells += [cell.rjust(wide) for cell, wide in zip(row[2:], widths[2:], strict=True)]
        print("  ".join(cells).rstrip())
        for part in below:
            print(" " * (widths[0] + 2) + part)


def _row(one: Checked) -> tuple[str, ...]:
    leg = one.balance.leg
    return (
        "!" if one.finding else "✓",
        leg.budget,
        money(leg.limit),
        money(one.balance.spent),
        f"{bar(one.used)} {share(one.used):>5}",
        "" if one.ahead.burn is None else money(one.ahead.burn),
        runs_out(one.ahead, "lasts"),
    )


def runs_out(ahead: Outlook, lasts: str) -> str:
    """When it runs out, in a word; `lasts` for one that will not, nothing where that is not known."""
    if ahead.exhausted and ahead.runs_out is not None:
        return "spent"
    if ahead.runs_out is not None:
        return ahead.runs_out.isoformat()
    return lasts if ahead.basis and ahead.ends is not None else ""
