"""What may end a call before money is held for it: an answer that is kept already, or one that is under way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

from .._meter import Meter, Pause, Step
from .._shield import shielded
from .._types import Call, Outcome
from ..ports import Leases, Provider
from . import _answers
from ._alike import Alike
from ._cache import Cache
from ._entries import KEPT_HEADERS, Entry
from ._flights import Flight

LOOK: Final = 0.02
"""Seconds after which a process looks for the first time whether another one has its answer; doubling up to `SLICE`."""
SLICE: Final = 0.25
"""Seconds after which a waiter looks again though nobody woke it: an answer that was dropped ends without a word."""


class Shortcut:
    """One call's way to the cache and back.

    Args:
        cache: where answers are kept.
        key: the request's.
        meter: the call.
        provider: reads its answers.
        ttl: seconds that its answer is used.
        blocking: whether the caller blocks its thread while it waits.
        clock: UTC epoch seconds.
        drain: ends what finalisers left to be ended.
        alike: looks for questions that mean the same, where that is on.
    """

    def __init__(
        self,
        cache: Cache,
        key: str,
        meter: Meter,
        provider: Provider,
        *,
        ttl: float,
        blocking: bool,
        clock: Callable[[], float],
        drain: Callable[[], None],
        alike: Alike | None = None,
    ) -> None:
        self._cache = cache
        self._key = key
        self._meter = meter
        self._model = meter.call.model
        self._provider = provider
        self._ttl = ttl
        self._blocking = blocking
        self._clock = clock
        self._drain = drain
        self._flight: Flight | None = None
        self._recordings = 0
        self._alike = alike
        self._leased = False
        self._over = False

    def before(self) -> Generator[Any, Any, Entry | None]:
        """The effects before a reservation; returns the answer to give, None when the call is to be sent."""
        self._cache.drain()
        flight, own = self._cache.flights.board(self._key)
        if own:
            self._flight = flight
        elif flight.done or not flight.is_mine(blocking=self._blocking):
            yield from self._wait(flight)
            if flight.entry is not None and self._clock() < flight.entry.expires:
                return self._found(flight.entry)
        entry = yield Step(self._look, inline=self._cache.store.inline)
        if entry is None and own and self._cache.leases is not None:
            entry = yield from self._elsewhere(self._cache.leases)
        if entry is None and self._alike is not None:
            # A model may take a while, or be a service: never in an event loop.
            entry = yield Step(self._look_alike, inline=False)
        return self._found(entry)

    def _wait(self, flight: Flight) -> Generator[Any, Any, None]:
        left = self._cache.patience
        while left > 0 and not flight.done:
            waited: float = yield Pause(min(left, SLICE), flight.join)
            left -= waited
            self._drain()

    def _elsewhere(self, leases: Leases) -> Generator[Any, Any, Entry | None]:
        """Wait for another process that is at the same request; None when this one is to send it."""
        left, pause = self._cache.patience, LOOK
        while True:
            entry: Entry | None = yield Step(lambda: self._take(leases), inline=False)
            if entry is not None or self._leased or left <= 0:
                return entry
            waited: float = yield Pause(min(left, pause), lambda _wake: True)
            left, pause = left - waited, min(2 * pause, SLICE)
            self._drain()

    def _take(self, leases: Leases) -> Entry | None:
        """Take the request over; the answer where another process has just found it."""
        with shielded("asking other processes for an answer"):
            # As long as waiting is worth while for others: who dies with a lease holds nobody up for longer.
            self._leased = leases.lease(self._key, self._meter.id, self._clock(), self._cache.patience)
            if self._leased and self._over:
                # A task that was cancelled while this thread asked.
                self._give_up()
        # Also with a lease: who had it before may have kept its answer since this one looked.
        return self._look()

    def _look(self) -> Entry | None:
        with shielded("looking into the response cache"):
            return self._cache.find(self._key, self._clock())
        return None

    def _look_alike(self) -> Entry | None:
        assert self._alike is not None  # asked only where it is on
        with shielded("looking for a question that means the same"):
            return self._alike.look(self._clock())
        return None

    def _found(self, entry: Entry | None) -> Entry | None:
        self._cache.counted(hit=entry is not None, similar=entry is not None and entry.found == "similar")
        if entry is not None:
            self._give_up()
        if entry is not None and self._flight is not None:
            self._cache.flights.over(self._key)
            self._land(entry)
        return entry

    def record(self) -> Recording:
        """A recording of an answer that begins."""
        self._recordings += 1
        return Recording(self)

    def failed(self) -> None:
        """The call ended without an answer that could be shared: those who wait are sent themselves."""
        self._over = True
        self._give_up()
        if self._flight is not None:
            self._cache.flights.over(self._key)
        self._land(None)

    def recorded(self, call: Call, bodies: list[str], headers: dict[str, str], *, parsed: bool) -> None:
        """An answer has arrived whole."""
        entry = None
        with shielded("keeping an answer"):
            entry = self._entry(call, bodies, headers, parsed=parsed)
            if entry is not None and not self._cache.keep(self._key, entry):
                entry = None
            if entry is not None and self._alike is not None:
                self._alike.arrived(self._key, entry)
        if entry is None:
            self.failed()
        else:
            self._give_up()
            self._land(entry)

    def dropped(self) -> None:
        """An answer ended early, perhaps in a finaliser, where nobody may be woken."""
        flight, self._flight = self._flight, None
        leased, self._leased = self._leased, False
        if leased:
            self._cache.give_up_later(self._key, self._meter.id)
        if flight is not None:
            self._cache.flights.over(self._key)
            flight.land(None, quietly=True)

    def _give_up(self) -> None:
        leased, self._leased = self._leased, False
        if leased:
            self._cache.give_up(self._key, self._meter.id)

    def _land(self, entry: Entry | None) -> None:
        flight, self._flight = self._flight, None
        if flight is not None:
            flight.land(entry)

    def _entry(self, call: Call, bodies: list[str], headers: dict[str, str], *, parsed: bool) -> Entry | None:
        """The entry of an answer, None when it is not worth keeping."""
        if self._recordings > 1 or call.model != self._model:
            return None
        streamed = "event-stream" in headers.get("content-type", "") and len(bodies) == 1 and not parsed
        parts = _answers.events(bodies[0]) if streamed else bodies
        reader, documents, kept = self._provider.reader(call), list[Any](), list[str]()
        for part in parts:
            document = _answers.document(part if streamed else f"data: {part}")
            hidden = document is not None and reader.feed(document)
            documents += [document] if document is not None else []
            kept += [] if hidden else [part]
        if not _answers.worth_keeping(documents, operation=call.operation):
            self._cache.left_out("answer cut short or refused")
            return None
        now = self._clock()
        return Entry(
            bodies=("".join(kept),) if streamed else tuple(kept),
            headers=headers,
            usages=tuple(reader.usages()),
            model=call.model,
            at=self._meter.at,
            expires=now + self._ttl,
            parsed=parsed,
        )


class Recording:
    """One answer on its way to the caller, and beside it into the cache.

    Attributes:
        parsed: whether the SDK was given plain dicts.
    """

    def __init__(self, shortcut: Shortcut) -> None:
        self._shortcut = shortcut
        self._bytes = bytearray()
        self._bodies: list[str] = []
        self._headers: dict[str, str] = {}
        self._decode: Callable[[bytes], bytes] = bytes
        self.parsed = False

    def begin(self, headers: Any, decode: Callable[[bytes], bytes]) -> None:
        """The headers are there; `decode` undoes the content encoding of the bytes to come."""
        kept = ((name, headers.get(name)) for name in KEPT_HEADERS)
        self._headers = {name: value for name, value in kept if isinstance(value, str)}
        self._decode = decode

    def chunk(self, chunk: bytes) -> None:
        """Bytes of the body came by."""
        self._bytes += chunk

    def whole(self, content: bytes) -> None:
        """The whole body, decoded."""
        self._bytes = bytearray(content)
        self._decode = bytes

    def part(self, body: str, headers: Any) -> None:
        """A part as the SDK decodes it."""
        self._bodies.append(body)
        if not self._headers:
            self.begin(headers, bytes)

    def end(self, call: Call, outcome: Outcome) -> None:
        """The answer is over."""
        if outcome != "ok":
            self._shortcut.dropped()
            return
        with shielded("decoding an answer for the cache"):
            try:
                bodies = self._bodies or [self._decode(bytes(self._bytes)).decode("utf-8")]
            except UnicodeDecodeError:
                self._shortcut.failed()
                return
            self._shortcut.recorded(call, bodies, self._headers, parsed=self.parsed)
            return
        self._shortcut.failed()
