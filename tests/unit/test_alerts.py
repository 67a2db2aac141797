"""Alerts reach their receivers though answers of the ledger are lost."""

from __future__ import annotations

import pytest

import costguard
from costguard import Alert
from costguard._config import state
from costguard._types import Granted, Nano
from costguard.errors import LedgerUnavailableError
from costguard.ledgers.memory import MemoryLedger
from costguard.testing import FakeClock


class AnswersAreLost(MemoryLedger):
    """Carries a settlement out, and then the connection breaks before its answer has come."""

    inline = False
    lost = 0

    def settle(self, id: str, actual: Nano) -> Granted:
        reply = super().settle(id, actual)
        if not self.lost:
            self.lost = 1
            raise LedgerUnavailableError("the connection broke")
        return reply


@pytest.mark.parametrize("ledger", [MemoryLedger, AnswersAreLost])
def test_an_alert_is_sent_once_though_the_answer_that_told_of_it_was_lost(ledger: type[MemoryLedger]) -> None:
    """Settled again it tells of no alert, so the books do, a minute later."""
    told: list[Alert] = []
    clock = FakeClock()
    daily = costguard.budget("$1/day", name="daily", alert_at=(50,))
    costguard.configure(ledger=ledger(), exporters=[], clock=clock, budgets=[daily], on_alert=told.append)
    costguard.track("gpt-4o", cost="0.60")
    assert state.guard.settlements.flush(30)
    for _ in range(6):
        clock.advance(seconds=31)
        costguard.track("gpt-4o", cost="0")
        assert state.guard.settlements.flush(30)
    (alert,) = told
    assert (50.0, "daily") == (alert.percent, alert.balance.leg.budget)
    assert alert.id.startswith("daily/")
    costguard.configure(exporters=[])
