"""``costguard budgets check``: for CI and cron, exit code 1 when a budget is used up or about to be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .._accounts import status_of
from .._config import state
from .._money import decimal_usd
from .._shield import log
from .._types import Balance
from ..errors import ConfigError, JournalUnavailableError
from ..review._figures import bar, money, share
from ..review.pace import Pace, history_of, pace
from ._document import document
from ._terminal import terminal


@dataclass(frozen=True, slots=True)
class Checked:
    """A budget's window, how quickly it is used up, and what is wrong with it, if anything."""

    balance: Balance
    pace: Pace
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
        "--runs-out", action="store_true", help="a budget that runs out before it resets is a finding, too"
    )


def check(options: argparse.Namespace) -> int:
    """Look at every budget; the exit code is 1 when one of them is over, or will be.

    Raises:
        ConfigError: a name is not known.
    """
    guard = state.guard
    windows = {(one.leg.budget, one.leg.window): one for one in (*guard.windows(), *guard.balances())}
    if missing := set(options.names) - {name for name, _ in windows}:
        raise ConfigError(f"there is no budget {min(missing)!r}: costguard budgets lists them")
    chosen = [one for key, one in sorted(windows.items()) if not options.names or key[0] in options.names]
    checked = [_checked(one, options) for one in chosen]
    checked.sort(key=lambda one: (not one.finding, -one.used, one.balance.leg.budget))
    ok = not any(one.finding for one in checked)
    if options.json:
        document("costguard.budgets.check/1", {"ok": ok, "budgets": [_told(one) for one in checked]})
    else:
        _table(checked)
    return 0 if ok else 1


def _checked(balance: Balance, options: argparse.Namespace) -> Checked:
    leg, at = balance.leg, _pace(balance)
    finding = ""
    if balance.spent * 100 >= leg.limit * options.max:
        finding = f"{share(balance.spent / leg.limit) if leg.limit else '100%'} of its limit is spent"
    elif options.runs_out and at.runs_out is not None:
        finding = f"runs out on {_day(at.runs_out)}, before it resets"
    return Checked(balance, at, finding)


def _pace(balance: Balance) -> Pace:
    guard = state.guard
    now = guard.clock()
    if guard.journal is None:
        return pace(balance, now)
    try:
        return pace(balance, now, history_of(guard.journal, dict(balance.leg.scope), now))
    except JournalUnavailableError as error:
        log.warning("%s; the average of the window stands in for a forecast", error)
        return pace(balance, now)


def _told(one: Checked) -> dict[str, Any]:
    status, at = status_of(one.balance), one.pace
    return {
        "name": status.name,
        "scope": dict(status.scope),
        "limit": f"{status.limit:f}",
        "spent": f"{status.spent:f}",
        "percent": round(status.percent, 2),
        "burn_per_day": None if at.a_day is None else f"{decimal_usd(at.a_day):f}",
        "burn_basis": at.basis,
        "runs_out": None if at.runs_out is None else datetime.fromtimestamp(at.runs_out, UTC).isoformat(),
        "resets_at": None if status.resets_at is None else status.resets_at.isoformat(),
        "finding": one.finding,
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
        name = row[1]
        cells = [row[0].ljust(widths[0]), name[: widths[1]].ljust(widths[1])]
        cells += [cell.rjust(wide) for cell, wide in zip(row[2:], widths[2:], strict=True)]
        print("  ".join(cells).rstrip())
        for start in range(widths[1], len(name), widths[1]):
            print(" " * (widths[0] + 2) + name[start : start + widths[1]])


def _row(one: Checked) -> tuple[str, ...]:
    leg, at = one.balance.leg, one.pace
    until = "" if leg.ends is None else "not before it resets"
    out = until if at.runs_out is None else "spent" if one.balance.spent >= leg.limit else _day(at.runs_out)
    return (
        "!" if one.finding else "✓",
        leg.budget,
        money(leg.limit),
        money(one.balance.spent),
        f"{bar(one.used)} {share(one.used):>5}",
        "" if at.a_day is None else money(at.a_day),
        out if at.basis or at.runs_out is not None else "",
    )


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
