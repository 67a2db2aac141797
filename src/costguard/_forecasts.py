"""Alerts that a budget is on course to be exhausted: decided from its outlook, told, and remembered."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ._config import environment, state
from ._guard import Guard
from ._shield import log
from ._types import Balance, ForecastAlert
from .errors import ConfigError, JournalUnavailableError
from .exporters._sentences import sentence
from .ledgers import anchored

if TYPE_CHECKING:
    from .review.outlook import Outlook

MOVED: Final = timedelta(days=2)
"""A day that moves by more than this is told once more."""
SOON: Final = timedelta(days=31)
"""How far ahead a budget that never resets has to run out to be told of."""
YOUNG: Final = 0.1
"""The part of a window below which its average alone is no reason to wake anybody."""
DELIVERY: Final = 15.0
"""Seconds that receivers have to take an alert."""
_PATIENCE: Final = 60.0
_KEPT: Final = 400 * 86_400


def forecast_alerts(
    *, budgets: Collection[str] = (), memory: str | os.PathLike[str] | None = None
) -> tuple[ForecastAlert, ...]:
    """Tell ``on_alert`` and the exporters which budgets are on course to be exhausted before they reset.

    For a program's own scheduler; ``costguard budgets check --alert`` does the same from cron, and ``costguard serve``
    once an hour. What was told is remembered in a file, so each budget is told of once in a window, and once more when
    the day moves by more than two days.

    Args:
        budgets: only these; all of the ledger when left out.
        memory: the file; one in ``$COSTGUARD_HOME`` when left out.

    Returns:
        what was told now.

    Raises:
        ConfigError: the file cannot be used.
        LedgerUnavailableError: the books cannot be read.
    """
    guard = state.guard
    told: list[ForecastAlert] = []
    due = [(one, alert) for one in books(guard) if (alert := _alert(guard, one, budgets)) is not None]
    with _remembered(environment().home / "forecasts.db" if memory is None else Path(memory)) as file:
        for balance, alert in due:
            if _is_news(file, balance, alert):
                guard.settlements.alert(alert, sentence(alert))
                told.append(alert)
        guard.flush(DELIVERY)
        now = guard.clock()
        if told and not guard.exports.delivered():
            said = "; ".join(text for text in guard.exports.troubles().values() if text) or "no answer in time"
            log.warning("an alert was not delivered (%s): the next check tells it again, under the same id", said)
            return tuple(told)
        for alert in told:
            _remember(file, alert, now)
        file.execute("DELETE FROM told WHERE at < ?", (now - _KEPT,))
    return tuple(told)


def books(guard: Guard) -> list[Balance]:
    """Every present window of the ledger, and of the budgets that no call has touched yet."""
    windows = {(one.leg.budget, one.leg.window): one for one in (*guard.windows(), *guard.balances())}
    return [one for _, one in sorted(windows.items())]


def ahead_of(guard: Guard, balance: Balance) -> Outlook:
    """How a window will go on, in its budget's time zone where this program has the budget, else in UTC."""
    # Late, because few programs ask, and a review brings much with it.
    from .review.outlook import outlook_of

    zone, now = _zone(guard, balance), guard.clock()
    try:
        return outlook_of(balance, now, guard.journal, zone)
    except JournalUnavailableError as error:
        log.warning("%s; the average of the window stands in for a forecast", error)
        return outlook_of(balance, now, None, zone)


def _zone(guard: Guard, balance: Balance) -> str:
    """That of the budget, or of the one that it is a value of."""
    names = (balance.leg.budget, balance.leg.group)
    return next((one.period.timezone for one in guard.admission.known() if one.name in names), "UTC")


def _alert(guard: Guard, balance: Balance, wanted: Collection[str]) -> ForecastAlert | None:
    """What there is to tell of a window; None when it lasts, is exhausted already, or too little is known."""
    leg = balance.leg
    if (wanted and leg.budget not in wanted) or balance.paused:
        return None
    ahead = ahead_of(guard, balance)
    if ahead.runs_out is None or ahead.exhausted:
        return None
    from .review._daily import day_of

    now, zone = guard.clock(), _zone(guard, balance)
    if leg.ends is None:
        if ahead.runs_out > day_of(now, zone) + SOON:
            return None
    elif ahead.basis != "forecast" and now - leg.starts < YOUNG * (leg.ends - leg.starts):
        return None
    day = ahead.runs_out
    resets = None if leg.ends is None else day_of(leg.ends, zone)
    percent = round(100 * balance.spent / leg.limit, 2)
    return ForecastAlert(f"{leg.budget}/{leg.window}/runs-out-{day}", now, percent, balance, day, resets, ahead.burn)


@contextmanager
def _remembered(path: Path) -> Iterator[sqlite3.Connection]:
    """The file of what was told, for one check at a time: what is noted in it stays only if the block ends well.

    Raises:
        ConfigError: it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
        with closing(file):
            file.execute(
                "CREATE TABLE IF NOT EXISTS told (ledger TEXT, budget TEXT, window TEXT, day TEXT, at REAL,"
                " PRIMARY KEY (ledger, budget, window))"
            )
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"{path}, which remembers what was told, cannot be used: {error}; COSTGUARD_HOME names another folder"
        ) from error


def _is_news(file: sqlite3.Connection, balance: Balance, alert: ForecastAlert) -> bool:
    leg = balance.leg
    query = "SELECT day FROM told WHERE ledger = ? AND budget = ? AND window = ?"
    before = file.execute(query, (_ledger(), leg.budget, leg.window)).fetchone()
    return before is None or abs(date.fromisoformat(before[0]) - alert.runs_out) > MOVED


def _remember(file: sqlite3.Connection, alert: ForecastAlert, now: float) -> None:
    leg = alert.balance.leg
    row = (_ledger(), leg.budget, leg.window, alert.runs_out.isoformat(), now)
    file.execute("REPLACE INTO told VALUES (?, ?, ?, ?, ?)", row)


def _ledger() -> str:
    """Which ledger it is about, without the password that a URL may have."""
    url = state.setup.ledger if state.setup is not None else ""
    told = anchored(url) if isinstance(url, str) else type(url).__name__
    return hashlib.sha256(told.encode()).hexdigest()[:16]
