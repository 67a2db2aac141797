"""One call as a pure state machine: its flow driven by hand over real books, with every way it can begin and end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard._budget import Budget, budget
from costguard._catalog import Catalog
from costguard._meter import SEND, Ending, Meter, Reserve, Settle, call_flow
from costguard._period import RUN
from costguard._reservation import COLD_OUTPUT, MIN_OUTPUT, SLICE, Plan, Wait
from costguard._types import Call, Granted, Hold, Nano, Refusal, Refused, Usage
from costguard.errors import BudgetExceededError, UnknownPriceError
from costguard.ledgers.memory import MemoryLedger
from costguard.ports import Deferred

AT = 1_780_000_000.0
IN, OUT = 1_000, 2_000
"""Nano-dollars of an input and an output token of the made-up model."""
MOST = 8_000
"""The model's most output tokens."""
RAW: dict[str, Any] = {
    "provider": "acme",
    "models": [
        {
            "id": "m",
            "context": 100_000,
            "max_output": MOST,
            "prices": [
                {
                    "from": None,
                    "rates": {"input": IN * 1000, "output": OUT * 1000},
                    "tiers": {"priority": {"input": IN * 2000, "output": OUT * 2000}},
                }
            ],
        }
    ],
}
CATALOG = Catalog(lambda provider: RAW if provider == "acme" else None)
CALL = Call("acme", "m", bound={"input": 1000}, cap="max_tokens")
WHOLE = 1000 * IN + MOST * OUT


@dataclass
class Answer:
    """What a provider's reader says of one answer."""

    known: Sequence[Usage] = ()
    complete: bool = True
    text_bytes: int = 0
    deferred: Deferred | None = None
    was_deferred: bool = False

    def feed(self, part: Any) -> bool:
        return False

    def usages(self) -> Sequence[Usage]:
        return self.known


@dataclass
class Run:
    """A call's flow, its effects carried out on a real ledger."""

    meter: Meter
    ledger: MemoryLedger
    effects: list[str] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)

    def __call__(self, send: Callable[[Meter], Any] = lambda meter: "response", billed: bool | None = None) -> Any:
        flow = call_flow(self.meter, lambda error: billed)
        advance: Callable[[Any], Any] = flow.send
        value: Any = None
        try:
            while True:
                effect = advance(value)
                try:
                    value, advance = self.perform(effect, send), flow.send
                except BaseException as error:
                    value, advance = error, flow.throw
        except StopIteration as done:
            return done.value

    def perform(self, effect: Any, send: Callable[[Meter], Any]) -> Any:
        if effect is SEND:
            self.effects.append("send")
            return send(self.meter)
        if isinstance(effect, Reserve):
            self.effects.append("reserve")
            return self.ledger.reserve(effect.hold)
        if isinstance(effect, Wait):
            self.effects.append("wait")
            return effect.seconds
        assert isinstance(effect, Settle)
        self.effects.append("settle")
        self.end(effect.ending)
        return None

    def end(self, ending: Ending | None) -> None:
        """Book an ending as the guard does."""
        if ending is None:
            return
        self.endings.append(ending)
        if self.meter.hold is not None:
            if ending.released:
                self.ledger.release(self.meter.id)
            else:
                self.ledger.settle(self.meter.id, ending.cost.nano)

    @property
    def books(self) -> list[tuple[Nano, Nano]]:
        """Spent and held on every budget of the call."""
        legs = [leg for _, leg in self.meter.plan.legs]
        return [(balance.spent, balance.held) for balance in self.ledger.balances(legs)]


def limit(nano: Nano, **knobs: Any) -> Budget:
    made = budget(1, alert_at=(), **knobs)
    return Budget(**{name: getattr(made, name) for name in BUDGET_FIELDS} | {"limit": nano})


BUDGET_FIELDS = [name for name in Budget.__dataclass_fields__ if not name.startswith("_")]


def run(*budgets: Budget, call: Call = CALL, ledger: MemoryLedger | None = None, **plan: Any) -> Run:
    legs = tuple((one, one.leg({}, AT, "r1")) for one in budgets)
    meter = Meter("call-1", call, CATALOG, Plan(legs, {}, **plan), AT, 3600.0, lambda model, at: "acme")
    return Run(meter, ledger or MemoryLedger())


def answered(*answers: Answer) -> Callable[[Meter], str]:
    """The SDK reads these answers and returns."""

    def send(meter: Meter) -> str:
        for answer in answers:
            assert meter.begin_answer()
            assert meter.end_answer(answer, "ok") is None
        return "response"

    return send


def raising(error: BaseException, *answers: Answer) -> Callable[[Meter], str]:
    """The SDK reads these answers and raises."""

    def send(meter: Meter) -> str:
        answered(*answers)(meter)
        raise error

    return send


def filled(ledger: MemoryLedger, one: Budget, spent: Nano, held: Nano = 0) -> None:
    """Others have spent and hold so much already."""
    leg = one.leg({}, AT, "r1")
    for id, nano in (("spent", spent), ("held", held)):
        assert ledger.reserve(Hold(id, nano, (leg,), AT + 9999)) == Granted()
    ledger.settle("spent", spent)


USAGE = Usage({"input": 900, "output": 100})
COST = 900 * IN + 100 * OUT


# -- from reserve to settle


def test_money_is_reserved_before_a_call_is_sent_and_settled_after_it() -> None:
    """The order of effects, the SDK's response handed back, and the books exact in the end."""
    it = run(limit(WHOLE, name="a"), limit(WHOLE, name="b", enforcement="soft"))
    held: list[Any] = []

    def send(meter: Meter) -> str:
        held.extend(it.books)
        return answered(Answer([USAGE]))(meter)

    assert it(send) == "response"
    assert ["reserve", "send", "settle"] == it.effects
    assert [(0, WHOLE)] * 2 == held
    assert [(COST, 0)] * 2 == it.books
    (ending,) = it.endings
    assert (COST, "ok", False, (USAGE,)) == (ending.cost.nano, ending.outcome, ending.cost.estimated, ending.usages)


def test_a_call_that_no_budget_counts_reserves_nothing() -> None:
    """It is priced and told of all the same."""
    it = run()
    it(answered(Answer([USAGE])))
    assert ["send", "settle"] == it.effects
    assert COST == it.endings[0].cost.nano


def test_a_call_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    """Nothing is sent, nothing stays held, and the error carries the figures."""
    tight = limit(WHOLE - 1, clamp=False)
    it = run(limit(10 * WHOLE, name="roomy"), tight)
    with pytest.raises(BudgetExceededError) as caught:
        it()
    assert ["reserve"] == it.effects
    assert [(0, 0)] * 2 == it.books
    assert (tight.name, WHOLE) == (caught.value.budget, caught.value.refusals[0].needed)


def test_a_model_without_a_price_is_refused_when_that_is_wanted() -> None:
    """Before anything is reserved."""
    unknown = Call("nobody", "x", bound={"input": 10})
    it = run(limit(WHOLE), call=unknown, strict_prices=True)
    with pytest.raises(UnknownPriceError, match="'x' of 'nobody'"):
        it()
    assert [] == it.effects
    run(limit(WHOLE), call=unknown)()


# -- near the edge


@given(
    room=st.integers(0, WHOLE + 1),
    asked=st.none() | st.integers(1, 2 * MOST),
    clamp=st.booleans(),
    may_cap=st.booleans(),
)
def test_near_the_edge_an_answer_is_shortened_or_the_call_refused(
    room: Nano, asked: int | None, clamp: bool, may_cap: bool
) -> None:
    """With room the call is left as it is; with less it gets a lower cap, never below the least worthwhile answer, never
    above the caller's own, never where nobody allowed it; and it is refused only when even that does not fit."""
    ceiling = limit(2 * WHOLE + 2, clamp=clamp)
    ledger = MemoryLedger()
    filled(ledger, ceiling, ceiling.limit - room)
    call = Call("acme", "m", bound={"input": 1000}, cap="max_tokens" if may_cap else None, max_output=asked)
    it = run(ceiling, call=call, ledger=ledger)
    wanted = MOST if asked is None else asked
    least = 1000 * IN + min(MIN_OUTPUT, wanted) * OUT
    whole = 1000 * IN + wanted * OUT
    try:
        it(answered(Answer([USAGE])))
    except BudgetExceededError:
        assert whole > room
        assert least > room or not clamp or not may_cap
        return
    hold, cap = it.meter.hold, it.meter.cap
    assert hold is not None
    assert hold.amount <= room
    if cap is None:
        assert whole == hold.amount
    else:
        assert clamp
        assert may_cap
        assert whole > room
        assert min(MIN_OUTPUT, wanted) <= cap <= min(wanted, COLD_OUTPUT)
        assert 1000 * IN + cap * OUT == hold.amount


def test_a_second_refusal_near_the_edge_halves_the_answer_down_to_the_least() -> None:
    """When others were quicker the call tries shorter answers, the least worthwhile one included, before it gives up."""
    ceiling = limit(WHOLE)
    it = run(ceiling)
    flow = call_flow(it.meter, lambda error: None)
    tried = []
    effect = next(flow)
    leg = it.meter.plan.legs[0][1]
    with pytest.raises(BudgetExceededError):
        while True:
            tried.append((effect.hold.amount - 1000 * IN) // OUT)
            effect = flow.send(Refused((Refusal(leg, 1000 * IN, 0, effect.hold.amount),)))
    assert [MOST, COLD_OUTPUT, 2048, MIN_OUTPUT] == tried


def test_the_smallest_room_of_all_refusals_decides() -> None:
    """With two tight budgets the answer fits both."""
    tight, tighter = limit(1000 * IN + 3000 * OUT, name="tight"), limit(1000 * IN + 2000 * OUT, name="tighter")
    it = run(tight, tighter)
    it(answered(Answer([USAGE])))
    assert 2000 == it.meter.cap


def test_one_budget_that_forbids_it_keeps_answers_whole() -> None:
    """``clamp=False`` on any budget in the way means refusal."""
    it = run(limit(1000 * IN + 3000 * OUT, name="a"), limit(1000 * IN + 3000 * OUT, name="b", clamp=False))
    with pytest.raises(BudgetExceededError):
        it()


def test_several_choices_share_the_room() -> None:
    """A cap holds for each of the answers asked for at once."""
    call = Call("acme", "m", bound={"input": 1000}, cap="max_tokens", choices=3)
    it = run(limit(1000 * IN + 3 * 1500 * OUT), call=call)
    it(answered(Answer([USAGE])))
    assert 1500 == it.meter.cap


def test_a_stream_that_may_not_be_capped_starts_with_a_slice() -> None:
    """It then grows as it goes on."""
    call = Call("acme", "m", bound={"input": 1000}, stream=True)
    it = run(limit(WHOLE - 1), call=call)
    it(answered(Answer([USAGE])))
    assert it.meter.cap is None
    assert it.meter.hold is not None
    assert 1000 * IN + SLICE * OUT == it.meter.hold.amount


# -- budgets that do not refuse


def test_observing_refuses_nothing_and_notes_what_it_would_have() -> None:
    """The call goes out as it is, is counted everywhere, and every budget that was in the way is named."""
    it = run(limit(1, name="a"), limit(WHOLE, name="b"), limit(2, name="c", on_exceeded="warn"), observe=True)
    it(answered(Answer([USAGE])))
    assert ("a", "c") == it.meter.reservation.would_block
    assert it.meter.cap is None
    assert [(COST, 0)] * 3 == it.books


def test_what_a_later_attempt_meets_while_observing_is_noted_too() -> None:
    """When another budget fills up between two attempts, both are named."""
    it = run(limit(1, name="a"), limit(WHOLE, name="b"), observe=True)
    flow = call_flow(it.meter, lambda error: None)
    assert isinstance(it.ledger.reserve(next(flow).hold), Refused)
    filled(it.ledger, it.meter.plan.legs[1][0], WHOLE)
    effect = flow.send(it.ledger.reserve(Hold("other", 2, (it.meter.plan.legs[0][1],), AT)))
    assert isinstance(effect, Reserve)
    reply = it.ledger.reserve(effect.hold)
    effect = flow.send(reply)
    assert isinstance(effect, Reserve)
    assert ("a", "b") == it.meter.reservation.would_block
    assert Granted() == it.ledger.reserve(effect.hold)


def test_a_budget_that_only_warns_lets_the_call_through_whole() -> None:
    """It says so once, shortens no answer, and counts."""
    said: list[str] = []
    it = run(limit(WHOLE - 1, on_exceeded="warn"), warn=lambda message, error: said.append(error.budget))
    it(answered(Answer([USAGE])))
    assert ["everything, warn"] == said
    assert it.meter.cap is None
    assert [(COST, 0)] == it.books


def test_a_warning_does_not_weaken_the_budget_beside_it() -> None:
    """The one that raises still does, also when both share a name."""
    for other in (limit(1, name="firm"), limit(1, name="b", period="lifetime")):
        warns = limit(1, name="b", default_period=RUN, on_exceeded="warn", clamp=False)
        with pytest.raises(BudgetExceededError) as caught:
            run(warns, other, warn=lambda message, error: None)()
        assert other.name == caught.value.budget
        assert "lifetime" == caught.value.refusals[0].leg.window


def test_a_callable_is_asked_and_may_let_the_call_through() -> None:
    """It gets the error; returning lets the call pass, raising goes to the caller."""
    asked: list[BudgetExceededError] = []
    it = run(limit(1, on_exceeded=asked.append))
    it(answered(Answer([USAGE])))
    assert 1 == asked[0].refusals[0].leg.limit
    assert [(COST, 0)] == it.books

    def refuse(error: BudgetExceededError) -> None:
        raise RuntimeError("ours") from error

    with pytest.raises(RuntimeError, match="ours"):
        run(limit(1, on_exceeded=refuse))()


def test_a_caller_that_is_only_held_up_waits() -> None:
    """Holds of others are waited for; money that is spent is not."""
    patient = limit(WHOLE, wait=5.0, clamp=False)
    ledger = MemoryLedger()
    filled(ledger, patient, 0, held=1)
    it = run(patient, ledger=ledger)
    with pytest.raises(BudgetExceededError):
        it()
    assert ["reserve", "wait", "reserve"] == it.effects
    ledger = MemoryLedger()
    filled(ledger, patient, 1)
    it = run(patient, ledger=ledger)
    with pytest.raises(BudgetExceededError):
        it()
    assert ["reserve"] == it.effects


# -- how it ends


@pytest.mark.parametrize("enforcement", ["hard", "soft"])
def test_an_error_that_was_not_billed_gives_everything_back(enforcement: str) -> None:
    """The SDK's own exception comes out untouched."""
    it = run(limit(WHOLE, enforcement=enforcement))
    error = ConnectionError("refused")
    with pytest.raises(ConnectionError) as caught:
        it(raising(error), billed=False)
    assert error is caught.value
    assert [(0, 0)] == it.books
    assert (True, "error", "ConnectionError") == (it.endings[0].released, it.endings[0].outcome, it.endings[0].error)


@pytest.mark.parametrize(("error", "outcome"), [(TimeoutError(), "unknown"), (KeyboardInterrupt(), "cancelled")])
@pytest.mark.parametrize("billed", [None, True])
def test_an_end_nobody_knows_is_charged_as_held(error: BaseException, outcome: str, billed: bool | None) -> None:
    """A hard limit assumes the worst of a call that was sent."""
    it = run(limit(WHOLE))
    with pytest.raises(type(error)):
        it(raising(error), billed=billed)
    assert [(WHOLE, 0)] == it.books
    assert (outcome, True) == (it.endings[0].outcome, it.endings[0].cost.estimated)


def test_an_end_nobody_knows_costs_a_soft_budget_an_estimate() -> None:
    """The request itself and a short answer, at the tier that was asked for."""
    costs = []
    for tier in ("standard", "priority"):
        call = Call("acme", "m", bound={"input": 1000}, tier=tier)
        it = run(limit(WHOLE, enforcement="soft"), call=call)
        with pytest.raises(TimeoutError):
            it(raising(TimeoutError()))
        costs.append(it.endings[0].cost.nano)
    assert 1000 * IN < costs[0] < WHOLE
    assert 2 * costs[0] == costs[1]


def test_an_error_after_an_answer_is_charged_as_that_answer() -> None:
    """What was read before the SDK raised, for example while parsing, was billed."""
    it = run(limit(WHOLE))
    with pytest.raises(ValueError, match="parse"):
        it(raising(ValueError("parse"), Answer([USAGE])), billed=False)
    assert [(COST, 0)] == it.books
    assert ("error", "ValueError") == (it.endings[0].outcome, it.endings[0].error)


def test_a_response_without_an_answer_costs_nothing() -> None:
    """The SDK answered from something that is not billed."""
    it = run(limit(WHOLE))
    it()
    assert [(0, 0)] == it.books
    assert it.endings[0].released


def test_several_answers_of_one_call_add_up() -> None:
    """An attempt that was billed and repeated is charged, with the one that came through."""
    it = run(limit(WHOLE))
    it(answered(Answer([USAGE]), Answer([USAGE])))
    assert [(2 * COST, 0)] == it.books


def test_a_cost_above_the_hold_is_booked_in_full() -> None:
    """The money is spent; a bound that was wrong does not hide it."""
    it = run(limit(WHOLE))
    it(answered(Answer([Usage({"input": 10_000_000})])))
    assert [(10_000_000 * IN, 0)] == it.books


def test_a_stream_ends_when_the_last_of_its_readers_does() -> None:
    """The SDK has returned; the answer is still being read and the hold stays until it was."""
    it = run(limit(WHOLE))
    it(lambda meter: meter.begin_answer())
    assert ["reserve", "send"] == it.effects
    assert [(0, WHOLE)] == it.books
    it.end(it.meter.end_answer(Answer([USAGE]), "ok"))
    assert [(COST, 0)] == it.books


def test_a_deferred_answer_keeps_its_hold_until_it_arrives() -> None:
    """A background response is billed later; its end is its arrival, once."""
    it = run(limit(WHOLE))
    it(answered(Answer([], complete=False, deferred=Deferred("job-1"))))
    assert [(0, WHOLE)] == it.books
    assert Deferred("job-1") == it.meter.deferred
    it.end(it.meter.arrived([USAGE]))
    assert it.meter.arrived([USAGE]) is None
    assert [(COST, 0)] == it.books


@pytest.mark.parametrize(
    ("enforcement", "answer", "cost"),
    [
        # A provider that reports as it goes: what it last said, and for a hard limit all the output it may have made.
        ("hard", Answer([USAGE], complete=False), 900 * IN + MOST * OUT),
        ("soft", Answer([USAGE], complete=False), 900 * IN + 164 * OUT),
        # An expected budget too: what was under way beyond the text that was seen may be the rest of the answer.
        ("expected", Answer(complete=False, text_bytes=40), 1000 * IN + COLD_OUTPUT * OUT),
        # One that does not: the request's bound, and the text that was seen, four bytes a token and a quarter more.
        ("hard", Answer(complete=False, text_bytes=1600), WHOLE),
        ("soft", Answer(complete=False, text_bytes=1600), 1000 * IN + 564 * OUT),
    ],
)
def test_a_stream_that_ends_early_is_charged_on_the_dear_side(enforcement: str, answer: Answer, cost: Nano) -> None:
    """Never less than what is known, never more than was held."""
    it = run(limit(WHOLE, enforcement=enforcement))
    it(lambda meter: meter.begin_answer())
    it.end(it.meter.end_answer(answer, "partial"))
    assert (cost, True, "partial") == (it.endings[0].cost.nano, it.endings[0].cost.estimated, it.endings[0].outcome)
    assert [(cost, 0)] == it.books


@given(
    known=st.none() | st.tuples(st.integers(0, 3000), st.integers(0, 2 * MOST)),
    text=st.integers(0, 100_000),
    hard=st.booleans(),
    room=st.integers(0, WHOLE),
    asked=st.none() | st.integers(1, MOST),
    failed=st.booleans(),
)
def test_an_unknown_end_costs_at_least_what_is_known_and_at_most_the_hold(
    known: tuple[int, int] | None, text: int, hard: bool, room: Nano, asked: int | None, failed: bool
) -> None:
    """Whatever was seen of an answer, in hard and soft budgets, capped and not."""
    call = Call("acme", "m", bound={"input": 1000}, cap="max_tokens", max_output=asked)
    it = run(limit(room, enforcement="hard" if hard else "soft"), call=call)
    usages = () if known is None else (Usage({"input": known[0], "output": known[1]}),)
    answer = Answer(usages, complete=False, text_bytes=text)
    try:
        it(raising(TimeoutError(), answer) if failed else answered(answer))
    except TimeoutError:
        pass
    except BudgetExceededError:
        return
    (ending,) = it.endings
    assert it.meter.hold is not None
    least = 0 if known is None else known[0] * IN + known[1] * OUT
    assert least <= ending.cost.nano <= max(least, it.meter.hold.amount)
    assert ending.cost.estimated
    assert [(ending.cost.nano, 0)] == it.books


# -- once

MOVES: dict[str, Callable[[Meter], Any]] = {
    "returned": lambda meter: meter.returned(),
    "failed": lambda meter: meter.failed(TimeoutError(), None),
    "not billed": lambda meter: meter.failed(ConnectionError(), False),
    "arrived": lambda meter: meter.arrived([USAGE]),
    "answer": lambda meter: (meter.begin_answer(), meter.end_answer(Answer([USAGE]), "ok"))[1],
    "partial": lambda meter: (meter.begin_answer(), meter.end_answer(Answer(complete=False), "partial"))[1],
    "deferred": lambda meter: (meter.begin_answer(), meter.end_answer(Answer(deferred=Deferred("j")), "ok"))[1],
    "sent": lambda meter: meter.returned_early(),
}


@given(st.lists(st.sampled_from(sorted(MOVES)), max_size=12))
def test_a_call_ends_at_most_once(moves: list[str]) -> None:
    """The first terminal move wins, whatever comes after it in whatever order."""
    meter = run(limit(WHOLE)).meter
    endings = [ending for move in moves if (ending := MOVES[move](meter)) is not None]
    assert len(endings) <= 1
    if endings:
        assert not meter.begin_answer()


def test_threads_that_end_a_call_together_end_it_once() -> None:
    """A stream closed here, cancelled there and dropped elsewhere is charged once."""
    ends = (lambda meter: meter.end_answer(Answer([USAGE]), "ok"), MOVES["failed"], MOVES["arrived"])
    for _ in range(200):
        meter = run(limit(WHOLE)).meter
        meter.begin_answer()
        meter.returned()
        assert 1 == _ended_together(meter, ends)


def _ended_together(meter: Meter, ends: Sequence[Callable[[Meter], Any]]) -> int:
    barrier = threading.Barrier(len(ends))
    endings: list[Ending | None] = []

    def end(move: Callable[[Meter], Any]) -> None:
        barrier.wait()
        endings.append(move(meter))

    threads = [threading.Thread(target=end, args=(move,)) for move in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(ending is not None for ending in endings)
