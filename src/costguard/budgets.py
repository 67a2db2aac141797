"""Changing budgets while programs run: another limit, a top-up for a while, a pause.

A budget's limit stands in the program. What is changed here is kept by the ledger, in force for every process that
shares it from its next call on, and written down with who did it and why::

    costguard.budgets.top_up("feature=search, per day", "$50", until="6h", author="ada", reason="the launch")

A budget is named as `costguard.status` names it. One ``per`` a tag is changed for each of its values under its own
name, or for one value under that one's. Alerts that were told already are not told again when a limit is raised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, Literal

from ._accounts import BudgetStatus, status_of
from ._budget import Limit
from ._config import state
from ._ids import ids
from ._money import decimal_usd, format_usd, parse_usd
from ._types import Amendment
from .errors import ConfigError

__all__ = ["Change", "every", "history", "pause", "resume", "set_limit", "top_up"]

Until = datetime | timedelta | str

_LENGTH = re.compile(r"([0-9]{1,9})\s*(m|min|minutes?|h|hours?|d|days?|w|weeks?)")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Change:
    """A change to a budget, as the ledger keeps it.

    Attributes:
        budget: which one.
        kind: ``limit``, ``top-up``, ``pause`` or ``resume``.
        at: when it was made (aware, UTC).
        amount: US dollars: the new limit, None for the program's own again, or what is added.
        until: when a top-up ends.
        author, reason: who made it and why.
        id: its own.
    """

    budget: str
    kind: Literal["limit", "top-up", "pause", "resume"]
    at: datetime
    amount: Decimal | None
    until: datetime | None
    author: str
    reason: str
    id: str

    def __str__(self) -> str:
        what = {
            "limit": f"limit set to {self._usd}" if self.amount is not None else "limit set back to the program's own",
            "top-up": f"{self._usd} added until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "",
            "pause": "paused",
            "resume": "resumed",
        }[self.kind]
        by = f" by {self.author}" if self.author else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.at:%Y-%m-%d %H:%M} UTC {self.budget}: {what}{by}{why}"

    @property
    def _usd(self) -> str:
        return format_usd(parse_usd(self.amount or 0))


def set_limit(name: str, limit: Limit | None, *, author: str = "", reason: str = "", new: bool = False) -> Change:
    """Set a limit in place of the one in the program, for this window and those after it.

    Args:
        name: the budget's.
        limit: US dollars, like ``"$500"``; None for the program's own again.
        author, reason: who does it and why, for `history`.
        new: whether the name may be one that nobody has used yet.

    Raises:
        ConfigError: the limit is malformed, or the name is unknown.
        LedgerUnavailableError: the ledger cannot be reached.
    """
    amount = None if limit is None else _nano(limit)
    return _amend(name, "limit", amount, None, author, reason, new=new)


def top_up(name: str, amount: Limit, *, until: Until, author: str = "", reason: str = "", new: bool = False) -> Change:
    """Add to a limit for a while. Several top-ups add up.

    Args:
        name: the budget's.
        amount: US dollars, like ``"$50"``.
        until: when it ends: an aware `datetime`, a `timedelta` from now, ``"24h"``, or ``"2026-12-01T09:00+01:00"``.
        author, reason, new: as for `set_limit`.

    Raises:
        ConfigError: amount or end is malformed, or the name is unknown.
        LedgerUnavailableError: the ledger cannot be reached.
    """
    ends = _instant(until, state.guard.clock())
    return _amend(name, "top-up", _nano(amount), ends, author, reason, new=new)


def pause(name: str, *, author: str = "", reason: str = "", new: bool = False) -> Change:
    """Let nothing more be spent on a budget: calls are refused, with ``paused`` as the reason, until `resume`.

    Calls in flight end as ever, and streams that have to reserve more are cut off. Budgets that only warn or count
    (``soft``) do not refuse a call because of a pause either.

    Raises:
        ConfigError: the name is unknown.
        LedgerUnavailableError: the ledger cannot be reached.
    """
    return _amend(name, "pause", None, None, author, reason, new=new)


def resume(name: str, *, author: str = "", reason: str = "", new: bool = False) -> Change:
    """End a pause.

    Raises:
        ConfigError: the name is unknown.
        LedgerUnavailableError: the ledger cannot be reached.
    """
    return _amend(name, "resume", None, None, author, reason, new=new)


def history(name: str | None = None) -> tuple[Change, ...]:
    """Every change of a budget, or of all, the oldest first.

    Raises:
        LedgerUnavailableError: the ledger cannot be reached.
    """
    return tuple(_change(one) for one in state.guard.ledger.amendments(name))


def every() -> tuple[BudgetStatus, ...]:
    """The books of every present window that the ledger holds, whichever program wrote them; single runs left out.

    Raises:
        LedgerUnavailableError: the ledger cannot be reached.
    """
    return tuple(status_of(one) for one in state.guard.windows())


def _amend(
    name: str,
    kind: Literal["limit", "top-up", "pause", "resume"],
    amount: int | None,
    until: float | None,
    author: str,
    reason: str,
    *,
    new: bool,
) -> Change:
    for knob, text in (("author", author), ("reason", reason)):
        if not isinstance(text, str) or len(text) > 500 or not (text.isprintable() or not text):
            raise ConfigError(f"{knob}={text!r}: give up to 500 printable characters")
    if not new:
        _check_known(name)
    guard = state.guard
    amendment = Amendment(ids(), name, kind, guard.clock(), amount, until, author, reason)
    guard.amend(amendment)
    return _change(amendment)


def _check_known(name: str) -> None:
    """A change under a misspelt name would be in force of nothing, and nobody would notice."""
    guard = state.guard
    own = {budget.name: budget.per for budget in guard.admission.known()}
    if name in own or any(per and str(name).startswith(f"{one}, {per}=") for one, per in own.items()):
        return
    names = set(own)
    for balance in guard.windows():
        names |= {balance.leg.budget, balance.leg.group}
    names |= {one.budget for one in guard.ledger.amendments()}
    names.discard("")
    if name not in names:
        near = get_close_matches(str(name), names, _SHOWN) or sorted(names)[:_SHOWN]
        known = ", ".join(map(repr, near)) or "none yet"
        raise ConfigError(
            f"no budget {name!r} in the ledger or in this program; there is {known}. Give new=True (--new) to change"
            f" one before its first call"
        )


def _nano(amount: Limit) -> int:
    try:
        return parse_usd(amount)
    except ValueError as error:
        raise ConfigError(f"amount: {error}") from None


def _instant(until: Until, now: float) -> float:
    ends = _read(until, now)
    if ends <= now:
        raise ConfigError(f"until={until!r}: that is over already")
    return ends


def _read(until: Until, now: float) -> float:
    if isinstance(until, timedelta):
        return now + until.total_seconds()
    if isinstance(until, str) and (match := _LENGTH.fullmatch(until.strip().lower())):
        return now + int(match[1]) * _SECONDS[match[2][0]]
    try:
        instant = datetime.fromisoformat(until) if isinstance(until, str) else until
    except ValueError:
        instant = None
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise ConfigError(
            f"until={until!r}: give a length such as '24h', or an instant with its timezone such as"
            f" '2026-12-01T09:00+01:00'"
        )
    return instant.timestamp()


def _change(of: Amendment) -> Change:
    return Change(
        budget=of.budget,
        kind=of.kind,
        at=datetime.fromtimestamp(of.at, UTC),
        amount=None if of.amount is None else decimal_usd(of.amount),
        until=None if of.until is None else datetime.fromtimestamp(of.until, UTC),
        author=of.author,
        reason=of.reason,
        id=of.id,
    )
