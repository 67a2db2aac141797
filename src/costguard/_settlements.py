"""What happens when a call has ended: it is booked, told to journal and exporters, learned from, and alerts go out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from . import _silent
from ._book import IdempotencyConflictError
from ._exports import Exports, Watches
from ._habits import Habits, Kind
from ._meter import Ending, Meter
from ._money import format_usd
from ._shield import log, shielded
from ._tallies import Tallies
from ._types import Alert, Balance, Call, CostEvent, Crossing, Decision, Granted, Hold, input_of
from ._waiting import Lines
from ._writer import Writer
from .errors import LedgerUnavailableError
from .ledgers.memory import MemoryLedger
from .ports import Journal, Ledger, Stocked

OnAlert = Callable[[Alert], object]


class Seen:
    """Remembers what was said already, within bounds, so that a warning comes once."""

    def __init__(self, kept: int = 1000) -> None:
        self._kept = kept
        self._things: dict[Any, None] = {}

    def first(self, thing: Any) -> bool:
        """Whether `thing` has not been seen yet."""
        if thing in self._things:
            return False
        if len(self._things) >= self._kept:
            self._things.pop(next(iter(self._things)), None)
        self._things[thing] = None
        return True


class Settlements:
    """Books ended calls: at once in a ledger of this process, behind in any other.

    Args:
        ledger: where they are booked.
        exports: tells exporters of each call and alert.
        on_alert: told of each threshold that a budget reaches.
        clock: UTC epoch seconds.
        caveats: what to warn of once for a provider's model at a time, as (what it is about, the words).
        journal: keeps the calls, where there is one.

    Attributes:
        tallies: what was spent, by attribution.
        habits: what calls usually use.
        lines: the callers that wait for others' holds.
        local: the books of this process's own allowances, for when the ledger is away.
        stock: the ledger, where it keeps money in hand.
    """

    def __init__(
        self,
        ledger: Ledger,
        exports: Exports,
        on_alert: OnAlert | None,
        clock: Callable[[], float],
        caveats: Callable[[str, str, float], Sequence[tuple[str, str]]],
        journal: Journal | None = None,
    ) -> None:
        self._ledger = ledger
        self._caveats = caveats
        self._exports = exports
        self._on_alert = on_alert
        self._clock = clock
        self._seen = Seen()
        self.stock = ledger if isinstance(ledger, Stocked) else None
        self._writer = Writer(self._renew, _silent.LOOK, self._tend, 1.0 if self.stock is None else self.stock.every)
        self._journal = journal
        self.tallies = Tallies()
        self.habits = Habits()
        self.lines = Lines(shared=not ledger.inline)
        self.local = MemoryLedger()

    @property
    def behind(self) -> int:
        """Settlements that are still to be written."""
        return self._writer.waiting

    def finish(self, ending: Ending) -> None:
        """Book an ended call and tell of it."""
        meter = ending.meter
        self._note(meter)
        if meter.hold is not None:
            self._book(lambda: self._settled(ending))
            self._learn(ending)
        elif meter.reservation.down is not None:
            self._book_later(ending)
        self.tell(event_of(ending, self._clock()), meter.watches)
        self._check(ending)

    def finish_first(self, ending: Ending, expires: float) -> CostEvent:
        """Book a call that was made already, and tell of it only once the ledger has it.

        It may be begun again under the same id by who did not live to tell of it: it is counted once.

        Args:
            ending: of a call that holds nothing.
            expires: when its cost is charged if this process does not live to settle it.

        Raises:
            LedgerUnavailableError: the ledger is away, and nothing was told.
            IdempotencyConflictError: a call of that id was booked with another cost before.
        """
        meter, nano = ending.meter, ending.cost.nano
        self._note(meter)
        legs = tuple([replace(leg, hard=False) for _, leg in meter.plan.legs])
        if legs:
            # Held before, at another time, or reserved by its maker: the settlement tells whether it is the same.
            with suppress(IdempotencyConflictError):
                self._ledger.reserve(Hold(meter.id, nano, legs, expires, meter.at))
            self.crossed(self._ledger.settle(meter.id, nano))
            self.lines.wake([leg.budget for leg in legs])
        event = event_of(ending, self._clock())
        self.tell(event, meter.watches)
        self._check(ending)
        return event

    def tell(self, event: CostEvent, watches: Watches = ()) -> None:
        """Tell the journal and the exporters of a call, and those that watched it that it is over."""
        self.tallies.record(event)
        if self._journal is not None:
            with shielded("recording a call"):
                self._journal.record(event)
        self._exports.tell(event, watches)

    def give_back(self, hold: Hold, *, local: bool) -> None:
        """Release a hold that no call will use."""
        if local:
            self.local.release(hold.id)
            return

        def deed() -> None:
            with suppress(KeyError):  # where nobody knows whether it was granted, perhaps it was not
                self.crossed(self._ledger.release(hold.id))
            self.lines.wake([leg.budget for leg in hold.legs])

        self._book(deed)

    def crossed(self, granted: Granted) -> None:
        """Send the alerts that a step of the ledger decided on."""
        self._send(granted.crossings)

    def reap(self, at: float) -> None:
        """Charge the holds whose lease was over at `at`; where that takes long, behind."""

        def deed() -> None:
            with shielded("charging holds whose lease is over"):
                for granted in self._ledger.reap(at):
                    self.crossed(granted)
                # What another process decided on and did not live to send, or this one without hearing of it.
                self._send(self._ledger.undelivered(at))
                self.local.reap(at)
            self._renew()

        self._book(deed)

    def flush(self, timeout: float) -> bool:
        """Write what is behind; False when it could not all be written in time."""
        return self._writer.flush(timeout)

    def look_after_stock(self) -> None:
        """Money may be in hand from now on: have it given back in time."""
        if self.stock is not None and self.stock.busy:
            self._writer.watch()

    def return_stock(self) -> None:
        """Give back, behind, all money that is in hand."""
        stock = self.stock
        if stock is None or not stock.busy:
            return

        def deed() -> None:
            for granted in stock.tend(everything=True):
                self.crossed(granted)

        self._writer.put(deed)

    def _tend(self) -> bool:
        if self.stock is None:
            return False
        for granted in self.stock.tend():
            self.crossed(granted)
        return self.stock.busy

    def _book(self, deed: Callable[[], None]) -> None:
        if self._ledger.inline:
            deed()
        else:
            self._writer.put(deed)

    def _note(self, meter: Meter) -> None:
        if not self._ledger.inline:
            _silent.note([leg for _, leg in meter.plan.legs], meter.at)

    def _renew(self) -> None:
        """Keep a shared ledger from forgetting the runs that are silent here; one in this process knows them itself."""
        if not self._ledger.inline:
            with shielded("renewing the books of runs"):
                _silent.renew(self._ledger, self._clock())

    def _settled(self, ending: Ending) -> None:
        meter = ending.meter
        assert meter.hold is not None
        if ending.released:
            granted = self._ledger.release(meter.id)
        else:
            granted = self._ledger.settle(meter.id, ending.cost.nano)
        self.crossed(granted)
        self.lines.wake([leg.budget for leg in meter.hold.legs])

    def _book_later(self, ending: Ending) -> None:
        """Book a call that was let through while the ledger was away: on every budget, refused by none."""
        reservation, nano = ending.meter.reservation, ending.cost.nano
        hold = reservation.uncounted()
        if reservation.down == "local" and ending.released:
            self.local.release(ending.meter.id)
        elif reservation.down == "local":
            self.local.settle(ending.meter.id, nano)
        if hold is None:
            return
        if ending.released:
            if reservation.unsure:
                self.give_back(hold, local=False)
            return

        def deed(hold: Hold = hold) -> None:
            # Where only the answer was lost, it is held already, with other figures.
            with suppress(IdempotencyConflictError):
                self._ledger.reserve(hold)
            self.crossed(self._ledger.settle(hold.id, nano))

        self._writer.put(deed)

    def _send(self, crossings: Sequence[Crossing]) -> None:
        for crossing in crossings:
            self._reached(crossing)
        if crossings:
            # Where the ledger is away now, the alert goes out once more, under the same id.
            with suppress(LedgerUnavailableError):
                self._ledger.delivered(crossings)

    def _reached(self, crossing: Crossing) -> None:
        leg, now = crossing.leg, self._clock()
        try:
            # The limit that was reached; another may be in force by now.
            balance = replace(self._ledger.balances([leg], now)[0], leg=leg)
        except LedgerUnavailableError:
            balance = Balance(leg, crossing.spent, 0)
        alert = Alert(f"{leg.budget}/{leg.window}/{crossing.percent:g}", now, crossing.percent, balance)
        self.alert(alert, f"budget {leg.budget!r} reached {crossing.percent:g}% of its limit")

    def alert(self, alert: Alert, words: str) -> None:
        """Tell the log, ``on_alert`` and the exporters."""
        log.warning("%s", words)
        if self._on_alert is not None:
            with shielded("calling on_alert"):
                self._on_alert(alert)
        self._exports.tell(alert)

    def _learn(self, ending: Ending) -> None:
        meter = ending.meter
        kind = kind_of(meter.call, meter.plan.tags)
        self.habits.end(kind)
        if ending.outcome == "ok" and not ending.cost.estimated:
            bound = input_of(meter.call.bound)
            used = sum([usage.input_tokens for usage in ending.usages])
            output = sum([usage.output_tokens for usage in ending.usages])
            self.habits.learn(kind, bound, used, output // max(1, meter.call.choices))

    def _check(self, ending: Ending) -> None:
        """Warn, once each, of what a reader of the figures has to know."""
        call, cost = ending.meter.call, ending.cost
        if self._seen.first(("looked up", call.provider, call.model)):
            for about, words in self._caveats(call.provider, call.model, ending.meter.at):
                if self._seen.first(about):
                    log.warning("%s", words)
        if cost.unpriced and self._seen.first(("unpriced", call.provider, call.model)):
            log.warning(
                "no price for %s of model %r (%s): recorded as unpriced; costguard.prices.add(...) gives it one",
                ", ".join(cost.unpriced), call.model, call.provider or call.host,
            )  # fmt: skip
        elif ending.outcome == "ok" and cost.estimated and self._seen.first(("estimated", call.provider, call.model)):
            log.warning("the cost of model %r (%s) is an estimate on the dear side", call.model, call.provider)
        self._check_bound(ending)

    def _check_bound(self, ending: Ending) -> None:
        """A call that cost more than the most it could cost has passed a hard limit: nobody may have to find that out
        from a bill."""
        call, hold, reservation = ending.meter.call, ending.meter.hold, ending.meter.reservation
        if hold is None or not reservation.proven or ending.cost.nano <= hold.amount:
            return
        # A call that was told of after it was made is held by nobody.
        if not (reservation.strict and any([leg.hard for leg in hold.legs])):
            return
        if self._seen.first(("bound", call.provider, call.model)):
            log.warning(
                "a call of model %r (%s) cost %s where %s was held as the most it could cost, so hard limits can be"
                " passed by the difference: the provider billed input that is not in the request, or more output than"
                " the cap, or costguard's bound is wrong",
                call.model, call.provider or call.host, format_usd(ending.cost.nano), format_usd(hold.amount),
            )  # fmt: skip


def event_of(ending: Ending, now: float) -> CostEvent:
    """An ended call, as exporters and journals see it."""
    meter: Meter = ending.meter
    return CostEvent(
        id=meter.id,
        time=meter.at,
        duration=max(0.0, now - meter.at),
        call=meter.call,
        usages=ending.usages,
        cost=ending.cost,
        held=0 if meter.hold is None else meter.hold.amount,
        tags=meter.plan.tags,
        budgets=tuple([leg.budget for _, leg in meter.plan.legs]),
        outcome=ending.outcome,
        error=ending.error,
        would_block=meter.reservation.would_block,
        decision=_decision(ending),
        asked=meter.asked,
        saved=ending.saved or meter.spared(ending.usages, ending.cost.nano),
        fingerprint=meter.plan.fingerprint,
        run=meter.plan.run,
    )


def _decision(ending: Ending) -> Decision:
    if ending.outcome == "refused":
        return "blocked"
    if ending.meter.asked:
        return "downgraded"
    return "compressed" if ending.meter.removed and ending.decision == "allowed" else ending.decision


def kind_of(call: Call, tags: Mapping[str, str]) -> Kind:
    """The kind of a call, for what is learned of it."""
    return call.provider, call.model, tags.get("feature", "")
