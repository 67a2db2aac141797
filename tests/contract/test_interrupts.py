"""Interrupts would find a ledger that is torn by them."""

from __future__ import annotations

import sys

from costguard.ledgers.memory import MemoryLedger

from ..histories.planted import HoldsOneLegAfterTheOther
from ..interrupts import interrupt


def test_a_ledger_that_takes_one_budget_after_the_other_is_found_torn() -> None:
    """An interrupt between two of them leaves a hold on one, which is charged for a call that was never made."""
    if sys.gettrace() is not None:
        # As in the contract: a tracer's callback is no place for an interrupt.
        return
    found = interrupt(lambda: HoldsOneLegAfterTheOther(MemoryLedger()), 3000, most=1)
    assert found.torn
    assert not found.stuck
