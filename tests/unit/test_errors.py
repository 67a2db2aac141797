"""Errors: they say what, how much and which knob, and survive being sent to another process."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from costguard._types import Leg, Refusal
from costguard.errors import (
    BudgetExceededError,
    ConfigError,
    CostguardError,
    LedgerUnavailableError,
    MissingExtraError,
    UnknownPriceError,
)

ENDS = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
LEG = Leg(
    "feature=search, per day", "2026-05-31T00:00Z", 5_000_000_000, ENDS - 86400, ENDS, scope=(("feature", "search"),)
)
REFUSAL = Refusal(LEG, spent=4_900_000_000, held=50_000_000, needed=80_000_000)
ERRORS = [
    CostguardError("x"),
    ConfigError("x"),
    LedgerUnavailableError("x"),
    MissingExtraError("redis"),
    UnknownPriceError("openai", "gpt-9"),
    BudgetExceededError((REFUSAL,)),
    BudgetExceededError((REFUSAL, REFUSAL), partial="so far"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_being_sent_to_another_process(error: CostguardError, copied: object) -> None:
    """A worker process hands its errors over pickled; they arrive with the same figures and message."""
    there = copied(error)  # type: ignore[operator]
    assert type(error) is type(there)
    assert str(error) == str(there)
    assert vars(error) == vars(there)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_has_one_root(error: CostguardError) -> None:
    """One except clause catches all of them, and a raised one keeps its traceback and notes."""
    error.add_note("while testing")
    with pytest.raises(CostguardError) as caught:
        raise error
    assert error is caught.value


def test_errors_are_also_what_python_calls_them() -> None:
    """A malformed setting is a ValueError, a missing extra an ImportError."""
    assert issubclass(ConfigError, ValueError)
    assert issubclass(MissingExtraError, ImportError)


def test_a_refusal_says_what_how_much_and_which_knob() -> None:
    """The message can be read on its own, and the attributes carry the same figures as Decimals."""
    error = BudgetExceededError((REFUSAL,))
    assert str(error) == (
        "budget 'feature=search, per day': $4.90 of $5.00 is spent and $0.05 is held by calls in flight; this call may "
        "cost $0.08 more and $0.05 is left. It resets 2026-06-01 00:00 UTC. "
        "Raise the limit, or cap the call's output tokens."
    )
    assert error.budget == "feature=search, per day"
    assert error.scope == {"feature": "search"}
    assert (Decimal(5), Decimal("4.9"), Decimal("0.05")) == (error.limit, error.spent, error.held)
    assert (Decimal("0.08"), Decimal("0.05")) == (error.needed, error.remaining)
    assert datetime(2026, 6, 1, tzinfo=UTC) == error.resets_at
    assert error.reason == "held"


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (REFUSAL, "held"),
        (replace(REFUSAL, needed=100_000_000), "held"),
        (replace(REFUSAL, needed=100_000_001), "spent"),
        (replace(REFUSAL, spent=6_000_000_000), "spent"),
        (replace(REFUSAL, paused=True), "paused"),
    ],
)
def test_the_reason_tells_whether_waiting_helps(refusal: Refusal, reason: str) -> None:
    """``held`` means that it fits once others settle for less; nothing else does."""
    assert reason == BudgetExceededError((refusal,)).reason


def test_what_is_left_is_never_negative() -> None:
    """An overspent budget has nothing left, not less."""
    assert Decimal(0) == BudgetExceededError((replace(REFUSAL, spent=6_000_000_000),)).remaining


def test_a_rolling_budget_names_no_reset() -> None:
    """The end of a slot is no reset; the message says how room comes back instead."""
    error = BudgetExceededError((replace(REFUSAL, leg=replace(LEG, slots=60)),))
    assert error.resets_at is None
    assert "resets" not in str(error)
    assert "rolling" in str(error)


def test_a_budget_that_never_resets_says_nothing_of_it() -> None:
    """Lifetimes and runs have no end."""
    error = BudgetExceededError((replace(REFUSAL, leg=replace(LEG, ends=None)),))
    assert error.resets_at is None
    assert "resets" not in str(error)


def test_a_stream_that_was_cut_keeps_what_arrived() -> None:
    """The text up to the cut is on the error, and the message says that it was a stream."""
    error = BudgetExceededError((REFUSAL,), partial="so far")
    assert error.partial == "so far"
    assert "the stream was cut off" in str(error)
