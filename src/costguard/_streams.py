"""Answers on their way: what is read of them, and how each of their many ends is noticed exactly once.

The user keeps the SDK's own stream object. Two things underneath it are ours: a tap on the decoded events, and a watch
on the response's byte stream, which notices a close and reads bodies that the SDK hands out undecoded.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Final

import wrapt

from ._guard import Guard
from ._meter import Ending, Meter
from ._shield import shielded
from ._types import Outcome, Usage
from .errors import BudgetExceededError
from .ports import Reader, Recording

LARGEST_BODY: Final = 8 * 2**20
"""Bytes of an undecoded body that are kept to find its usage; a larger one is estimated."""

_READABLE: Final = ("json", "event-stream")


class Answer:
    """One answer of one call, from the provider's first byte to its end.

    Attributes:
        claimed: whether its decoded events are being read, so that its bytes need not be.
        reading: whether an event is being waited for: the SDK closes the response inside that wait when the stream
            is at its end, which is no early end.
        watched: whether the answer may outgrow its hold.
        on_cut: told when the answer is cut off.
        recording: what takes the answer down for the response cache, where that is on.
    """

    __slots__ = (
        "__weakref__",
        "_covered",
        "_guard",
        "_late",
        "_meter",
        "_once",
        "_reservation",
        "_told",
        "claimed",
        "feed",
        "on_cut",
        "reader",
        "reading",
        "recording",
        "watched",
    )

    def __init__(self, guard: Guard, meter: Meter, reader: Reader) -> None:
        self._guard = guard
        self._meter = meter
        # Popped by whoever ends the answer: a list's pop is atomic, so there is one winner among threads.
        self._once = [True]
        self._reservation = meter.reservation
        self._covered = meter.reservation.covers * meter.call.choices
        self._late = not meter.begin_answer()
        self._told: tuple[Usage, ...] = ()
        if meter.watches:
            guard.exports.attempt(meter.watches)
        self.reader = reader
        self.feed = reader.feed
        self.claimed = False
        self.reading = False
        self.on_cut: Callable[[BudgetExceededError], object] | None = None
        self.recording: Recording | None = None if meter.shortcut is None else meter.shortcut.record()
        hold = meter.hold
        self.watched = hold is not None and meter.call.stream and any([leg.hard for leg in hold.legs])
        if self.watched:
            reader.keep_text()

    @property
    def is_followed(self) -> bool:
        """Whether an exporter watches the call."""
        return bool(self._meter.watches)

    def feed_and_tell(self, part: Any) -> bool:
        """`feed`, for a call that is followed: what it costs is told as soon as that is known, because others end their
        spans of it before the last event has gone by."""
        hidden = self.reader.feed(part)
        if self.reader.complete:
            usages = tuple(self.reader.usages())
            if usages != self._told:
                self._told = usages
                self._guard.so_far(self._meter, self.reader)
        return hidden

    @property
    def inline(self) -> bool:
        """Whether `grow` may run in an event loop."""
        return self._guard.ledger.inline

    def outgrown(self) -> bool:
        """Whether more has arrived than the hold covers."""
        return self.reader.output_seen(at_least=self._reservation.proven) > self._covered

    def grow(self) -> None:
        """Let the hold grow with the answer.

        Raises:
            BudgetExceededError: it cannot; the stream is to be cut off.
        """
        reader, meter = self.reader, self._meter
        seen = -(-reader.output_seen(at_least=meter.reservation.proven) // meter.call.choices)
        try:
            self._guard.extend(meter, seen, reader.text)
        except BudgetExceededError as error:
            if self.on_cut is not None:
                self.on_cut(error)
            raise
        self._covered = self._reservation.covers * meter.call.choices

    def end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """The answer is over; only the first end counts."""
        ending = self._end(outcome, None if error is None else type(error).__name__)
        if ending is not None:
            self._guard.finish(ending)

    def drop(self) -> None:
        """The answer is over, said from a finaliser: no lock may be taken here."""
        if self._once and not sys.is_finalizing():
            self._guard.later(lambda: self._end("partial", None))

    def closed(self) -> None:
        """The answer is over because its response was closed, by the caller or by a finaliser of the SDK's."""
        if self._guard.is_inside() or sys.is_finalizing():
            self.drop()
        else:
            self.end("partial")

    def _end(self, outcome: Outcome, error: str | None) -> Ending | None:
        try:
            self._once.pop()
        except IndexError:
            return None
        if self.recording is not None:
            self.recording.end(self._meter.call, outcome)
        with shielded("ending an answer"):
            if outcome == "partial" and self.reader.complete:
                outcome = "ok"
            if self._late:
                self._guard.record(self._meter.call, self.reader.usages(), outcome)
                return None
            ending = self._meter.end_answer(self.reader, outcome, error)
            deferred = self.reader.deferred
            if deferred is not None:
                self._guard.deferrals.keep(deferred.id, self._meter)
            if ending is None and self.is_followed:
                self._guard.so_far(self._meter, self.reader)
            return ending
        return None


def outcome_of(error: BaseException) -> Outcome:
    """How an answer ended that raised `error` while it was read."""
    if isinstance(error, GeneratorExit | BudgetExceededError):
        return "partial"
    return "unknown" if isinstance(error, Exception) else "cancelled"


class _Tap:
    """What a stream's tap does in either colour: it belongs to one answer until the first end."""

    __slots__ = ("__weakref__", "_answer", "_events", "_feed", "_started")

    def __init__(self, events: Any, answer: Answer) -> None:
        self._events = events
        self._answer: Answer | None = answer
        self._feed: Callable[[Any], bool] = answer.feed_and_tell if answer.is_followed else answer.feed
        self._started = False

    def _start(self) -> None:
        """Claim the answer at the first pull, not before: an SDK may make a stream and decode the bytes itself."""
        self._started = True
        answer = self._answer
        if answer is not None and answer.claimed:
            self._answer, self._feed = None, _pass
        elif answer is not None:
            answer.claimed = True

    def _over(self, error: BaseException) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        if isinstance(error, StopIteration | StopAsyncIteration):
            answer.end("ok")
        else:
            answer.end(outcome_of(error), error)

    def __del__(self) -> None:
        if self._answer is not None:
            self._answer.drop()


class StreamTap(_Tap):
    """Reads the events of a stream on their way to the caller."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._started:
            self._start()
        answer = self._answer
        if answer is None:
            return next(self._events)
        answer.reading = True
        try:
            while True:
                event = next(self._events)
                try:
                    hidden = self._feed(event)
                except Exception:
                    hidden = False
                    with shielded("reading a streamed event"):
                        raise
                if answer.watched and answer.outgrown():
                    answer.grow()
                if not hidden:
                    answer.reading = False
                    return event
        except BudgetExceededError as error:
            answer.reading = False
            self._over(error)
            getattr(self._events, "close", _nothing)()
            raise
        except BaseException as error:
            self._over(error)
            raise

    def close(self) -> None:
        """Close what is read from, as a generator's `close` does."""
        answer, self._answer = self._answer, None
        try:
            getattr(self._events, "close", _nothing)()
        finally:
            if answer is not None:
                answer.closed()


class AsyncStreamTap(_Tap):
    """`StreamTap` for an async stream. A class, not an async generator: its end needs no event loop."""

    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not self._started:
            self._start()
        answer = self._answer
        if answer is None:
            return await anext(self._events)
        answer.reading = True
        try:
            while True:
                event = await anext(self._events)
                try:
                    hidden = self._feed(event)
                except Exception:
                    hidden = False
                    with shielded("reading a streamed event"):
                        raise
                if answer.watched and answer.outgrown():
                    await self._grow(answer)
                if not hidden:
                    answer.reading = False
                    return event
        except BudgetExceededError as error:
            answer.reading = False
            self._over(error)
            await self._close()
            raise
        except BaseException as error:
            self._over(error)
            raise

    async def _grow(self, answer: Answer) -> None:
        if answer.inline:
            answer.grow()
        else:
            await asyncio.to_thread(answer.grow)

    async def _close(self) -> None:
        close = getattr(self._events, "aclose", None)
        if close is not None:
            await close()

    async def aclose(self) -> None:
        """Close what is read from, as an async generator's `aclose` does."""
        answer, self._answer = self._answer, None
        try:
            await self._close()
        finally:
            if answer is not None:
                answer.closed()


def _pass(_event: Any) -> bool:
    return False


def _nothing() -> None:
    return None


class WatchedBytes(wrapt.ObjectProxy[Any]):
    """A response's byte stream, watched: notices its end and keeps the body when nobody else decodes it."""

    def __init__(self, stream: Any, response: Any, answer: Answer) -> None:
        super().__init__(stream)
        kind = response.headers.get("content-type", "")
        self._self_answer = answer
        self._self_encoding = response.headers.get("content-encoding")
        self._self_response_class = type(response)
        self._self_kind = kind
        self._self_body = bytearray() if any(word in kind for word in _READABLE) else None
        if answer.recording is not None:
            # Without a way back to this object: a cycle would keep a dropped response until the collector comes by.
            answer.recording.begin(response.headers, partial(_decoded, type(response), self._self_encoding))

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self.__wrapped__:
                self._self_keep(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._self_over(outcome_of(error), error)
            raise
        self._self_over("ok")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.__wrapped__:
                self._self_keep(chunk)
                yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:
            self._self_over(outcome_of(error), error)
            raise
        self._self_over("ok")

    def close(self) -> None:
        """Close the stream; unless its events are being read, that is the answer's end."""
        try:
            self.__wrapped__.close()
        finally:
            self._self_closed()

    async def aclose(self) -> None:
        """Close the stream; unless its events are being read, that is the answer's end."""
        try:
            await self.__wrapped__.aclose()
        finally:
            self._self_closed()

    def __del__(self) -> None:
        # A response that nobody read or closed; its events, when they are read, outlive it in their tap.
        answer = getattr(self, "_self_answer", None)
        if answer is not None and not answer.claimed:
            answer.drop()

    def _self_keep(self, chunk: bytes) -> None:
        recording = self._self_answer.recording
        if recording is not None:
            recording.chunk(chunk)
        body = self._self_body
        if body is None or self._self_answer.claimed:
            return
        body += chunk
        if len(body) > LARGEST_BODY:
            self._self_body = None

    def _self_over(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """The bytes are at their end. When events are read the tap says so, after it has fed the last one."""
        if not self._self_answer.claimed:
            self._self_read()
            self._self_answer.end(outcome, error)

    def _self_closed(self) -> None:
        answer = self._self_answer
        if not answer.claimed:
            self._self_read()
            answer.closed()
        elif not answer.reading:
            answer.closed()

    def _self_read(self) -> None:
        body, self._self_body = self._self_body, None
        if body:
            with shielded("reading the body of an undecoded response"):
                content = _decoded(self._self_response_class, self._self_encoding, bytes(body))
                for part in parts(content, self._self_kind):
                    self._self_answer.feed_and_tell(part)


def _decoded(response_class: Any, encoding: str | None, body: bytes) -> bytes:
    headers = {"content-encoding": encoding} if encoding else {}
    content: bytes = response_class(200, headers=headers, content=body).content
    return content


def parts(content: bytes, kind: str) -> Iterator[Any]:
    """The JSON documents in a body: one, or one for each server-sent event."""
    if "event-stream" not in kind:
        documents = [content]
    else:
        documents = [line[5:] for line in content.splitlines() if line.startswith(b"data:")]
    for document in documents:
        try:
            yield json.loads(document)
        except ValueError:
            continue  # the mark of the end, or a body that broke off
