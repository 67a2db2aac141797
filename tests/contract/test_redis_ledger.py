"""The Redis ledger on a real server: the contract of every ledger, and the very replies of the book."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard._book import IdempotencyConflictError
from costguard._types import Amendment, Granted, Hold, Leg
from costguard.ledgers import open_ledger
from costguard.ledgers.memory import MemoryLedger
from costguard.ledgers.redis import RedisLedger
from costguard.testing import LedgerContract

from .servers import command, fresh, running


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server."""
    with running(tmp_path_factory.mktemp("redis")) as url:
        yield url


class TestRedisLedger(LedgerContract):
    """The ledger of many hosts; leases go by the instants that the contract names."""

    holds = 25
    seconds = 0.7
    examples = 15

    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    def make_ledger(self) -> RedisLedger:
        return RedisLedger(self.url, namespace=fresh(), clock="client", keep=86_400)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_an_interrupt_tears_nothing(self) -> None:
        """As for every ledger; a connection that was interrupted before anybody could close it is left to the
        garbage collector, which says so."""
        super().test_an_interrupt_tears_nothing()
        gc.collect()


# -- the same replies as the book

START = 1_780_000_000
IDS = st.integers(0, 5).map("hold-{}".format)
AMOUNTS = st.sampled_from((0, 1, 10, 30, 40, 60, 130))
SETS = st.sets(st.integers(0, 3), min_size=1).map(sorted)
KINDS = ("limit", "limit", "top-up", "top-up", "pause", "resume")
NAMES = ("daily: ä{}", "dailies", "total", "rolling")
STEPS = st.one_of(
    st.tuples(st.just("reserve"), IDS, AMOUNTS, SETS, st.integers(-9, 20), st.sampled_from((1, 5, 60))),
    st.tuples(st.just("extend"), IDS, AMOUNTS),
    st.tuples(st.just("settle"), IDS, AMOUNTS),
    st.tuples(st.just("release"), IDS),
    st.tuples(st.just("adjust"), IDS, st.sampled_from(("one", "two")), AMOUNTS),
    st.tuples(st.just("reap"), st.integers(-5, 90)),
    st.tuples(st.just("undelivered"), st.integers(0, 200)),
    st.tuples(st.just("amend"), st.integers(0, 6), st.sampled_from(KINDS), st.sampled_from(NAMES), AMOUNTS),
)


def legs_at(which: list[int], at: int) -> tuple[Leg, ...]:
    """A hard and a soft calendar budget, a lifetime and a rolling one, as the legs of an instant."""
    day, slot = at // 10 * 10, at // 4
    marks = ((33.3, 33), (50.0, 50), (99.9, 100))
    every = (
        Leg("daily: ä{}", f"{day}", 100, day, day + 10.0, True, marks, (("user", "{x}:\n"),), group="dailies"),
        Leg("watched", f"{day}", 60, day, day + 10.0, False, marks),
        Leg("total", "lifetime", 250, marks=((80.0, 200),)),
        Leg("rolling", f"{slot:012d}", 120, slot * 4.0, slot * 4.0 + 4, True, marks, slots=3),
    )
    return tuple(every[index] for index in which)


def answer(step: Callable[..., object], *arguments: Any) -> object:
    """What a step answers, or raises."""
    try:
        return step(*arguments)
    except (KeyError, IdempotencyConflictError) as error:
        return type(error), str(error)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, min_size=8, max_size=50))
def test_any_steps_are_answered_as_the_book_answers_them(redis_url: str, steps: list[tuple[Any, ...]]) -> None:
    """Grants, refusals with their figures, crossings, conflicts and balances are equal, step by step: also repeated,
    contradicted, late and out of order, on calendar and rolling windows."""
    book, ledger = MemoryLedger(keep=0), RedisLedger(redis_url, namespace=fresh(), clock="client", keep=0)
    seen = dict.fromkeys(legs_at([0, 1, 2, 3], START))
    for name, *arguments in steps:
        if name == "reserve":
            id, amount, which, at, lease = arguments
            hold = Hold(id, amount, legs_at(which, START + at), START + at + lease + amount / 1000, START + at)
            seen |= dict.fromkeys(hold.legs)
            arguments = [hold]
        elif name in ("reap", "undelivered"):
            arguments = [float(START + arguments[0])]
        elif name == "amend":
            number, kind, budget, amount = arguments
            until = START + amount / 5 if kind == "top-up" else None
            arguments = [Amendment(f"a{number}", budget, kind, START, amount, until, "ada", "a: \u2028 'reason'")]
        assert answer(getattr(book, name), *arguments) == answer(getattr(ledger, name), *arguments)
        assert book.balances(list(seen), START + 5) == ledger.balances(list(seen), START + 5)
    assert book.windows(START + 9) == ledger.windows(START + 9)
    assert book.amendments() == ledger.amendments()
    ledger.close()


def test_a_rolling_budget_of_sixty_slots_is_counted_to_the_nano_dollar(redis_url: str) -> None:
    """With every slot in use, at amounts that no float counts in thousandths."""
    book, ledger = MemoryLedger(), RedisLedger(redis_url, namespace=fresh(), clock="client")
    legs = [Leg("r", f"{slot:012d}", 2**53 - 1, slot, slot + 1, slots=60) for slot in range(100, 180)]
    for number, leg in enumerate(legs):
        hold = Hold(f"h{number}", 10**14 + number, (leg,), 1e10)
        assert book.reserve(hold) == ledger.reserve(hold)
        if number % 2:
            assert answer(book.settle, hold.id, 10**13 + 7) == answer(ledger.settle, hold.id, 10**13 + 7)
    assert book.balances(legs) == ledger.balances(legs)
    ledger.close()


def test_amounts_that_no_double_counts_are_counted_to_the_nano_dollar(redis_url: str) -> None:
    """A soft budget is spent far beyond its limit, and beyond 2**53, up and down again across it."""
    book, ledger = MemoryLedger(), RedisLedger(redis_url, namespace=fresh(), clock="client")
    leg = Leg("soft", "w", 100, hard=False)
    amounts = [2**53, 2**53 - 1, 1, 999_999_999, 10**9, 2**52 + 1, 3]
    for number, amount in enumerate(amounts):
        hold = Hold(f"h{number}", amount, (leg,), 1e10)
        assert book.reserve(hold) == ledger.reserve(hold)
        assert book.balances([leg]) == ledger.balances([leg])
    for number, amount in enumerate(amounts):
        assert book.settle(f"h{number}", amount) == ledger.settle(f"h{number}", amount)
        assert book.balances([leg]) == ledger.balances([leg])
    for number in range(len(amounts)):
        assert book.adjust(f"h{number}", "c", number) == ledger.adjust(f"h{number}", "c", number)
        assert book.balances([leg]) == ledger.balances([leg])
    ledger.close()


# -- whose clock


def test_a_client_whose_clock_is_ahead_charges_nobody(redis_url: str) -> None:
    """Leases end by the server's clock, whatever instant the reaper is told."""
    ledger = RedisLedger(redis_url, namespace=fresh())
    leg = Leg("b", "w", 100)
    ledger.reserve(Hold("long", 30, (leg,), time.time() + 3600))
    ledger.reserve(Hold("over", 20, (leg,), time.time() - 1))
    assert [Granted()] == ledger.reap(time.time() + 10**6)
    assert [(20, 30)] == [(one.spent, one.held) for one in ledger.balances([leg])]
    ledger.close()


def test_a_client_whose_clock_is_behind_keeps_its_holds(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is a length of time to the server."""
    ledger, leg = RedisLedger(redis_url, namespace=fresh()), Leg("b", "w", 100)
    behind = time.time() - 7200
    monkeypatch.setattr("costguard.ledgers.redis.time.time", lambda: behind)
    ledger.reserve(Hold("h", 30, (leg,), behind + 60))
    assert [] == ledger.reap(behind)
    assert 30 == ledger.balances([leg])[0].held
    ledger.close()


# -- what is kept, and for how long


def test_nothing_is_kept_for_ever_but_what_never_ends(redis_url: str) -> None:
    """Ended holds stay for a day, windows for a while after their end, an open hold until it ends."""
    space = fresh()
    ledger = RedisLedger(redis_url, namespace=space, clock="client", keep=100)
    legs = (Leg("day", "d", 100, 0.0, 50.0, marks=((10.0, 10),)), Leg("ever", "lifetime", 100))
    ledger.reserve(Hold("h", 30, legs, 60.0))
    assert -1 == command(redis_url, "TTL", f"cg2:{{{space}}}:hold:h")
    ledger.settle("h", 20)
    assert 86_000 < command(redis_url, "TTL", f"cg2:{{{space}}}:hold:h") <= 86_400
    assert 0 == command(redis_url, "ZCARD", f"cg2:{{{space}}}:leases")
    # The history; of each window its row and its leg; the mark that was told.
    for now, fields in ((150.0, 6), (151.0, 3)):
        ledger.reap(now)
        assert fields == command(redis_url, "HLEN", f"cg2:{{{space}}}:books")
    ledger.close()


def test_slots_that_no_rolling_window_reaches_are_deleted(redis_url: str) -> None:
    """A rolling budget keeps as many slots as its window has, and goes with its last one."""
    space = fresh()
    ledger = RedisLedger(redis_url, namespace=space, clock="client", keep=0)
    for slot in range(100, 200):
        leg = Leg("r", f"{slot:012d}", 10**9, slot, slot + 1.0, slots=10)
        ledger.reserve(Hold(f"h{slot}", 5, (leg,), slot + 50.0))
        ledger.settle(f"h{slot}", 5)
        ledger.reap(float(slot))
    # The history; a row for each slot, one of them just over; the newest slot's number, how many, and the leg.
    assert 1 + 12 + 3 == command(redis_url, "HLEN", f"cg2:{{{space}}}:books")
    ledger.reap(10_000.0)
    assert 1 == command(redis_url, "HLEN", f"cg2:{{{space}}}:books")
    ledger.close()


def test_a_run_that_goes_on_while_the_reaper_looks_is_kept(redis_url: str) -> None:
    """Between the reaper's look and its deed a call came and was settled."""
    ledger = RedisLedger(redis_url, namespace=fresh(), clock="client")
    leg, late = Leg("b", "run:1", 100), 4 * 86_400.0
    ledger.reserve(Hold("a", 60, (leg,), 10.0))
    ledger.settle("a", 60)
    (member,) = command(redis_url, "ZRANGE", f"{ledger._prefix}windows", 0, -1)
    ledger.reserve(Hold("b", 30, (leg,), late))
    ledger.settle("b", 30)
    assert 0 == ledger._forget([member], repr(late))
    assert 90 == ledger.balances([leg])[0].spent
    assert 1 == ledger._forget([member], repr(late + 2 * 86_400))
    assert 0 == ledger.balances([leg])[0].spent
    ledger.close()


def test_a_long_list_of_leases_is_charged_in_one_go(redis_url: str) -> None:
    """More than fit in one round trip of the reaper."""
    ledger = RedisLedger(redis_url, namespace=fresh(), clock="client")
    leg = Leg("b", "w", 10**9)
    for number in range(450):
        ledger.reserve(Hold(f"h{number}", 2, (leg,), 1e9))
    assert 450 == len(ledger.reap(2e9))
    assert [(900, 0)] == [(one.spent, one.held) for one in ledger.balances([leg])]
    ledger.close()


def test_another_process_can_end_a_hold(redis_url: str) -> None:
    """One that never saw it asks the ledger for its legs."""
    space, leg = fresh(), Leg("b", "w", 100, marks=((50.0, 50),))
    here, there = RedisLedger(redis_url, namespace=space), RedisLedger(redis_url, namespace=space)
    here.reserve(Hold("h", 60, (leg,), time.time() + 60))
    assert Granted() == there.extend("h", 20)
    assert [(leg, 50.0, 70)] == [(one.leg, one.percent, one.spent) for one in there.settle("h", 70).crossings]
    assert Granted() == here.settle("h", 70)
    for ledger in (here, there):
        ledger.close()


def test_legs_are_known_again_however_their_figures_are_typed(redis_url: str) -> None:
    """One process writes 5 and the other 5.0, and a tag holds half of a character."""
    space = fresh()
    here, there = RedisLedger(redis_url, namespace=space), RedisLedger(redis_url, namespace=space)
    legs = [Leg("a\ud800", "w", 100, kind(0), kind(2e9), marks=((kind(50), 50),)) for kind in (int, float)]
    expires = time.time() + 60
    for number, ledger in enumerate((here, there, here)):
        ledger.reserve(Hold(f"h{number}", 5, (legs[number % 2],), expires))
    there.reserve(Hold("h0", 5, (legs[1],), expires))
    for number in range(3):
        assert Granted() == there.settle(f"h{number}", 4)
    assert 12 == here.balances(legs)[0].spent
    for ledger in (here, there):
        ledger.close()


def test_namespaces_are_books_of_their_own(redis_url: str) -> None:
    """Two programs on one server do not meet, unless they name the same one."""
    leg, space = Leg("b", "w", 100), fresh()
    first, second, third = (open_ledger(f"{redis_url}?namespace={name}") for name in (space, fresh(), space))
    first.reserve(Hold("h", 60, (leg,), time.time() + 60))
    assert [60, 0, 60] == [ledger.balances([leg])[0].held for ledger in (first, second, third)]
    for ledger in (first, second, third):
        ledger.close()


def test_an_amount_beyond_what_doubles_count_is_refused_before_anything_is_written(redis_url: str) -> None:
    """Redis would compare it wrongly."""
    ledger, leg = RedisLedger(redis_url, namespace=fresh()), Leg("b", "w", 100, hard=False)
    with pytest.raises(ValueError, match="9007199254740992"):
        ledger.reserve(Hold("h", 2**53 + 1, (leg,), time.time() + 60))
    assert 0 == ledger.balances([leg])[0].held
    ledger.close()
