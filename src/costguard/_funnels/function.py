"""SDKs whose requests go through plain functions: one that returns an answer, or one that returns an iterator.

The function that sends is wrapped once, sync and async; a method inside which it may be called several times is
wrapped as a public call (`_public`), so that a refusal is final there.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .._guard import Guard
from .._meter import Meter
from .._shield import shielded
from .._streams import Answer, AsyncStreamTap, StreamTap, WatchedBytes
from ..optimize import Entry
from ..ports import Provider, Reading, Recording, Replays, Request, Retrieval, Seam, Swaps, Unmetered
from . import _public
from ._remote import TappedAsyncIterator, TappedIterator
from .replay import HIT

CurrentGuard = Callable[[], Guard | None]

_END: Final = object()


def wrapper(seam: Seam, provider: Provider, current: CurrentGuard, original: Any) -> Callable[..., Any]:
    """The wrapper for a ``function``, ``iterator``, ``scope`` or ``callback`` seam around `original`."""
    if seam.kind == "scope":
        return _public.public(original)
    if seam.kind == "callback":
        return _public.callback(original)
    funnel = Funnel(seam, provider, current)
    is_async = inspect.iscoroutinefunction(original)
    if seam.kind == "function":
        return funnel.afunction if is_async else funnel.function
    if inspect.isgeneratorfunction(original):
        return funnel.generator
    # The asynchronous clients of Google's generated libraries hand out an awaitable from a plain function.
    return funnel.aiterator if is_async or "Async" in seam.attribute else funnel.iterator


@dataclass(slots=True)
class Hop:
    """One request on its way.

    Attributes:
        sent: whether the SDK was let to send it.
    """

    guard: Guard
    meter: Meter | Retrieval
    request: Request
    sent: bool = False


class Funnel:
    """The wrappers around one function of a provider's SDK."""

    def __init__(self, seam: Seam, provider: Provider, current: CurrentGuard) -> None:
        self._seam = seam
        self._provider = provider
        self._current = current

    # -- one answer --------------------------------------------------------------------------------------------

    def function(self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a function that returns an answer."""
        hop = self._prepare(instance, args, kwargs, blocking=True)
        if hop is None:
            return wrapped(*args, **kwargs)

        def send() -> Any:
            kept = self._kept(hop)
            return self._whole(hop, self._send(hop, wrapped, args, kwargs)) if kept is None else kept[0]

        return self._drive(hop, send)

    async def afunction(self, wrapped: Callable[..., Awaitable[Any]], instance: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a coroutine function that returns an answer."""
        hop = self._prepare(instance, args, kwargs)
        if hop is None:
            return await wrapped(*args, **kwargs)

        async def send() -> Any:
            kept = self._kept(hop)
            if kept is not None:
                return kept[0]
            return self._whole(hop, await self._send(hop, wrapped, args, kwargs))

        return await self._adrive(hop, send)

    # -- an iterator of an answer's parts ----------------------------------------------------------------------

    def generator(self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Iterator[Any]:
        """Wrap a generator function: it sends when its first part is asked for, and so is reserved for then."""
        hop = self._prepare(instance, args, kwargs, blocking=True)
        if hop is None:
            yield from wrapped(*args, **kwargs)
            return

        def send() -> Any:
            kept = self._kept(hop)
            if kept is not None:
                return kept
            parts = self._send(hop, wrapped, args, kwargs)
            first = next(parts, _END)
            return StreamTap(_resumed(first, parts), self._answer(hop, streamed=True))

        yield from self._drive(hop, send)

    def iterator(self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a function that sends and returns an iterator."""
        hop = self._prepare(instance, args, kwargs)
        if hop is None:
            return wrapped(*args, **kwargs)

        def send() -> Any:
            parts = self._send(hop, wrapped, args, kwargs)
            return TappedIterator(parts, self._answer(hop, streamed=True))

        return self._drive(hop, send)

    async def aiterator(self, wrapped: Callable[..., Awaitable[Any]], instance: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a function whose awaited result is an async iterator, sent when it is awaited."""
        hop = self._prepare(instance, args, kwargs)
        if hop is None:
            return await wrapped(*args, **kwargs)

        async def send() -> Any:
            kept = self._kept(hop)
            if kept is not None:
                return _each(kept)
            parts = await self._send(hop, wrapped, args, kwargs)
            answer = self._answer(hop, streamed=True)
            return AsyncStreamTap(parts, answer) if inspect.isasyncgen(parts) else TappedAsyncIterator(parts, answer)

        return await self._adrive(hop, send)

    # -- before and after --------------------------------------------------------------------------------------

    def _prepare(self, instance: Any, args: Any, kwargs: Any, *, blocking: bool = False) -> Hop | None:
        guard = self._current()
        if guard is None:
            return None
        call = _public.around()
        if call is not None and call.refusal is not None:
            raise call.refusal
        with shielded("reading a call"):
            request = self._provider.request(self._seam, instance, args, kwargs)
            reading = self._provider.read_call(request)
            if isinstance(reading, Unmetered):
                guard.unmetered(f"{self._provider.name} {reading.endpoint}")
            elif reading is not None:
                provider = self._provider
                swaps = isinstance(provider, Swaps)
                meter: Meter | Retrieval
                if isinstance(reading, Retrieval):
                    meter = reading
                else:
                    shorter = guard.shorter(
                        reading, request, lambda other: self._as_sent(other, instance, args, kwargs)
                    )
                    meter = guard.begin(reading, request, shorter=shorter, swaps=swaps)
                if isinstance(meter, Meter) and isinstance(provider, Replays):
                    guard.look_up(
                        meter, self._provider, request, lambda: provider.identity(instance, args, kwargs),
                        blocking=blocking,
                    )  # fmt: skip
                return Hop(guard, meter, request)
        return None

    def _drive(self, hop: Hop, send: Callable[[], Any]) -> Any:
        if not isinstance(hop.meter, Meter):
            return send()
        try:
            return hop.guard.driver.drive(hop.meter, self._provider.was_billed, send)
        except Exception as error:
            _refused(hop, error)
            raise

    async def _adrive(self, hop: Hop, send: Callable[[], Awaitable[Any]]) -> Any:
        if not isinstance(hop.meter, Meter):
            return await send()
        try:
            return await hop.guard.driver.adrive(hop.meter, self._provider.was_billed, send)
        except Exception as error:
            _refused(hop, error)
            raise

    def _send(self, hop: Hop, wrapped: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Let the SDK send: the caller's arguments, but for a copy of the request where it has to differ."""
        hop.sent = True
        meter = hop.meter
        if isinstance(meter, Meter):
            with shielded("preparing a call"):
                body = self._provider.adjust(meter.call, meter.instead or hop.request, meter.cap)
                if body is not hop.request.body:
                    args, kwargs = self._provider.with_body(self._seam, args, kwargs, body)
                if meter.asked and isinstance(self._provider, Swaps):
                    args, kwargs = self._provider.with_model(args, kwargs, meter.asked, meter.call.model)
        return wrapped(*args, **kwargs)

    def _as_sent(self, request: Request, instance: Any, args: Any, kwargs: Any) -> Reading:
        """What a request with other fields would ask for; None where the SDK would not send them all."""
        other = self._provider.with_body(self._seam, args, kwargs, request.body)
        sent = self._provider.request(self._seam, instance, *other)
        return self._provider.read_call(sent) if sent.body == request.body else None

    def _answer(self, hop: Hop, *, streamed: bool = False) -> Answer:
        assert isinstance(hop.meter, Meter)
        answer = Answer(hop.guard, hop.meter, self._provider.reader(hop.meter.call))
        if answer.recording is not None and isinstance(self._provider, Replays):
            answer.feed = TakingDown(self._provider, answer.recording, answer.feed)
        call = _public.around()
        if streamed and call is not None:
            call.streams.append(answer)
            answer.on_cut = call.refused
        return answer

    def _kept(self, hop: Hop) -> list[Any] | None:
        """The answer from the response cache, in the SDK's own parts."""
        kept = hop.meter.kept if isinstance(hop.meter, Meter) else None
        provider = self._provider
        if not isinstance(kept, Entry) or not isinstance(provider, Replays):
            return None
        if kept.parsed:
            return [json.loads(body) for body in kept.bodies]
        return [provider.again(body, {**kept.headers, HIT: kept.found}) for body in kept.bodies]

    def _whole(self, hop: Hop, response: Any) -> Any:
        """Read an answer. One whose body is still to be read, by whoever decodes it, is read on its way."""
        if isinstance(hop.meter, Retrieval):
            self._retrieved(hop, hop.meter, response)
            return response
        answer = self._answer(hop)
        if hop.request.stream and getattr(response, "is_closed", None) is False:
            response.stream = WatchedBytes(response.stream, response, answer)
            return response
        with shielded("reading an answer"):
            answer.feed(response)
        answer.end("ok")
        return response

    def _retrieved(self, hop: Hop, retrieval: Retrieval, response: Any) -> None:
        with shielded("reading a deferred answer"):
            if hop.request.stream or retrieval.id not in hop.guard.deferrals:
                return
            reader = self._provider.reader(retrieval.call)
            reader.feed(response)
            usages = reader.usages()
            if reader.complete and usages:
                hop.guard.retrieved(retrieval.id, retrieval.call, usages)


class TakingDown:
    """Reads the parts of an answer, and takes them down for the response cache beside it."""

    def __init__(self, provider: Replays, recording: Recording, feed: Callable[[Any], bool]) -> None:
        self._provider = provider
        self._recording = recording
        self._feed = feed

    def __call__(self, part: Any) -> bool:
        if isinstance(part, Mapping):
            self._recording.parsed = True
            self._recording.part(json.dumps(part), {})
        else:
            taken = self._provider.take_down(part)
            self._recording.part(*(taken or ("", {})))
        return self._feed(part)


async def _each(parts: list[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


def _refused(hop: Hop, error: Exception) -> None:
    """What is raised before anything was sent is a refusal: it ends the public call that this request belongs to."""
    call = _public.around()
    if call is not None and not hop.sent:
        call.refused(error)


def _resumed(first: Any, parts: Iterator[Any]) -> Iterator[Any]:
    if first is not _END:
        yield first
        yield from parts
