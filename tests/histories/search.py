"""Whether there is an order of operations in which every reply, and the final books, are right.

Clients log what they asked for and what they were told, each with the time. An operation took effect at some instant
between the two, all at once, or, when its client was killed before it heard the answer, perhaps later or never. The
search is for an order that agrees with all times and all figures, as Jepsen's is (linearizability). When there is one,
no settlement that was acknowledged is lost, nothing is held twice and no limit was passed at any instant of it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from .books import NEVER, Books, Operation, Undo, Window
from .unheard import decided

ENOUGH: Final = 2_000_000
"""Steps that are tried before the search gives up: some minutes of work; a history that is right takes one a step."""

Choice: TypeAlias = tuple[int, int | None]
"""What comes next, and the answer in front of which it is put, if it is put there for one."""


@dataclass(frozen=True)
class Stuck:
    """There is no such order, or none was found.

    Attributes:
        after: how many operations could be put in order at most.
        why: those that would have to come next, and what each should have been told.
        undecided: whether the search gave up, so that there may be one. This counts as a failure too.
    """

    after: int
    why: tuple[str, ...]
    undecided: bool = False


def order_of(
    operations: Sequence[Operation], limits: Mapping[str, int | None], enough: int = ENOUGH
) -> list[Operation] | Stuck:
    """An order in which all is right, or where the longest one that could be found ends."""
    return _Search(operations, limits, enough).run()


class _Search:
    """Depth first, over sets of operations that are done: the books of a set are the same in whatever order.

    An operation that nobody heard of is put right in front of an answer that is wrong without it, and nowhere else.
    That is enough. Say it came earlier in some right order: whatever is right without it may as well come before it,
    since sums do not depend on their order and what fitted in with it fits in before it; so it can be moved on until
    something needs it. There are two exceptions, and both are tried: the end of a hold, which no extension of it may
    follow, and a settlement above what was held, after which something that had fitted may not fit.
    """

    def __init__(self, operations: Sequence[Operation], limits: Mapping[str, int | None], enough: int) -> None:
        history = decided(operations)
        self.operations = sorted(history.heard, key=lambda one: one.began)
        self.heard = len(self.operations)
        # Behind those with an answer: what was done for certain, and what may have been.
        hidden = [
            *sorted(history.done, key=lambda one: one.began),
            *sorted(history.doubtful, key=lambda one: one.began),
        ]
        self.operations += hidden
        self.certain = range(self.heard, self.heard + len(history.done))
        self.books = Books(limits)
        self.pending = set(range(self.heard, len(self.operations)))
        self.done = bytearray(self.heard)
        self.first = 0
        self.missing = self.heard
        self.left = enough
        self.stuck = Stuck(-1, ())
        known: dict[str, tuple[Window, ...]] = {}
        for one in self.operations:
            if one.step == "reserve":
                known[one.id] = tuple(one.arguments[2])
        self.touched = [_touched(one, known) for one in self.operations]
        self.twins = self._twins()
        # A set is told by the sum of its members' numbers. Should two ever meet, an order is missed, and none made up.
        dice = random.Random(0)
        self.codes = [dice.getrandbits(128) for _ in self.operations]

    def run(self) -> list[Operation] | Stuck:
        """The search itself; a list of choices instead of recursion, since histories are long."""
        path: list[tuple[int, Undo]] = []
        refused: list[list[str]] = [[]]
        choices = [self._choices(None, refused[0])]
        seen: set[tuple[int, int | None]] = set()
        code = 0
        while self.missing:
            if self.left <= 0:
                return Stuck(self.stuck.after, self.stuck.why, undecided=True)
            place, aim = next(choices[-1], (-1, None))
            if place < 0:
                if len(path) > self.stuck.after:
                    self.stuck = Stuck(len(path), tuple(refused[-1]))
                if not path:
                    return self.stuck
                choices.pop()
                refused.pop()
                place, undo = path.pop()
                self._take_back(place, undo)
                code ^= self.codes[place]
                continue
            if (code ^ self.codes[place], aim) in seen:
                continue
            self.left -= 1
            undo_or_why = self.books.apply(self.operations[place])
            if isinstance(undo_or_why, str):
                continue
            path.append((place, undo_or_why))
            self._take(place)
            code ^= self.codes[place]
            seen.add((code, aim))
            refused.append([])
            choices.append(self._choices(aim, refused[-1]))
        return [self.operations[place] for place, _ in path]

    def _choices(self, aim: int | None, refused: list[str]) -> Iterator[Choice]:
        """What may come next: an answer that is right, and else what may make one right."""
        horizon, answers = self._answers()
        wanting = []
        for place in answers if aim is None else [aim]:
            one = self.operations[place]
            right = not self._owed(place) and self._is_right(one, refused)
            if right:
                yield place, None
            if not right or self._overruns(one):
                wanting.append(place)
        for place in wanting:
            for other in sorted(self._relevant(place)):
                if self.operations[other].began <= horizon and self.twins.get(other) not in self.pending:
                    yield other, place

    def _is_right(self, one: Operation, refused: list[str]) -> bool:
        self.left -= 1
        undo = self.books.apply(one)
        if isinstance(undo, str):
            refused.append(f"{one} should be {undo}")
            return False
        undo()
        return True

    def _answers(self) -> tuple[float, list[int]]:
        """Whatever was asked before the first of the rest was answered."""
        horizon, found = NEVER, []
        for place in range(self.first, self.heard):
            if self.done[place]:
                continue
            one = self.operations[place]
            if one.began > horizon:
                break
            horizon = min(horizon, one.ended)
            found.append(place)
        found = [place for place in found if self.operations[place].began <= horizon]
        return horizon, sorted(found, key=lambda place: self.operations[place].ended)

    def _owed(self, place: int) -> bool:
        """Whether something took effect for certain that cannot any more after this answer."""
        one = self.operations[place]
        rest = [self.operations[other] for other in self.certain if other in self.pending]
        if one.step == "audit":
            return bool(rest)
        ends = one.step in ("settle", "release") and one.reply == "granted"
        return ends and any(other.id == one.id and other.step == "extend" for other in rest)

    def _relevant(self, place: int) -> set[int]:
        """What nobody heard of and this answer may depend on: it shares a window or a hold with it, or with another
        that does."""
        found: set[int] = set()
        touched, more = set(self.touched[place]), True
        everything = self.operations[place].step == "audit"
        while more:
            near = {
                other for other in self.pending - found if everything or not touched.isdisjoint(self.touched[other])
            }
            found |= near
            touched.update(*(self.touched[other] for other in near))
            more = bool(near)
        return found

    def _twins(self) -> dict[int, int]:
        """Of holds that differ in nothing but their ids, of which nothing else is known, the one before: the first to be
        asked for may as well be the first to be held."""
        count = Counter(one.id for one in self.operations)
        # Final books tell holds apart by their ids.
        audited = any(one.step == "audit" for one in self.operations)
        last: dict[tuple[object, ...], int] = {}
        found = {}
        for place in range(self.heard, len(self.operations)):
            one = self.operations[place]
            if one.step == "reserve" and count[one.id] == 1 and (place in self.certain or not audited):
                alike = (place in self.certain, *one.arguments[1:])
                if alike in last:
                    found[place] = last[alike]
                last[alike] = place
        return found

    def _overruns(self, one: Operation) -> bool:
        entry = self.books.holds.get(one.id)
        return one.step == "settle" and entry is not None and entry.state == "open" and one.arguments[1] > entry.amount

    def _take(self, place: int) -> None:
        if place >= self.heard:
            self.pending.discard(place)
            return
        self.missing -= 1
        self.done[place] = 1
        while self.first < self.heard and self.done[self.first]:
            self.first += 1

    def _take_back(self, place: int, undo: Undo) -> None:
        undo()
        if place >= self.heard:
            self.pending.add(place)
            return
        self.missing += 1
        self.done[place] = 0
        self.first = min(self.first, place)


def _touched(one: Operation, known: Mapping[str, tuple[Window, ...]]) -> frozenset[object]:
    """The windows and the hold that an operation reads or changes."""
    if one.step == "audit":
        return frozenset()
    if one.step == "read":
        return frozenset(map(tuple, one.arguments[0]))
    windows = one.arguments[2] if one.step == "reserve" else known.get(one.id, ())
    return frozenset((one.id, *map(tuple, windows)))
