"""The driver: it carries out what a call asks for, for a thread or for a task, and lets the SDK do its work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from ._baggage import unsent
from ._meter import LINE_UP, SEND, Effect, Ending, Meter, Pause, Reserve, Settle, Step, admission, call_flow
from ._reservation import Wait
from ._settlements import Settlements, event_of, kind_of
from ._shield import shielded
from ._types import Cost, Granted, Hold, Refused
from ._waiting import TaskPlace, ThreadPlace, Ticket, apause, pause
from .errors import BudgetExceededError, LedgerUnavailableError, LoopDetectedError
from .ports import Ledger

T = TypeVar("T")

CATCH_UP: Final = 0.5
"""Seconds that a reader of the books waits for settlements that are written behind."""


class Working:
    """The threads that are at work in a guard, each as often as it has entered."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __enter__(self) -> None:
        self.threads.append(threading.get_ident())

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.threads.remove(threading.get_ident())


class Driver:
    """Carries out the effects of calls, in two colours: the decisions are the meter's.

    Args:
        ledger: where calls reserve.
        settlements: books ended calls, and knows who waits.
        working: the threads that are at work in the guard.
        drain: books what finalisers left.
        finish: books an ended call.
        clock: UTC epoch seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        settlements: Settlements,
        working: Working,
        drain: Callable[[], None],
        finish: Callable[[Ending], None],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._settlements = settlements
        self._working = working
        self._drain = drain
        self._finish = finish
        self._clock = clock

    def drive(self, meter: Meter, billed: Callable[[BaseException], bool | None], send: Callable[[], T]) -> T:
        """Carry out a call's effects; `send` lets the SDK do its work."""
        flow = call_flow(meter, billed)
        advance: Callable[[Any], Effect] = flow.send
        value: Any = None
        place = None
        try:
            while True:
                effect = advance(value)
                try:
                    if effect is SEND:
                        self._sending(meter, place)
                        with unsent():
                            value = send()
                    elif isinstance(effect, Wait):
                        place = place or ThreadPlace()
                        value = self._waited(place.wait, self._line_up(place.ticket, effect))
                    elif isinstance(effect, Pause):
                        value = pause(effect.seconds, effect.join)
                    else:
                        value = self._perform(effect)
                    advance = flow.send
                except BaseException as error:
                    value, advance = error, flow.throw
        except StopIteration as done:
            return cast("T", done.value)
        except (BudgetExceededError, LedgerUnavailableError, LoopDetectedError) as error:
            self._not_sent(meter, error)
            raise
        finally:
            if place is not None:
                self._settlements.lines.leave(place.ticket)

    async def adrive(
        self, meter: Meter, billed: Callable[[BaseException], bool | None], send: Callable[[], Awaitable[T]]
    ) -> T:
        """`drive` for a coroutine."""
        flow = call_flow(meter, billed)
        advance: Callable[[Any], Effect] = flow.send
        value: Any = None
        place = None
        try:
            while True:
                effect = advance(value)
                try:
                    if effect is SEND:
                        self._sending(meter, place)
                        with unsent():
                            value = await send()
                    elif isinstance(effect, Wait):
                        place = place or TaskPlace()
                        began = time.monotonic()
                        await place.wait(self._line_up(place.ticket, effect))
                        value = time.monotonic() - began
                    elif isinstance(effect, Pause | Step):
                        value = await _beside(effect)
                    elif self._ledger.inline or not isinstance(effect, Reserve):
                        value = self._perform(effect)
                    else:
                        value = await self._aside(effect)
                    advance = flow.send
                except BaseException as error:
                    value, advance = error, flow.throw
        except StopIteration as done:
            return cast("T", done.value)
        except (BudgetExceededError, LedgerUnavailableError, LoopDetectedError) as error:
            self._not_sent(meter, error)
            raise
        finally:
            if place is not None:
                self._settlements.lines.leave(place.ticket)

    def admit(self, meter: Meter) -> None:
        """Reserve for a call that is being sent, where nothing can be awaited: it waits in no line.

        Raises:
            BudgetExceededError: there is no room now.
        """
        meter.reservation.waits = False
        flow = admission(meter)
        advance: Callable[[Any], Effect] = flow.send
        value: Any = None
        try:
            while True:
                effect = advance(value)
                try:
                    value = self._perform(effect)
                    advance = flow.send
                except BaseException as error:
                    value, advance = error, flow.throw
        except StopIteration:
            self._sending(meter, None)
            meter.returned_early()
        except (BudgetExceededError, LedgerUnavailableError, LoopDetectedError) as error:
            self._not_sent(meter, error)
            raise

    def _perform(self, effect: Effect) -> Any:
        """Carry out an effect that is of no colour."""
        if isinstance(effect, Reserve):
            if effect.local:
                return self._settlements.local.reserve(effect.hold)
            # Also here and not only when a call begins: who waits looks again for what was dropped meanwhile.
            self._drain()
            if effect.budgets and self._settlements.lines.has(effect.budgets):
                return LINE_UP
            with self._working:
                return self._reserve(effect.hold)
        if isinstance(effect, Settle):
            self._finish(effect.ending)
        return effect.run() if isinstance(effect, Step) else None

    def _in_hand(self, effect: Reserve) -> Any:
        """Reserve out of what the ledger keeps in hand; None where it has to be asked."""
        stock = self._settlements.stock
        if stock is None or effect.local:
            return None
        self._drain()
        if effect.budgets and self._settlements.lines.has(effect.budgets):
            return LINE_UP
        with self._working:
            return stock.in_hand(effect.hold)

    async def _aside(self, effect: Reserve) -> Any:
        """Reserve in a worker thread, where the ledger has to be asked. What is granted to a task that was cancelled
        meanwhile is given back."""
        in_hand = self._in_hand(effect)
        if in_hand is not None:
            return in_hand
        granted: list[Hold] = []
        gone: list[bool] = []

        def give_back() -> None:
            # Asked by both sides once each has said that it is done; a list's pop is atomic, so one of them does it.
            with shielded("giving back what a cancelled task reserved"):
                try:
                    hold = granted.pop()
                except IndexError:
                    return
                self._settlements.give_back(hold, local=effect.local)

        def work() -> Any:
            reply = self._perform(effect)
            if isinstance(reply, Granted):
                granted.append(effect.hold)
                if gone:
                    give_back()
            return reply

        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            gone.append(True)
            give_back()
            raise

    def _reserve(self, hold: Hold) -> Granted | Refused:
        reply = self._ledger.reserve(hold)
        if isinstance(reply, Refused) and self._settlements.behind and any(one.held for one in reply.refusals):
            # Some of what is held may be of calls that ended here and are not written yet.
            self._settlements.flush(CATCH_UP)
            reply = self._ledger.reserve(hold)
        self._settlements.look_after_stock()
        return reply

    def _sending(self, meter: Meter, place: ThreadPlace | TaskPlace | None) -> None:
        """The call is admitted: the next in line may try."""
        if place is not None:
            self._settlements.lines.leave(place.ticket)
        if meter.hold is not None:
            self._settlements.habits.begin(kind_of(meter.call, meter.plan.tags))

    def _line_up(self, ticket: Ticket, effect: Wait) -> float:
        self._settlements.lines.join(ticket, effect.budgets)
        return self._settlements.lines.pause(effect.seconds)

    def _waited(self, wait: Callable[[float], None], seconds: float) -> float:
        began = time.monotonic()
        wait(seconds)
        return time.monotonic() - began

    def _not_sent(self, meter: Meter, error: BudgetExceededError | LedgerUnavailableError | LoopDetectedError) -> None:
        if meter.hold is not None:
            return  # it was sent, and this came out of it
        with shielded("noting a call that was not sent"):
            if isinstance(error, BudgetExceededError | LoopDetectedError):
                ending = Ending(meter, Cost(0), (), "refused", type(error).__name__)
                self._settlements.tell(event_of(ending, self._clock()), meter.watches)
            elif error.unsure and (hold := meter.reservation.uncounted()) is not None:
                # Nobody knows whether it was granted.
                self._settlements.give_back(hold, local=False)


async def _beside(effect: Pause | Step) -> Any:
    """Carry out an effect that may take a while, for a task."""
    if isinstance(effect, Pause):
        return await apause(effect.seconds, effect.join)
    return effect.run() if effect.inline else await asyncio.to_thread(effect.run)
