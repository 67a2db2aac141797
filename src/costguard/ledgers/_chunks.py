"""Money in hand: chunks of a ledger's budgets, and the calls that are paid out of them. Only memory, no ledger.

What is promised is the ledger's own promise, one floor down: what the open calls of a chunk hold and what its ended
ones did cost is never more than the chunk, but for calls that cost more than they held. What a call's end means is
`costguard._book`'s; the sums are kept here. They change with one `dict.update`, which no interrupt tears.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import WeakSet

from .._book import Entry, IdempotencyConflictError, State, Step, expire, release, settle
from .._forks import forks
from .._types import Granted, Hold, Leg, Nano

AGE: Final = 3.0
"""Seconds for which calls are paid out of a chunk, and so for which an amendment may not be seen."""
IDLE: Final = 1.0
"""Seconds after which a chunk that no call is paid out of is given back."""
GRACE: Final = 60.0
"""Seconds that a chunk's lease is longer than that of the call it was made for: calls that begin later end later."""
REMEMBERED: Final = 10_000
"""Ended calls that are remembered, so that a repeated settle stays harmless; and calls that went past the chunks."""
FAMILIES: Final = 1000
"""Sets of budgets of which the mean cost is known."""
ALIASES: Final = 8
LONG_AGO: Final = -1e18

GRANTED: Final = Granted()


class Family:
    """What is known of the calls on one set of budgets.

    Attributes:
        mean: what one costs, None while none has ended.
        seen: when the last one began.
        room: what is left on the tightest hard budget, as read at `read`.
        tight: until when calls go past the chunks, because a budget is nearly spent.
        opening: set when the chunk that is being opened is there, and since when.
    """

    __slots__ = ("mean", "opening", "read", "room", "seen", "tight")

    def __init__(self) -> None:
        self.mean: Nano | None = None
        self.seen = self.read = self.tight = LONG_AGO
        self.room: Nano = 0
        self.opening: tuple[threading.Event, float] | None = None

    def note(self, actual: Nano) -> None:
        """Learn what a call did cost."""
        self.mean = actual if self.mean is None else self.mean + (actual - self.mean) // 8


class Chunk:
    """A hold at the ledger that calls are paid out of.

    Attributes:
        hold: as it was asked for.
        amount: as big as it has grown.
        family: of the calls.
        until: when it is too old to pay for another call.
        used: when it last paid for one.
        turn: taken by whoever asks the ledger about it.
        granted: whether the ledger said that it is held.
        closed: whether it pays for no more calls.
        total: what its calls did cost, once all have ended or gone.
        gone: whether the ledger knows that.
        calls: the ids of those it paid for.
    """

    __slots__ = (
        "aliases", "amount", "calls", "closed", "family", "gone", "granted", "hold", "total", "turn", "until", "used",
    )  # fmt: skip

    def __init__(self, hold: Hold, family: Family, now: float) -> None:
        self.hold = hold
        self.amount = hold.amount
        self.family = family
        self.until, self.used = now + AGE, now
        self.turn = threading.Lock()
        self.granted = self.gone = False
        self.closed = True
        self.total: Nano | None = None
        self.calls: list[str] = []
        self.aliases: list[tuple[Leg, ...]] = []


class Sums(NamedTuple):
    """Of a chunk: what its open calls hold, what its ended ones did cost, and how many are open."""

    held: Nano = 0
    spent: Nano = 0
    open: int = 0


class Child(NamedTuple):
    """A call that was paid out of a chunk.

    Attributes:
        entry: as a ledger would keep it.
        chunk: out of which one; None once it has a hold of its own at the ledger.
        sent: whether the ledger was asked for that hold.
        soft: whether it is one that no limit refuses, so that it may not grow.
        extras: the holds that it has grown by instead.
    """

    entry: Entry
    chunk: Chunk | None
    sent: bool = False
    soft: bool = False
    extras: tuple[str, ...] = ()


_row: Final = tuple.__new__
Windows: TypeAlias = tuple[tuple[str, str], ...]


class Purse:
    """The chunks of a process. Safe for threads, interrupts and forks: a forked child begins with none.

    Attributes:
        due: chunks that have paid for all they will, and holds of calls that ended meanwhile.
        told: what the ledger decided on when a chunk was settled, for whoever can send alerts.
    """

    def __init__(self) -> None:
        self.begin()
        _purses.add(self)

    def begin(self) -> None:
        """Start with nothing."""
        self._lock = threading.Lock()
        # Calls by id and the sums of chunks by chunk, in one dictionary so that one update changes both.
        self._state: dict[Any, Any] = {}
        self._live: dict[str, Chunk] = {}
        # By the identities of legs that a chunk keeps alive, because comparing them takes longer than all the rest.
        self._by_identity: dict[tuple[int, ...], Chunk] = {}
        self._by_windows: dict[Windows, Chunk] = {}
        self._passed: dict[str, None] = {}
        self._ended: deque[str] = deque()
        self._families: dict[tuple[str, ...], Family] = {}
        self.due: deque[Chunk | str] = deque()
        self.told: deque[Granted] = deque()

    # -- calls

    def take(self, hold: Hold, now: float) -> Granted | None:
        """Pay for a call out of the chunk in hand, or answer again that it was; None when that cannot be.

        Raises:
            IdempotencyConflictError: it was asked for with other figures before.
        """
        with self._lock:
            name, amount = hold.id, hold.amount
            child = self._state.get(name)
            if child is not None:
                return _again(child.entry, hold)
            chunk = self._by_identity.get(tuple(map(id, hold.legs)))
            if chunk is None:
                chunk = self._found(hold.legs)
            if chunk is None or now >= chunk.until or name in self._passed:
                return None
            held, spent, calls = self._state[chunk]
            if amount <= 0 or held + spent + amount > chunk.amount or hold.expires > chunk.hold.expires:
                return None
            chunk.calls.append(name)
            chunk.used = now
            child = _row(Child, (_row(Entry, (hold, amount, State.OPEN, 0, None)), chunk, False, False, ()))
            self._state.update({name: child, chunk: _row(Sums, (held + amount, spent, calls + 1))})
        return GRANTED

    def end(self, name: str, to: State, actual: Nano) -> Child | None:
        """End a call; returns how it is known now, and None when it is not known here.

        Where its chunk's total is settled already, or it has a hold of its own, nothing is done yet.
        """
        with self._lock:
            child: Child | None = self._state.get(name)
            if child is None or child.chunk is None or child.chunk.total is not None:
                return child
            entry = child.entry
            if entry.state is State.OPEN:
                after = _row(Entry, (entry.hold, entry.first, to, actual, None))
                child.chunk.family.note(actual)
            else:
                found = ended(entry, to, actual).entry
                if found is None:
                    return child
                after = found
            self._write(name, child, after)
            if child.sent:
                self.due.append(name)
            self._remember(name)
        return child

    def change(self, name: str, step: Callable[[Entry], Step]) -> tuple[Child, Entry | None, bool]:
        """Change an ended call by a step: the call, as it is after it, and whether that is all: where its chunk's total
        is settled already, the ledger is to hear of it first (then `changed`)."""
        with self._lock:
            child: Child = self._state[name]
            after = step(child.entry).entry
            if after is None:
                return child, None, True
            assert child.chunk is not None
            if child.chunk.total is not None and after.booked != child.entry.booked:
                return child, after, False
            self._write(name, child, after)
            return child, after, True

    def changed(self, name: str, child: Child, after: Entry, total: Nano) -> None:
        """The ledger knows of a change, and what its chunk's calls did cost with it."""
        with self._lock:
            assert child.chunk is not None
            child.chunk.total = total
            self._state[name] = child._replace(entry=after)

    def grow(self, name: str, amount: Nano) -> Nano:
        """Let an open call hold more, out of its chunk; returns by how much that is too small, 0 when it was done."""
        with self._lock:
            child: Child = self._state[name]
            chunk, entry = child.chunk, child.entry
            if chunk is None or child.sent:
                return amount
            held, spent, calls = self._state[chunk]
            short: Nano = held + spent + amount - chunk.amount
            if short > 0:
                return short
            bigger = child._replace(entry=_bigger(entry, amount))
            self._state.update({name: bigger, chunk: Sums(held + amount, spent, calls)})
            return 0

    def child(self, name: str) -> Child | None:
        """A call that was paid out of a chunk."""
        return self._state.get(name)

    def pass_by(self, name: str) -> None:
        """A call goes to the ledger by itself, and always will: it may be asked for again."""
        with self._lock:
            while len(self._passed) >= REMEMBERED:
                del self._passed[next(iter(self._passed))]
            self._passed[name] = None

    def unpass(self, name: str) -> None:
        """It was refused: nothing of it is there to be asked for again."""
        self._passed.pop(name, None)

    def overdue(self, now: float) -> list[str]:
        """The open calls whose lease was over at `now`."""
        with self._lock:
            return [name for chunk in self._live.values() for name, one in self._open(chunk)
                    if one.entry.hold.expires <= now]  # fmt: skip

    # -- calls that outlive their chunk

    def sending(self, chunk: Chunk) -> list[tuple[str, Hold]]:
        """The open calls of a chunk, which are about to get holds of their own; none of them grows meanwhile."""
        with self._lock:
            found = self._open(chunk)
            self._state.update({name: child._replace(sent=True) for name, child in found})
            return [(name, child.entry.hold) for name, child in found]

    def sent(self, name: str, *, soft: bool) -> None:
        """A call has a hold of its own; if it ended meanwhile that is given back."""
        with self._lock:
            child: Child = self._state[name]
            chunk, entry = child.chunk, child.entry
            if chunk is None:
                return
            if entry.state is not State.OPEN:
                self.due.append(name)
                return
            held, spent, calls = self._state[chunk]
            after = Sums(held - entry.hold.amount, spent, calls - 1)
            self._state.update({name: child._replace(chunk=None, soft=soft), chunk: after})

    def grown(self, name: str, amount: Nano, *extras: str) -> None:
        """A call with a hold of its own has grown."""
        with self._lock:
            child: Child = self._state[name]
            self._state[name] = child._replace(entry=_bigger(child.entry, amount), extras=(*child.extras, *extras))

    def left(self, name: str, to: State, actual: Nano) -> None:
        """A call with a hold of its own has ended."""
        with self._lock:
            child: Child | None = self._state.get(name)
            if child is not None and child.entry.state is State.OPEN:
                self._state[name] = child._replace(entry=child.entry._replace(state=to, booked=actual))
                self._remember(name)

    # -- chunks

    def add(self, chunk: Chunk) -> None:
        """A chunk is about to be asked for: whatever becomes of that, it has to be given back."""
        with self._lock:
            self._state[chunk] = Sums()
            self._live[chunk.hold.id] = chunk

    def put_in_hand(self, chunk: Chunk) -> None:
        """The ledger granted a chunk: calls are paid out of it from here on, and out of no other with its legs."""
        with self._lock:
            chunk.granted = True
            windows = _windows(chunk.hold.legs)
            before = self._by_windows.get(windows)
            if before is not None:
                self._close(before)
            chunk.closed = False
            self._by_windows[windows] = chunk
            self._alias(chunk, chunk.hold.legs)

    def close(self, chunk: Chunk) -> None:
        """Pay for no more calls out of a chunk."""
        with self._lock:
            self._close(chunk)

    def total(self, chunk: Chunk) -> Nano | None:
        """What the calls of a closed chunk did cost, for good; None while one is open."""
        with self._lock:
            sums: Sums = self._state[chunk]
            if sums.open:
                return None
            chunk.total = sums.spent
            return chunk.total

    def drop(self, chunk: Chunk) -> None:
        """The ledger holds nothing for a chunk any more."""
        with self._lock:
            self._close(chunk)
            chunk.gone = True
            self._live.pop(chunk.hold.id, None)
            self._state.pop(chunk, None)

    def enlarged(self, chunk: Chunk, amount: Nano) -> None:
        """The ledger holds more for a chunk."""
        with self._lock:
            chunk.amount += amount

    def live(self, budgets: Iterable[str] | None = None) -> list[Chunk]:
        """Chunks that the ledger may hold money for: all, or those on one of these budgets or groups."""
        with self._lock:
            chunks = list(self._live.values())
        if budgets is None:
            return chunks
        names = set(budgets)
        return [one for one in chunks if any([leg.budget in names or leg.group in names for leg in one.hold.legs])]

    @property
    def busy(self) -> bool:
        """Whether there is anything to give back."""
        return bool(self._live) or bool(self.due)

    def sums(self, chunk: Chunk) -> Sums:
        """Of a chunk that is live; nothing of another."""
        sums: Sums = self._state.get(chunk, Sums())
        return sums

    def left_over(self, legs: tuple[Leg, ...]) -> Nano:
        """What is left of the chunk in hand with these legs."""
        with self._lock:
            chunk = self._found(legs)
            if chunk is None:
                return 0
            sums: Sums = self._state[chunk]
            return max(0, chunk.amount - sums.held - sums.spent)

    def correction(self, leg: Leg) -> tuple[Nano, Nano]:
        """What the ledger counts as held in the window that ends with `leg`, and is spent, or free: spent, and held."""
        spent = held = 0
        with self._lock:
            for chunk in self._live.values():
                if chunk.granted and any([_touches(leg, own) for own in chunk.hold.legs]):
                    sums: Sums = self._state[chunk]
                    spent += sums.spent
                    held += sums.held - chunk.amount
        return spent, held

    # -- families

    def family(self, legs: tuple[Leg, ...]) -> Family:
        """Of the calls on these budgets, whichever windows they are in."""
        budgets = tuple([leg.budget for leg in legs])
        with self._lock:
            found = self._families.pop(budgets, None) or Family()
            while len(self._families) >= FAMILIES:
                self._families.pop(next(iter(self._families)))
            self._families[budgets] = found
        return found

    def tighten(self, budgets: Iterable[str], until: float) -> None:
        """Open no chunk on these budgets for a while."""
        names = set(budgets)
        with self._lock:
            for own, family in self._families.items():
                if not names.isdisjoint(own):
                    family.tight = until

    # -- inner

    def _found(self, legs: tuple[Leg, ...]) -> Chunk | None:
        chunk = self._by_windows.get(_windows(legs))
        if chunk is None or chunk.hold.legs != legs:
            return None
        self._alias(chunk, legs)
        return chunk

    def _alias(self, chunk: Chunk, legs: tuple[Leg, ...]) -> None:
        if len(chunk.aliases) < ALIASES:
            chunk.aliases.append(legs)
            self._by_identity[tuple(map(id, legs))] = chunk

    def _close(self, chunk: Chunk) -> None:
        for legs in chunk.aliases:
            self._by_identity.pop(tuple(map(id, legs)), None)
        windows = _windows(chunk.hold.legs)
        if self._by_windows.get(windows) is chunk:
            del self._by_windows[windows]
        if not chunk.closed:
            chunk.closed = True
            if not self._state[chunk].open:
                self.due.append(chunk)

    def _open(self, chunk: Chunk) -> list[tuple[str, Child]]:
        found = [(name, self._state.get(name)) for name in chunk.calls]
        return [(name, one) for name, one in found
                if one is not None and one.chunk is chunk and one.entry.state is State.OPEN]  # fmt: skip

    def _write(self, name: str, child: Child, after: Entry) -> None:
        """A call has ended, or is charged otherwise than before."""
        before, chunk = child.entry, child.chunk
        was = self._state.get(chunk)
        changed = _row(Child, (after, *child[1:]))
        if was is None or chunk is None:
            self._state[name] = changed
            return
        held, spent, calls = was
        spent += after.booked - before.booked
        if before.state is State.OPEN:
            held, calls = held - before.hold.amount, calls - 1
        self._state.update({name: changed, chunk: _row(Sums, (held, spent, calls))})
        overdrawn = held + spent > chunk.amount
        if overdrawn or (chunk.closed and not calls):
            # What did cost more than was held is not at the ledger before the chunk is settled.
            self.due.append(chunk)

    def _remember(self, name: str) -> None:
        self._ended.append(name)
        if len(self._ended) > 2 * REMEMBERED:
            while len(self._ended) > REMEMBERED:
                gone = self._ended.popleft()
                child = self._state.get(gone)
                if child is not None and child.entry.state is not State.OPEN:
                    del self._state[gone]


def ended(entry: Entry, to: State, actual: Nano) -> Step:
    """The step that ends a call, by the book."""
    books: dict[str, Entry] = {entry.hold.id: entry}
    if to is State.EXPIRED:
        return expire({}, books, entry.hold.id)
    return settle({}, books, entry.hold.id, actual) if to is State.SETTLED else release({}, books, entry.hold.id)


def _again(entry: Entry, hold: Hold) -> Granted:
    if hold.amount != entry.first or hold != replace(entry.hold, amount=hold.amount):
        raise IdempotencyConflictError(f"hold {hold.id} was made with other figures before")
    return GRANTED


def _windows(legs: tuple[Leg, ...]) -> Windows:
    """Of legs, what is quickly compared: those that differ in more than this are rare, and compared after it."""
    return tuple([(leg.budget, leg.window) for leg in legs])


def _bigger(entry: Entry, amount: Nano) -> Entry:
    return entry._replace(hold=replace(entry.hold, amount=entry.hold.amount + amount))


def _touches(leg: Leg, own: Leg) -> bool:
    """Whether a chunk's window counts in the window of `leg`."""
    if leg.budget != own.budget:
        return False
    if not leg.slots or not own.slots:
        return leg.window == own.window
    return int(leg.window) - leg.slots <= int(own.window) <= int(leg.window)


_purses: Final[WeakSet[Purse]] = WeakSet()


def _after_fork_in_child() -> None:
    """The chunks are the parent's, and so are the calls paid out of them."""
    for purse in list(_purses):
        purse.begin()


forks.register(after_in_child=_after_fork_in_child)
