"""What every ledger, exporter and provider has to pass. Subclass one in a test module, and pytest runs all of it.

class TestMyLedger(LedgerContract):
    def make_ledger(self):
        return MyLedger(...)
"""

from __future__ import annotations

import asyncio
import copy
import ctypes
import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

from .._book import IdempotencyConflictError
from .._types import (
    Alert,
    Amendment,
    Balance,
    Call,
    Cost,
    CostEvent,
    Crossing,
    Granted,
    Hold,
    Leg,
    Nano,
    Refused,
    Usage,
)
from ..ports import Exporter, Ledger, Provider, Request, Seam, Unmetered

_DAY: Final = 86_400.0


class LedgerContract:
    """Every `costguard.ports.Ledger` keeps these promises.

    Attributes:
        holds: how many holds each of the threads tries in the test of a stampede.
        seconds: for how long interrupts are fired at the ledger.
        examples: how many histories Hypothesis tries; None for as many as its profile says.
    """

    holds = 50
    seconds = 1.5
    examples: int | None = None

    def make_ledger(self) -> Ledger:
        """A fresh ledger with empty books; each call makes another one."""
        raise NotImplementedError("a contract's subclass says how its ledger is made")

    def make_usual_ledger(self) -> Ledger:
        """The same, with the time-outs that users have, if the tests have others."""
        return self.make_ledger()

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """A fresh ledger that is closed afterwards."""
        ledger = self.make_ledger()
        try:
            yield ledger
        finally:
            ledger.close()

    # -- one step

    def test_it_is_a_ledger(self) -> None:
        """It has every method, and says whether it may run on an event loop."""
        with self.opened() as ledger:
            assert isinstance(ledger, Ledger)
            assert isinstance(ledger.inline, bool)

    def test_a_window_nobody_touched_is_empty(self) -> None:
        """Reading books needs no set-up."""
        with self.opened() as ledger:
            assert [] == list(ledger.balances([]))
            assert [Balance(_leg(), 0, 0)] == list(ledger.balances([_leg()]))

    def test_a_hold_is_taken_on_every_leg_and_given_back_on_every_leg(self) -> None:
        """Reserving holds the amount, settling turns it into what the call did cost."""
        legs = (_leg("a"), _leg("b", hard=False), _leg("c", limit=10**15))
        with self.opened() as ledger:
            assert Granted() == ledger.reserve(_hold("h", 40, *legs))
            assert [(0, 40)] * 3 == _books(ledger, *legs)
            assert Granted() == ledger.settle("h", 15)
            assert [(15, 0)] * 3 == _books(ledger, *legs)

    def test_a_refusal_names_every_leg_in_the_way_and_changes_nothing(self) -> None:
        """All legs or none, with the figures of that moment."""
        roomy, tight, full = _leg("roomy", 1000), _leg("tight", 50), _leg("full", 30)
        with self.opened() as ledger:
            ledger.reserve(_hold("spent", 30, full))
            ledger.settle("spent", 30)
            ledger.reserve(_hold("open", 20, tight))
            reply = ledger.reserve(_hold("h", 31, roomy, tight, full))
            assert isinstance(reply, Refused)
            assert [(tight, 0, 20, 31), (full, 30, 0, 31)] == [
                (one.leg, one.spent, one.held, one.needed) for one in reply.refusals
            ]
            assert ["held", "spent"] == [one.reason for one in reply.refusals]
            assert [(0, 0), (0, 20), (30, 0)] == _books(ledger, roomy, tight, full)
            assert Granted() == ledger.reserve(_hold("h", 30, roomy, tight))

    def test_a_limit_can_be_spent_to_the_last_nano_dollar_and_not_beyond(self) -> None:
        """What fits exactly is granted, also at the largest amounts, which no float counts."""
        limit = 2**53 - 1
        leg = _leg(limit=limit)
        with self.opened() as ledger:
            assert Granted() == ledger.reserve(_hold("a", limit - 1, leg))
            assert isinstance(ledger.reserve(_hold("b", 2, leg)), Refused)
            assert Granted() == ledger.reserve(_hold("c", 1, leg))
            ledger.settle("a", limit - 1)
            assert isinstance(ledger.reserve(_hold("d", 1, leg)), Refused)
            assert [(limit - 1, 1)] == _books(ledger, leg)

    def test_a_call_that_costs_nothing_passes_a_spent_budget(self) -> None:
        """A hold of zero needs no room."""
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 100, _leg()))
            ledger.settle("a", 150)
            assert Granted() == ledger.reserve(_hold("free", 0, _leg()))
            ledger.settle("free", 0)
            assert [(150, 0)] == _books(ledger, _leg())

    def test_a_soft_leg_counts_and_never_refuses(self) -> None:
        """It goes past its limit while the hard leg beside it still has room."""
        hard, soft = _leg("hard", 100), _leg("soft", 10, hard=False)
        with self.opened() as ledger:
            assert Granted() == ledger.reserve(_hold("a", 60, hard, soft))
            ledger.settle("a", 60)
            assert [(60, 0), (60, 0)] == _books(ledger, hard, soft)
            assert isinstance(ledger.reserve(_hold("b", 41, hard, soft)), Refused)

    def test_a_cost_above_its_hold_is_booked_in_full(self) -> None:
        """The money is spent, whatever the limit says; the next call is refused."""
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 90, _leg()))
            ledger.settle("a", 170)
            assert [(170, 0)] == _books(ledger, _leg())
            assert isinstance(ledger.reserve(_hold("b", 1, _leg())), Refused)

    def test_a_released_hold_leaves_no_trace(self) -> None:
        """A call that was never sent gives all of its room back."""
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 100, _leg()))
            assert Granted() == ledger.release("a")
            assert Granted() == ledger.reserve(_hold("b", 100, _leg()))
            assert [(0, 100)] == _books(ledger, _leg())

    def test_an_extension_is_taken_on_every_leg_or_on_none(self) -> None:
        """A stream that may not go on keeps exactly what it had."""
        one, other = _leg("one", 100), _leg("other", 60)
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 50, one, other))
            assert Granted() == ledger.extend("a", 10)
            reply = ledger.extend("a", 1)
            assert isinstance(reply, Refused)
            assert ["other"] == [refusal.leg.budget for refusal in reply.refusals]
            assert [(0, 60), (0, 60)] == _books(ledger, one, other)
            ledger.settle("a", 60)
            assert [(60, 0), (60, 0)] == _books(ledger, one, other)

    def test_amounts_are_never_negative(self) -> None:
        """A negative cost would print money; it is a bug of the caller and changes nothing."""
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 50, _leg()))
            for step in (
                lambda: ledger.reserve(_hold("b", -1, _leg())),
                lambda: ledger.extend("a", -1),
                lambda: ledger.settle("a", -1),
            ):
                _raises(ValueError, step)
            assert [(0, 50)] == _books(ledger, _leg())

    def test_an_unknown_id_is_an_error(self) -> None:
        """Ending what never began is a bug of the caller, not a silent nothing."""
        with self.opened() as ledger:
            for step in (lambda: ledger.settle("x", 1), lambda: ledger.release("x"), lambda: ledger.extend("x", 1)):
                _raises(KeyError, step)

    # -- the same step again

    def test_any_step_may_be_sent_again(self) -> None:
        """A repeated reserve, settle or release is answered and changes nothing, also after the hold has grown."""
        with self.opened() as ledger:
            hold, other = _hold("a", 40, _leg()), _hold("b", 5, _leg())
            ledger.reserve(hold)
            assert Granted() == ledger.reserve(hold)
            ledger.extend("a", 10)
            assert Granted() == ledger.reserve(hold)
            ledger.reserve(other)
            assert [(0, 55)] == _books(ledger, _leg())
            for _ in range(3):
                assert Granted() == ledger.settle("a", 30)
                assert Granted() == ledger.release("b")
                assert Granted() == ledger.reserve(hold)
                assert Granted() == ledger.reserve(other)
            assert [(30, 0)] == _books(ledger, _leg())

    def test_a_step_that_contradicts_an_earlier_one_is_an_error(self) -> None:
        """The first answer stands, and the caller hears of its bug."""
        with self.opened() as ledger:
            hold = _hold("a", 40, _leg())
            ledger.reserve(hold)
            _raises(IdempotencyConflictError, lambda: ledger.reserve(replace(hold, amount=41)))
            _raises(IdempotencyConflictError, lambda: ledger.reserve(replace(hold, legs=(_leg("other"),))))
            ledger.settle("a", 30)
            _raises(IdempotencyConflictError, lambda: ledger.settle("a", 31))
            _raises(IdempotencyConflictError, lambda: ledger.release("a"))
            _raises(IdempotencyConflictError, lambda: ledger.extend("a", 1))
            ledger.reserve(_hold("b", 40, _leg()))
            ledger.release("b")
            _raises(IdempotencyConflictError, lambda: ledger.settle("b", 1))
            assert [(30, 0)] == _books(ledger, _leg())

    # -- corrections

    def test_a_charge_can_be_corrected(self) -> None:
        """Up, down and away, on every window of the call, as often as somebody knows better."""
        legs = (_leg("a"), _leg("b", hard=False), _rolling(7))
        with self.opened() as ledger:
            ledger.reserve(_hold("h", 40, *legs))
            ledger.reserve(_hold("other", 5, *legs))
            ledger.settle("h", 30)
            for number, actual in enumerate((90, 12, 0, 0, 250)):
                assert Granted() == ledger.adjust("h", f"correction-{number}", actual)
                assert [(actual, 5)] * 3 == _books(ledger, *legs)
            assert isinstance(ledger.reserve(_hold("more", 1, *legs)), Refused)

    def test_a_correction_may_be_sent_again_and_contradicted_by_none(self) -> None:
        """Its id tells a repeat from another correction; the settlement may be repeated too, and changes nothing."""
        with self.opened() as ledger:
            ledger.reserve(_hold("h", 40, _leg()))
            ledger.settle("h", 30)
            for _ in range(2):
                assert Granted() == ledger.adjust("h", "one", 35)
                assert Granted() == ledger.settle("h", 30)
            ledger.adjust("h", "two", 20)
            assert Granted() == ledger.adjust("h", "one", 35)
            assert [(20, 0)] == _books(ledger, _leg())
            _raises(IdempotencyConflictError, lambda: ledger.adjust("h", "one", 36))
            _raises(IdempotencyConflictError, lambda: ledger.settle("h", 20))
            _raises(IdempotencyConflictError, lambda: ledger.release("h"))
            _raises(ValueError, lambda: ledger.adjust("h", "three", -1))
            _raises(KeyError, lambda: ledger.adjust("nobody", "one", 1))
            assert [(20, 0)] == _books(ledger, _leg())

    def test_only_a_charge_can_be_corrected(self) -> None:
        """An open hold has none yet; one that was released may turn out to have been billed."""
        with self.opened() as ledger:
            ledger.reserve(_hold("open", 40, _leg()))
            _raises(IdempotencyConflictError, lambda: ledger.adjust("open", "one", 1))
            ledger.reserve(_hold("unsent", 30, _leg()))
            ledger.release("unsent")
            ledger.adjust("unsent", "one", 25)
            assert Granted() == ledger.release("unsent")
            assert [(25, 40)] == _books(ledger, _leg())

    def test_a_correction_of_an_expired_hold_stands_when_its_end_comes_late(self) -> None:
        """Who corrected it knew of the bill; the late end is taken, and changes nothing any more."""
        with self.opened() as ledger:
            now = time.time()
            for id in ("settled", "released"):
                ledger.reserve(_hold(id, 40, _leg(), expires=now + 10))
            ledger.reap(now + 11)
            ledger.adjust("settled", "one", 25)
            ledger.adjust("released", "one", 5)
            for _ in range(2):
                assert Granted() == ledger.settle("settled", 33)
                assert Granted() == ledger.release("released")
            _raises(IdempotencyConflictError, lambda: ledger.settle("settled", 25))
            ledger.adjust("settled", "two", 24)
            assert [(29, 0)] == _books(ledger, _leg())

    def test_a_correction_tells_of_the_thresholds_it_reaches(self) -> None:
        """Once a window, as every other charge does; a lower charge takes no alert back."""
        leg = _leg(limit=100, marks=((50.0, 50), (80.0, 80)))
        with self.opened() as ledger:
            ledger.reserve(_hold("h", 40, leg))
            ledger.settle("h", 30)
            assert [(50.0, 60)] == [(one.percent, one.spent) for one in ledger.adjust("h", "one", 60).crossings]
            assert () == ledger.adjust("h", "two", 0).crossings
            assert [(80.0, 85)] == [(one.percent, one.spent) for one in ledger.adjust("h", "three", 85).crossings]

    def test_a_correction_brings_no_forgotten_window_back(self) -> None:
        """What is over and forgotten is not counted any more; the windows that last are corrected."""
        ends = time.time() + 100
        over, lasting = _leg("over", ends=ends), _leg("lasting")
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 40, over, lasting, expires=ends + 5000))
            ledger.settle("a", 40)
            ledger.reap(ends + 86_401)
            ledger.adjust("a", "one", 10)
            assert [(0, 0), (10, 0)] == _books(ledger, over, lasting)

    # -- amendments

    def test_a_limit_can_be_changed_while_holds_are_open(self) -> None:
        """The next step goes by it, whatever the program says; without it the program's own is in force again."""
        wide = _leg("wide", 10**12)
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 90, _leg(), wide))
            ledger.amend(_amendment("1", "limit", 200))
            assert [(200, 0, 90), (10**12, 0, 90)] == _in_force(ledger, _leg(), wide)
            assert Granted() == ledger.reserve(_hold("b", 110, _leg(), wide))
            refused = ledger.reserve(_hold("c", 1, _leg(), wide))
            assert isinstance(refused, Refused)
            assert [(200, 0, 200, "held")] == [(o.leg.limit, o.spent, o.held, o.reason) for o in refused.refusals]
            ledger.amend(_amendment("2", "limit", 250))
            assert Granted() == ledger.extend("a", 50)
            ledger.amend(_amendment("3", "limit", 10))
            assert isinstance(ledger.extend("a", 1), Refused)
            ledger.settle("a", 5)
            ledger.release("b")
            assert isinstance(ledger.reserve(_hold("d", 6, _leg())), Refused)
            ledger.amend(_amendment("4", "limit", None))
            assert Granted() == ledger.reserve(_hold("e", 95, _leg()))
            assert [(100, 5, 95)] == _in_force(ledger, _leg())

    def test_a_top_up_counts_until_its_end(self) -> None:
        """By the instant at which a hold is asked for; several add up, on top of a changed limit."""
        with self.opened() as ledger:
            now = time.time()
            ledger.amend(_amendment("1", "top-up", 50, until=now + 1000))
            ledger.amend(_amendment("2", "top-up", 30, until=now + 2000))
            ledger.amend(_amendment("3", "top-up", 900, at=now - 20, until=now - 10))
            ledger.amend(_amendment("4", "limit", 70))
            for at, limit in ((0.0, 150 + 900), (now, 150), (now + 1000, 100), (now + 2000, 70)):
                assert [(limit, 0, 0)] == _in_force(ledger, _leg(), at=at)
            assert isinstance(ledger.reserve(replace(_hold("a", 151, _leg()), at=now)), Refused)
            assert Granted() == ledger.reserve(replace(_hold("a", 150, _leg()), at=now))

    def test_a_paused_budget_lets_nothing_be_spent(self) -> None:
        """What fits is refused all the same, and says so; calls in flight end; free calls and soft budgets pass."""
        soft = _leg(hard=False)
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 20, _leg()))
            ledger.amend(_amendment("1", "pause"))
            ledger.amend(_amendment("2", "limit", 120))
            refused = ledger.reserve(_hold("b", 1, _leg("other"), _leg()))
            assert isinstance(refused, Refused)
            assert [("budget", 120, 0, 20, "paused", 0)] == [
                (o.leg.budget, o.leg.limit, o.spent, o.held, o.reason, o.room) for o in refused.refusals
            ]
            assert isinstance(ledger.extend("a", 1), Refused)
            assert Granted() == ledger.reserve(_hold("free", 0, _leg()))
            assert Granted() == ledger.reserve(_hold("soft", 7, soft))
            ledger.settle("a", 15)
            (balance,) = ledger.balances([_leg()])
            assert (True, 15, 7, 0) == (balance.paused, balance.spent, balance.held, balance.remaining)
            ledger.amend(_amendment("3", "resume"))
            assert Granted() == ledger.reserve(_hold("b", 98, _leg("other"), _leg()))

    def test_a_budget_per_tag_is_amended_as_a_whole_or_for_one_value(self) -> None:
        """The limit of one value goes before that of all; what is added, is added; either pause is one."""
        ada, ben = (replace(_leg(f"users, user={name}"), group="users") for name in ("ada", "ben"))
        with self.opened() as ledger:
            ledger.amend(_amendment("1", "limit", 200, budget="users"))
            ledger.amend(_amendment("2", "limit", 300, budget="users, user=ada"))
            ledger.amend(_amendment("3", "top-up", 5, budget="users", until=2e9))
            ledger.amend(_amendment("4", "top-up", 7, budget="users, user=ben", until=2e9))
            assert [(305, 0, 0), (212, 0, 0), (100, 0, 0)] == _in_force(ledger, ada, ben, _leg("users, not"))
            assert Granted() == ledger.reserve(_hold("a", 305, ada))
            assert isinstance(ledger.reserve(_hold("b", 213, ben)), Refused)
            ledger.amend(_amendment("5", "pause", budget="users"))
            assert isinstance(ledger.reserve(_hold("b", 1, ben)), Refused)
            ledger.amend(_amendment("6", "resume", budget="users, user=ben"))
            assert [True, True] == [one.paused for one in ledger.balances([ada, ben])]

    def test_amendments_are_kept_in_order_with_who_and_why(self) -> None:
        """Of one budget or of all; sent again they count once, and another one under a known id is an error."""
        every = [
            _amendment("z", "limit", 5, author="ada", reason="ünïcödé 'quotes' \\ %s"),
            _amendment("a", "top-up", 10, until=2e9, budget="other, \N{GRINNING FACE}"),
            _amendment("m", "pause"),
        ]
        with self.opened() as ledger:
            assert [] == list(ledger.amendments())
            for one in every:
                ledger.amend(one)
            ledger.amend(every[1])
            ledger.amend(every[0])
            _raises(IdempotencyConflictError, lambda: ledger.amend(replace(every[0], amount=6)))
            assert every == list(ledger.amendments())
            assert [every[0], every[2]] == list(ledger.amendments("budget"))
            assert [] == list(ledger.amendments("nobody"))
            assert [(110, 0, 0)] == _in_force(ledger, _leg("other, \N{GRINNING FACE}"))

    def test_an_amendment_that_nobody_could_apply_is_an_error(self) -> None:
        """A top-up has an amount and an end, and no limit is negative or beyond what is counted exactly."""
        with self.opened() as ledger:
            for wrong in (
                _amendment("1", "top-up", 5),
                _amendment("1", "top-up", None, until=2e9),
                _amendment("1", "top-up", 5, until=float("inf")),
                _amendment("1", "limit", -1),
                _amendment("1", "limit", 2**53),
            ):
                _raises(ValueError, partial(ledger.amend, wrong))
            assert [] == list(ledger.amendments())

    def test_thresholds_follow_the_limit_and_are_not_told_of_again(self) -> None:
        """They are percentages of the limit in force; a higher limit arms none that was told of before."""
        leg = _leg(limit=100, marks=((33.3, 34), (80.0, 80), (100.0, 100)), hard=False)
        with self.opened() as ledger:
            told = []
            for number, (cost, limit) in enumerate(((40, None), (45, 200), (75, 200), (1, 10**15 + 1), (40, 200))):
                if limit is not None:
                    ledger.amend(_amendment(f"a{number}", "limit", limit))
                ledger.reserve(_hold(f"h{number}", 1, leg))
                crossings = ledger.settle(f"h{number}", cost).crossings
                told.append([(one.percent, one.spent, one.leg.limit) for one in crossings])
            assert [[(33.3, 40, 100)], [], [(80.0, 160, 200)], [], [(100.0, 201, 200)]] == told
            ledger.amend(_amendment("exact", "limit", 9_007_199_254_740_991))
            third = -(-9_007_199_254_740_991 * 333 // 1000)
            other = replace(leg, window="next")
            for number, cost in enumerate((third - 1, 1)):
                ledger.reserve(_hold(f"n{number}", 1, other))
                assert bool(number) == bool(ledger.settle(f"n{number}", cost).crossings)

    def test_the_present_windows_can_be_listed(self) -> None:
        """With limits, figures and ends, whoever wrote them; neither those that are over nor those of single runs."""
        now = time.time()
        day = replace(_leg("day", 50, ends=now + 60), group="days")
        over, ever, run = _leg("over", ends=now - 1), _leg("ever", 70), _leg("ever", window="run:1")
        slots = [_rolling(int(now // 1e9) + later) for later in (-1, 0)]
        with self.opened() as ledger:
            assert [] == list(ledger.windows(now))
            ledger.reserve(_hold("a", 5, day, over, ever, run, slots[0]))
            ledger.settle("a", 4)
            ledger.reserve(_hold("b", 3, replace(day, limit=60), slots[1]))
            ledger.amend(_amendment("1", "limit", 80, budget="ever"))
            ledger.amend(_amendment("2", "pause", budget="days"))
            listed = ledger.windows(now)
            assert [
                ("day", "w", 60, 4, 3, True),
                ("ever", "w", 80, 4, 0, False),
                ("rolling", slots[1].window, 100, 4, 3, False),
            ] == [(o.leg.budget, o.leg.window, o.leg.limit, o.spent, o.held, o.paused) for o in listed]
            assert (day.starts, day.ends, day.scope, day.group) == (
                listed[0].leg.starts, listed[0].leg.ends, listed[0].leg.scope, listed[0].leg.group,
            )  # fmt: skip
            later = ledger.windows(now + 3e9)
            assert [("ever", 4), ("rolling", 3)] == [(one.leg.budget, one.spent + one.held) for one in later]

    # -- time

    def test_a_hold_whose_lease_is_over_is_charged(self) -> None:
        """A process that was killed had probably sent its call; one whose lease runs on is left alone."""
        with self.opened() as ledger:
            now = time.time()
            ledger.reserve(_hold("dead", 40, _leg(), expires=now + 10))
            ledger.reserve(_hold("alive", 30, _leg(), expires=now + 1000))
            assert [] == list(ledger.reap(now + 9))
            assert [Granted()] == list(ledger.reap(now + 10))
            assert [] == list(ledger.reap(now + 11))
            assert [(40, 30)] == _books(ledger, _leg())

    def test_an_end_after_the_lease_gives_the_books_of_a_timely_one(self) -> None:
        """The charge is corrected, up, down or away."""
        for actual in (0, 15, 40, 90, None):
            with self.opened() as ledger:
                now = time.time()
                ledger.reserve(_hold("a", 40, _leg(), expires=now + 10))
                ledger.reap(now + 20)
                for _ in range(2):
                    assert Granted() == (ledger.release("a") if actual is None else ledger.settle("a", actual))
                assert [(actual or 0, 0)] == _books(ledger, _leg())

    def test_a_call_is_booked_in_the_window_it_began_in(self) -> None:
        """One that is reserved before midnight and ends after it counts for the old day."""
        today, tomorrow = _leg(window="d1"), _leg(window="d2")
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 40, today))
            ledger.reserve(_hold("b", 100, tomorrow))
            ledger.settle("a", 30)
            assert [(30, 0), (0, 100)] == _books(ledger, today, tomorrow)

    def test_windows_that_are_over_are_forgotten_once_nothing_is_held_there(self) -> None:
        """Books do not grow for ever, and a late end of a call in such a window does not bring it back to life. They
        may be kept for a day, since somebody's clock may be behind."""
        ends = time.time() + 100
        over, lasting = _leg("over", ends=ends), _leg("lasting")
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 40, over, lasting, expires=ends + 50))
            ledger.reap(ends + 1)
            assert [(0, 40), (0, 40)] == _books(ledger, over, lasting)
            ledger.reap(ends + 60)
            ledger.reap(ends + 86_401)
            assert [(0, 0), (40, 0)] == _books(ledger, over, lasting)
            ledger.settle("a", 10)
            assert [(10, 0)] == _books(ledger, lasting)
            assert [(0, 0)] == _books(ledger, over)

    def test_a_run_is_forgotten_a_day_after_its_last_call_and_never_before(self) -> None:
        """A server that limits each request does not keep the books of all; one that goes on keeps its own for as long
        as it does."""
        now = time.time()
        run, process = _leg("run", window="run:1"), _leg("process", window="run:process-1")
        with self.opened() as ledger:
            for days in (0.0, 0.9, 1.8):
                then = now + days * _DAY
                assert Granted() == ledger.reserve(_hold(f"a{days}", 40, run, process, expires=then + 10))
                ledger.settle(f"a{days}", 30)
                ledger.reap(then + 11)
                ledger.reap(then + 0.9 * _DAY)
            assert [(90, 0), (90, 0)] == _books(ledger, run, process)
            assert isinstance(ledger.reserve(_hold("b", 11, run)), Refused)
            ledger.reserve(_hold("old", 5, run, expires=now + 11))
            ledger.settle("old", 5)
            ledger.reap(now + 2.7 * _DAY)
            assert [(95, 0), (90, 0)] == _books(ledger, run, process)
            ledger.reap(now + 4 * _DAY)
            assert [(0, 0), (90, 0)] == _books(ledger, run, process)

    def test_a_run_is_kept_by_holds_of_nothing(self) -> None:
        """Its process holds nothing there and gives it back, so that days without a call do not hand its limit out
        again; also where the limit is spent."""
        now = time.time()
        run = _leg("run", window="run:1")
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 100, run, expires=now + 10))
            ledger.settle("a", 100)
            for days in (0.9, 1.8, 2.7):
                then = now + days * _DAY
                assert Granted() == ledger.reserve(_hold(f"r{days}", 0, run, expires=then + 10))
                ledger.release(f"r{days}")
                ledger.reap(then + 0.9 * _DAY)
            assert [(100, 0)] == _books(ledger, run)
            assert isinstance(ledger.reserve(_hold("b", 1, run)), Refused)

    def test_a_window_that_has_just_ended_is_not_handed_out_again(self) -> None:
        """A thread that was slow, or a host whose clock is a little behind, does not find it empty."""
        ends = time.time() + 100
        full = _leg("full", ends=ends)
        with self.opened() as ledger:
            ledger.reserve(_hold("a", 100, full))
            ledger.settle("a", 100)
            ledger.reap(ends + 5)
            ledger.reap(ends + 6)
            assert isinstance(ledger.reserve(_hold("b", 1, full)), Refused)
            assert [(100, 0)] == _books(ledger, full)

    def test_a_rolling_budget_counts_every_slot_its_window_touches(self) -> None:
        """The oldest slot counts whole, the one before it no more, and later slots count for a call that grows."""
        with self.opened() as ledger:
            for slot in (9, 10, 13):
                ledger.reserve(_hold(f"h{slot}", 30, _rolling(slot)))
                ledger.settle(f"h{slot}", 30)
            assert [(60, 0), (60, 0), (30, 0)] == _books(ledger, _rolling(13, slots=3), _rolling(12), _rolling(14))
            assert isinstance(ledger.reserve(_hold("much", 41, _rolling(13))), Refused)
            assert Granted() == ledger.reserve(_hold("old", 5, _rolling(10)))
            assert isinstance(ledger.extend("old", 36), Refused)
            assert Granted() == ledger.extend("old", 35)

    # -- alerts

    def test_a_threshold_is_told_of_once_a_window_when_it_is_reached(self) -> None:
        """The settlement that reaches it says so, and no other; each window begins anew."""
        marks = ((50.0, 50), (80.0, 80), (100.0, 100))
        leg = _leg(limit=100, marks=marks, hard=False)
        with self.opened() as ledger:
            told = []
            for number, cost in enumerate((49, 1, 1, 48, 20, 5)):
                ledger.reserve(_hold(f"h{number}", 60, leg))
                crossings = ledger.settle(f"h{number}", cost).crossings
                told.append([(one.leg, one.percent, one.spent) for one in crossings])
                assert Granted() == ledger.settle(f"h{number}", cost)
            assert [[], [(leg, 50.0, 50)], [], [(leg, 80.0, 99)], [(leg, 100.0, 119)], []] == told
            other = replace(leg, window="next")
            ledger.reserve(_hold("n", 60, other))
            assert [50.0, 80.0, 100.0] == [one.percent for one in ledger.settle("n", 100).crossings]

    def test_a_charged_lease_tells_of_its_thresholds_too(self) -> None:
        """An alert does not depend on how the money was spent."""
        leg = _leg(limit=100, marks=((50.0, 50),))
        with self.opened() as ledger:
            now = time.time()
            ledger.reserve(_hold("a", 60, leg, expires=now + 10))
            assert [50.0] == [one.percent for reply in ledger.reap(now + 11) for one in reply.crossings]
            assert () == ledger.settle("a", 70).crossings

    def test_an_alert_that_nobody_delivered_is_taken_over(self) -> None:
        """By one caller after a minute, and by the next a minute later, until somebody says that it is delivered; also
        when the process that decided on it never heard of it."""
        leg = _leg("ünïcödé 'x' | \\", limit=100, marks=((33.3, 34), (80.0, 80)), ends=time.time() + 100)
        rolling = replace(_rolling(7, limit=200), marks=((50.0, 100),))
        with self.opened() as ledger:
            ledger.amend(_amendment("1", "limit", 50, budget=leg.budget))
            ledger.reserve(_hold("h", 45, leg, rolling))
            told = ledger.settle("h", 45).crossings
            assert [(33.3, 50), (80.0, 50)] == [(one.percent, one.leg.limit) for one in told]
            assert [] == list(ledger.undelivered(1000.0))
            assert [] == list(ledger.undelivered(1059.0))
            assert list(told) == list(ledger.undelivered(1060.0))
            assert [] == list(ledger.undelivered(1119.0))
            assert Granted() == ledger.settle("h", 45)
            ledger.delivered(told[:1])
            assert list(told[1:]) == list(ledger.undelivered(1120.0))
            assert told[1:] + ledger.adjust("h", "one", 110).crossings == (
                *ledger.undelivered(1180.0)[:1], Crossing(rolling, 50.0, 110)
            )  # fmt: skip
            ledger.delivered(told)
            ledger.delivered(told)
            assert [] == list(ledger.undelivered(1239.0))
            assert [rolling] == [one.leg for one in ledger.undelivered(1240.0)]
            ledger.delivered([Crossing(rolling, 50.0, 110)])
            assert [] == list(ledger.undelivered(1e9))

    # -- all of it at once

    def test_any_history_leaves_the_books_of_a_simple_model(self) -> None:
        """Hypothesis looks for steps after which the books are not what a plain recount says. Needs Hypothesis."""
        from hypothesis import HealthCheck, settings
        from hypothesis.stateful import run_state_machine_as_test

        from .books import books_machine

        profile = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
        wanted = settings(profile, max_examples=profile.max_examples if self.examples is None else self.examples)
        run_state_machine_as_test(books_machine(self.make_ledger), settings=wanted)

    def test_threads_are_granted_exactly_what_fits(self) -> None:
        """However many ask at once, a budget with room for k holds grants k, and settled room is granted again."""
        leg, other = _leg("shared", 10 * 37), _leg("wide", 10**12)
        with self.opened() as ledger:
            granted: list[str] = []

            def ask(thread: int) -> None:
                for number in range(self.holds):
                    id = f"{thread}-{number}"
                    if isinstance(ledger.reserve(_hold(id, 10, other, leg)), Granted):
                        granted.append(id)

            _together(8, ask)
            assert 37 == len(granted)
            assert [(0, 370), (0, 370)] == _books(ledger, leg, other)
            _together(8, lambda thread: [ledger.settle(id, 3) for id in granted[thread::8]])
            assert [(3 * 37, 0), (3 * 37, 0)] == _books(ledger, leg, other)
            again = [isinstance(ledger.reserve(_hold(f"again-{n}", 10, leg)), Granted) for n in range(40)]
            assert (370 - 3 * 37) // 10 == sum(again)

    def test_a_crowd_is_served(self) -> None:
        """A hundred threads, then a hundred tasks, all at one budget: a ledger that is there fails nobody, however
        long the queue in front of it is."""
        leg = _leg("shared", 10**12)
        with closing(self.make_usual_ledger()) as ledger:

            def call(id: str) -> None:
                ledger.reserve(_hold(id, 10, leg))
                ledger.settle(id, 3)

            async def tasks() -> None:
                # As the guard runs the steps of coroutines.
                calls = [partial(call, f"task-{task}") for task in range(100)]
                await asyncio.gather(*[_inline(one) if ledger.inline else asyncio.to_thread(one) for one in calls])

            _together(100, lambda thread: call(f"thread-{thread}"))
            asyncio.run(tasks())
            assert [(600, 0)] == _books(ledger, leg)

    def test_readers_never_see_half_a_step(self) -> None:
        """Two windows that every call touches alike are always read alike."""
        one, other = _leg("one", 10**12), _leg("other", 10**12)
        with self.opened() as ledger:
            stop = threading.Event()
            seen: list[list[tuple[Nano, Nano]]] = []

            def read() -> None:
                while not stop.is_set():
                    seen.append(_books(ledger, one, other))

            reader = threading.Thread(target=read)
            reader.start()
            try:
                for number in range(self.holds * 4):
                    ledger.reserve(_hold(f"h{number}", 7, one, other))
                    ledger.settle(f"h{number}", 5)
            finally:
                stop.set()
                reader.join()
            assert seen
            assert all(first == second for first, second in seen)

    def test_an_interrupt_tears_nothing(self) -> None:
        """KeyboardInterrupt, a signal's exception, a timeout: whenever it strikes, the books balance, the lock is free
        and every hold ends with its lease."""
        if sys.gettrace() is not None:
            # Thrown into a tracer's own callback, such as coverage's, an interrupt can wedge the interpreter for good.
            # Run it without one: `pytest -k interrupt`.
            return
        hits, until = 0, time.monotonic() + self.seconds
        # On a busy machine all that time may pass before the first step is done.
        patience = until + 60
        # What is thrown into a callback of the collector is lost, and only makes noise.
        gc.disable()
        try:
            while time.monotonic() < until or (hits <= 10 and time.monotonic() < patience):
                hits += self._interrupted(time.monotonic() + self.seconds)
        finally:
            gc.enable()
        assert hits > 10

    def _interrupted(self, until: float) -> int:
        legs = (_leg("a", 10**12), _leg("b", 10**12, hard=False), _rolling(5, limit=10**12))
        with self.opened() as ledger:
            now = time.time()
            tried: list[str] = []
            done, ready = threading.Event(), [False]

            def work() -> None:
                while not done.is_set():
                    try:
                        while not done.is_set():
                            ready[0] = True
                            id = f"h{len(tried)}"
                            tried.append(id)
                            _one_of_each(ledger, len(tried) - 1, _hold(id, 10, *legs, expires=now + 500), now)
                    except _Interrupt:
                        continue

            # Fewer holds than any ledger remembers, so that each can be asked for afterwards.
            hits = _interrupted(work, done, ready, lambda: len(tried) > 3000 or time.monotonic() > until)
            ledger.reserve(_hold("after", 1, *legs, expires=now + 500))
            ledger.release("after")
            ledger.reap(now + 501)
            assert [0, 0, 0] == [balance.held for balance in ledger.balances(legs)]
            spent = 0
            for number, id in enumerate(tried):
                try:
                    spent += _ended(ledger, number, id)
                except KeyError:
                    continue  # it was interrupted before it was held
            assert [(spent, 0)] * 3 == _books(ledger, *legs)
            return hits

    def test_a_forked_child_works_and_leaves_its_parents_holds_alone(self) -> None:
        """A fork in the middle of another thread's step leaves no lock behind, and ends no call of the parent's."""
        if not hasattr(os, "fork"):
            return
        leg = _leg("a", 10**12)
        with self.opened() as ledger:
            ledger.reserve(_hold("parents", 70, leg))
            stop = threading.Event()

            def churn(thread: int) -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    ledger.reserve(_hold(f"churn-{thread}-{number}", 1, leg))
                    ledger.release(f"churn-{thread}-{number}")

            threads = [threading.Thread(target=churn, args=(number,)) for number in range(2)]
            for thread in threads:
                thread.start()
            try:
                codes = [_forked(partial(_child, ledger, leg)) for _ in range(8)]
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            assert [0] * 8 == codes
            assert [70] == [balance.held for balance in ledger.balances([leg])]
            ledger.settle("parents", 7)
            assert [0] == [balance.held for balance in ledger.balances([leg])]

    def test_a_crash_takes_no_room_for_longer_than_a_lease(self) -> None:
        """After every lease is over, the whole of what was not charged can be spent."""
        leg = _leg(limit=100)
        with self.opened() as ledger:
            now = time.time()
            for number in range(6):
                ledger.reserve(_hold(f"lost-{number}", 10, leg, expires=now + 5))
            assert isinstance(ledger.reserve(_hold("a", 41, leg)), Refused)
            ledger.reap(now + 6)
            assert Granted() == ledger.reserve(_hold("b", 40, leg))
            assert [(60, 40)] == _books(ledger, leg)

    def test_closing_twice_is_harmless(self) -> None:
        """A program may close in its own code and again at exit."""
        ledger = self.make_ledger()
        ledger.close()
        ledger.close()


class ExporterContract:
    """Every `costguard.ports.Exporter` keeps these promises.

    Attributes:
        patience: seconds an export of one record may take on a busy machine.
    """

    patience = 0.25

    def make_exporter(self) -> Exporter:
        """A fresh exporter; each call makes another one."""
        raise NotImplementedError("a contract's subclass says how its exporter is made")

    @contextmanager
    def opened(self) -> Iterator[Exporter]:
        """A fresh exporter that is closed afterwards."""
        exporter = self.make_exporter()
        try:
            yield exporter
        finally:
            exporter.close()

    def records(self) -> Sequence[CostEvent | Alert]:
        """A plain call and the oddest there can be: refused, unpriced, with hostile tags, and an alert."""
        call = Call("openai", "gpt-4o")
        plain = CostEvent(
            "id-1", 1.78e9, 0.5, call, (Usage({"input": 10, "output": 5}),), Cost(75_000, "openai/gpt-4o")
        )
        refused = replace(plain, id="id-2", usages=(), cost=Cost(0), outcome="refused", error="BudgetExceededError")
        odd = replace(
            plain,
            id="id-3",
            cost=Cost(2**53, "", estimated=True, unpriced=("images",)),
            tags={
                "feature": "säarch\u2028\x85",
                "user": '"; DROP TABLE calls; --',
                "team": "\N{ZERO WIDTH JOINER}x" * 80,
            },
            budgets=("everything", "a, b"),
            would_block=("everything",),
            outcome="partial",
        )
        leg = _leg("daily", ends=1.79e9)
        alerts = [
            Alert(f"{one.budget}/w/80", 1.78e9, 80.0, Balance(one, 85, 5)) for one in (leg, replace(leg, ends=None))
        ]
        return [plain, refused, odd, *alerts]

    def test_it_is_an_exporter(self) -> None:
        """It has every method."""
        with self.opened() as exporter:
            assert isinstance(exporter, Exporter)

    def test_it_takes_every_record_at_once(self) -> None:
        """Calls, refusals and alerts, however odd, and nobody waits for a network."""
        with self.opened() as exporter:
            for record in self.records():
                before = copy.deepcopy(record)
                started = time.monotonic()
                exporter.export(record)
                assert time.monotonic() - started < self.patience
                assert before == record

    def test_it_takes_records_from_many_threads(self) -> None:
        """Calls end in any thread."""
        with self.opened() as exporter:

            def tell(thread: int) -> None:
                for _ in range(thread + 1):
                    for record in self.records():
                        exporter.export(record)

            _together(8, tell)
            exporter.flush(2.0)

    def test_flush_keeps_its_time(self) -> None:
        """A dead receiver must not hold up the end of a program."""
        with self.opened() as exporter:
            for record in self.records():
                exporter.export(record)
            started = time.monotonic()
            exporter.flush(0.2)
            assert time.monotonic() - started < 0.2 + 4 * self.patience

    def test_closing_twice_is_harmless(self) -> None:
        """A program may close in its own code and again at exit."""
        exporter = self.make_exporter()
        exporter.export(self.records()[0])
        exporter.close()
        exporter.close()


class ProviderContract:
    """Every `costguard.ports.Provider` keeps these promises.

    Attributes:
        billable: requests the provider bills for; read as calls.
        free: requests it does not bill for; read as None.
    """

    billable: Sequence[Request] = ()
    free: Sequence[Request] = ()

    def make_provider(self) -> Provider:
        """The provider."""
        raise NotImplementedError("a contract's subclass names its provider")

    def test_it_is_a_provider(self) -> None:
        """It has every method and a name."""
        provider = self.make_provider()
        assert isinstance(provider, Provider)
        assert provider.name

    def test_each_seam_is_named_once(self) -> None:
        """Wrapping one attribute twice would count every call twice."""
        seams = list(self.make_provider().seams)
        assert seams
        assert all(isinstance(seam, Seam) for seam in seams)
        places = [(seam.module, seam.attribute) for seam in seams]
        assert len(places) == len(set(places))

    def test_billable_requests_are_bounded(self) -> None:
        """Each is read as a call whose bound is made of whole quantities, and the same every time."""
        provider = self.make_provider()
        for request in self.billable:
            call = provider.read_call(request)
            assert isinstance(call, Call), request
            assert call.provider
            assert call.model
            assert call.choices >= 1
            assert call.max_output is None or call.max_output >= 0
            assert all(isinstance(count, int) and count >= 0 for count in call.bound.values()), call.bound
            assert call == provider.read_call(request)

    def test_free_requests_are_free(self) -> None:
        """Reading a model list costs nothing and is not metered."""
        provider = self.make_provider()
        for request in self.free:
            assert provider.read_call(request) is None, request

    def test_no_request_is_changed(self) -> None:
        """What a caller passed in stays as it is, down to the nested fields; changes are made on a copy."""
        provider = self.make_provider()
        for request in self.billable:
            body = copy.deepcopy(request.body)
            call = provider.read_call(request)
            assert isinstance(call, Call)
            plain = provider.adjust(call, request, None)
            capped = provider.adjust(call, request, 1234)
            assert body == request.body
            assert isinstance(plain, Mapping)
            if call.cap is not None:
                assert 1234 in _values(capped)
                again = provider.read_call(replace(request, body=capped))
                assert isinstance(again, Call)
                assert 1234 == again.max_output

    def test_an_absurd_request_is_no_error(self) -> None:
        """Whatever a caller sends, the SDK and the provider are the ones to complain."""
        provider = self.make_provider()
        for request in self.billable:
            for junk in (None, 5, "x", [], {}, [None], {"a": [{}]}, -1, float("nan"), "\ud800", object()):
                absurd = replace(request, body=dict.fromkeys(request.body, junk))
                reading = provider.read_call(absurd)
                assert reading is None or isinstance(reading, Call | Unmetered) or hasattr(reading, "id")

    def test_a_reader_survives_whatever_it_is_fed(self) -> None:
        """Odd parts are no error and no usage."""
        provider = self.make_provider()
        for request in self.billable:
            call = provider.read_call(request)
            assert isinstance(call, Call)
            reader = provider.reader(call)
            for part in (None, 5, "", [], {}, {"usage": None}, {"choices": [None]}, object()):
                assert reader.feed(part) in (True, False)
            assert [] == list(reader.usages())
            assert not reader.complete
            assert reader.text_bytes >= 0
            assert reader.deferred is None

    def test_what_was_billed_is_told_from_what_cannot_be_known(self) -> None:
        """A task that was cancelled may have been billed; of any error it says yes, no, or that nobody knows."""
        provider = self.make_provider()
        assert provider.was_billed(asyncio.CancelledError()) is not False
        assert provider.was_billed(KeyboardInterrupt()) is not False
        assert provider.was_billed(RuntimeError("unheard of")) in (True, False, None)


class _Interrupt(BaseException):
    """What the fuzz throws into a thread."""


def _leg(
    budget: str = "budget",
    limit: Nano = 100,
    *,
    window: str = "w",
    hard: bool = True,
    marks: tuple[tuple[float, Nano], ...] = (),
    ends: float | None = None,
) -> Leg:
    # A window around the present, because a shared ledger goes by a clock of its own.
    starts = 0.0 if ends is None else ends - _DAY
    return Leg(budget, window, limit, starts, ends, hard, marks, (("team", "t"),))


def _rolling(slot: int, *, limit: Nano = 100, slots: int = 3) -> Leg:
    length = 1e9
    return Leg("rolling", f"{slot:012d}", limit, slot * length, (slot + 1) * length, slots=slots)


def _hold(id: str, amount: Nano, *legs: Leg, expires: float | None = None) -> Hold:
    return Hold(id, amount, legs, time.time() + 3600 if expires is None else expires)


def _amendment(
    id: str,
    kind: Literal["limit", "top-up", "pause", "resume"],
    amount: Nano | None = None,
    *,
    budget: str = "budget",
    at: float = 1e9,
    until: float | None = None,
    author: str = "",
    reason: str = "",
) -> Amendment:
    return Amendment(id, budget, kind, at, amount, until, author, reason)


def _in_force(ledger: Ledger, *legs: Leg, at: float = 0.0) -> list[tuple[Nano, Nano, Nano]]:
    return [(balance.leg.limit, balance.spent, balance.held) for balance in ledger.balances(legs, at)]


def _books(ledger: Ledger, *legs: Leg) -> list[tuple[Nano, Nano]]:
    return [(balance.spent, balance.held) for balance in ledger.balances(legs)]


def _raises(kind: type[Exception], step: Callable[[], object]) -> None:
    try:
        step()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def _values(of: Any) -> list[Any]:
    """Every value in a request's fields."""
    inner = of.values() if isinstance(of, Mapping) else of if isinstance(of, list | tuple) else ()
    return [of, *(value for one in inner for value in _values(one))]


async def _inline(work: Callable[[], None]) -> None:
    work()


def _together(count: int, work: Callable[[int], object]) -> None:
    """Run `work` in threads that start at the same moment; the first error comes out."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def _one_of_each(ledger: Ledger, number: int, hold: Hold, now: float) -> None:
    """The life of a hold, which depends on its number."""
    soon = replace(hold, expires=now + 0.5) if number % 5 == 4 else hold
    ledger.reserve(soon)
    match number % 5:
        case 0:
            ledger.extend(hold.id, 5)
        case 1:
            ledger.release(hold.id)
        case 2:
            ledger.settle(hold.id, 4)
            ledger.adjust(hold.id, "invoice", 6)
        case 3:
            ledger.settle(hold.id, 4)
        case _:
            ledger.reap(now + 1)


def _ended(ledger: Ledger, number: int, id: str) -> Nano:
    """End what is left of such a life. Returns what it cost."""
    if number % 5 == 1:
        ledger.release(id)
        return 0
    ledger.settle(id, 4)
    if number % 5 == 2:
        ledger.adjust(id, "invoice", 6)
        return 6
    return 4


def _interrupted(work: Callable[[], None], done: threading.Event, ready: list[bool], enough: Callable[[], bool]) -> int:
    """Run `work` in a thread and throw into it whenever it is `ready`; say how often that was."""

    def run() -> None:
        while not done.is_set():
            try:
                work()
            except _Interrupt:
                continue

    thread = threading.Thread(target=run)
    thread.start()
    throw = partial(ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.c_ulong(thread.ident or 0))
    hits = 0
    while not enough():
        # One at a time: a second interrupt while the first is being handled would only end the thread.
        if ready[0]:
            hits += throw(ctypes.py_object(_Interrupt))
            ready[0] = False
        time.sleep(0.0002)
    throw(None)
    done.set()
    thread.join(10)
    assert not thread.is_alive(), "an interrupt left the ledger's lock held"
    return hits


def _forked(work: Callable[[], None]) -> int:
    """Run `work` in a forked child and return its exit code; a child that hangs is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is exactly what is tested
        pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _child(ledger: Ledger, leg: Leg) -> None:
    id = f"child-{os.getpid()}"
    assert isinstance(ledger.reserve(_hold(id, 5, leg)), Granted)
    assert ledger.balances([leg])[0].held >= 5
    ledger.release(id)
