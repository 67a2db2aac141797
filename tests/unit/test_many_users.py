"""A budget of which every user has one: thousands of users, and bounded memory."""

from __future__ import annotations

from datetime import UTC, datetime

from costguard import _admission
from costguard._book import Row
from costguard._budget import budget
from costguard._catalog import Catalog
from costguard._guard import Guard
from costguard._scope import Scope
from costguard._snapshot import load
from costguard._types import Call, Usage
from costguard.ledgers.memory import MemoryLedger


def test_ten_thousand_users_have_a_limit_each_and_leave_nothing_behind() -> None:
    """Each can spend its own, none another's; when the day is over their books are forgotten."""
    now = [datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()]
    ledger = MemoryLedger()
    daily = budget("$0.01/day", per="user")
    guard = Guard(Catalog(load), ledger, budgets=[daily], clock=lambda: now[0])
    call, usage = Call("openai", "gpt-4o", bound={"input": 100}), [Usage({"input": 100})]
    cost = guard.catalog.cost("openai", "gpt-4o", usage, now[0]).nano
    for number in range(10_000):
        guard.tags = {"user": f"user-{number}"}
        guard.record(call, usage)
    rows = [one for one in ledger._state.values() if isinstance(one, Row)]
    assert 10_000 == len(rows)
    assert {(cost, 0)} == {(row.spent, row.held) for row in rows}
    assert len(guard.admission._legs) <= _admission._KEPT
    assert 10_000 == len(guard.ledger.windows(now[0]))
    now[0] += 2 * 86_400
    guard.tags = {"user": "user-0"}
    guard.record(call, usage)
    ledger.reap(now[0])
    assert 1 == len([one for one in ledger._state.values() if isinstance(one, Row)])
    assert 1 == len(guard.admission.legs(Scope({"user": "user-0"}), now[0]))
