"""Ledgers with one mistake each, of the kind that only several processes at once, or a kill, bring to light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from costguard._types import Granted, Hold, Leg, Nano, Refusal, Refused
from costguard.ports import Ledger


class Spoiled:
    """A ledger behind another; what it does not spoil goes through."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)


class LosesSettlements(Spoiled):
    """Acknowledges each fifth settlement before it is written, and then forgets it."""

    def settle(self, id: str, actual: Nano) -> Granted:
        self.count += 1
        return self.ledger.settle(id, actual) if self.count % 5 else Granted()


class ChecksBeforeItWrites(Spoiled):
    """Looks whether a call fits in one step, and holds it in another."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        balances = self.ledger.balances(hold.legs)
        tight = [
            Refusal(one.leg, one.spent, one.held, hold.amount)
            for one in balances
            if one.leg.hard and hold.amount and one.spent + one.held + hold.amount > one.leg.limit
        ]
        if tight:
            return Refused(tuple(tight))
        return self.ledger.reserve(replace(hold, legs=tuple(replace(leg, hard=False) for leg in hold.legs)))


class HoldsOneLegAfterTheOther(Spoiled):
    """Takes one budget after the other, and gives back what it had when the next one refuses."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        for place, leg in enumerate(hold.legs):
            reply = self.ledger.reserve(replace(hold, id=f"{hold.id}/{place}", legs=(leg,)))
            if isinstance(reply, Refused):
                for taken in range(place):
                    self.ledger.release(f"{hold.id}/{taken}")
                return reply
        for place in range(len(hold.legs)):
            self.ledger.release(f"{hold.id}/{place}")
        return self.ledger.reserve(hold)


class RefusesFromMemory(Spoiled):
    """Remembers for a while how full a budget was, and refuses calls that would fit by now."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.refusals: dict[Leg, tuple[Refused, Nano]] = {}

    def reserve(self, hold: Hold) -> Granted | Refused:
        known = self.refusals.pop(hold.legs[0], None)
        if known is not None and known[1] == hold.amount:
            return known[0]
        reply = self.ledger.reserve(hold)
        if isinstance(reply, Refused):
            self.refusals[reply.refusals[0].leg] = (reply, hold.amount)
        return reply


class CountsAgainWhatIsSentAgain(Spoiled):
    """Gives each attempt of a reservation an id of its own."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        reply = self.ledger.reserve(hold)
        self.count += 1
        if isinstance(reply, Granted) and self.count == 1:
            self.ledger.reserve(replace(hold, id=f"{hold.id}'"))
        return reply


PLANTED: Final[tuple[Callable[[Ledger], Any], ...]] = (
    LosesSettlements,
    ChecksBeforeItWrites,
    HoldsOneLegAfterTheOther,
    RefusesFromMemory,
    CountsAgainWhatIsSentAgain,
)
"""Each of them."""
