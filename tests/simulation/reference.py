"""What a ledger should answer, worked out without any code of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from costguard._book import IdempotencyConflictError
from costguard._types import Amendment, Crossing, Granted, Hold, Leg, Nano, Refused
from costguard.testing.books import Kept, Model

Reached: TypeAlias = tuple[str, str, float, Nano]

REMEMBERED = 86_400
"""Seconds after the end of its lease in which an ended hold is remembered for sure, and the run it was made in."""


class Violation(AssertionError):
    """Something that must never be."""


class Reference:
    """The books as they should be, told of each step that a ledger carried out.

    Args:
        keep: seconds that a window's books are kept after its end.
    """

    def __init__(self, keep: float) -> None:
        self.model = Model()
        self.keep = keep
        self.reaped = float("-inf")
        self.told: set[tuple[str, str, float]] = set()
        self.runs: dict[tuple[str, str], float] = {}
        self.lost: set[tuple[str, str]] = set()

    def counts(self, leg: Leg) -> bool:
        """Whether a window is certain not to be forgotten."""
        if leg.ends is None:
            return (leg.budget, leg.window) not in self.lost
        return leg.ends + self.keep >= self.reaped

    def forgettable(self, id: str) -> bool:
        """Whether a ledger may have forgotten this hold, so that nothing is promised of it."""
        kept = self.model.holds.get(id)
        return kept is not None and kept.state != "open" and kept.hold.expires + REMEMBERED < self.reaped

    def check(self, step: str, arguments: tuple[Any, ...], reply: object) -> None:
        """Compare a reply with what it should be, and book what was done.

        Raises:
            Violation: it is another one.
        """
        getattr(self, f"_{step}")(*arguments, reply)

    # -- each step

    def _reserve(self, hold: Hold, reply: object) -> None:
        kept = self.model.holds.get(hold.id)
        if kept is not None and kept.hold != hold:
            expect(isinstance(reply, IdempotencyConflictError), f"{hold.id} was held with another figure: {reply}")
        elif kept is not None:
            expect(reply == Granted(), f"a repeated reservation was answered with {reply}")
        elif self._answered(hold, hold.amount, reply):
            self.model.add(hold)
            for key in [(leg.budget, leg.window) for leg in hold.legs if leg.window.startswith("run:")]:
                self.runs[key] = max(hold.expires, self.runs.get(key, 0.0))

    def _extend(self, id: str, amount: Nano, reply: object) -> None:
        kept = self._known(id, reply)
        if kept is None:
            return
        if kept.state != "open":
            expect(isinstance(reply, IdempotencyConflictError), f"an ended hold was extended: {reply}")
        elif self._answered(kept.hold, amount, reply):
            kept.amount += amount

    def _settle(self, id: str, actual: Nano, reply: object) -> None:
        self._end(id, "settled", actual, reply)

    def _release(self, id: str, reply: object) -> None:
        self._end(id, "released", 0, reply)

    def _end(self, id: str, to: str, actual: Nano, reply: object) -> None:
        kept = self._known(id, reply)
        if kept is None:
            return
        if kept.state in ("settled", "released"):
            same = kept.state == to and kept.settled == actual
            right = reply == Granted() if same else isinstance(reply, IdempotencyConflictError)
            expect(right, f"{id} is {kept.state} at {kept.booked}; told {to} at {actual}: {reply}")
            return
        expect(isinstance(reply, Granted), f"the end of {id} was answered with {reply}")
        assert isinstance(reply, Granted)
        # Whoever corrected the charge of an expired hold knew more than its late end does.
        marked = self._reached(kept, reply.crossings, 0 if kept.corrections else actual - kept.booked)
        self._compare(marked, reply.crossings)
        kept.state, kept.settled = to, actual
        if not kept.corrections:
            kept.booked = actual

    def _adjust(self, id: str, correction: str, actual: Nano, reply: object) -> None:
        kept = self._known(id, reply)
        if kept is None:
            return
        known = kept.corrections.get(correction)
        if known is not None or kept.state == "open":
            right = reply == Granted() if known == actual else isinstance(reply, IdempotencyConflictError)
            expect(right, f"correction {correction} of {id}, {kept.state}, at {actual} after {known}: {reply}")
            return
        expect(isinstance(reply, Granted), f"a correction of {id} was answered with {reply!r}")
        assert isinstance(reply, Granted)
        marked = self._reached(kept, reply.crossings, actual - kept.booked)
        self._compare(marked, reply.crossings)
        kept.corrections[correction], kept.booked = actual, actual

    def _amend(self, amendment: Amendment, reply: object) -> None:
        known = [one for one in self.model.amendments if one.id == amendment.id]
        if known and known[0] != amendment:
            expect(isinstance(reply, IdempotencyConflictError), f"{amendment.id} was another one: {reply}")
            return
        expect(reply is None, f"an amendment was answered with {reply!r}")
        if not known:
            self.model.amendments.append(amendment)

    def _reap(self, now: float, reply: object) -> None:
        expect(not isinstance(reply, Exception), f"the reaper raised {reply!r}")
        told = [crossing for granted in cast("Sequence[Granted]", reply) for crossing in granted.crossings]
        over = [kept for kept in self.model.holds.values() if kept.state == "open" and kept.hold.expires <= now]
        marked = []
        for kept in sorted(over, key=lambda kept: kept.hold.expires):
            marked += self._reached(kept, told, kept.amount)
            kept.state, kept.booked = "expired", kept.amount
        self._compare(marked, told)
        self.reaped = max(self.reaped, now)
        self.lost |= {key for key, last in self.runs.items() if last + REMEMBERED < now}

    # -- what replies must be

    def _known(self, id: str, reply: object) -> Kept | None:
        kept = self.model.holds.get(id)
        expect((kept is None) == isinstance(reply, KeyError), f"{id} is {kept and kept.state}: {reply!r}")
        return kept

    def _answered(self, hold: Hold, amount: Nano, reply: object) -> bool:
        """Whether it was granted: exactly where it fits, so neither too much is let through nor anything refused that
        there is room for."""
        tight = [leg for leg in hold.legs if self.counts(leg) and not self.model.fits(leg, amount, hold.at)]
        if isinstance(reply, Granted):
            expect(not tight, f"{amount} was granted and does not fit on {[leg.budget for leg in tight]}")
            return True
        expect(isinstance(reply, Refused), f"answered with {reply!r}")
        assert isinstance(reply, Refused)
        names = [refusal.leg.budget for refusal in reply.refusals if self.counts(refusal.leg)]
        wanted = [leg.budget for leg in tight]
        expect(names == wanted, f"{amount} was refused on {names}; it does not fit on {wanted}")
        return False

    def _reached(self, kept: Kept, told: Sequence[Crossing], added: Nano) -> list[Reached]:
        """The thresholds that this end of a hold reaches for the first time, and what is spent then."""
        reached: list[Reached] = []
        for leg in kept.hold.legs:
            key = (leg.budget, leg.window)
            if self.counts(leg):
                percents, spent = self.model.crossed(leg, added, kept.hold.at)
                reached += [(*key, percent, spent) for percent in percents]
            else:
                percents = [one.percent for one in told if (one.leg.budget, one.leg.window) == key]
            if percents:
                self.model.fired[key] = percents[-1]
        return reached

    def _compare(self, reached: Sequence[Reached], told: Sequence[Crossing]) -> None:
        """I10: each threshold is told of when it is reached, and once in a window."""
        said = [(one.leg.budget, one.leg.window, one.percent, one.spent) for one in told if self.counts(one.leg)]
        expect(sorted(said) == sorted(reached), f"alerts told were {sorted(said)}, reached were {sorted(reached)}")
        for budget, window, percent, _ in said:
            expect((budget, window, percent) not in self.told, f"{budget} {window} reached {percent} %: told twice")
            self.told.add((budget, window, percent))


def expect(right: bool, otherwise: str) -> None:
    """Complain unless it is right."""
    if not right:
        raise Violation(otherwise)
