"""Callers, their clocks, a provider that bills, and a network that loses, repeats and delays; all of it made up, except
for the ledger, the windows and the clock that is not to be fooled.

After every step the books are compared with what was billed and with what they should be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from costguard import budget
from costguard._book import IdempotencyConflictError
from costguard._clock import LEAP, SteadyClock
from costguard._outbox import PATIENCE
from costguard._types import Amendment, Granted, Hold, Leg, Nano, Refused
from costguard.ports import Ledger

from .alerts import Alerts
from .plan import LEASES, SLOW, SLOWLY, Action, Story
from .reference import Reference, Violation, expect

Clock = Callable[[], float]
MakeClock = Callable[[Clock, Clock], Clock]

CALLERS: Final = 4
SKEWS: Final = (0.0, 0.0, 1.5, -2.5)
"""Seconds by which the hosts' clocks always differ."""
STANDS: Final = 4.0
"""A leap ahead is taken back after so many seconds, before it would be believed."""
PROMPT: Final = 3600.0
"""Seconds after which no message is on its way any more, and nobody sends one again."""


def _budgets() -> tuple[Callable[[float], Leg], ...]:
    nano = Decimal("1e-9")
    calendar = [
        budget(120 * nano, name="every daily", period="day", timezone="Europe/Berlin", alert_at=(50, 100), per="user"),
        budget(60 * nano, name="watched", period="hour", enforcement="soft", alert_at=(50, 100)),
        budget(400 * nano, name="monthly", period="month", timezone="Europe/Berlin", alert_at=(80,)),
        budget(900 * nano, name="total", period="lifetime", alert_at=(25, 50, 99.9)),
        budget(300 * nano, name="once", period="run", alert_at=(50,)),
    ]
    makers = [*[lambda at, one=one: one.leg({"user": "ada"}, at, f"{at // 43_200:.0f}") for one in calendar], _rolling]
    # Every check asks for the present ones, and time passes only now and then.
    return tuple(lru_cache(maxsize=256)(make) for make in makers)


def _rolling(at: float) -> Leg:
    """A minute in slots of ten seconds: sixty of them would only take longer to look through."""
    slot = int(at // 10)
    return Leg("rolling", f"{slot:012d}", 150, slot * 10.0, slot * 10.0 + 10, marks=((50.0, 75), (90.0, 135)), slots=6)


BUDGETS: Final = _budgets()
NAMES: Final = ("every daily", "every daily, user=ada", "watched", "monthly", "total", "once", "rolling")
"""What can be amended: each budget, and that of one user."""
KINDS: Final[tuple[Any, ...]] = ("limit", "top-up", "pause", "resume", "resume", "top-up")


@dataclass
class Trip:
    """One call, as its caller knows it: ``asking``, ``granted``, ``sent``, ``ending`` or ``over``."""

    hold: Hold
    at: float
    began: float
    state: str = "asking"
    billed: Nano = 0
    end: tuple[str, Nano] = ("release", 0)


@dataclass
class Caller:
    """A process on a host whose clock is off by `skew`, and by `jump` when somebody has set it wrong."""

    number: int
    ledger: Ledger
    skew: float
    jump: float = 0.0
    jumped: float | None = None
    clock: Clock = float
    seen: float = 0.0
    trips: list[Trip] = field(default_factory=list)
    starts: dict[str, float] = field(default_factory=dict)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=20))


@dataclass
class Message:
    """What the network may deliver once more, or late for the first time."""

    step: str
    arguments: tuple[Any, ...]
    at: float


class World:
    """Everything that a story happens to.

    Args:
        open_ledger: a handle on the one book of this world.
        shared: whether callers are processes of several hosts, each with its own clock and handle.
        make_clock: the clock that callers go by, out of a host's clock and its steady counter.
        keep: seconds that a window's books must be kept after its end.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        start: float,
        *,
        shared: bool,
        keep: float = 0.0,
        make_clock: MakeClock = SteadyClock,
    ) -> None:
        self.now = start
        self.shared = shared
        self.said: list[str] = []
        self.steps = 0
        self._open = open_ledger
        self._make_clock = make_clock
        self._reference = Reference(keep)
        self.alerts = Alerts()
        self._prompt = min(PROMPT, keep / 2)
        self._count = 0
        self._callers: list[Caller] = []
        self._messages: list[Message] = []
        self._every: list[Trip] = []
        one = None if shared else open_ledger()
        for number in range(CALLERS):
            self._callers.append(self._caller(number, one or open_ledger()))
        if not shared:
            # Threads of one process go by one clock.
            for caller in self._callers[1:]:
                caller.clock = self._callers[0].clock

    def play(self, story: Story) -> None:
        """Let a story happen.

        Raises:
            Violation: something happened that must never be; `said` tells what led to it.
        """
        for action in story.actions:
            getattr(self, f"_{action.kind}")(action)
            if action.kind in ("crash", "restart"):
                self._check()
        self._finale()

    def close(self) -> None:
        """Close the handles."""
        for caller in self._callers:
            caller.ledger.close()

    # -- what callers do

    def _begin(self, action: Action) -> None:
        caller = self._at(action)
        at = self._time(caller)
        if action.which == SLOWLY:
            # A thread that was held up after it had looked at the clock.
            at = min([one for one in caller.times if at - one <= SLOW], default=at)
        legs = tuple(make(at) for place, make in enumerate(BUDGETS) if action.budgets >> place & 1)
        for leg in legs:
            expect(leg.starts <= self.now + LEAP + 5, f"a clock that was set wrong opened {leg.budget} {leg.window}")
            back = action.which != SLOWLY and leg.starts < caller.starts.get(leg.budget, 0.0)
            expect(not back, f"{leg.budget} went back to {leg.window}")
            caller.starts[leg.budget] = max(leg.starts, caller.starts.get(leg.budget, 0.0))
        self._count += 1
        # No two leases end at once, so that every ledger charges them in one order.
        lease = LEASES[action.which % len(LEASES)] + self._count / 1000
        trip = Trip(Hold(f"call-{self._count}", int(action.figure), legs, at + lease, at), at, self.now)
        caller.trips.append(trip)
        self._every.append(trip)
        self._ask(caller, trip, action.fate)

    def _ask(self, caller: Caller, trip: Trip, fate: str) -> None:
        names = ", ".join(f"{leg.budget} {leg.window}" for leg in trip.hold.legs)
        reply = self._transmit(
            caller, "reserve", (trip.hold,), fate, f"{trip.hold.amount} for {trip.hold.id} on {names}"
        )
        if isinstance(reply, Granted):
            trip.state = "granted"
        elif isinstance(reply, Refused):
            trip.state = "over"

    def _retry(self, action: Action) -> None:
        """Whose message was not answered asks again, or gives up and takes back what may be held."""
        caller = self._at(action)
        trip = self._pick(caller, action, "asking", "ending")
        if trip is None:
            return
        if trip.state == "asking" and action.figure and self.now - trip.began < self._prompt:
            self._ask(caller, trip, action.fate)
        else:
            self._over(caller, trip, action.fate)

    def _send(self, action: Action) -> None:
        caller = self._at(action)
        trip = self._pick(caller, action, "granted")
        if trip is not None:
            trip.state, trip.billed = "sent", int(trip.hold.amount * action.figure // 1000)
            trip.end = ("settle", trip.billed)
            self._say(f"caller {caller.number} sends {trip.hold.id}, which is billed {trip.billed}")

    def _extend(self, action: Action) -> None:
        """A stream goes on; to extend is not repeated by callers, since it has no id."""
        caller = self._at(action)
        trip = self._pick(caller, action, "sent")
        if trip is None:
            return
        fate = action.fate if action.fate in ("answer lost", "request lost") else "answered"
        amount = int(action.figure)
        reply = self._transmit(caller, "extend", (trip.hold.id, amount), fate, f"{trip.hold.id} by {amount}")
        if isinstance(reply, Granted):
            trip.billed += amount
            trip.end = ("settle", trip.billed)

    def _end(self, action: Action) -> None:
        caller = self._at(action)
        trip = self._pick(caller, action, "granted", "sent")
        if trip is not None:
            self._over(caller, trip, action.fate)

    def _over(self, caller: Caller, trip: Trip, fate: str) -> None:
        step, actual = trip.end
        trip.state = "ending"
        arguments = (trip.hold.id, actual) if step == "settle" else (trip.hold.id,)
        if self._transmit(caller, step, arguments, fate, " at ".join(map(str, arguments))) is not None:
            trip.state = "over"

    # -- what happens to them

    def _crash(self, action: Action) -> None:
        """Its calls are never ended by anybody; a new process takes its place."""
        caller = self._at(action)
        lost = [trip.hold.id for trip in caller.trips if trip.state != "over"]
        self.alerts.die(caller.number)
        self._say(f"caller {caller.number} dies with {lost}")
        if self.shared:
            caller.ledger.close()
            self._callers[caller.number] = self._caller(caller.number, self._open())
        else:
            caller.trips.clear()

    def _restart(self, action: Action) -> None:
        """The book is closed and opened again."""
        caller = self._at(action)
        self._say(f"caller {caller.number} closes the ledger and opens it again")
        caller.ledger.close()
        if self.shared:
            caller.ledger = self._open()

    def _jump(self, action: Action) -> None:
        caller = self._at(action) if self.shared else self._callers[0]
        if caller.jump <= 0 or action.figure <= 0:
            caller.jumped = self.now
        caller.jump = action.figure
        self.alerts.clocks_are_set()
        self._say(f"the clock of caller {caller.number} is set wrong by {action.figure:g} s")
        self._time(caller)

    def _wait(self, action: Action) -> None:
        """Time passes. Leaps ahead are taken back before they have stood for long; who is behind stays behind."""
        until = self.now + action.figure
        for caller in self._callers:
            if caller.jumped is not None and caller.jump > 0 and until - caller.jumped >= STANDS:
                self.now = max(self.now, min(until, caller.jumped + STANDS))
                caller.jump, caller.jumped = 0.0, None
                self._time(caller)
        self.now = until
        self._say(f"{action.figure:g} s pass")
        for caller in self._callers:
            if caller.jumped is not None and self.now - caller.jumped > PROMPT:
                caller.jump, caller.jumped = 0.0, None
            self._time(caller)
        self._messages = [message for message in self._messages if self.now - message.at < self._prompt]

    def _reap(self, action: Action) -> None:
        caller = self._at(action)
        at = self._time(caller)
        reply = self._carry_out(caller, "reap", (at,), f"caller {caller.number} charges leases that are over")
        self.alerts.hear(caller.number, reply, self.now)

    def _contradict(self, action: Action) -> None:
        """A caller's bug: other figures under an id that is known. It is said so, and nothing is changed."""
        ended = [kept for kept in self._reference.model.holds.values() if not self._reference.forgettable(kept.hold.id)]
        if not ended:
            return
        caller, kept = self._at(action), ended[-1 - action.which % len(ended)]
        other = replace(kept.hold, amount=kept.hold.amount + 1)
        self._carry_out(
            caller, "reserve", (other,), f"caller {caller.number}: reserves {kept.hold.id} with another figure"
        )
        if kept.state in ("settled", "released"):
            what = f"caller {caller.number}: settles {kept.hold.id} at another figure"
            self._carry_out(caller, "settle", (kept.hold.id, kept.settled + 1), what)

    def _adjust(self, action: Action) -> None:
        """Somebody learns what an ended call did really cost, and says so again when it is not answered."""
        ended = [trip for trip in self._every if self._ended(trip.hold.id)]
        if not ended:
            return
        trip, caller = ended[-1 - action.which % len(ended)], self._at(action)
        kept, actual = self._reference.model.holds[trip.hold.id], int(action.figure)
        said = [(f"correction-{len(kept.corrections)}", actual)]
        if action.fate != "answered":
            # It is not answered, and somebody else knows better meanwhile: the first is no news when it comes again.
            said = [*said, (f"correction-{len(kept.corrections) + 1}", actual + 5), *said]
        trip.billed = max(figure for _, figure in said)
        for correction, figure in said:
            what = f"caller {caller.number}: {trip.hold.id} did really cost {figure} ({correction})"
            reply = self._carry_out(caller, "adjust", (trip.hold.id, correction, figure), what)
            self.alerts.hear(caller.number, reply, self.now)
        self._messages.append(Message("adjust", (trip.hold.id, *said[0]), self.now))

    def _amend(self, action: Action) -> None:
        """Somebody changes a budget while programs run, and says so again when it is not answered."""
        caller, number = self._at(action), len(self._reference.model.amendments)
        kind = KINDS[action.which % len(KINDS)]
        name = NAMES[action.budgets % len(NAMES)]
        amount = int(action.figure) if kind in ("limit", "top-up") else None
        until = self.now + action.which + 1 if kind == "top-up" else None
        amendment = Amendment(f"amendment-{number}", name, kind, self.now, amount, until)
        for _ in range(1 + (action.fate != "answered")):
            self._carry_out(caller, "amend", (amendment,), f"{name}: {kind} {amount or ''}")

    # -- alerts on their way

    def _deliver(self, action: Action) -> None:
        """A caller sends the alerts that it has in hand, and tells the ledger so; or dies between the two."""
        caller = self._at(action)
        if not self.alerts.in_hand.get(caller.number):
            return
        if action.fate in ("request lost", "late"):
            self._say(f"caller {caller.number} cannot reach who is to be alerted")
            return
        sent = self.alerts.send(caller.number, 2 if action.fate == "twice" else 1)
        names = ", ".join(f"{one.leg.budget} {one.leg.window} {one.percent:g} %" for one in sent)
        self._say(f"caller {caller.number} alerts of {names}, fate: {action.fate}")
        if action.fate == "answer lost":
            self._crash(action)
        else:
            caller.ledger.delivered(sent)
            self.alerts.noted(sent)

    def _takeover(self, action: Action) -> None:
        """A caller asks for alerts that others did not deliver."""
        caller = self._at(action)
        at = self._time(caller)
        taken = caller.ledger.undelivered(at)
        self._say(f"caller {caller.number} takes over {len(taken)} alerts")
        self.alerts.take_over(caller.number, taken, self.now)

    def _last_alerts(self) -> None:
        for wait in (0.0, PATIENCE + 1, PATIENCE + 1):
            self._wait(Action("wait", figure=wait))
            self._takeover(Action("takeover"))
            self._deliver(Action("deliver"))
        self.alerts.all_arrived()

    def _ended(self, id: str) -> bool:
        kept = self._reference.model.holds.get(id)
        return kept is not None and kept.state != "open" and not self._reference.forgettable(id)

    def _stray(self, action: Action) -> None:
        """The network delivers a message once more, or late."""
        if not self._messages:
            return
        message = self._messages[-1 - (action.which + 8 * int(action.figure)) % len(self._messages)]
        id = getattr(message.arguments[0], "id", message.arguments[0])
        if not self._reference.forgettable(id):
            what = f"a late {message.step} of {id} arrives"
            self._carry_out(self._at(action), message.step, message.arguments, what)

    # -- the network

    def _transmit(self, caller: Caller, step: str, arguments: tuple[Any, ...], fate: str, what: str) -> object | None:
        """Send a step to the ledger; None when no answer came."""
        what = f"caller {caller.number}: {step} {what}"
        message = Message(step, arguments, self.now)
        if fate in ("request lost", "late"):
            self._say(f"{what} ({'lost on the way' if fate == 'request lost' else 'delayed'})")
            if fate == "late":
                self._messages.append(message)
            return None
        reply = self._carry_out(caller, step, arguments, what if fate == "answered" else f"{what} ({fate})")
        if step != "extend":
            self._messages.append(message)
            if fate == "twice":
                reply = self._carry_out(caller, step, arguments, f"{what} (again)")
        if fate == "answer lost":
            return None
        self.alerts.hear(caller.number, reply, self.now)
        return reply

    def _carry_out(self, caller: Caller, step: str, arguments: tuple[Any, ...], what: str) -> object:
        self.steps += 1
        try:
            reply: object = getattr(caller.ledger, step)(*arguments)
        except (KeyError, IdempotencyConflictError) as error:
            reply = error
        except Exception as error:
            self._say(f"{what}: {error!r}")
            raise Violation(f"{step} raised {error!r}") from error
        self._say(f"{what}: {_short(reply)}")
        self._reference.check(step, arguments, reply)
        self.alerts.decide(reply)
        self._check()
        return reply

    # -- what must hold

    def _check(self) -> None:
        """I1, I2, I9, I11: the books are what they should be, within their limits, and never less than what is billed."""
        model, legs = self._reference.model, self._legs()
        at = self._callers[0].seen
        for leg, balance in zip(legs, self._callers[0].ledger.balances(legs, at), strict=True):
            spent, held = model.books(leg)
            found = (balance.spent, balance.held)
            limit = (model.limit(leg, at), model.paused(leg))
            expect((balance.leg.limit, balance.paused) == limit, f"{leg.budget}: limit and pause are not {limit}")
            expect((spent, held) == found, f"{leg.budget} {leg.window}: {found} spent and held, not {(spent, held)}")
            room = model.highest(leg) + model.overrun(leg)
            expect(not leg.hard or spent + held <= room, f"{leg.budget} {leg.window}: {spent} + {held} of {leg.limit}")
        self._check_bills()

    def _check_bills(self) -> None:
        """The provider's bill, which no code of a ledger has a part in."""
        billed: dict[tuple[str, str], Nano] = {}
        minutes: list[tuple[float, Nano, Nano]] = []
        limits: dict[tuple[str, str], Nano] = {}
        for trip in self._every:
            if not trip.billed:
                continue
            kept = self._reference.model.holds.get(trip.hold.id)
            over = max(0, trip.billed - (kept.amount if kept and not kept.corrections else 0))
            for leg in trip.hold.legs:
                key = (leg.budget, leg.window)
                if leg.slots:
                    minutes.append((trip.at, trip.billed, over))
                elif leg.hard and self._reference.counts(leg):
                    billed[key] = billed.get(key, 0) + trip.billed - over
                    limits[key] = self._reference.model.highest(leg)
        for key, nano in billed.items():
            expect(nano <= limits[key], f"{key}: the provider billed {nano} of {limits[key]}")
        most = self._reference.model.highest(_rolling(self.now))
        for at, _, _ in minutes:
            within = sum(nano - over for other, nano, over in minutes if at - 60 < other <= at)
            expect(within <= most, f"the provider billed {within} in the minute before {at}, more than {most}")

    def _legs(self) -> list[Leg]:
        legs = {
            (leg.budget, leg.window): leg for kept in self._reference.model.holds.values() for leg in kept.hold.legs
        }
        for make in BUDGETS:
            leg = make(self._callers[0].seen)
            legs.setdefault((leg.budget, leg.window), leg)
        return [leg for leg in legs.values() if self._reference.counts(leg)]

    def _finale(self) -> None:
        """I12: everybody dies; within a lease nothing is held, and what was not spent can be spent to the last nano."""
        self._say("everybody dies, and all leases run out")
        for caller in self._callers:
            self.alerts.die(caller.number)
        self._messages.clear()
        self._wait(Action("wait", figure=STANDS + 1))
        expires = [kept.hold.expires for kept in self._reference.model.holds.values()]
        self._wait(Action("wait", figure=max([0.0, *(at - self.now for at in expires)]) + PROMPT + 1))
        caller = self._callers[0]
        self._carry_out(caller, "reap", (self._time(caller),), "leases are charged")
        self._last_alerts()
        at = self._time(caller)
        for number, name in enumerate(NAMES):
            self._carry_out(caller, "amend", (Amendment(f"end-{number}", name, "resume", at),), f"{name} is resumed")
        for place, make in enumerate(BUDGETS):
            leg = make(at)
            (balance,) = caller.ledger.balances([leg], at)
            expect(balance.held == 0, f"{leg.budget}: {balance.held} is held for nobody")
            left = max(0, balance.leg.limit - balance.spent)
            self._carry_out(
                caller, "reserve", (Hold(f"rest-{place}", left, (leg,), at + 9, at),), f"the rest of {leg.budget}"
            )
            self._carry_out(
                caller, "reserve", (Hold(f"more-{place}", 1, (leg,), at + 9, at),), f"and more of {leg.budget}"
            )

    # -- inner

    def _caller(self, number: int, ledger: Ledger) -> Caller:
        caller = Caller(number, ledger, SKEWS[number] if self.shared else 0.0)
        caller.clock = self._make_clock(lambda: self.now + caller.skew + caller.jump, lambda: self.now)
        caller.seen = caller.clock()
        return caller

    def _time(self, caller: Caller) -> float:
        """I14: what a caller takes the time to be never falls."""
        at = caller.clock()
        expect(at >= caller.seen, f"time went back for caller {caller.number}")
        caller.seen = at
        caller.times.append(at)
        return at

    def _at(self, action: Action) -> Caller:
        return self._callers[action.who % len(self._callers)]

    def _pick(self, caller: Caller, action: Action, *states: str) -> Trip | None:
        found = [
            trip for trip in caller.trips if trip.state in states and not self._reference.forgettable(trip.hold.id)
        ]
        return found[-1 - action.which % len(found)] if found else None

    def _say(self, line: str) -> None:
        self.said.append(line)


def _short(reply: object) -> str:
    match reply:
        case Granted():
            told = [f"{one.leg.budget} reached {one.percent:g} %" for one in reply.crossings]
            return ", ".join(["granted", *told])
        case Refused():
            return "refused by " + ", ".join(one.leg.budget for one in reply.refusals)
        case list():
            return f"{len(reply)} charged" + "".join(f"; {_short(one)}" for one in reply if one.crossings)
        case _:
            return repr(reply)
