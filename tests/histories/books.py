"""What clients asked for and were told, and books that say whether it was right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Window: TypeAlias = tuple[str, str]
"""A budget and the name of its window."""
Undo: TypeAlias = Callable[[], None]

NEVER = float("inf")


class Operation(NamedTuple):
    """What one client asked for and was told.

    Attributes:
        step: ``reserve`` (id, amount, windows), ``extend`` (id, amount), ``settle`` (id, actual), ``release`` (id),
            ``read`` (windows), or ``audit``, whose reply is all there is.
        reply: ``granted``, ``unknown``, ``conflict``, a list of figures, or None when nobody heard it.
        began, ended: when it was asked and answered; `ended` is NEVER with a reply of None.
    """

    step: str
    arguments: tuple[Any, ...]
    reply: Any
    began: float
    ended: float
    client: str = ""

    @property
    def id(self) -> str:
        """The hold it is about; empty for one that reads."""
        return self.arguments[0] if self.step not in ("read", "audit") else ""


@dataclass
class Entry:
    """A hold, as the books have it."""

    amount: int
    first: int
    windows: tuple[Window, ...]
    state: str = "open"
    booked: int = 0


@dataclass
class Books:
    """What is spent and held, in an order that is being tried.

    Attributes:
        limits: of each budget; None for one that only counts.
    """

    limits: Mapping[str, int | None]
    windows: dict[Window, tuple[int, int]] = field(default_factory=dict)
    holds: dict[str, Entry] = field(default_factory=dict)

    def apply(self, operation: Operation) -> Undo | str:
        """Carry it out when its reply is right here and now; else say what would be. Returns what takes it back."""
        answer: Undo | str = getattr(self, f"_{operation.step}")(*operation.arguments, operation.reply)
        return answer

    def _reserve(self, id: str, amount: int, windows: Sequence[Window], reply: Any) -> Undo | str:
        if id in self.holds:
            return _nothing if reply in ("granted", None) else "granted, as before"
        tight = self._tight(windows, amount)
        if tight or reply not in ("granted", None):
            return _nothing if reply == tight and tight else f"refused by {tight}" if tight else "granted"
        self.holds[id] = Entry(amount, amount, tuple(windows))
        back = self._add(windows, 0, amount)

        def undo() -> None:
            del self.holds[id]
            back()

        return undo

    def _extend(self, id: str, amount: int, reply: Any) -> Undo | str:
        entry = self.holds.get(id)
        if entry is None or entry.state != "open":
            right = "unknown" if entry is None else "conflict"
            return _nothing if reply == right else right
        tight = self._tight(entry.windows, amount)
        if tight or reply not in ("granted", None):
            return _nothing if reply == tight and tight else f"refused by {tight}" if tight else "granted"
        entry.amount += amount
        back = self._add(entry.windows, 0, amount)

        def undo() -> None:
            entry.amount -= amount
            back()

        return undo

    def _settle(self, id: str, actual: int, reply: Any) -> Undo | str:
        return self._end(id, "settled", actual, reply)

    def _release(self, id: str, reply: Any) -> Undo | str:
        return self._end(id, "released", 0, reply)

    def _end(self, id: str, to: str, actual: int, reply: Any) -> Undo | str:
        entry = self.holds.get(id)
        if entry is None:
            return _nothing if reply == "unknown" else "unknown"
        if entry.state != "open":
            right = "granted" if (entry.state, entry.booked) == (to, actual) else "conflict"
            return _nothing if reply == right else right
        if reply not in ("granted", None):
            return "granted"
        entry.state, entry.booked = to, actual
        back = self._add(entry.windows, actual, -entry.amount)

        def undo() -> None:
            entry.state, entry.booked = "open", 0
            back()

        return undo

    def _read(self, windows: Sequence[Window], reply: Any) -> Undo | str:
        found = [self.windows.get(window, (0, 0)) for window in windows]
        return _nothing if found == [tuple(row) for row in reply] else f"{found}"

    def _audit(self, reply: Any) -> Undo | str:
        """All there is in the store; what was never more than an empty row does not matter."""
        windows, holds = reply
        mine = {window: row for window, row in self.windows.items() if row != (0, 0)}
        theirs = {window: row for window, row in windows.items() if row != (0, 0)}
        if mine != theirs:
            return f"windows {dict(sorted(set(mine.items()) ^ set(theirs.items())))}"
        entries = {id: (entry.state, entry.amount, entry.booked) for id, entry in self.holds.items()}
        return _nothing if entries == holds else f"holds {sorted(set(entries.items()) ^ set(holds.items()))}"

    def _tight(self, windows: Sequence[Window], amount: int) -> list[tuple[str, str, int, int]]:
        found = []
        for window in windows:
            limit, (spent, held) = self.limits[window[0]], self.windows.get(window, (0, 0))
            if limit is not None and amount and spent + held + amount > limit:
                found.append((*window, spent, held))
        return found

    def _add(self, windows: Sequence[Window], spent: int, held: int) -> Undo:
        before = {window: self.windows.get(window, (0, 0)) for window in windows}
        for window, row in before.items():
            self.windows[window] = (row[0] + spent, row[1] + held)
        return lambda: self.windows.update(before)


def _nothing() -> None:
    """What takes back an operation that changed nothing."""
