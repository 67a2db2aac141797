"""The ledger's arithmetic as a pure step: state, operation and time in; reply and changes out.

`ledgers.memory` runs these steps under one lock; the other ledgers do the same in SQL or Lua and are checked against
this one. A step never changes the state it is given: it returns the keys to write, so that a caller can apply them in
one `dict.update`, which no signal and no exception can tear.

The life of a hold:

    reserve ─► OPEN ─ settle(actual) ─► SETTLED
                 │  ─ release() ──────► RELEASED
                 │  ─ extend(+x) ─────► OPEN, bigger
                 └─ lease over ───────► EXPIRED, charged at its amount ─ late settle or release ─► corrected

What an ended call is charged can be corrected afterwards, by `adjust`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from ._period import OF_RUN, PROCESS
from ._terms import NONE, Terms, in_force
from ._types import Balance, Crossing, Granted, Hold, Leg, Nano, Refusal, Refused


class State(Enum):
    """Where a hold is in its life."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class Row(NamedTuple):
    """The books of one window: nano-dollars spent and held, the highest alert mark sent, when it is forgotten (of a
    run, later with each call), and the leg that it was last held on."""

    spent: Nano = 0
    held: Nano = 0
    fired: float = 0.0
    ends: float | None = None
    leg: Leg | None = None


class Adjusted(NamedTuple):
    """The corrections of a charge: what the call was `settled` at, and each correction's id with its figure."""

    settled: Nano
    by: tuple[tuple[str, Nano], ...] = ()


class Entry(NamedTuple):
    """A hold as the ledger keeps it: as big as it has grown, as big as it was `first` asked for, `booked`, what it has
    added to spent so far, and how that was corrected."""

    hold: Hold
    first: Nano
    state: State = State.OPEN
    booked: Nano = 0
    adjusted: Adjusted | None = None


WindowKey: TypeAlias = tuple[str, str]
Books: TypeAlias = Mapping[WindowKey, Row]
Entries: TypeAlias = Mapping[str, Entry]
AllTerms: TypeAlias = Mapping[str, Terms]

EMPTY: Final = Row()
_new: Final = tuple.__new__
"""Makes a named tuple in a third of the time: its own constructor is a function that is called first."""
_OPEN: Final = State.OPEN

RUN_KEPT: Final = 86400.0
"""Seconds that the books of a run are kept after the lease of its last call."""
PROCESS_KEPT: Final = 366 * 86400.0
"""The same of the run that a process is as a whole: longer than any process lives without a call."""


class IdempotencyConflictError(Exception):
    """An operation was repeated with other figures under the same id: a bug in the caller, never silently taken."""


class Step(NamedTuple):
    """What an operation does: its reply, the window rows to write and the entry to write."""

    reply: Granted | Refused
    rows: Mapping[WindowKey, Row]
    entry: Entry | None = None


_NO_ROWS: Final[Mapping[WindowKey, Row]] = {}
_GRANTED: Final = Granted()


def reserve(books: Books, entries: Entries, hold: Hold, terms: AllTerms = NONE) -> Step:
    """Hold `hold.amount` on every leg, or on none. A known id gets its first answer again."""
    _check(hold.amount)
    known = entries.get(hold.id)
    if known is not None:
        if hold.amount != known.first or hold != replace(known.hold, amount=hold.amount):
            raise IdempotencyConflictError(f"hold {hold.id} was made with other figures before")
        return Step(_GRANTED, _NO_ROWS)
    refusals, rows = _taken(books, hold, hold.amount, terms, newest=True)
    if refusals:
        return Step(Refused(tuple(refusals)), _NO_ROWS)
    return _new(Step, (_GRANTED, rows, _new(Entry, (hold, hold.amount, _OPEN, 0, None))))


def extend(books: Books, entries: Entries, id: str, amount: Nano, terms: AllTerms = NONE) -> Step:
    """Add `amount` to an open hold on every leg, or on none. What was added to a limit when it began still counts."""
    _check(amount)
    entry = _entry(entries, id)
    if entry.state is not State.OPEN:
        raise IdempotencyConflictError(f"hold {id} is {entry.state.value}, so it cannot be extended")
    refusals, rows = _taken(books, entry.hold, amount, terms)
    if refusals:
        return Step(Refused(tuple(refusals)), _NO_ROWS)
    bigger = replace(entry.hold, amount=entry.hold.amount + amount)
    return Step(_GRANTED, rows, entry._replace(hold=bigger))


def settle(books: Books, entries: Entries, id: str, actual: Nano, terms: AllTerms = NONE) -> Step:
    """Book what the call did cost and end its hold. It never refuses: the money is spent. Repeats change nothing."""
    _check(actual)
    return _end(books, _entry(entries, id), State.SETTLED, actual, terms)


def release(books: Books, entries: Entries, id: str, terms: AllTerms = NONE) -> Step:
    """End a hold of a call that cost nothing. Repeats change nothing."""
    return _end(books, _entry(entries, id), State.RELEASED, 0, terms)


def expire(books: Books, entries: Entries, id: str, terms: AllTerms = NONE) -> Step:
    """Charge a hold whose lease is over: its process may have sent the call before it died."""
    entry = _entry(entries, id)
    return _end(books, entry, State.EXPIRED, entry.hold.amount, terms)


def adjust(books: Books, entries: Entries, id: str, correction: str, actual: Nano, terms: AllTerms = NONE) -> Step:
    """Correct what an ended call is charged, in the windows it was made in; `correction` is the correction's own id.

    The last correction stands, also against a settlement that comes after it. Repeats change nothing.
    """
    _check(actual)
    entry = _entry(entries, id)
    known = entry.adjusted or Adjusted(entry.booked)
    for other, figure in known.by:
        if other == correction:
            if figure != actual:
                raise IdempotencyConflictError(f"correction {correction} of {id} was {figure} before, now {actual}")
            return Step(_GRANTED, _NO_ROWS)
    if entry.state is State.OPEN:
        raise IdempotencyConflictError(f"hold {id} is open, so it has no charge that could be corrected")
    reply, rows = _booked(books, entry, actual - entry.booked, terms)
    adjusted = known._replace(by=(*known.by, (correction, actual)))
    return Step(reply, rows, entry._replace(booked=actual, adjusted=adjusted))


def balance(books: Books, leg: Leg, terms: AllTerms = NONE, at: float = 0.0) -> Balance:
    """The books of the window that `leg` names."""
    leg, paused = in_force(leg, terms, at)
    spent, held = _totals(books, leg)
    return Balance(leg, spent, held, paused)


def windows(books: Books, terms: AllTerms, at: float) -> list[Balance]:
    """The books of every window that is not over at an instant, those of single runs left out; sorted by budget."""
    present: dict[WindowKey, Leg] = {}
    for (budget, window), row in books.items():
        leg = row.leg
        if leg is None or window.startswith(OF_RUN) or (row.ends is not None and row.ends <= at):
            continue
        if not leg.slots:
            present[budget, window] = leg
        elif (known := present.get((budget, ""))) is None or known.window < leg.window:
            present[budget, ""] = leg
    return [balance(books, _now(present[key], at), terms, at) for key in sorted(present)]


def _now(leg: Leg, at: float) -> Leg:
    """For a leg of a rolling window, the one of an instant."""
    if not leg.slots or leg.ends is None:
        return leg
    length = leg.ends - leg.starts
    later = int((at - leg.starts) // length)
    starts = leg.starts + later * length
    return replace(leg, window=f"{int(leg.window) + later:012d}", starts=starts, ends=starts + length)


def _entry(entries: Entries, id: str) -> Entry:
    entry = entries.get(id)
    if entry is None:
        raise KeyError(f"no hold {id}")
    return entry


def _check(amount: Nano) -> None:
    if amount < 0:
        raise ValueError(f"{amount} nano-dollars: an amount of money is never negative")


def _totals(books: Books, leg: Leg) -> tuple[Nano, Nano]:
    if not leg.slots:
        row = books.get((leg.budget, leg.window), EMPTY)
        return row.spent, row.held
    rows = _slots(books, leg)[: leg.slots + 1]
    return sum([row.spent for row in rows]), sum([row.held for row in rows])


@lru_cache(maxsize=256)
def _slot_keys(budget: str, window: str, slots: int) -> tuple[WindowKey, ...]:
    """The slots that share a rolling window with this one, earlier and later."""
    this = int(window)
    return tuple([(budget, f"{slot:012d}") for slot in range(this - slots, this + slots + 1)])


def _slots(books: Books, leg: Leg) -> list[Row]:
    return [books.get(key, EMPTY) for key in _slot_keys(leg.budget, leg.window, leg.slots)]


def _fullest(books: Books, leg: Leg) -> tuple[Nano, Nano]:
    """Spent and held in the fullest rolling window that the slot of `leg` belongs to.

    Later slots have entries when a stream grows long after it began, or when two threads meet at a slot's edge: the
    windows that end there hold this slot too, and must not pass the limit either.
    """
    rows = _slots(books, leg)
    first = _peak([row.spent + row.held for row in rows], leg.slots)
    window = rows[first : first + leg.slots + 1]
    return sum([row.spent for row in window]), sum([row.held for row in window])


def _peak(amounts: list[Nano], slots: int) -> int:
    """Where the run of `slots` + 1 amounts begins that has the largest sum; the first of equals."""
    if not any(amounts[slots + 1 :]):
        return 0
    total = most = sum(amounts[: slots + 1])
    first = 0
    for start in range(1, slots + 1):
        total += amounts[start + slots] - amounts[start - 1]
        if total > most:
            most, first = total, start
    return first


def _spent_and_fired(books: Books, leg: Leg, row: Row) -> tuple[Nano, float]:
    """The most that is spent in a window of this leg, and the highest mark already told of it."""
    if not leg.slots:
        return row.spent, row.fired
    rows = _slots(books, leg)
    amounts = [one.spent for one in rows]
    first = _peak(amounts, leg.slots)
    return sum(amounts[first : first + leg.slots + 1]), max([one.fired for one in rows])


def _taken(
    books: Books, hold: Hold, amount: Nano, terms: AllTerms = NONE, *, newest: bool = False
) -> tuple[list[Refusal], dict[WindowKey, Row]]:
    """The hard legs of a hold on which `amount` more does not fit, and the windows as they are when it is held."""
    refusals: list[Refusal] = []
    rows: dict[WindowKey, Row] = {}
    get = books.get
    for leg in hold.legs:
        key = (leg.budget, leg.window)
        spent, held, fired, ends, known = row = get(key, EMPTY)
        if leg.hard and (terms or leg.slots or spent + held + amount > leg.limit):
            refusals += _refusal(books, leg, amount, terms, hold.at)
        if row is EMPTY:
            ends = _forgotten(leg, hold)
        elif ends is not None and leg.ends is None:
            ends = max(ends, _forgotten(leg, hold) or ends)
        rows[key] = _new(Row, (spent, held + amount, fired, ends, leg if newest else known))
    return refusals, rows


def _refusal(books: Books, leg: Leg, amount: Nano, terms: AllTerms, at: float) -> list[Refusal]:
    """Why a hard leg does not take `amount` more, if it does not."""
    if not amount:
        return []  # a call that costs nothing passes a budget that is spent or paused
    leg, paused = in_force(leg, terms, at)
    if leg.slots:
        spent, held = _fullest(books, leg)
    else:
        spent, held, *_ = books.get((leg.budget, leg.window), EMPTY)
    return [Refusal(leg, spent, held, amount, paused)] if paused or spent + held + amount > leg.limit else []


def _end(books: Books, entry: Entry, to: State, actual: Nano, terms: AllTerms) -> Step:
    if entry.state is not _OPEN:
        return _ended(books, entry, to, actual, terms)
    reply, rows = _booked(books, entry, actual, terms)
    return _new(Step, (reply, rows, _new(Entry, (entry.hold, entry.first, to, actual, None))))


def _ended(books: Books, entry: Entry, to: State, actual: Nano, terms: AllTerms) -> Step:
    """An end of a hold that ended before: a repetition, or of one whose lease was over."""
    adjusted = entry.adjusted
    if entry.state is to or to is State.EXPIRED:
        settled = entry.booked if adjusted is None else adjusted.settled
        if to is State.SETTLED and settled != actual:
            raise IdempotencyConflictError(f"hold {entry.hold.id} was settled at {settled} before, now {actual}")
        return Step(_GRANTED, _NO_ROWS)
    if entry.state in (State.SETTLED, State.RELEASED):
        raise IdempotencyConflictError(f"hold {entry.hold.id} is {entry.state.value}; it cannot become {to.value}")
    if adjusted is not None:
        # Who corrected the charge of an expired hold knew more than its own late end does.
        return Step(_GRANTED, _NO_ROWS, entry._replace(state=to, adjusted=adjusted._replace(settled=actual)))
    reply, rows = _booked(books, entry, actual - entry.booked, terms)
    return Step(reply, rows, Entry(entry.hold, entry.first, to, actual))


def _booked(books: Books, entry: Entry, added: Nano, terms: AllTerms) -> tuple[Granted, dict[WindowKey, Row]]:
    """Add to what is spent in every window of a hold, and let go of what is still held."""
    hold, get = entry.hold, books.get
    freed = hold.amount if entry.state is _OPEN else 0
    rows: dict[WindowKey, Row] = {}
    crossings: list[Crossing] = []
    for leg in hold.legs:
        key = (leg.budget, leg.window)
        row = get(key)
        if row is None:
            if entry.state is not _OPEN:
                continue  # the window is over and forgotten: there is nothing left to correct
            row = Row(ends=_forgotten(leg, hold))
        spent, held, fired, ends, known = row
        if leg.marks and added > 0 and (terms or leg.slots or spent + added >= leg.marks[0][1]):
            passed = _passed(books, in_force(leg, terms, hold.at)[0], row, added)
            if passed:
                crossings += passed
                fired = passed[-1].percent
        rows[key] = _new(Row, (spent + added, held - freed, fired, ends, known))
    return (Granted(tuple(crossings)) if crossings else _GRANTED), rows


def _passed(books: Books, leg: Leg, row: Row, added: Nano) -> list[Crossing]:
    """The marks of a leg that are reached now and were not before."""
    spent, fired = _spent_and_fired(books, leg, row)
    total = spent + added
    return [Crossing(leg, percent, total) for percent, nano in leg.marks if nano <= total and percent > fired]


def _forgotten(leg: Leg, hold: Hold) -> float | None:
    """When a window's row can no longer matter: at its end, for a slot once no rolling window reaches it, and for a run
    some time after its last call; that in whole hours, so that the calls of an hour write the same."""
    if leg.ends is not None:
        return leg.ends + leg.slots * (leg.ends - leg.starts)
    kept = kept_of_run(leg)
    return None if kept is None else ((hold.expires + kept) // 3600 + 1) * 3600


def kept_of_run(leg: Leg) -> float | None:
    """How long the books of a run are kept after the lease of its last call; None where a leg is of no run."""
    if not leg.window.startswith(OF_RUN):
        return None
    return PROCESS_KEPT if leg.window.startswith(PROCESS, len(OF_RUN)) else RUN_KEPT
