"""Runs that are silent for long, such as an agent that waits for a person over the weekend.

A shared ledger cannot know when a run is over, so it forgets one whose last call is a day ago, and the next call of it
would have the whole limit again. The process in which its block is open does know, and holds nothing on its books now
and then, which the ledger takes for a call.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Final

from ._context import runs
from ._period import OF_RUN, PROCESS
from ._types import Hold, Leg
from .ports import Ledger

AFTER: Final = 6 * 3600.0
"""Seconds without a call after which a run's books are renewed: a quarter of what a ledger keeps them for."""
LOOK: Final = 3600.0
"""Seconds between two looks in a process that makes no call at all."""
MOST: Final = 1000
"""Windows of one run that are renewed: of budgets ``per`` a tag there may be any number."""
_LEASE: Final = 60.0


def note(legs: Iterable[Leg], now: float) -> None:
    """A call on these windows was made here."""
    for leg in legs:
        # The run of a whole process is kept for a year.
        if leg.window.startswith(OF_RUN) and not leg.window.startswith(PROCESS, len(OF_RUN)):
            run = runs.find(leg.window.removeprefix(OF_RUN))
            if run is not None and (leg.budget in run.legs or len(run.legs) < MOST):
                run.legs[leg.budget] = (leg, now)


def renew(ledger: Ledger, now: float) -> None:
    """Renew the books that had no call for long, of the runs in which one may still come.

    Raises:
        LedgerUnavailableError: it is away; those not yet renewed are still due.
    """
    for run in runs.living():
        due = tuple([leg for leg, called in list(run.legs.values()) if called <= now - AFTER])
        if due:
            hold = Hold(uuid.uuid4().hex, 0, due, now + _LEASE, now)
            ledger.reserve(hold)
            ledger.release(hold.id)
            note(due, now)
