"""Who is alerted: what was decided, who has it in hand to send it, and what has arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, cast

from costguard._outbox import PATIENCE, AlertKey, key_of
from costguard._types import Crossing, Granted, Nano

from .reference import expect

DRIFT: Final = 5.0
"""Seconds by which the clocks of two hosts that nobody set wrong may differ, and one more."""


class Alerts:
    """The receiver of all alerts, which knows what it should hear and how often.

    An alert arrives at least once. It arrives once more, under the same id, only when whoever sent it died before it
    could say so, when it was slow enough to be given up, or when the network carried it twice.
    """

    def __init__(self) -> None:
        self.arrived: Counter[AlertKey] = Counter()
        self.in_hand: dict[int, dict[AlertKey, tuple[Crossing, float]]] = {}
        self._decided: dict[AlertKey, Nano] = {}
        self._excused: Counter[AlertKey] = Counter()
        self._over: set[AlertKey] = set()
        self._clocks_were_set = False

    def clocks_are_set(self) -> None:
        """Somebody sets a clock wrong: from here on a minute may be a short one."""
        self._clocks_were_set = True

    def decide(self, reply: object) -> None:
        """Note what a step decided on, heard or not."""
        for crossing in _crossings(reply):
            key = key_of(crossing)
            if key in self._decided:
                # Of a window that was forgotten; whether it may be decided anew is the reference's to say.
                self._excused[key] += 1
                self._over.discard(key)
            self._decided[key] = crossing.spent

    def hear(self, caller: int, reply: object, at: float) -> None:
        """A caller has got a reply: what it decided on is the caller's to send."""
        hand = self.in_hand.setdefault(caller, {})
        hand.update({key_of(one): (one, at) for one in _crossings(reply)})

    def die(self, caller: int) -> None:
        """What a caller had in hand is for others to take over."""
        self.in_hand.pop(caller, None)

    def take_over(self, caller: int, taken: Iterable[Crossing], at: float) -> None:
        """A caller asked for what others did not deliver."""
        for crossing in taken:
            key = key_of(crossing)
            expect(key in self._decided, f"an alert was handed out that nobody decided on: {key}")
            expect(key not in self._over, f"an alert was handed out that had been delivered: {key}")
            for other, hand in self.in_hand.items():
                if key in hand and other != caller:
                    since = at - hand[key][1]
                    early = since < PATIENCE - DRIFT and not self._clocks_were_set
                    expect(not early, f"{key} was handed out {since:g} s after somebody else had it in hand")
            if self.arrived[key] or any(key in hand for hand in self.in_hand.values()):
                self._excused[key] += 1
            self.in_hand.setdefault(caller, {})[key] = (crossing, at)

    def send(self, caller: int, times: int = 1) -> Sequence[Crossing]:
        """What a caller has in hand arrives, under the id that every copy of it has."""
        sent = [crossing for crossing, _ in self.in_hand.pop(caller, {}).values()]
        for crossing in sent:
            key = key_of(crossing)
            self.arrived[key] += times
            self._excused[key] += times - 1
            expect(crossing.spent == self._decided.get(key), f"{key} arrived with {crossing.spent} spent")
            most = 1 + self._excused[key]
            expect(self.arrived[key] <= most, f"{key} arrived {self.arrived[key]} times, and {most} would be right")
        return sent

    def noted(self, sent: Iterable[Crossing]) -> None:
        """The ledger was told that these are delivered."""
        self._over |= {key_of(one) for one in sent}

    def all_arrived(self) -> None:
        """I10, to its end: nothing that was decided on is left."""
        missing = sorted(self._decided.keys() - self.arrived.keys())
        expect(not missing, f"nobody was ever told of {missing}")


def _crossings(reply: object) -> list[Crossing]:
    if isinstance(reply, Granted):
        return list(reply.crossings)
    if isinstance(reply, list | tuple):
        return [crossing for one in cast("Sequence[Granted]", reply) for crossing in one.crossings]
    return []
