"""What a reader of the figures is warned of, once."""

from __future__ import annotations

import logging

import pytest

from costguard._guard import Guard
from costguard._snapshot import vendored
from costguard._types import Call, Usage
from costguard.ledgers.memory import MemoryLedger

DAY = 86_400.0
NOW = 1_795_392_000.0


def test_moving_names_and_old_lists_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first call with such a name, or from such a list, says so; the others do not, and nor do fresh ones."""
    now = [NOW]
    guard = Guard(vendored(), MemoryLedger(), clock=lambda: now[0])
    with caplog.at_level(logging.WARNING, "costguard"):
        guard.record(Call("google", "gemini-3.8-flash"), [Usage({"input": 5})])
        assert caplog.messages == []
        for _ in range(3):
            guard.record(Call("google", "gemini-flash"), [Usage({"input": 5})])
        assert ["priced as 'gemini-3.8-flash'" in said for said in caplog.messages] == [True]
        now[0] += 60 * DAY
        for model in ("gemini-3.5-flash-lite", "gemini-2.5-flash"):
            guard.record(Call("google", model), [Usage({"input": 5})])
        assert ["prices of google were last checked" in said for said in caplog.messages] == [False, True]
