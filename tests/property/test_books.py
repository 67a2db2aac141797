"""The books under every history Hypothesis can think of, and proof that it would notice if they were wrong."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from costguard.ledgers.memory import MemoryLedger
from costguard.testing.books import books_machine

from .planted import PLANTED, looking_for_a_bug

MemoryBooks = books_machine(MemoryLedger)


class TestMemoryBooks(MemoryBooks.TestCase):  # type: ignore[name-defined,misc]
    """The memory ledger agrees with the model after every step of every history."""


@pytest.mark.parametrize("wrong", PLANTED, ids=lambda kind: kind.__name__)
def test_a_planted_bug_is_found(wrong: type[MemoryLedger]) -> None:
    """A ledger with one plausible mistake does not get through, within the number of examples that CI runs."""
    with pytest.raises(AssertionError):
        run_state_machine_as_test(books_machine(wrong), settings=looking_for_a_bug())


def test_there_are_planted_bugs_enough() -> None:
    """At least a dozen, so that the machine's eyes are known to be good."""
    assert len(PLANTED) >= 12
