"""What every ledger that processes share has to stand, beyond `LedgerContract`: crowds, kill -9, and the same answers
as the memory ledger."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costguard._book import IdempotencyConflictError
from costguard._types import Amendment, Granted, Hold, Leg
from costguard.ledgers._stepped import KEPT
from costguard.ledgers.memory import MemoryLedger
from costguard.ports import Ledger

Opener = Callable[[], Ledger]
Kept = tuple[list[tuple[str, int, int]], list[tuple[str, str, int, int]]]
"""Windows as (budget, spent, held) and holds as (id, state, amount, booked)."""

START: Final = 1_780_000_000
CALLS: Final = st.integers(0, 7)
AMOUNTS: Final = st.sampled_from((0, 1, 20, 40, 55, 100))
MARKS: Final = (10.0, 33.0, 50.0, 80.0, 100.0)
HISTORIES: Final = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), CALLS, st.sets(st.integers(0, 3), min_size=1), AMOUNTS, st.integers(1, 30)),
        st.tuples(st.just("extend"), CALLS, AMOUNTS),
        st.tuples(st.just("settle"), CALLS, AMOUNTS),
        st.tuples(st.just("settle"), CALLS, AMOUNTS),
        st.tuples(st.just("release"), CALLS),
        st.tuples(st.just("adjust"), CALLS, st.sampled_from(("one", "two, 'quoted'")), AMOUNTS),
        st.tuples(st.just("reap"), st.integers(0, 15)),
        st.tuples(st.just("undelivered"), st.sampled_from((0, 30, 60)), st.booleans()),
        st.tuples(
            st.just("amend"), st.integers(0, 4), st.sampled_from(("limit", "top-up", "pause", "resume")), AMOUNTS
        ),
    ),
    max_size=50,
)


def forked(work: Callable[[], object]) -> int:
    """Begin some work in a child process that exits with 0 when it ends well. Returns its id."""
    with warnings.catch_warnings():
        # Threads of the test's own are no danger: the child uses nothing of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(*pids: int) -> list[int]:
    """The exit codes of children, once they have all ended."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def deep() -> bool:
    """Whether to look for longer than a quick run does."""
    return settings.get_current_profile_name() == "deep"


class SharedAlertsContract:
    """Who is told of an alert when there are several processes."""

    def make_opener(self) -> Opener:
        """What opens fresh books, each time the same ones."""
        raise NotImplementedError

    def settle_down(self, opener: Opener) -> None:
        """Wait until what killed processes had sent is done."""

    def test_processes_tell_of_each_threshold_once(self, tmp_path: Path) -> None:
        """Four processes spend in the same windows at once: of each mark one of them hears, once, and when it has been
        told of nobody is asked to tell of it again."""
        opener, told, now = self.make_opener(), tmp_path / "told", time.time()
        told.touch()
        legs = [Leg(f"b{number}", "w", 400, marks=tuple((at, int(4 * at)) for at in MARKS)) for number in range(3)]

        def work(process: int) -> None:
            ledger = opener()
            for number in range(25):
                for leg in legs:
                    id = f"{process}-{number}-{leg.budget}"
                    ledger.reserve(Hold(id, 4, (leg,), now + 1000))
                    crossings = ledger.settle(id, 4).crossings
                    for one in crossings:
                        _say(told, f"{one.leg.budget}/{one.percent}")
                    ledger.delivered(crossings)
            ledger.close()

        assert [0] * 4 == ended(*[forked(lambda process=process: work(process)) for process in range(4)])
        assert sorted(f"{leg.budget}/{at}" for leg in legs for at in MARKS) == sorted(told.read_text().split())
        ledger = opener()
        assert [] == [one for later in (0, 60, 120) for one in ledger.undelivered(now + 1000 + later)]
        ledger.close()

    def test_kill_9_loses_no_alert(self, tmp_path: Path) -> None:
        """Writers that tell of each alert are killed at any moment, also between deciding on one and telling of it:
        each window that reached its mark is told of, by them or by whoever takes over, and who is told may be told
        twice of the same one."""
        opener, told = self.make_opener(), tmp_path / "told"
        told.touch()
        now = time.time()
        # Whatever the moments below are, these two die right between deciding on an alert and telling of it.
        doomed = [forked(lambda name=f"doomed-{writer}": _alert(opener(), name, None)) for writer in range(2)]
        assert [-signal.SIGKILL] * 2 == ended(*doomed)
        kills = 60 if deep() else 10
        for kill in range(kills):
            before, until = told.stat().st_size, time.monotonic() + 60
            writers = [forked(lambda name=f"{kill}-{writer}": _alert(opener(), name, told)) for writer in range(2)]
            while told.stat().st_size == before:
                assert time.monotonic() < until
                time.sleep(0.002)
            time.sleep(random.uniform(0, 0.03))
            for writer in writers:
                os.kill(writer, signal.SIGKILL)
            assert [-signal.SIGKILL] * 2 == ended(*writers)
        self.settle_down(opener)
        watcher = opener()
        watcher.reap(now + 5000)
        said = set(told.read_text().split())
        assert not said & {"doomed-0-1", "doomed-1-1"}
        for later in (0, 60):
            taken = watcher.undelivered(now + later)
            while taken:
                said |= {one.leg.budget for one in taken}
                watcher.delivered(taken)
                taken = watcher.undelivered(now + later)
        budgets = {one.leg.budget for one in watcher.windows(now) if one.spent >= 5}
        assert len(budgets) >= kills
        assert budgets == said
        watcher.close()


class SharedLedgerContract(SharedAlertsContract):
    """Subclass it beside `LedgerContract`.

    Attributes:
        histories: how many histories are compared with the memory ledger in a quick run.
    """

    histories = 40

    def kept(self, opener: Opener) -> Kept:
        """What the store holds, read without the ledger."""
        raise NotImplementedError

    def settle_down(self, opener: Opener) -> None:
        """Whoever looks into the store waits for that."""
        self.kept(opener)

    def test_processes_are_granted_exactly_what_fits(self, tmp_path: Path) -> None:
        """Eight processes that open the books at once are granted what there is room for, and not one call more."""
        opener = self.make_opener()
        granted = tmp_path / "granted"

        def work(process: int) -> None:
            ledger = opener()
            for number in range(14):
                reply = ledger.reserve(Hold(f"{process}-{number}", 10, (_total(), _tight(430)), time.time() + 1000))
                if isinstance(reply, Granted):
                    _say(granted, f"{process}-{number}")
                    if number % 2:
                        ledger.settle(f"{process}-{number}", 10)
            ledger.close()

        assert [0] * 8 == ended(*[forked(lambda process=process: work(process)) for process in range(8)])
        assert 43 == len(granted.read_text().split())
        ledger = opener()
        (balance,) = ledger.balances([_tight(430)])
        assert 430 == balance.spent + balance.held
        ledger.close()

    def test_kill_9_loses_no_settlement_and_tears_nothing(self, tmp_path: Path) -> None:
        """Writers are killed at any moment: what they were told is settled stays so, the books balance after every
        kill, and all that is left open is charged when its lease is over."""
        opener, told = self.make_opener(), tmp_path / "told"
        told.touch()
        watcher = opener()
        kills = 300 if deep() else 24
        for kill in count():
            settled = dict(line.split() for line in told.read_text().splitlines())
            if kill >= kills and len(settled) > kills / 4:
                break
            assert kill < 20 * kills, "too little happened for this to prove anything"
            writers = [forked(lambda name=f"{kill}-{writer}": _write(opener(), name, told)) for writer in range(2)]
            # On a busy machine the writers need longer before there is something to lose.
            time.sleep(random.uniform(0.005, 0.06) * (1 + kill // kills))
            for writer in writers:
                os.kill(writer, signal.SIGKILL)
            assert [-signal.SIGKILL] * 2 == ended(*writers)
            watcher.balances([_total()])
            _balanced(*self.kept(opener))
        holds = {id: (state, booked) for id, state, _, booked in self.kept(opener)[1]}
        assert {id: ("settled", int(actual)) for id, actual in settled.items()} == {id: holds[id] for id in settled}
        watcher.reap(time.time() + 2000)
        windows, _ = self.kept(opener)
        assert {0} == {held for _, _, held in windows}
        watcher.close()

    def test_processes_that_amend_at_once_are_all_heard(self) -> None:
        """Of four that add to a limit at the same time none overwrites another, and one that runs already sees it."""
        opener, now = self.make_opener(), time.time()
        running = opener()
        assert not isinstance(running.reserve(Hold("first", 11, (_tight(10),), now + 1000, now)), Granted)

        def work(process: int) -> None:
            ledger = opener()
            for number in range(8):
                id = f"{process}-{number}"
                ledger.amend(Amendment(id, "tight", "top-up", now, 10, now + 500, author=f"process {process}"))
            ledger.close()

        assert [0] * 4 == ended(*[forked(lambda process=process: work(process)) for process in range(4)])
        assert 32 == len(running.amendments("tight"))
        assert isinstance(running.reserve(Hold("second", 330, (_tight(10),), now + 1000, now)), Granted)
        assert not isinstance(running.reserve(Hold("third", 1, (_tight(10),), now + 1000, now)), Granted)
        running.amend(Amendment("pause", "tight", "pause", now))
        assert [True] == [one.paused for one in running.windows(now)]
        running.close()

    def test_any_history_gets_the_answers_of_the_memory_ledger(self) -> None:
        """Grants, refusals with their figures, alerts, errors and books are the same, step by step."""

        @settings(
            max_examples=1000 if deep() else self.histories,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(HISTORIES)
        def agree(steps: list[tuple[Any, ...]]) -> None:
            ledger = self.make_opener()()
            try:
                assert answers(MemoryLedger(keep=KEPT), steps) == answers(ledger, steps)
            finally:
                ledger.close()

        agree()


def answers(ledger: Ledger, steps: Sequence[tuple[Any, ...]]) -> list[object]:
    """What a ledger says to each step of a history, and its books after it."""
    now, said, legs = float(START), [], [leg for at in range(0, 120, 4) for leg in _legs(START + at)]
    legs = list(dict.fromkeys(legs))
    for number, (name, *figures) in enumerate(steps):
        if name == "reap":
            now += figures[0]
        try:
            said.append(_answer(ledger, name, figures, now, number))
        except (KeyError, ValueError, IdempotencyConflictError) as error:
            said.append(type(error))
        if number % 8 == 0:
            said.append(list(ledger.balances(legs, now)))
    return [*said, list(ledger.balances(legs)), list(ledger.windows(now)), list(ledger.amendments())]


def _answer(ledger: Ledger, name: str, figures: Sequence[Any], now: float, number: int) -> object:
    match name:
        case "reserve":
            call, budgets, amount, lease = figures
            legs = tuple(leg for place, leg in enumerate(_legs(now)) if place in budgets)
            # No two leases end at once, so that every ledger charges them in one order.
            return ledger.reserve(Hold(f"call-{call}", amount, legs, now + lease + number / 1024, now))
        case "amend":
            place, kind, amount = figures
            name = "dailies" if place == 4 else _legs(now)[place].budget
            until = now + amount if kind == "top-up" else None
            # One in five is sent again, or has the id of another one.
            return ledger.amend(Amendment(f"{number % 20}", name, kind, now, amount, until, "ada", "a 'reason'"))
        case "reap":
            return list(ledger.reap(now))
        case "undelivered":
            taken = list(ledger.undelivered(now + number + figures[0]))
            if figures[1]:
                ledger.delivered(taken)
            return taken
        case _:
            return getattr(ledger, name)(f"call-{figures[0]}", *figures[1:])


def _legs(at: float) -> list[Leg]:
    day, slot = int(at) // 20 * 20, int(at) // 4
    return [
        Leg("daily", f"d{day}", 150, day, day + 20.0, marks=((50.0, 75), (100.0, 150)), group="dailies"),
        Leg("watched, with 'quotes', 100 % and ünïcödé \\ \N{GRINNING FACE}", "w", 60, hard=False, marks=((33.3, 20),)),
        Leg("total", "lifetime", 300, scope=(("feature", "sØk"),), marks=((80.0, 240),)),
        Leg("rolling", f"{slot:012d}", 120, slot * 4.0, slot * 4.0 + 4.0, marks=((50.0, 60),), slots=3),
    ]


def _total() -> Leg:
    return Leg("total", "lifetime", 10**15)


def _tight(limit: int) -> Leg:
    return Leg("tight", "lifetime", limit)


def _alert(ledger: Ledger, name: str, told: Path | None) -> None:
    number = 0
    while True:
        number += 1
        leg = Leg(f"{name}-{number}", "w", 10, marks=((50.0, 5),))
        ledger.reserve(Hold(leg.budget, 6, (leg,), time.time() + 1000))
        crossings = ledger.settle(leg.budget, 6).crossings
        if told is None:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("not reached")
        _say(told, leg.budget)
        ledger.delivered(crossings)


def _write(ledger: Ledger, name: str, told: Path) -> None:
    number = 0
    while True:
        number += 1
        id, actual = f"{name}-{number}", 3 + number % 9
        ledger.reserve(Hold(id, 10, (_total(), Leg("other", "lifetime", 10**15, hard=False)), time.time() + 1000))
        if number % 5 == 0:
            ledger.extend(id, 7)
        if number % 7:
            ledger.settle(id, actual)
            _say(told, f"{id} {actual}")


def _say(file: Path, line: str) -> None:
    with file.open("a", buffering=1) as opened:
        opened.write(f"{line}\n")


def _balanced(windows: Sequence[tuple[str, int, int]], holds: Sequence[tuple[str, str, int, int]]) -> None:
    """Every hold here is on every window, so that each window says what all of them together say."""
    held = sum(amount for _, state, amount, _ in holds if state == "open")
    spent = sum(booked for _, _, _, booked in holds)
    assert [(spent, held)] * len(windows) == [(one, other) for _, one, other in windows]
