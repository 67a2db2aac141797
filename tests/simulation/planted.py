"""Mistakes that stories must bring to light: those that the Hypothesis machine is tried on, and more of a kind that only
faults and clocks show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from costguard._types import Granted, Hold, Nano, Refused
from costguard.ledgers.memory import MemoryLedger

from ..property.planted import PLANTED as WRONG_BOOKS
from .run import Stage, memory

Clock = Callable[[], float]


class RefusesWhatItKnows(MemoryLedger):
    """Answers a reservation that is sent again as if there had to be room for it twice."""

    def reserve(self, hold: Hold) -> Granted | Refused:
        if self._is_open(hold.id):
            again = Hold(f"{hold.id}'", hold.amount, hold.legs, hold.expires)
            reply = super().reserve(again)
            if isinstance(reply, Refused):
                return reply
            self.release(again.id)
        return super().reserve(hold)


class ReleasesWhatWasCharged(MemoryLedger):
    """Forgets a hold when its lease is over, so that a late settlement finds nothing to correct."""

    def reap(self, now: float) -> Sequence[Granted]:
        over = [id for expires, id in self._leases if expires <= now and self._is_open(id)]
        charged = super().reap(now)
        for id in over:
            self._state.pop(id, None)
        return charged


class BooksBeforeItChecks(MemoryLedger):
    """Books a settlement that contradicts the first one, and complains only then."""

    def settle(self, id: str, actual: Nano) -> Granted:
        entry = self._state.get(id)
        if entry is not None and entry.booked and actual == entry.booked:
            for leg in entry.hold.legs:
                row = self._state.get((leg.budget, leg.window))
                if row is not None:
                    self._state[leg.budget, leg.window] = row._replace(spent=row.spent + 1)
        return super().settle(id, actual)


def _trusting(wall: Clock, steady: Clock) -> Clock:
    """The host's clock, whatever it says."""
    return wall


def _hasty(wall: Clock, steady: Clock) -> Clock:
    """Never goes back, but believes every leap ahead."""
    last = wall()

    def now() -> float:
        nonlocal last
        last = max(last, wall())
        return last

    return now


PLANTED: Final[dict[str, Stage]] = {
    **{kind.__name__: memory(kind) for kind in WRONG_BOOKS},
    **{kind.__name__: memory(kind) for kind in (RefusesWhatItKnows, ReleasesWhatWasCharged, BooksBeforeItChecks)},
    "ForgetsAtMidnight": memory(lambda: MemoryLedger(keep=0)),
    "ClockGoesBack": memory(make_clock=_trusting),
    "ClockLeaps": memory(make_clock=_hasty),
}
"""What to play on, by the mistake's name."""
