"""A ledger against a model that shares no code with it: Hypothesis looks for a history on which they differ.

Needs Hypothesis; `costguard.testing.LedgerContract` imports it only to run it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from .._book import IdempotencyConflictError
from .._types import Amendment, Crossing, Granted, Hold, Leg, Nano, Refused
from ..ports import Ledger

_DAY: Final = 10
_REMEMBERED: Final = 86_400.0
_SLOT: Final = 4
_RUN: Final = 25
_SLOTS: Final = 3


def _day(name: str, at: int, limit: Nano, hard: bool) -> Leg:
    starts = at // _DAY * _DAY
    marks = ((50.0, limit // 2), (100.0, limit))
    return Leg(name, f"day-{starts:012d}", limit, starts, starts + _DAY, hard, marks, group=f"every {name}")


def _rolling(at: int) -> Leg:
    index = at // _SLOT
    marks = ((50.0, 60), (90.0, 108))
    return Leg("rolling", f"{index:012d}", 120, index * _SLOT, (index + 1) * _SLOT, True, marks, slots=_SLOTS)


BUDGETS: Final[tuple[Callable[[int], Leg], ...]] = (
    lambda at: _day("daily", at, 100, True),
    lambda at: _day("watched", at, 60, False),
    lambda at: Leg("total", "lifetime", 250, marks=((80.0, 200),)),  # noqa: ARG005 - a lifetime has no instant
    _rolling,
    lambda at: Leg("once", f"run:{at // _RUN}", 150, marks=((50.0, 75),)),
)
"""A hard and a soft calendar budget, one for a lifetime, a rolling one and one for each run, each as its leg at an
instant."""


NAMES: Final = ("daily", "every daily", "watched", "total", "rolling")
"""What can be amended: each of them, and one as a value of a budget per tag."""


@dataclass
class Kept:
    """A hold as the model keeps it."""

    hold: Hold
    amount: Nano
    state: str = "open"
    booked: Nano = 0
    settled: Nano = 0
    corrections: dict[str, Nano] = field(default_factory=dict)

    @property
    def overrun(self) -> Nano:
        """By how much it may have passed a limit: what it did cost beyond its hold, or what was corrected when others
        had been given the room."""
        return self.booked if self.corrections else max(0, self.booked - self.amount)


class Model:
    """What the books should say, worked out anew from the holds each time it is asked."""

    def __init__(self) -> None:
        self.holds: dict[str, Kept] = {}
        self.fired: dict[tuple[str, str], float] = {}
        self.amendments: list[Amendment] = []
        self.untold: dict[tuple[str, str, float], tuple[Crossing, float | None]] = {}
        self._windows: dict[tuple[str, str], list[Kept]] = {}

    def add(self, hold: Hold) -> None:
        """Note a hold that was granted."""
        kept = self.holds[hold.id] = Kept(hold, hold.amount)
        for leg in hold.legs:
            self._windows.setdefault((leg.budget, leg.window), []).append(kept)

    def spent(self, budget: str, window: str) -> Nano:
        """What the calls of a window did cost."""
        return sum(kept.booked for kept in self._of(budget, window))

    def held(self, budget: str, window: str) -> Nano:
        """What is reserved in a window."""
        return sum(kept.amount for kept in self._of(budget, window) if kept.state == "open")

    def _of(self, budget: str, window: str) -> list[Kept]:
        return self._windows.get((budget, window), [])

    def overrun(self, leg: Leg) -> Nano:
        """By how much calls in a window may have passed its limit."""
        names = [leg.window] if not leg.slots else _run(int(leg.window), leg.slots)
        return sum(kept.overrun for name in names for kept in self._of(leg.budget, name))

    def limit(self, leg: Leg, at: float) -> Nano:
        """The limit in force: the newest that was set for the budget, else for its group, and what was added."""
        own, group = ([one for one in self.amendments if one.budget == name] for name in (leg.budget, leg.group))
        added = _added(own, at) + _added(group, at)
        for amendments in (own, group):
            newest = [one.amount for one in amendments if one.kind == "limit"][-1:]
            if newest not in ([], [None]):
                return (newest[0] or 0) + added
        return leg.limit + added

    def paused(self, leg: Leg) -> bool:
        """Whether the budget or its group was paused and not resumed."""
        for name in (leg.budget, leg.group):
            switches = [one.kind for one in self.amendments if one.budget == name and one.kind in ("pause", "resume")]
            if switches[-1:] == ["pause"]:
                return True
        return False

    def highest(self, leg: Leg) -> Nano:
        """A limit that was never passed: the highest that was ever in force cannot have been higher."""
        amendments = [one for one in self.amendments if one.budget in (leg.budget, leg.group)]
        limits = [one.amount or 0 for one in amendments if one.kind == "limit"]
        return max(leg.limit, *limits, 0) + sum(one.amount or 0 for one in amendments if one.kind == "top-up")

    def books(self, leg: Leg) -> tuple[Nano, Nano]:
        """Spent and held in the window that ends with a leg's own."""
        names = [leg.window] if not leg.slots else _run(int(leg.window), leg.slots)
        return sum(self.spent(leg.budget, name) for name in names), sum(self.held(leg.budget, name) for name in names)

    def fits(self, leg: Leg, amount: Nano, at: float) -> bool:
        """Whether every window that holds this leg's slot has room, and the budget is not paused."""
        if not amount or not leg.hard:
            return True
        limit = self.limit(leg, at)
        return not self.paused(leg) and all(sum(self.books(end)) + amount <= limit for end in _ends(leg))

    def crossed(self, leg: Leg, added: Nano, at: float) -> tuple[list[float], Nano]:
        """The thresholds that adding to `spent` reaches now and for the first time, and what is spent then."""
        limit = self.limit(leg, at)
        told = max(self.fired.get((leg.budget, name), 0.0) for name in _around(leg))
        total = max(self.books(end)[0] for end in _ends(leg)) + added
        passed = [percent for percent, _ in leg.marks if total * 100 >= limit * percent and total > 0]
        return [percent for percent in passed if added > 0 and percent > told], total


def _added(amendments: list[Amendment], at: float) -> Nano:
    """What was added for an instant. One that ended a day before the next was written is not remembered."""
    lasting: list[Amendment] = []
    for top_up in (one for one in amendments if one.kind == "top-up"):
        lasting = [one for one in lasting if (one.until or 0) > top_up.at - _REMEMBERED] + [top_up]
    return sum(one.amount or 0 for one in lasting if (one.until or 0) > at)


def _run(last: int, slots: int) -> list[str]:
    return [f"{slot:012d}" for slot in range(last - slots, last + 1)]


def _ends(leg: Leg) -> list[Leg]:
    """The legs whose windows hold this one's slot; itself for a calendar window."""
    if not leg.slots:
        return [leg]
    return [replace(leg, window=f"{int(leg.window) + later:012d}") for later in range(leg.slots + 1)]


def _around(leg: Leg) -> list[str]:
    if not leg.slots:
        return [leg.window]
    return _run(int(leg.window), leg.slots) + _run(int(leg.window) + leg.slots, leg.slots - 1)


AMOUNTS: Final = st.sampled_from((0, 1, 10, 30, 40, 60))
"""Few amounts, so that limits are often reached exactly."""
WHICH: Final = st.integers(0, 9)
SOME_BUDGETS: Final = st.sets(st.integers(0, len(BUDGETS) - 1), min_size=1)


KINDS: Final = st.sampled_from(("limit", "limit", "own", "top-up", "top-up", "pause", "resume", "resume"))

LIMITS: Final = st.sampled_from((30, 80, 160))


class BooksMachine(RuleBasedStateMachine):
    """Any sequence of steps, repeated and contradicted ones among them. Give it a ledger with `books_machine`."""

    @staticmethod
    def make_ledger() -> Ledger:
        """A fresh ledger; `books_machine` puts one here."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.ledger = type(self).make_ledger()
        self.model = Model()
        self.now = 1_780_000_000
        self.reaped = self.now
        self.watched = 0.0
        self.count = 0

    def teardown(self) -> None:
        """At the end every lease runs out, and nothing is held any more."""
        self.reap_at(self.now + 10**6)
        (balance,) = self.ledger.balances([BUDGETS[2](self.now)])
        assert (self.model.spent("total", "lifetime"), 0) == (balance.spent, balance.held)
        self.ledger.close()

    # -- what callers do

    @initialize(fill=AMOUNTS)
    def begin(self, fill: Nano) -> None:
        """Books are rarely empty."""
        self.reserve(range(len(BUDGETS)), fill, 0, 60)

    @rule(
        step=st.one_of(
            st.tuples(
                st.just("reserve"), SOME_BUDGETS, AMOUNTS, st.sampled_from((0, 0, 1, 5)), st.sampled_from((1, 5, 60))
            ),
            st.tuples(st.just("extend"), WHICH, AMOUNTS),
            st.tuples(st.just("end"), WHICH, st.sampled_from((0, 30, 100, 130)), st.sampled_from((True, True, False))),
            st.tuples(st.just("wait"), st.sampled_from((1, 3, 7, 25)), st.booleans()),
            st.tuples(st.just("repeat"), WHICH),
            st.tuples(st.just("contradict"), WHICH, st.integers(1, 9)),
            st.tuples(st.just("adjust"), WHICH, st.sampled_from((0, 20, 40, 90))),
            st.tuples(st.just("take_over"), st.sampled_from((59, 60)), st.booleans()),
            st.tuples(st.just("amend"), st.sampled_from(NAMES), KINDS, LIMITS, st.integers(1, 9)),
        )
    )
    def do(self, step: tuple[Any, ...]) -> None:
        """One step of a history. A rule for each would be tidier, but Hypothesis leaves rules out of most histories,
        and what goes wrong with money takes all of them."""
        getattr(self, step[0])(*step[1:])

    def reserve(self, budgets: Iterable[int], amount: Nano, behind: int, lease: int) -> None:
        """A call begins; `behind` is a thread that was slow to come here with its windows."""
        at = max(self.reaped, self.now - behind)
        legs = tuple(BUDGETS[index](at) for index in sorted(budgets))
        self.count += 1
        # No two leases end at once, so that every ledger charges them in one order.
        hold = Hold(f"hold-{self.count}", amount, legs, self.now + lease + self.count / 1000, float(self.now))
        if self._answered(self.ledger.reserve(hold), legs, amount, hold.at):
            self.model.add(hold)

    def extend(self, which: int, amount: Nano) -> None:
        """A stream goes on."""
        kept = self.pick(which, "open")
        if kept is None:
            return
        hold = kept.hold
        if self._answered(self.ledger.extend(hold.id, amount), hold.legs, amount, hold.at):
            kept.amount += amount

    def end(self, which: int, share: int, sent: bool) -> None:
        """A call ends: mostly at or below what it reserved, sometimes above, or unsent; perhaps after its lease, which
        must give the books it would have given in time."""
        kept = self.pick(which, "open", "expired")
        if kept is None:
            return
        actual = kept.amount * share // 100 if sent else 0
        # Whoever corrected the charge of an expired hold knew more than its late end does.
        added = 0 if kept.corrections else actual - kept.booked
        reply = self.ledger.settle(kept.hold.id, actual) if sent else self.ledger.release(kept.hold.id)
        assert self._marked(kept, reply.crossings, added) == self._counted(reply.crossings)
        self.hear(reply.crossings)
        kept.state, kept.settled = "settled" if sent else "released", actual
        if not kept.corrections:
            kept.booked = actual

    def adjust(self, which: int, actual: Nano) -> None:
        """Somebody knows what a call did really cost; of several who know, the last one is believed."""
        kept = self.pick(which, "settled", "expired", "released")
        if kept is None:
            return
        correction = f"correction-{len(kept.corrections)}"
        reply = self.ledger.adjust(kept.hold.id, correction, actual)
        assert self._marked(kept, reply.crossings, actual - kept.booked) == self._counted(reply.crossings)
        self.hear(reply.crossings)
        kept.corrections[correction] = actual
        kept.booked = actual

    def take_over(self, seconds: int, deliver: bool) -> None:
        """What was not delivered within a minute is somebody else's to deliver, and of one at a time."""
        untold = self.model.untold
        for later in (0, seconds, 0):
            self.watched += later
            taken = list(self.ledger.undelivered(self.watched))
            looked_at = [key for key, (_, until) in untold.items() if until is None or until <= self.watched]
            assert [untold[key][0] for key in sorted(looked_at) if untold[key][1] is not None] == taken
            for key in looked_at:
                untold[key] = (untold[key][0], self.watched + 60.0)
            if deliver:
                self.deliver(taken)

    def deliver(self, crossings: Sequence[Crossing]) -> None:
        """Whoever heard of alerts sends them, and says so."""
        self.ledger.delivered(crossings)
        for one in crossings:
            self.model.untold.pop((one.leg.budget, one.leg.window, one.percent), None)

    def hear(self, crossings: Sequence[Crossing]) -> None:
        """Alerts are decided on, and the process that hears of them may die before it sends them."""
        for one in crossings:
            self.model.untold[one.leg.budget, one.leg.window, one.percent] = (one, None)
        if self.count % 3 == 0:
            self.deliver(crossings)

    def amend(self, name: str, kind: Any, amount: Nano, seconds: int) -> None:
        """Somebody changes a budget, and perhaps sends it twice, or something else under the same id."""
        number, now = len(self.model.amendments), float(self.now)
        amendment = Amendment(f"amendment-{number}", name, kind, now, author="ada", reason=f"{seconds}")
        if kind == "own":
            amendment = replace(amendment, kind="limit")
        elif kind in ("limit", "top-up"):
            until = now + seconds if kind == "top-up" else None
            amendment = replace(amendment, amount=amount, until=until)
        for _ in range(1 + seconds % 2):
            self.ledger.amend(amendment)
        _conflicts(lambda: self.ledger.amend(replace(amendment, reason="another one")))
        self.model.amendments.append(amendment)
        assert self.model.amendments == list(self.ledger.amendments())

    def wait(self, seconds: int, reap: bool) -> None:
        """Time passes, and leases that are over are charged."""
        self.now += seconds
        if reap:
            self.reap_at(self.now)

    def repeat(self, which: int) -> None:
        """The answer to a step was lost and it is sent again: it changes nothing and tells of no threshold twice,
        whatever happened since."""
        kept = self.pick(which)
        if kept is None:
            return
        assert Granted() == self.ledger.reserve(kept.hold)
        if kept.state == "settled":
            assert Granted() == self.ledger.settle(kept.hold.id, kept.settled)
        for correction, actual in kept.corrections.items():
            assert Granted() == self.ledger.adjust(kept.hold.id, correction, actual)
        if kept.state == "released":
            assert Granted() == self.ledger.release(kept.hold.id)

    def contradict(self, which: int, extra: Nano) -> None:
        """Other figures under an id that is known are a bug of the caller: said so, and nothing is changed."""
        kept = self.pick(which)
        if kept is None:
            return
        hold, ledger = kept.hold, self.ledger
        _conflicts(lambda: ledger.reserve(replace(hold, amount=hold.amount + extra)))
        _conflicts(lambda: ledger.reserve(replace(hold, legs=(*hold.legs, Leg("other", "w", 9)))))
        if kept.state != "open":
            _conflicts(lambda: ledger.extend(hold.id, extra))
        if kept.state in ("settled", "released"):
            _conflicts(lambda: ledger.settle(hold.id, kept.settled + extra))
        if kept.state == "settled":
            _conflicts(lambda: ledger.release(hold.id))
        if kept.state == "open":
            _conflicts(lambda: ledger.adjust(hold.id, "too early", extra))
        for correction, actual in kept.corrections.items():
            _conflicts(partial(ledger.adjust, hold.id, correction, actual + extra))

    # -- what must always hold

    @invariant()
    def the_books_balance(self) -> None:
        """In every window that is not over, spent is what calls did cost and held is what is open; and both together
        pass a hard limit only by what calls did cost beyond what was held for them."""
        legs, model, now = self.legs(), self.model, float(self.now)
        for leg, balance in zip(legs, self.ledger.balances(legs, now), strict=True):
            assert (leg.budget, leg.window, model.limit(leg, now), model.paused(leg)) == (
                balance.leg.budget, balance.leg.window, balance.leg.limit, balance.paused,
            )  # fmt: skip
            assert model.books(leg) == (balance.spent, balance.held), leg
            assert not leg.hard or balance.spent + balance.held <= model.highest(leg) + model.overrun(leg), leg

    # -- inner

    def legs(self) -> list[Leg]:
        """Every leg in use whose window is not over, and those of now."""
        used = [leg for kept in self.model.holds.values() for leg in kept.hold.legs]
        every = {(leg.budget, leg.window): leg for leg in (*used, *(budget(self.now) for budget in BUDGETS))}
        return [leg for leg in every.values() if self.counts(leg)]

    def counts(self, leg: Leg) -> bool:
        """Whether a window has not been forgotten."""
        return leg.ends is None or leg.ends >= self.reaped

    def of(self, *states: str) -> list[Kept]:
        """The holds that are in one of these states."""
        return [kept for kept in self.model.holds.values() if kept.state in states]

    def pick(self, which: int, *states: str) -> Kept | None:
        """One of the holds that are in one of these states, or of all, the newest first; None when there is none."""
        found = self.of(*states) if states else list(self.model.holds.values())
        return found[-1 - which % len(found)] if found else None

    def reap_at(self, now: int) -> None:
        """Charge what is over, here and there."""
        told = [crossing for reply in self.ledger.reap(float(now)) for crossing in reply.crossings]
        marked = []
        for kept in sorted(self.of("open"), key=lambda kept: kept.hold.expires):
            if kept.hold.expires <= now:
                marked += self._marked(kept, told, kept.amount)
                kept.state, kept.booked = "expired", kept.amount
        assert sorted(marked) == sorted(self._counted(told))
        self.hear(told)
        self.reaped = max(self.reaped, now)

    def _answered(self, reply: Granted | Refused, legs: Sequence[Leg], amount: Nano, at: float) -> bool:
        """Whether it was granted; it must be exactly where the model says that it fits."""
        tight = [leg for leg in legs if self.counts(leg) and not self.model.fits(leg, amount, at)]
        if isinstance(reply, Granted):
            assert [] == tight
            assert () == reply.crossings
            return True
        # A window that is over is partly forgotten: whether an old hold may still grow there is not promised.
        refusals = [refusal for refusal in reply.refusals if self.counts(refusal.leg)]
        assert [(leg.budget, leg.window) for leg in tight] == [(one.leg.budget, one.leg.window) for one in refusals]
        for refusal in refusals:
            leg = next(leg for leg in tight if leg.budget == refusal.leg.budget and leg.window == refusal.leg.window)
            fullest = max(sum(self.model.books(end)) for end in _ends(leg))
            assert (fullest, amount) == (refusal.spent + refusal.held, refusal.needed)
            assert (self.model.limit(leg, at), self.model.paused(leg)) == (refusal.leg.limit, refusal.paused)
        return False

    def _counted(self, told: Sequence[Crossing]) -> list[tuple[str, str, float, Nano]]:
        """What was told about windows that are not over."""
        return [(one.leg.budget, one.leg.window, one.percent, one.spent) for one in told if self.counts(one.leg)]

    def _marked(self, kept: Kept, told: Sequence[Crossing], added: Nano) -> list[tuple[str, str, float, Nano]]:
        """The thresholds that this end of a hold reaches, and what is spent then; noted as told."""
        marked = []
        for leg in kept.hold.legs:
            key = (leg.budget, leg.window)
            if self.counts(leg):
                passed, total = self.model.crossed(leg, added, kept.hold.at)
                marked += [(*key, percent, total) for percent in passed]
            else:
                # The window is over, so its neighbours may be forgotten: nothing is promised about its alerts.
                passed = [one.percent for one in told if (one.leg.budget, one.leg.window) == key]
            if passed:
                self.model.fired[key] = passed[-1]
        return marked


def _conflicts(step: Callable[[], object]) -> None:
    try:
        step()
    except IdempotencyConflictError:
        return
    raise AssertionError("a step that contradicts an earlier one was taken silently")


def books_machine(make_ledger: Callable[[], Ledger]) -> type[BooksMachine]:
    """The machine over fresh ledgers made by `make_ledger`."""
    return type("LedgerBooks", (BooksMachine,), {"make_ledger": staticmethod(make_ledger)})
