"""Processes are killed at any moment, and what they all saw agrees; and the check would notice if it did not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from costguard.ports import Ledger

from .__main__ import told
from .check import NEVER, Books, Operation, Stuck, order_of
from .planted import PLANTED
from .run import run
from .stores import STORES

LIMITS = {"tight": 100, "watched": None}
TIGHT, WATCHED = ("tight", "w"), ("watched", "w")


@pytest.mark.parametrize("kind", STORES)
def test_what_killed_processes_were_told_agrees_with_the_books(kind: str) -> None:
    """Every reply, every figure and the final books fit into one order of operations that keeps to all times."""
    with STORES[kind]() as store:
        outcome = run(store, kills=10, seed=random.randrange(10**6))
        assert outcome.good, told(outcome)
        assert outcome.operations > 20, "too little happened for this to prove anything"


@pytest.mark.parametrize("wrong", PLANTED, ids=lambda kind: kind.__name__)
def test_a_planted_mistake_is_found(wrong: Callable[[Ledger], Any]) -> None:
    """A ledger that loses, races or counts twice is told from a right one, sooner or later."""
    for seed in range(20):
        with STORES["sqlite"]() as store:
            if not run(store, kills=3, seed=seed, spoiled=wrong).good:
                return
    pytest.fail("it was not found in twenty runs")


def reserve(id: str, amount: int, reply: Any, began: float, ended: float = NEVER) -> Operation:
    """A reservation on both budgets."""
    return Operation("reserve", (id, amount, (TIGHT, WATCHED)), reply, began, ended)


def test_two_grants_that_pass_the_limit_together_are_found() -> None:
    """However they overlapped, one of them should have been refused."""
    found = order_of([reserve("a", 60, "granted", 0, 9), reserve("b", 60, "granted", 1, 2)], LIMITS)
    assert isinstance(found, Stuck)
    assert 1 == found.after
    assert "refused" in found.why[0]


def test_a_refusal_needs_a_moment_at_which_it_was_right() -> None:
    """One that was answered before the other began is a phantom; one that overlaps it may come second."""
    refused = [("tight", "w", 0, 60)]
    late = [reserve("a", 60, refused, 0, 1), reserve("b", 60, "granted", 2, 3)]
    assert isinstance(order_of(late, LIMITS), Stuck)
    meeting = [reserve("a", 60, refused, 0, 3), reserve("b", 60, "granted", 2, 4)]
    assert ["b", "a"] == [one.id for one in _ordered(meeting)]


def test_a_lost_settlement_is_found_in_the_final_books() -> None:
    """It was acknowledged, and the hold is still open."""
    settled = Operation("settle", ("a", 5), "granted", 2, 3)
    windows = {TIGHT: (0, 60), WATCHED: (0, 60)}
    audit = Operation("audit", (), (windows, {"a": ("open", 60, 0)}), 4, 5)
    assert isinstance(order_of([reserve("a", 60, "granted", 0, 1), settled, audit], LIMITS), Stuck)


def test_what_nobody_heard_of_may_have_been_done_or_not() -> None:
    """The books decide, and nothing else."""
    there = ({TIGHT: (0, 60), WATCHED: (0, 60)}, {"a": ("open", 60, 0)})
    killed = reserve("a", 60, None, 0)
    for kept in (there, ({}, {})):
        _ordered([killed, Operation("audit", (), kept, 4, 5)])
    # Another was refused by it, so that it must have been done.
    refused = reserve("b", 60, [("tight", "w", 0, 60)], 1, 2)
    _ordered([killed, refused, Operation("audit", (), there, 4, 5)])
    assert isinstance(order_of([killed, refused, Operation("audit", (), ({}, {}), 4, 5)], LIMITS), Stuck)


def test_every_right_history_is_taken_and_a_changed_figure_is_not() -> None:
    """Histories that are made from an order have one."""
    for seed in range(40):
        dice = random.Random(seed)
        history = _made(dice)
        _ordered(history)
        reads = [place for place, one in enumerate(history) if one.step == "read"]
        place = dice.choice(reads)
        spent, held = history[place].reply[0]
        wrong = history[place]._replace(reply=[(spent + 1, held), *history[place].reply[1:]])
        assert isinstance(order_of([*history[:place], wrong, *history[place + 1 :]], LIMITS), Stuck)


def _ordered(history: list[Operation]) -> list[Operation]:
    found = order_of(history, LIMITS)
    assert not isinstance(found, Stuck), found
    return found


def _made(dice: random.Random) -> list[Operation]:
    """A history that overlaps a good deal: each operation takes effect at its number and is spread around it."""
    books, history, ids = Books(LIMITS), [], [f"h{number}" for number in range(12)]
    for number in range(60):
        step, id = dice.choice(("reserve", "reserve", "extend", "settle", "release", "read")), dice.choice(ids)
        arguments: tuple[Any, ...] = {
            "reserve": (id, 10 * (1 + ids.index(id) % 5), (TIGHT, WATCHED)),
            "extend": (id, 15),
            "settle": (id, 7),
            "release": (id,),
        }.get(step, ((TIGHT, WATCHED),))
        began, ended = number - dice.uniform(0.1, 4), number + dice.uniform(0.1, 4)
        reply = _right(books, step, arguments)
        history.append(Operation(step, arguments, reply, began, ended))
    history.append(Operation("read", ((TIGHT, WATCHED),), _right(books, "read", ((TIGHT, WATCHED),)), 90, 91))
    dice.shuffle(history)
    return history


def _right(books: Books, step: str, arguments: tuple[Any, ...]) -> Any:
    if step == "read":
        return [books.windows.get(window, (0, 0)) for window in arguments[0]]
    replies: list[Any] = ["granted", "unknown", "conflict"]
    replies += [[(*TIGHT, *books.windows.get(TIGHT, (0, 0)))]]
    for reply in replies:
        if not isinstance(books.apply(Operation(step, arguments, reply, 0, 0)), str):
            return reply
    raise AssertionError("no reply is right")
