"""What the exporters that post have in common: a courier, the headers, and where events wait to be sent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from ._courier import Courier
from ._outbox import MemoryOutbox, Outbox


class Posting:
    """An exporter whose events a courier carries; one with a spool sends at once what an earlier process left in it."""

    def __init__(self, courier: Courier, *, spooled: bool) -> None:
        self._courier = courier
        self._spooled = spooled
        if spooled:
            courier.start()

    def flush(self, timeout: float) -> None:
        """Send what waits, as far as `timeout` seconds allow."""
        self._courier.flush(timeout)

    def close(self) -> None:
        """Send what can be sent within two seconds, unless that was just tried in vain."""
        self._courier.close(2.0)

    def delivered(self) -> bool:
        """Whether everything it was told is with the receiver, or waits where it outlives this process."""
        return self._courier.delivered(spooled=self._spooled)

    def trouble(self) -> str:
        """What is wrong, in a sentence; empty when nothing is."""
        return self._courier.trouble()


def heads(token: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of every request."""
    ours = {"user-agent": f"costguard/{version('costguard-ai')}"}
    return {**ours, **({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}


def outbox(spool: str | os.PathLike[str] | None, receiver: str, kept: int, limit: int) -> Outbox:
    """In files where a folder is given, a part of it for each receiver; else in memory."""
    if spool is None:
        return MemoryOutbox(kept)
    from ._spool import SpoolOutbox

    return SpoolOutbox(Path(spool) / hashlib.sha256(receiver.encode()).hexdigest()[:16], limit)


def together(lines: Sequence[bytes]) -> bytes:
    """The body of several events."""
    return b'{"events":[' + b",".join(lines) + b"]}"


def alone(lines: Sequence[bytes]) -> bytes:
    """The body of one."""
    return lines[0]
