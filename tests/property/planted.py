"""Wrong ledgers, each with one plausible bug: the machine must find every one of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from hypothesis import Phase, settings

from costguard import _book
from costguard._book import Entry, IdempotencyConflictError, Row, State
from costguard._outbox import Pending
from costguard._terms import amend
from costguard._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Nano, Refused
from costguard.ledgers.memory import MemoryLedger


class SkipsALeg(MemoryLedger):
    """Checks and holds only the first budget a call belongs to."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        if hold.id in self._state:
            return super().reserve(hold)
        before = {(leg.budget, leg.window): self._row(leg) for leg in hold.legs[1:]}
        reply = super().reserve(
            replace(hold, legs=(hold.legs[0], *(replace(leg, hard=False) for leg in hold.legs[1:])))
        )
        if isinstance(reply, Granted):
            self._state.update(before, **{hold.id: self._state[hold.id]._replace(hold=hold)})
        return reply

    def _row(self, leg: Leg) -> Row:
        row: Row = self._state.get((leg.budget, leg.window), Row(ends=leg.ends))
        return row


class RefundsOnExpiry(MemoryLedger):
    """Gives the money back when a lease runs out, though the call was probably sent."""

    def reap(self, now: float) -> Sequence[Granted]:
        over = [id for expires, id in self._leases if expires <= now and self._is_open(id)]
        return [*(self.release(id) for id in over), *super().reap(now)]


class ForgetsIdempotency(MemoryLedger):
    """Takes a repeated reserve for a new one."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        self._state.pop(hold.id, None)
        return super().reserve(hold)


class SettlesTwice(MemoryLedger):
    """Books a repeated settlement again."""

    def settle(self, id: str, actual: Nano) -> Granted:
        entry = self._state[id]
        if entry.state is State.SETTLED and entry.booked == actual:
            for leg in entry.hold.legs:
                row = self._state.get((leg.budget, leg.window), Row(ends=leg.ends))
                self._state[leg.budget, leg.window] = row._replace(spent=row.spent + actual)
        return super().settle(id, actual)


class RefusesTheLastCent(MemoryLedger):
    """Compares with less-than, so that a limit cannot be spent in full."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        tight = replace(hold, legs=tuple(replace(leg, limit=leg.limit - 1) for leg in hold.legs))
        reply = MemoryLedger.reserve(self, tight) if hold.id not in self._state else super().reserve(hold)
        if isinstance(reply, Granted) and self._state[hold.id].hold == tight:
            self._state[hold.id] = self._state[hold.id]._replace(hold=hold)
        return reply


class LetsTheCrossingCallThrough(MemoryLedger):
    """Checks what is spent before the call, without what the call may cost."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        if hold.id in self._state or not hold.amount:
            return super().reserve(hold)
        over = [
            leg for leg in hold.legs
            if leg.hard and sum(_book._totals(self._state, leg)) >= leg.limit
        ]  # fmt: skip
        if over:
            return super().reserve(hold)
        roomy = replace(hold, legs=tuple(replace(leg, hard=False) for leg in hold.legs))
        reply = super().reserve(roomy)
        self._state[hold.id] = self._state[hold.id]._replace(hold=hold)
        return reply


class IgnoresHolds(MemoryLedger):
    """Looks only at what is spent, so that callers at the same time all fit."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        held = {key: row for key, row in self._state.items() if isinstance(row, Row)}
        self._state.update({key: row._replace(held=0) for key, row in held.items()})
        reply = super().reserve(hold)
        for key, row in held.items():
            self._state[key] = self._state[key]._replace(held=self._state[key].held + row.held)
        return reply


class SettlesInTheWindowOfNow(MemoryLedger):
    """Books a call in the newest window of its budget, not in the one it was reserved in."""

    def settle(self, id: str, actual: Nano) -> Granted:
        entry = self._state[id]
        reply = super().settle(id, actual)
        for leg in entry.hold.legs if entry.state is State.OPEN else ():
            newest = max(key[1] for key in self._state if isinstance(key, tuple) and key[0] == leg.budget)
            if newest != leg.window:
                for window, sign in ((leg.window, -1), (newest, 1)):
                    row = self._state[leg.budget, window]
                    self._state[leg.budget, window] = row._replace(spent=row.spent + sign * actual)
        return reply


class AlertsTwice(MemoryLedger):
    """Does not remember which thresholds it has told of."""

    def settle(self, id: str, actual: Nano) -> Granted:
        for key, row in list(self._state.items()):
            if isinstance(row, Row):
                self._state[key] = row._replace(fired=0.0)
        return super().settle(id, actual)


class NeverAlertsOnExpiry(MemoryLedger):
    """Charges an expired hold without telling of the threshold it reaches."""

    def reap(self, now: float) -> Sequence[Granted]:
        return [Granted() for _ in super().reap(now)]


class DropsTheSurplus(MemoryLedger):
    """Books at most what was held, so that the books say less than the bill."""

    def settle(self, id: str, actual: Nano) -> Granted:
        entry = self._state[id]
        kept = min(actual, entry.hold.amount) if entry.state is State.OPEN else actual
        if entry.state is State.SETTLED and entry.booked == entry.hold.amount and actual > entry.booked:
            kept = entry.booked
        return super().settle(id, kept)


class ReleaseFreesNothing(MemoryLedger):
    """Marks a hold as released and leaves its money held."""

    def release(self, id: str) -> Granted:
        rows = {key: row for key, row in self._state.items() if isinstance(row, Row)}
        open_before = self._is_open(id)
        reply = super().release(id)
        if open_before:
            self._state.update(rows)
        return reply


class FloatMoney(MemoryLedger):
    """Counts in floating dollars."""

    def settle(self, id: str, actual: Nano) -> Granted:
        before = {key: row for key, row in self._state.items() if isinstance(row, Row)}
        reply = super().settle(id, actual)
        for key, row in before.items():
            now = self._state[key]
            if now.spent != row.spent:
                self._state[key] = now._replace(spent=int((row.spent / 7 + (now.spent - row.spent) / 7) * 7))
        return reply


class HoldsWhatFits(MemoryLedger):
    """Refuses, but leaves the money held on the budgets that had room."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        reply = super().reserve(hold)
        if isinstance(reply, Refused):
            tight = {refusal.leg for refusal in reply.refusals}
            roomy = tuple(leg for leg in hold.legs if leg not in tight)
            rows = _book._taken(self._state, replace(hold, legs=roomy), hold.amount)[1]
            self._state.update(rows)
        return reply


class ExtendsOnRefusal(MemoryLedger):
    """Refuses to extend a hold and makes it bigger all the same."""

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        reply = super().extend(id, amount)
        if isinstance(reply, Refused):
            entry = self._state[id]
            self._state[id] = entry._replace(hold=replace(entry.hold, amount=entry.hold.amount + amount))
        return reply


class ExtendsTheFirstLegOnly(MemoryLedger):
    """Adds to a hold but not to all of its windows."""

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        legs = self._state[id].hold.legs[1:]
        rows = {(leg.budget, leg.window): self._state.get((leg.budget, leg.window), Row(ends=leg.ends)) for leg in legs}
        reply = super().extend(id, amount)
        self._state.update(rows)
        return reply


class TakesContradictions(MemoryLedger):
    """Answers a step that contradicts an earlier one as if it had been carried out."""

    def settle(self, id: str, actual: Nano) -> Granted:
        try:
            return super().settle(id, actual)
        except IdempotencyConflictError:
            return Granted()


class RefusesAfterTheFact(MemoryLedger):
    """Refuses to book a cost that passes the limit, though the money is spent."""

    def settle(self, id: str, actual: Nano) -> Granted:
        entry: Entry = self._state[id]
        over = [leg for leg in entry.hold.legs if leg.hard and self._after(leg, entry, actual) > leg.limit]
        return self.release(id) if over and entry.state is State.OPEN else super().settle(id, actual)

    def _after(self, leg: Leg, entry: Entry, actual: Nano) -> Nano:
        return sum(_book._totals(self._state, leg)) - entry.hold.amount + actual


class SoftBudgetsRefuse(MemoryLedger):
    """Takes a budget that only watches for one that refuses."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        if hold.id in self._state:
            return super().reserve(hold)
        hardened = tuple(replace(leg, hard=True) for leg in hold.legs)
        refusals = tuple(_book._taken(self._state, replace(hold, legs=hardened), hold.amount)[0])
        return Refused(refusals) if refusals else super().reserve(hold)


class FreeCallsNeedRoom(MemoryLedger):
    """Refuses a call that costs nothing once a budget is spent."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        full: list[Any] = []
        if hold.id not in self._state:
            full = [leg for leg in hold.legs if leg.hard and sum(_book._totals(self._state, leg)) >= leg.limit]
        if full and not hold.amount:
            return Refused(tuple(_book.Refusal(leg, *_book._totals(self._state, leg), 0) for leg in full))
        return super().reserve(hold)


class RollingForgetsTheOldestSlot(MemoryLedger):
    """Leaves the oldest slot of a rolling window out, so that an exact window can hold more than the limit."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        return super().reserve(replace(hold, legs=tuple(map(self._shorter, hold.legs))))

    def balances(self, legs: Sequence[Leg], at: float = 0.0) -> Sequence[Balance]:
        shorter = super().balances([self._shorter(leg) for leg in legs], at)
        return [replace(one, leg=replace(one.leg, slots=leg.slots)) for leg, one in zip(legs, shorter, strict=True)]

    def _shorter(self, leg: Leg) -> Leg:
        return replace(leg, slots=leg.slots - 1) if leg.slots else leg


class RollingLooksBackOnly(MemoryLedger):
    """Extends an old hold without looking at what came after it in the same rolling window."""

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        entry: Entry = self._state[id]
        later = {
            key: self._state.pop(key)
            for leg in entry.hold.legs
            if leg.slots
            for key in list(self._state)
            if isinstance(key, tuple) and key[0] == leg.budget and key[1] > leg.window
        }
        reply = super().extend(id, amount)
        self._state.update(later)
        return reply


class LateEndsAreLost(MemoryLedger):
    """Does not correct an expired hold when its true cost arrives after all."""

    def settle(self, id: str, actual: Nano) -> Granted:
        if self._state[id].state is State.EXPIRED:
            return Granted()
        return super().settle(id, actual)


class AdjustsTwice(MemoryLedger):
    """Takes a repeated correction for a new one."""

    _numbers = itertools.count()

    def adjust(self, id: str, correction: str, actual: Nano) -> Granted:
        return super().adjust(id, f"{correction} {next(self._numbers)}", actual)


class AdjustsInTheFirstWindowOnly(MemoryLedger):
    """Corrects the first budget of a call and forgets the others."""

    def adjust(self, id: str, correction: str, actual: Nano) -> Granted:
        rows = {
            key: self._state[key]
            for leg in self._state[id].hold.legs[1:]
            if (key := (leg.budget, leg.window)) in self._state
        }
        reply = super().adjust(id, correction, actual)
        self._state.update(rows)
        return reply


class CorrectionsAreUndoneByTheSettlement(MemoryLedger):
    """Lets a late end of an expired hold overwrite what somebody corrected."""

    def settle(self, id: str, actual: Nano) -> Granted:
        entry: Entry = self._state[id]
        if entry.state is State.EXPIRED and entry.adjusted is not None:
            self._state[id] = entry._replace(adjusted=None)
        return super().settle(id, actual)


class TopUpsNeverEnd(MemoryLedger):
    """Adds for good what was to be added for a while."""

    def amend(self, amendment: Amendment) -> None:
        until = None if amendment.until is None else amendment.until + 1e9
        super().amend(replace(amendment, until=until))
        terms, history = self._amended
        self._amended = (terms, {**history, amendment.id: amendment})


class AmendsTwice(MemoryLedger):
    """Adds a top-up that is sent again once more."""

    def amend(self, amendment: Amendment) -> None:
        terms, history = self._amended
        if history.get(amendment.id) == amendment:
            changed = amend(terms[amendment.budget], amendment)
            self._amended = ({**terms, amendment.budget: changed}, history)
        super().amend(amendment)


class GroupsAreNotAmended(MemoryLedger):
    """Looks for amendments of one value only, and not for those of the whole budget per tag."""

    def amend(self, amendment: Amendment) -> None:
        super().amend(amendment)
        terms, history = self._amended
        self._amended = ({name: one for name, one in terms.items() if not name.startswith("every ")}, history)


class PausesLetStreamsGrow(MemoryLedger):
    """Refuses new calls of a paused budget, and goes on extending the holds of old ones."""

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        kept = self._amended
        self._amended = ({name: one._replace(paused=False) for name, one in kept[0].items()}, kept[1])
        try:
            return super().extend(id, amount)
        finally:
            self._amended = kept


class ResumesWithTheOldLimit(MemoryLedger):
    """Forgets a changed limit when a pause ends."""

    def amend(self, amendment: Amendment) -> None:
        super().amend(amendment)
        terms, history = self._amended
        if amendment.kind == "resume":
            resumed = terms[amendment.budget]._replace(limit=None)
            self._amended = ({**terms, amendment.budget: resumed}, history)


class MarksStayWhereTheyWere(MemoryLedger):
    """Alerts at percentages of the program's limit, whatever limit is in force."""

    def settle(self, id: str, actual: Nano) -> Granted:
        kept = self._amended
        self._amended = ({}, kept[1])
        try:
            return super().settle(id, actual)
        finally:
            self._amended = kept


class RaisingALimitArmsItsMarksAgain(MemoryLedger):
    """Tells of thresholds once more when the limit was raised."""

    def amend(self, amendment: Amendment) -> None:
        super().amend(amendment)
        for key, row in list(self._state.items()):
            if isinstance(row, Row) and key[0] == amendment.budget:
                self._state[key] = row._replace(fired=0.0)


class AlertsAreLostWithTheirProcess(MemoryLedger):
    """Tells of an alert in the answer alone, and not in the books."""

    def settle(self, id: str, actual: Nano) -> Granted:
        before = {key for key, one in self._state.items() if isinstance(one, Pending)}
        reply = super().settle(id, actual)
        for key in [key for key, one in self._state.items() if isinstance(one, Pending) and key not in before]:
            del self._state[key]
        return reply


class AlertsAreTakenOverAtOnce(MemoryLedger):
    """Gives nobody the time to deliver an alert."""

    def undelivered(self, now: float) -> Sequence[Crossing]:
        super().undelivered(now - 60)
        return super().undelivered(now)


class AlertsAreTakenOverByAll(MemoryLedger):
    """Hands an alert to everybody who asks, and not to one."""

    def undelivered(self, now: float) -> Sequence[Crossing]:
        before = {key: one for key, one in self._state.items() if isinstance(one, Pending) and one.until is not None}
        reply = super().undelivered(now)
        self._state.update(before)
        return reply


class DeliveredAlertsComeAgain(MemoryLedger):
    """Does not forget an alert that was delivered."""

    def delivered(self, crossings: Sequence[Crossing]) -> None:
        super().delivered(crossings[1:])


class ForgetsTooEarly(MemoryLedger):
    """Drops the rows of a rolling window's slots as soon as they are over."""

    def reap(self, now: float) -> Sequence[Granted]:
        replies = super().reap(now)
        for key, row in list(self._state.items()):
            if isinstance(row, Row) and key[0] == "rolling" and not row.held and (int(key[1]) + 1) * 4 < now:
                del self._state[key]
        return replies


class ForgetsRunsInUse(MemoryLedger):
    """Takes a run for over when no call of it is under way."""

    def reap(self, now: float) -> Sequence[Granted]:
        replies = super().reap(now)
        for key, row in list(self._state.items()):
            if isinstance(row, Row) and key[1].startswith("run:") and not row.held:
                del self._state[key]
        return replies


PLANTED: Final = tuple(
    kind for kind in list(globals().values()) if isinstance(kind, type) and kind.__module__ == __name__
)
"""Every ledger above."""


def looking_for_a_bug() -> settings:
    """How a state machine is run on a wrong ledger: the same examples each time, and no more than CI runs."""
    return settings(
        settings.get_profile("quick"),
        max_examples=400,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        print_blob=False,
    )
