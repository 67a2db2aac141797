"""The stream objects of Google's generated clients: remote calls that can be iterated, read, asked and cancelled.

The caller keeps them, inside a proxy that is an instance of whatever they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import wrapt

from .._streams import Answer, AsyncStreamTap, StreamTap


class _Parts:
    """The parts of a remote call's stream: closing it early cancels the call."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._parts = iter(call)

    def __next__(self) -> Any:
        return next(self._parts)

    def close(self) -> None:
        self._call.cancel()


class _AsyncParts:
    """`_Parts` for an async call, which is iterated or, with `reads`, read part by part up to gRPC's ``EOF``."""

    def __init__(self, call: Any, *, reads: bool) -> None:
        self._call = call
        self._parts = None if reads else aiter(call)
        self.end: Any = None

    async def __anext__(self) -> Any:
        if self._parts is not None:
            return await anext(self._parts)
        part = await self._call.read()
        if type(part).__name__ == "_EOF":
            self.end = part
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        self._call.cancel()


class TappedIterator(wrapt.ObjectProxy[Any]):
    """The SDK's own stream object, its parts read on their way to the caller."""

    def __init__(self, call: Any, answer: Answer) -> None:
        super().__init__(call)
        self._self_answer = answer
        self._self_tap = StreamTap(_Parts(call), answer)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._self_tap)

    def cancel(self) -> Any:
        """Cancel the stream, which ends the answer early."""
        try:
            return self.__wrapped__.cancel()
        finally:
            self._self_answer.closed()


class TappedAsyncIterator(wrapt.ObjectProxy[Any]):
    """`TappedIterator` for an async stream, which can be iterated or read part by part."""

    def __init__(self, call: Any, answer: Answer) -> None:
        super().__init__(call)
        self._self_answer = answer
        self._self_parts: _AsyncParts | None = None
        self._self_tap: AsyncStreamTap | None = None

    def _self_tapped(self, *, reads: bool) -> AsyncStreamTap:
        tap = self._self_tap
        if tap is None:
            self._self_parts = _AsyncParts(self.__wrapped__, reads=reads)
            tap = self._self_tap = AsyncStreamTap(self._self_parts, self._self_answer)
        return tap

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._self_tapped(reads=False)

    async def read(self) -> Any:
        """Read one part; at the end, gRPC's ``EOF``."""
        try:
            return await anext(self._self_tapped(reads=True))
        except StopAsyncIteration:
            return None if self._self_parts is None else self._self_parts.end

    def cancel(self) -> Any:
        """Cancel the stream, which ends the answer early."""
        try:
            return self.__wrapped__.cancel()
        finally:
            self._self_answer.closed()

    def __del__(self) -> None:
        # Never read: a tap that was made says it itself.
        answer = getattr(self, "_self_answer", None)
        if answer is not None and self._self_tap is None:
            answer.drop()
