"""The guard: it holds catalog, ledger, journal and exporters, and carries out a call's effects in two colours."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, TypeVar

from . import _scope
from ._admission import Admission
from ._biller import Biller
from ._catalog import Catalog
from ._deferrals import Deferrals
from ._driver import CATCH_UP, Driver, Working
from ._exports import Exports
from ._fingerprint import Fingerprints
from ._forks import forks
from ._ids import ids
from ._meter import Ending, Meter
from ._reservation import Plan
from ._settlements import OnAlert, Seen, Settlements, event_of, kind_of
from ._shield import log, shielded
from ._tokens import Counter
from ._types import Amendment, Balance, Call, Cost, CostEvent, Leg, Outcome, Refused, Usage
from .errors import BudgetExceededError, LedgerUnavailableError
from .optimize import Alike, Cache, Compressor, LoopGuard, Shortcut, Shorter, Tiers
from .ports import Exporter, Journal, Ledger, Provider, Reader, Reading, Request

T = TypeVar("T")
Mode = Literal["enforce", "observe"]

LEASE: Final = 3600.0
"""Seconds after which a hold that nobody settled is charged: above any SDK's time-out with its retries."""
_REAP_EVERY: Final = 30.0


class Guard:
    """Meters calls against budgets. One is current in a process; a call stays with the one that admitted it.

    Args:
        catalog: what calls cost.
        ledger: where holds and charges are counted.
        exporters: told of each finished call and alert.
        budgets: limits set up beside those declared with `budgeted`.
        tags: attribution of calls that carry none of their own.
        mode: ``observe`` never refuses and notes what it would have refused.
        strict_prices: whether a model without a price of its own is refused.
        on_alert: told of each threshold a budget reaches.
        clock: UTC epoch seconds.
        fingerprints: makes the fingerprints of requests, where a journal or a cache wants them.
        journal: keeps the calls, where there is one.
        cache: answers calls that were paid for before; one of this process's own is made when a block asks for it.
        tiers: knows cheaper models, for budgets that are to be spared by them.
        loop_guard: stops a request that is sent again and again.
        compressor: makes prompts shorter; one with the defaults is made when a block asks for it.
        counter: gives what counts the tokens of a model's input exactly, where that is asked for.
    """

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        *,
        exporters: Iterable[Exporter] = (),
        budgets: Iterable[Any] = (),
        tags: Mapping[str, str] | None = None,
        mode: Mode = "enforce",
        strict_prices: bool = False,
        on_alert: OnAlert | None = None,
        clock: Callable[[], float] = time.time,
        fingerprints: Fingerprints | None = None,
        journal: Journal | None = None,
        cache: Cache | None = None,
        tiers: Tiers | None = None,
        loop_guard: LoopGuard | None = None,
        compressor: Compressor | None = None,
        counter: Counter | None = None,
    ) -> None:
        self.catalog = catalog
        self.biller = Biller(catalog)
        self.ledger = ledger
        self.exporters = list(exporters)
        self.admission = Admission(budgets)
        self.tags = dict(tags or {})
        self.mode: Mode = mode
        self.clock = clock
        self.fingerprints = fingerprints
        self.cache = cache
        self.tiers = tiers
        self.loop_guard = loop_guard
        self.compressor = compressor
        self.counter = counter
        self.unmetered_calls: dict[str, int] = {}
        self._strict_prices = strict_prices
        self.journal = journal
        self.exports = Exports(self.exporters)
        self.settlements = Settlements(ledger, self.exports, on_alert, clock, catalog.caveats, journal)
        self.tallies = self.settlements.tallies
        self._seen = Seen()
        self._reap_at = 0.0
        self.deferrals = Deferrals()
        # Finalisers run in any thread, also while that thread holds a lock of ours: they only append here.
        self._dropped: queue.SimpleQueue[Callable[[], Ending | None]] = queue.SimpleQueue()
        self._working = Working()
        self.driver = Driver(ledger, self.settlements, self._working, self.drain, self.finish, clock)
        self.exports.attach(_books_of(weakref.ref(self)))

    # -- one call ----------------------------------------------------------------------------------------------

    def shorter(self, call: Call, request: Request, read: Callable[[Request], Reading]) -> Shorter | None:
        """The call with a shorter prompt, where a block or its feature asks for that; None to send it as it is.

        Args:
            call: what is asked for.
            request: as the seam knows it.
            read: what another request would ask for; None where it cannot be sent so.
        """
        scope = _scope.current()
        wish = scope.compress
        if wish is False or (wish is None and self.compressor is None) or self.mode == "observe":
            return None
        with shielded("compressing a prompt"):
            tags = self._with_tags(scope).tags
            if self.compressor is None:
                self.compressor = Compressor()
            if self.compressor.covers(wish, tags.get("feature")):
                return self.compressor.shorter(call, request, tags, read)
        return None

    def begin(
        self,
        call: Call,
        request: Request | None = None,
        *,
        shorter: Shorter | None = None,
        swaps: bool = True,
        id: str | None = None,
        at: float | None = None,
    ) -> Meter:
        """A meter for a call that is about to be made here and now.

        Args:
            call: what is asked for.
            request: as the seam knows it, where there is one.
            shorter: what is sent instead, with a shorter prompt.
            swaps: whether it can be sent to another model.
            id, at: of a call that was made elsewhere or earlier, as its maker names it.
        """
        forks.notice()
        self.drain()
        now = self.look_after()
        at = now if at is None else at
        call = call if shorter is None else shorter.call
        sdk = call.provider
        provider = self.biller.of_call(sdk, call.host, call.model, at)
        if provider != call.provider:
            call = replace(call, provider=provider)
        scope = self._with_tags(_scope.current())
        plan = Plan(
            legs=self.admission.legs(scope, at),
            tags=scope.tags,
            observe=self.mode == "observe",
            strict_prices=self._strict_prices,
            warn=self._warn,
            forecast=partial(self.settlements.habits.forecast, kind_of(call, scope.tags)),
            again=lambda: self.admission.legs(scope, self.clock()),
            run=str(scope.run),
            fingerprint=self._fingerprint(sdk, request),
        )
        if self.tiers is not None and request is not None and swaps:
            plan = self._with_tiers(plan, self.tiers, sdk, call.host, request, at)
        meter = Meter(id or ids(), call, self.catalog, plan, at, LEASE, partial(self.biller.of_call, sdk, call.host))
        meter.watches = self.exports.watch(call)
        if shorter is not None:
            meter.instead, meter.removed = shorter.request, shorter.removed
        elif self.compressor is not None:
            meter.plain = request
        loops = self.loop_guard
        if loops is not None and request is not None:
            with shielded("watching for loops"):
                key = loops.key(call, request, scope.tags)
                if key:
                    meter.looped = partial(loops.check, key, call.model, at)
        return meter

    def look_after(self) -> float:
        """Now and then charge the holds whose time is over, and send the alerts that nobody has sent; returns the time.

        Calls see to it. Who only reserves and settles calls that others make has to see to it too.
        """
        now = self.clock()
        if now >= self._reap_at:
            self._reap_at = now + _REAP_EVERY
            self.settlements.reap(now)
        return now

    def look_up(
        self, meter: Meter, provider: Provider, request: Request, identity: Callable[[], Any], *, blocking: bool
    ) -> None:
        """Let a call get its answer from the response cache, where a block or its feature asks for that.

        Args:
            meter: the call.
            provider: reads its answer.
            request: what it asks.
            identity: tells what else shapes its answer: credentials, headers, query.
            blocking: whether the caller blocks its thread while it waits for an equal call.
        """
        wish = _scope.current().cache
        if wish is False or (wish is None and self.cache is None):
            return
        with shielded("preparing the response cache"):
            cache = self.cache
            tags = meter.plan.tags
            if cache is None:
                cache = self.cache = Cache()
            if wish is None and tags.get("feature") not in cache.features:
                return
            key = cache.key(meter.call, request, tags, identity)
            if key:
                ttl = cache.ttl if wish is None or wish is True else wish
                alike = None
                semantic = cache.semantic
                if semantic is not None:
                    asked = cache.alike(meter.call, request, tags, identity)
                    alike = None if asked is None else Alike(cache, semantic, *asked, tags)
                meter.shortcut = Shortcut(
                    cache, key, meter, provider, ttl=ttl, blocking=blocking, clock=self.clock, drain=self.drain,
                    alike=alike,
                )  # fmt: skip

    def extend(self, meter: Meter, seen: int, partial: str) -> None:
        """Let the hold of a stream grow, so that it covers `seen` output tokens and more.

        Raises:
            BudgetExceededError: it cannot, and the stream is to be cut off; `partial` is the text received.
        """
        reservation = meter.reservation
        amount = reservation.growth(seen)
        if not amount:
            return
        with self._working:
            reply = self.ledger.extend(meter.id, amount)
        if isinstance(reply, Refused):
            reservation.cannot_grow(reply, partial)
        else:
            reservation.grown(amount)

    def finish(self, ending: Ending) -> None:
        """Book an ended call and tell of it. Never raises to the caller."""
        with self._working, shielded("booking a call"):
            self.settlements.finish(ending)
            if ending.meter.plain is not None and self.compressor is not None:
                self.compressor.sent_plain(ending.meter.plain, ending.usages)

    def so_far(self, meter: Meter, reader: Reader) -> None:
        """Tell those who watch a call what it has cost with this answer, while the SDK is still at work on it."""
        ending = meter.so_far(reader)
        if ending is not None:
            self.exports.so_far(event_of(ending, self.clock()), meter.watches)

    def later(self, end: Callable[[], Ending | None]) -> None:
        """End something from a finaliser: takes no lock, done at the next call or read."""
        self._dropped.put(end)

    def is_inside(self) -> bool:
        """Whether this very thread is at work in here, perhaps with a lock: a finaliser it runs must come later."""
        return threading.get_ident() in self._working.threads

    def drain(self) -> None:
        """Book what finalisers left."""
        while not self._dropped.empty():
            try:
                end = self._dropped.get_nowait()
            except queue.Empty:
                return
            with shielded("booking a dropped stream"):
                ending = end()
                if ending is not None:
                    self.finish(ending)

    # -- calls that do not go through a seam whole -------------------------------------------------------------

    def record(
        self,
        call: Call,
        usages: Sequence[Usage],
        outcome: Outcome = "ok",
        *,
        id: str | None = None,
        at: float | None = None,
    ) -> Cost:
        """Book a call that was made already: it is counted on every budget and never refused."""
        meter = self.begin(call, id=id, at=at)
        self.admit_sent(meter)
        ending = meter.arrived(usages, outcome)
        assert ending is not None  # a meter made here has not ended
        self.finish(ending)
        return ending.cost

    def book(self, call: Call, usages: Sequence[Usage], outcome: Outcome, *, id: str, at: float) -> CostEvent:
        """`record` a call for somebody who waits until it is booked: when this returns the ledger has it.

        Raises:
            LedgerUnavailableError: the ledger is away; it may be booked again under the same id.
            IdempotencyConflictError: a call of that id was booked with another cost before.
        """
        ending = self.begin(call, id=id, at=at).arrived(usages, outcome)
        assert ending is not None  # a meter made here has not ended
        with self._working:
            return self.settlements.finish_first(ending, self.clock() + LEASE)

    def admit_sent(self, meter: Meter) -> None:
        """Count a call from here on that was sent already: on every budget, refused by none."""
        hold = meter.reservation.uncounted()
        if hold is not None:
            try:
                self.ledger.reserve(hold)
            except LedgerUnavailableError:
                # The money is spent: it is booked when the ledger is back.
                meter.reservation.down, hold = "open", None
        meter.reservation.hold = hold
        meter.returned_early()

    def unmetered(self, endpoint: str) -> None:
        """Count a call that costs money no usage of which can be seen."""
        self.unmetered_calls[endpoint] = self.unmetered_calls.get(endpoint, 0) + 1
        if self._seen.first(("unmetered", endpoint)):
            log.warning("%s costs money that costguard cannot meter; it is counted in unmetered_calls", endpoint)

    def bypassed(self, sdk: str, *, limited: bool = False) -> None:
        """A call went round `request`: it is met at each attempt, or else when it had been answered."""
        if self._seen.first(("bypassed", sdk, limited)):
            log.warning(
                "another tool took hold of %s before costguard did, so its calls are %s; "
                "call costguard.instrument() first", sdk,
                "limited at each attempt, and wait for no budget" if limited else "counted and not limited",
            )  # fmt: skip

    def retrieved(self, id: str, call: Call, usages: Sequence[Usage]) -> None:
        """A deferred answer was read and is billed by now: charge it, once however often it is read."""
        meter, due = self.deferrals.take(id)
        if meter is None and due:
            self.record(call, usages)
        ending = meter.arrived(usages) if meter is not None and due else None
        if ending is not None:
            self.finish(ending)

    def first_time(self, thing: Hashable) -> bool:
        """Whether this has not been asked about yet: for warnings that come once."""
        return self._seen.first(thing)

    # -- reading -----------------------------------------------------------------------------------------------

    def tags_here(self) -> Mapping[str, str]:
        """The attribution of calls that are made here and now."""
        return self._with_tags(_scope.current()).tags

    def balances(self) -> list[Balance]:
        """The books of every known budget's present window, here and now; of a ``per`` budget, those in use."""
        at, scope = self.clock(), self._with_tags(_scope.current())
        legs = {}
        for budget in (*self.admission.known(), *(budget for budget, _ in scope.enclosing)):
            if budget.per is None or budget.per in scope.tags:
                run = next((run for known, run in scope.enclosing if known is budget), scope.run)
                leg = budget.leg(scope.tags, at, run)
                legs[leg.budget, leg.window] = leg
        return self.balances_of(list(legs.values()))

    def applying(self) -> list[Balance]:
        """The books of the windows that a call made here and now touches."""
        return self.balances_of(self.legs(self.clock()))

    def legs(self, at: float) -> tuple[Leg, ...]:
        """The windows that a call made in the scope of here and now touches at an instant."""
        return tuple([leg for _, leg in self.admission.legs(self._with_tags(_scope.current()), at)])

    def balances_of(self, legs: Sequence[Leg]) -> list[Balance]:
        """The books of these windows."""
        self.drain()
        self.settlements.flush(CATCH_UP)
        with self._working:
            return list(self.ledger.balances(legs, self.clock()))

    def windows(self) -> list[Balance]:
        """The books of every present window that the ledger holds."""
        self.drain()
        self.settlements.flush(CATCH_UP)
        with self._working:
            return list(self.ledger.windows(self.clock()))

    def amend(self, amendment: Amendment) -> None:
        """Change a budget for all who share the ledger. Who waits for it in this process tries again."""
        with self._working:
            self.ledger.amend(amendment)
        self.settlements.lines.wake([amendment.budget])

    def flush(self, timeout: float = 2.0) -> None:
        """Book and deliver what is under way in costguard itself."""
        forks.notice()
        self.drain()
        self.settlements.return_stock()
        if not self.settlements.flush(timeout):
            log.warning("%d settlements are still to be written to the ledger", self.settlements.behind)
        self.exports.flush(timeout)
        if self.journal is not None:
            with shielded("flushing the journal"):
                self.journal.flush(timeout)
        if self.cache is not None:
            self.cache.flush(timeout)

    def close(self) -> None:
        """Flush, and let go of exporters and ledger."""
        self.flush()
        self.exports.close()
        if self.journal is not None:
            with shielded("closing the journal"):
                self.journal.close()
        if self.cache is not None:
            with shielded("closing the response cache"):
                self.cache.close()
        with shielded("closing the ledger"):
            self.ledger.close()

    # -- inner -------------------------------------------------------------------------------------------------

    def _with_tags(self, scope: _scope.Scope) -> _scope.Scope:
        if not self.tags:
            return scope
        return _scope.Scope({**self.tags, **scope.tags}, scope.enclosing, scope.run)

    def _with_tiers(self, plan: Plan, tiers: Tiers, sdk: str, host: str, request: Request, at: float) -> Plan:
        """A plan in which cheaper models are known, and the books are read where a budget is to be spared early."""
        legs = [leg for budget, leg in plan.legs if budget.downgrade_at is not None]
        if not legs and not any(budget.on_exceeded == "downgrade" for budget, _ in plan.legs):
            return plan

        def balances() -> Sequence[Balance]:
            try:
                with self._working:
                    return self.ledger.balances(legs)
            except LedgerUnavailableError:
                return ()

        return replace(
            plan,
            cheaper=partial(tiers.cheaper, request, plan.tags, partial(self.biller.of_call, sdk, host), at),
            balances=balances if legs else None,
            quick=self.ledger.inline,
        )

    def _fingerprint(self, sdk: str, request: Request | None) -> str:
        if self.fingerprints is None or request is None:
            return ""
        with shielded("making a fingerprint"):
            return self.fingerprints.of(sdk, request)
        return ""

    def _warn(self, message: str, error: BudgetExceededError) -> None:
        if self._seen.first((message, error.budget, error.refusals[0].leg.window)):
            log.warning("%s: %s", message, error)


def _books_of(guard: weakref.ref[Guard]) -> Callable[[], Sequence[Balance]]:
    """Reads a guard's books for as long as there is that guard."""

    def books() -> Sequence[Balance]:
        there = guard()
        return () if there is None else there.balances()

    return books
