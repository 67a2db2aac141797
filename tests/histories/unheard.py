"""What became of operations that nobody heard the answer of, as far as it follows without any search.

Each may have taken effect at once, later or never. With n of them there are 2^n cases, and a history of a server that
is killed has a thousand. Most are decided, though, by what is the same operation under the same id, and by the books in
the end. What is said here never makes a wrong history right: the search applies the audit all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple, TypeAlias

from .books import Operation

Holds: TypeAlias = dict[str, tuple[str, int, int]]
"""State, amount and booked of each hold."""

_ENDS: Final = {"settle": "settled", "release": "released"}
_MANY: Final = 12
"""Extensions of one hold from which on the search decides which of them took effect."""


class Decided(NamedTuple):
    """A history with fewer open questions.

    Attributes:
        heard: what has a reply; it may have taken effect as early as its first attempt.
        done: what nobody heard of, and what took effect nevertheless.
        doubtful: what may have.
    """

    heard: list[Operation]
    done: list[Operation]
    doubtful: list[Operation]


def decided(operations: Sequence[Operation]) -> Decided:
    """What of a history is known to have happened, and what is not."""
    heard, unheard = _merged(operations)
    audits = [one for one in heard if one.step == "audit"]
    # Only the last word counts: what takes effect after it is seen by nobody.
    if len(audits) != 1 or any(one.ended > audits[0].began for one in heard if one is not audits[0]):
        return Decided(heard, [], unheard)
    holds: Holds = audits[0].reply[1]
    by_hold: dict[str, tuple[list[Operation], list[Operation]]] = defaultdict(lambda: ([], []))
    for one in heard:
        by_hold[one.id][0].append(one)
    for one in unheard:
        by_hold[one.id][1].append(one)
    done, doubtful = [], []
    for id, (mine, missed) in by_hold.items():
        if id in holds and missed:
            sure, unsure = _of_one(holds[id], mine, missed)
            done += sure
            doubtful += unsure
    return Decided(heard, done, doubtful)


def _merged(operations: Sequence[Operation]) -> tuple[list[Operation], list[Operation]]:
    """One operation in place of an attempt that was granted and those like it that nobody heard of.

    A hold is begun once and ended once, and stays so: an attempt that was granted says that this was done by then, by
    it or by an earlier one. Of several that nobody heard of the first can stand for all, since it may be late. Only
    extensions have no id of their own, so each counts.
    """
    heard = [one for one in operations if one.reply is not None]
    first: dict[tuple[Any, ...], Operation] = {}
    unheard = []
    for one in sorted(operations, key=lambda one: one.began):
        if one.reply is None and one.id:
            if one.step == "extend":
                unheard.append(one)
            else:
                first.setdefault((one.step, *one.arguments), one)
    granted: dict[tuple[Any, ...], int] = {}
    for place, one in enumerate(heard):
        key = (one.step, *one.arguments)
        if key in first and one.reply == "granted" and one.ended < heard[granted.setdefault(key, place)].ended:
            granted[key] = place
    for key, place in granted.items():
        one = heard[place]
        heard[place] = one._replace(began=min(one.began, first.pop(key).began))
    return heard, [*unheard, *first.values()]


def _of_one(
    kept: tuple[str, int, int], heard: Sequence[Operation], missed: Sequence[Operation]
) -> tuple[list[Operation], list[Operation]]:
    """What took effect on a hold that is in the final books, and what may have."""
    state, amount, booked = kept
    begun = [one for one in missed if one.step == "reserve"]
    ends = [
        one for one in missed if _ENDS.get(one.step) == state and (one.step != "settle" or one.arguments[1] == booked)
    ]
    ended = any(_ENDS.get(one.step) == state and one.reply == "granted" for one in heard)
    sure: list[Operation] = []
    unsure: list[Operation] = []
    for found in (begun, [] if ended else ends):
        (sure if len(found) == 1 else unsure).extend(found)
    first = next((one.arguments[1] for one in (*heard, *begun) if one.step == "reserve"), 0)
    grown = sum(one.arguments[1] for one in heard if one.step == "extend" and one.reply == "granted")
    extensions = [one for one in missed if one.step == "extend" and one.arguments[1]]
    if len(extensions) > _MANY:
        return sure, [*unsure, *extensions]
    ways = list(_adding_up(extensions, amount - first - grown))
    if len(ways) == 1:
        sure += ways[0]
    elif ways:
        unsure += extensions
    return sure, unsure


def _adding_up(extensions: Sequence[Operation], amount: int) -> Iterable[tuple[Operation, ...]]:
    for count in range(len(extensions) + 1):
        for some in combinations(extensions, count):
            if sum(one.arguments[1] for one in some) == amount:
                yield some
