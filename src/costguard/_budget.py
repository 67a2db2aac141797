"""Budgets: a limit, a period, a scope, and what happens at the limit. Pure arithmetic, no clock."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, TypeVar

from ._money import format_usd, parse_usd
from ._period import LIFETIME, RUN, Period
from ._types import Leg
from .errors import BudgetExceededError, ConfigError

Enforcement = Literal["hard", "expected", "soft"]
Limit = str | int | float | Decimal
OnLedgerDown = Literal["closed", "open", "local"]
OnExceeded = Literal["raise", "warn", "downgrade"] | Callable[[BudgetExceededError], object]

_Choice = TypeVar("_Choice", bound=str)

DEFAULT_ALERTS: Final = (80.0, 100.0)
EVERYTHING: Final = "everything"
"""The name of a budget without a scope begins with it."""

_LIMIT = re.compile(r"(?P<amount>.*?)(?:\s*/\s*|\s+per\s+|\s+an?\s+)(?P<period>.+)", re.DOTALL | re.IGNORECASE)
_PLAIN_VALUE = re.compile(r"[^\s,='\"]+")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_MAX_VALUE = 256


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what the calls of a scope may cost in each window of a period.

    Make one with `budget`, which parses and checks what people write.

    Attributes:
        name: unique in a ledger; two budgets with one name share their books.
        limit: in nano-dollars.
        period: how its windows follow each other.
        scope: the tags a call must carry to be counted, sorted; empty means every call.
        per: a tag with a budget of its own for each value, for example ``user``; or None.
        marks: alert thresholds in percent of the limit, ascending.
        enforcement: ``hard`` reserves the most a call can cost and refuses what does not fit; ``expected`` reserves
            what such calls are known to cost; ``soft`` only counts and alerts.
        on_exceeded: ``raise``, ``warn``, ``downgrade``, which tries cheaper models of a ladder first and raises when
            there is none, or a callable that gets the error and raises it or returns to let the call pass.
        downgrade_at: percent of the limit from which on calls are sent to the next cheaper model; or None.
        wait: seconds a caller waits when only other callers' holds are in its way.
        clamp: whether a call that fits only with a shorter answer is sent with a lower output cap.
        on_ledger_down: what happens to calls while a shared ledger is away: ``closed`` refuses them, ``open`` lets
            them through and books them later, ``local`` does so up to `local_allowance` in this process.
        local_allowance: in nano-dollars.
    """

    name: str
    limit: int
    period: Period = LIFETIME
    scope: tuple[tuple[str, str], ...] = ()
    per: str | None = None
    marks: tuple[float, ...] = DEFAULT_ALERTS
    enforcement: Enforcement = "hard"
    on_exceeded: OnExceeded = "raise"
    wait: float = 0.0
    clamp: bool = True
    on_ledger_down: OnLedgerDown = "closed"
    local_allowance: int = 0
    downgrade_at: float | None = None
    _thresholds: tuple[tuple[float, int], ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        # A mark is at least a nano-dollar, so that free calls reach none on a budget of nothing. The percentage is
        # taken as it prints: 0.1 is a tenth, and large limits are past what floats count exactly.
        marks = tuple((mark, max(1, math.ceil(self.limit * Fraction(repr(mark)) / 100))) for mark in self.marks)
        object.__setattr__(self, "_thresholds", marks)

    def __str__(self) -> str:
        return f"{self.name}: {format_usd(self.limit)} {self.period}"

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether a call with these tags is counted by this budget."""
        for tag, value in self.scope:  # a generator would take longer to make than this takes
            if tags.get(tag) != value:
                return False
        return self.per is None or self.per in tags

    def leg(self, tags: Mapping[str, str], at: float, run: str) -> Leg:
        """The window that a matching call touches at the UTC epoch second `at`, inside the run `run`."""
        window = self.period.window(at, run)
        name, scope, group = self.name, self.scope, ""
        if self.per is not None:
            group = self.name
            name = f"{name}, {self.per}={_shown(tags[self.per])}"
            scope = (*scope, (self.per, tags[self.per]))
        return Leg(
            budget=name,
            window=window.id,
            limit=self.limit,
            starts=window.starts,
            ends=window.ends,
            hard=self.enforcement != "soft",
            marks=self._thresholds,
            scope=scope,
            slots=window.slots,
            group=group,
        )


def budget(
    limit: Limit,
    *,
    name: str | None = None,
    period: str | Period | None = None,
    timezone: str = "UTC",
    week_start: str = "monday",
    per: str | None = None,
    alert_at: Iterable[float] = DEFAULT_ALERTS,
    enforcement: Enforcement = "hard",
    on_exceeded: OnExceeded = "raise",
    wait: float = 0.0,
    clamp: bool = True,
    on_ledger_down: OnLedgerDown | None = None,
    local_allowance: Limit | None = None,
    downgrade_at: float | None = None,
    default_period: Period = LIFETIME,
    **scope: str | None,
) -> Budget:
    """Make a budget out of what people write: ``budget("$500/month", team="search", timezone="Europe/Berlin")``.

    Args:
        limit: US dollars, as a number or like ``"$500/month"``, ``"5 USD per day"``, ``"$2/24h"`` (rolling).
        name: unique in a ledger; made from scope and period when left out.
        period: ``hour``, ``day``, ``week``, ``month``, ``year`` (calendar), a length such as ``24h`` or ``7d``
            (rolling), ``lifetime``, or ``run``. It may be part of `limit` instead.
        timezone: the IANA zone that calendar windows follow.
        week_start: the weekday a calendar week begins on.
        per: a tag; each of its values gets this limit for itself.
        alert_at: thresholds in percent of the limit.
        on_ledger_down: ``closed``, ``open`` or ``local``; left out, hard budgets are closed and others open.
        local_allowance: what each process may spend on its own with ``local``; a twentieth of the limit if left out.
        downgrade_at: percent of the limit from which on calls go to the next cheaper model of a ladder; see
            ``costguard.configure(ladders=...)``.
        scope: tags a call must carry: ``feature=``, ``team=``, ``environment=``, ``user=`` or any other.

    Raises:
        ConfigError: something is malformed; the message says what is allowed.
    """
    amount, period = _split(limit, period)
    parsed = Period.parse(default_period if period is None else period, timezone=timezone, week_start=week_start)
    tags = clean_tags(scope)
    if per is not None:
        _check_tag(per)
    if name is not None and (not isinstance(name, str) or not name.strip() or not name.isprintable()):
        raise ConfigError(f"name={name!r}: give a printable string that is not empty, or leave it out")
    return Budget(
        name=_name(tags, per, parsed, enforcement, on_exceeded) if name is None else name,
        limit=_nano(amount),
        period=parsed,
        scope=tuple(sorted(tags.items())),
        per=per,
        marks=_marks(alert_at),
        enforcement=_choice("enforcement", enforcement, ("hard", "expected", "soft")),
        on_exceeded=_on_exceeded(on_exceeded),
        wait=_seconds("wait", wait),
        clamp=bool(clamp),
        on_ledger_down=_on_ledger_down(on_ledger_down, enforcement),
        local_allowance=_nano(amount) // 20 if local_allowance is None else _nano(local_allowance),
        downgrade_at=_downgrade_at(downgrade_at),
    )


def renamed(of: Budget, name: str) -> Budget:
    """The same budget with books of its own."""
    return replace(of, name=name)


def clean_tags(tags: Mapping[str, str | None]) -> dict[str, str]:
    """Check attribution tags and drop those that are None.

    Raises:
        ConfigError: a name or a value is unusable.
    """
    kept = {tag: value for tag, value in tags.items() if value is not None}
    for tag, value in kept.items():
        _check_tag(tag)
        if not isinstance(value, str) or not value or len(value) > _MAX_VALUE or not value.isprintable():
            raise ConfigError(
                f"tag {tag}={value!r}: a value is a printable string of 1 to {_MAX_VALUE} characters; "
                f"write {tag}=str(...) for a number or an id"
            )
    return kept


def _check_tag(tag: str) -> None:
    if not isinstance(tag, str) or _TAG.fullmatch(tag) is None:
        raise ConfigError(f"{tag!r} is no tag name: a letter, then up to 63 letters, digits, dots, dashes, underscores")


def _split(limit: Limit, period: str | Period | None) -> tuple[Limit, str | Period | None]:
    if not isinstance(limit, str):
        return limit, period
    match = _LIMIT.fullmatch(limit.strip())
    if match is None:
        return limit, period
    if period is not None:
        raise ConfigError(f"limit {limit!r} names a period and period={period!r} does so again; keep one of them")
    return match["amount"], match["period"]


def _nano(amount: Limit) -> int:
    try:
        return parse_usd(amount)
    except ValueError as error:
        raise ConfigError(f"limit: {error}") from None


def _marks(alert_at: Iterable[float]) -> tuple[float, ...]:
    try:
        given = [alert_at] if isinstance(alert_at, int | float | Decimal) else list(alert_at)
        if any(isinstance(mark, bool) or not isinstance(mark, int | float | Decimal) for mark in given):
            raise TypeError
    except TypeError:
        raise ConfigError(
            f"alert_at={alert_at!r}: give percentages of the limit as numbers, like (50, 80, 95)"
        ) from None
    if any(not (0 < mark <= 1000) for mark in given):
        raise ConfigError(f"alert_at={given}: thresholds are percentages of the limit, above 0 and up to 1000")
    return tuple(sorted({float(mark) for mark in given}))


def _choice(knob: str, value: _Choice, allowed: tuple[str, ...]) -> _Choice:
    if value not in allowed:
        raise ConfigError(f"{knob}={value!r}: allowed are {', '.join(map(repr, allowed))}")
    return value


def _on_exceeded(given: OnExceeded) -> OnExceeded:
    if not callable(given):
        _choice("on_exceeded", given, ("raise", "warn", "downgrade"))
    return given


def _downgrade_at(given: float | None) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal) or not 0 <= given <= 1000:
        raise ConfigError(f"downgrade_at={given!r}: give a percentage of the limit, such as 80")
    return float(given)


def _on_ledger_down(given: OnLedgerDown | None, enforcement: Enforcement) -> OnLedgerDown:
    if given is None:
        return "closed" if enforcement == "hard" else "open"
    return _choice("on_ledger_down", given, ("closed", "open", "local"))


def _seconds(knob: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"{knob}={value!r}: give seconds, 0 or more")
    return float(value)


def _name(
    tags: Mapping[str, str], per: str | None, period: Period, enforcement: Enforcement, on_exceeded: OnExceeded
) -> str:
    """What tells a budget from others over the same calls: two that may differ must not share their books."""
    parts = [" ".join(f"{tag}={_shown(value)}" for tag, value in sorted(tags.items())) or EVERYTHING]
    parts += [] if per is None else [f"each {per}"]
    parts += [] if period in (LIFETIME, RUN) else [str(period)]
    parts += [enforcement] if enforcement in ("expected", "soft") else []
    parts += ["warn"] if on_exceeded == "warn" else []
    return ", ".join(parts)


def _shown(value: str) -> str:
    """A tag's value as it stands in names: quoted where it could be taken for more than a value."""
    return value if _PLAIN_VALUE.fullmatch(value) else repr(value)
