"""Processes are killed at any moment, and what they all saw agrees; and the check would notice if it did not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from costguard.ports import Ledger

from .__main__ import told
from .books import NEVER, Books, Operation
from .planted import PLANTED
from .run import run
from .search import Stuck, order_of
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


def extend(id: str, amount: int, reply: Any, began: float, ended: float = NEVER) -> Operation:
    """More for a hold."""
    return Operation("extend", (id, amount), reply, began, ended)


def audit(spent: int, held: int, holds: dict[str, tuple[str, int, int]], at: float = 1000) -> Operation:
    """The books in the end."""
    row = (spent, held)
    return Operation("audit", (), ({TIGHT: row, WATCHED: row}, holds), at, at + 1)


def read(spent: int, held: int, began: float, ended: float) -> Operation:
    """Figures that somebody saw."""
    return Operation("read", ((TIGHT, WATCHED),), [(spent, held), (spent, held)], began, ended)


def crashed(count: int) -> tuple[list[Operation], dict[str, tuple[str, int, int]]]:
    """Holds of one that nobody heard the beginning of, sent ten times each, and that are half of them in the books."""
    tries = [reserve(f"h{number}", 1, None, number + attempt / 10) for number in range(count) for attempt in range(10)]
    return tries, {f"h{number}": ("open", 1, 0) for number in range(0, count, 2)}


def test_a_thousand_unanswered_attempts_are_decided_by_the_books() -> None:
    """A server that is away leaves many of them: which took effect is no matter of trying all their subsets."""
    tries, holds = crashed(100)
    right = [*tries, read(0, 20, 200, 201), read(0, 50, 300, 301), audit(0, 50, holds)]
    assert not isinstance(order_of(right, LIMITS, 20_000), Stuck)
    for wrong in (
        [*tries, read(0, 51, 300, 301), audit(0, 50, holds)],
        [*tries, read(0, 30, 200, 201), read(0, 29, 300, 301), audit(0, 50, holds)],
        [*tries, audit(0, 49, holds)],
        [*tries, audit(0, 50, {**holds, "other": ("open", 1, 0)})],
    ):
        found = order_of(wrong, LIMITS, 200_000)
        assert isinstance(found, Stuck)
        assert not found.undecided


def test_unanswered_extensions_come_where_an_answer_needs_them() -> None:
    """They have no id that would tell them apart: figures seen in between say when they took effect."""
    holds = [reserve(f"h{number}", 0, "granted", number / 100, number / 100 + 0.005) for number in range(40)]
    more = [extend(f"h{number}", 1 + number % 3, None, 1 + number / 100) for number in range(40)]
    kept = {f"h{number}": ("open", 1 + number % 3, 0) for number in range(40)}
    total = sum(amount for _, amount, _ in kept.values())
    seen = [read(0, 3 * number, 2 + number, 2.5 + number) for number in range(total // 3)]
    assert not isinstance(order_of([*holds, *more, *seen, audit(0, total, kept)], LIMITS, 100_000), Stuck)
    late = read(0, total + 1, 900, 901)
    found = order_of([*holds, *more, late, audit(0, total, kept)], LIMITS, 1_000)
    assert isinstance(found, Stuck)


def test_an_extension_comes_before_the_end_of_its_hold_and_before_an_overrun() -> None:
    """The two cases in which what may come later does not fit there any more."""
    first = [reserve("a", 10, "granted", 0, 1), extend("a", 90, None, 2)]
    settled = Operation("settle", ("a", 100), "granted", 3, 4)
    _ordered([*first, settled, audit(100, 0, {"a": ("settled", 100, 100)})])
    assert isinstance(order_of([*first, settled, audit(100, 0, {"a": ("settled", 90, 100)})], LIMITS), Stuck)
    over = [
        reserve("a", 10, "granted", 0, 1),
        reserve("b", 0, "granted", 2, 3),
        extend("a", 60, None, 4),
        Operation("settle", ("b", 50), "granted", 5, 6),
    ]
    _ordered([*over, audit(50, 70, {"a": ("open", 70, 0), "b": ("settled", 0, 50)})])


def test_an_attempt_that_was_granted_may_have_been_done_by_an_earlier_one() -> None:
    """Nobody heard of the first, which another call was refused by; the second was told of it."""
    refused = reserve("b", 60, [("tight", "w", 0, 60)], 1, 2)
    kept = audit(0, 60, {"a": ("open", 60, 0)})
    assert ["a", "b", ""] == [
        one.id for one in _ordered([reserve("a", 60, None, 0), refused, reserve("a", 60, "granted", 3, 4), kept])
    ]
    assert isinstance(order_of([refused, reserve("a", 60, "granted", 3, 4), kept], LIMITS), Stuck)


def test_a_search_that_takes_too_long_says_so_and_counts_as_a_failure() -> None:
    """Whoever reads its verdict is told that it is none."""
    tries, holds = crashed(100)
    found = order_of([*tries, audit(0, 50, holds)], LIMITS, 10)
    assert isinstance(found, Stuck)
    assert found.undecided


def test_the_search_finds_what_trying_everything_finds() -> None:
    """Short histories with unanswered operations, right ones and wrong ones: the verdict is that of all orders."""
    verdicts = []
    for seed in range(250):
        *history, kept = _short(random.Random(seed))
        for whole in (history, [*history, kept]):
            verdict = not isinstance(order_of(whole, LIMITS), Stuck)
            assert verdict == _any_order(Books(LIMITS), whole), (seed, whole)
            verdicts.append(verdict)
    assert 50 < sum(verdicts) < len(verdicts) - 50


def _short(dice: random.Random) -> list[Operation]:
    """A few operations on two holds, some without an answer, done or not; the books in the end, and mostly a lie."""
    books, history = Books(LIMITS), []
    for number in range(7):
        step, id = (
            dice.choice(("reserve", "reserve", "extend", "extend", "settle", "release", "read")),
            dice.choice("ab"),
        )
        arguments: tuple[Any, ...] = {
            "reserve": (id, 50 if id == "a" else 0, (TIGHT, WATCHED) if id == "a" else (TIGHT,)),
            "extend": (id, dice.choice((5, 45))),
            "settle": (id, dice.choice((7, 70))),
            "release": (id,),
        }.get(step, ((TIGHT, WATCHED),))
        began, ended = number - dice.uniform(0.1, 3), number + dice.uniform(0.1, 3)
        if step != "read" and dice.random() < 0.4:
            if dice.random() < 0.6:
                _right(books, step, arguments)
            history.append(Operation(step, arguments, None, began, NEVER))
        else:
            history.append(Operation(step, arguments, _right(books, step, arguments), began, ended))
    heard = [place for place, one in enumerate(history) if one.reply is not None]
    if heard and dice.random() < 0.4:
        one = history[place := dice.choice(heard)]
        history[place] = one._replace(
            reply=dice.choice(("granted", "unknown", [(*TIGHT, 0, 50)])) if one.id else [(7, 0), (7, 0)]
        )
    holds = {id: (entry.state, entry.amount, entry.booked) for id, entry in books.holds.items()}
    if holds and dice.random() < 0.2:
        holds["a"] = ("open", 95, 0)
    return [*history, Operation("audit", (), (dict(books.windows), holds), 50, 51)]


def _any_order(books: Books, rest: list[Operation]) -> bool:
    """Whether some order is right, by trying each."""
    horizon = min((one.ended for one in rest if one.reply is not None), default=NEVER)
    if horizon == NEVER:
        return True
    for place, one in enumerate(rest):
        if one.began > horizon:
            continue
        undo = books.apply(one)
        if isinstance(undo, str):
            continue
        found = _any_order(books, [*rest[:place], *rest[place + 1 :]])
        undo()
        if found:
            return True
    return False


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
