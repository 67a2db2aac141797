"""One POST, neither traced nor metered, and what its answer means for those who sent it."""

from __future__ import annotations

import email.utils
import gzip
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from .._web import client_library, untraced
from ..errors import ConfigError

Verdict = Literal["taken", "later", "smaller", "never", "stop"]
"""Taken; to be tried again; to be tried in smaller parts; wrong in itself; not to be tried again by anybody."""

_VERDICTS: Final[Mapping[int, Verdict]] = {
    400: "never", 401: "stop", 403: "stop", 413: "smaller", 415: "never", 422: "never",
}  # fmt: skip
_COMPRESSED_FROM: Final = 1024
_UNSUPPORTED: Final = 415
_LONGEST_PAUSE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a POST.

    Attributes:
        verdict: what to do now.
        pause: seconds that the receiver asked to be left alone for.
        why: the status, or the error that there was instead.
        rejected: places of events in the body that the receiver will never take, though it took the others.
    """

    verdict: Verdict
    pause: float = 0.0
    why: str = ""
    rejected: Sequence[int] = ()


class Poster:
    """Posts bodies to one URL over a connection that is kept.

    Args:
        url: where to.
        headers: sent with each request.
        timeout: seconds for connecting, and for each wait for data.

    Raises:
        ConfigError: the URL is none.
        MissingExtraError: there is no HTTP client.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout: tuple[float, float]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"url={url!r}: give an address such as 'https://costs.example.com/ai-spend/track'")
        # Here, and not in the thread that sends: a fork while that imports would leave the child with half a module.
        self._library = client_library()
        self._url = url
        # Said in messages, where the rest of a webhook's address would be a secret told.
        self.place = f"{parts.scheme}://{parts.hostname}"
        self._compresses = True
        self._headers = dict(headers)
        self._timeout = timeout
        self._client = self._opened()

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post a body of JSON; never raises for what the network does."""
        library = self._library
        if self._client is None:
            self._client = self._opened()
        sent = {"content-type": "application/json", **self._headers, **headers}
        if self._compresses and len(body) > _COMPRESSED_FROM:
            body, sent["content-encoding"] = gzip.compress(body, 5), "gzip"
        try:
            with untraced():
                answer = self._client.post(self._url, content=body, headers=sent)
        except (library.HTTPError, OSError) as error:
            return Reply("later", why=f"{type(error).__name__}: {error}")
        if answer.status_code == _UNSUPPORTED and "content-encoding" in sent:
            self._compresses = False
            return Reply("later", why="it does not take gzip")
        return reply_of(answer.status_code, answer.headers, answer.content)

    def _opened(self) -> Any:
        connect, wait = self._timeout
        return self._library.Client(timeout=self._library.Timeout(wait, connect=connect), follow_redirects=False)

    def forked(self) -> None:
        """In a forked child: the parent's connections are not ours, nor to be closed."""
        self._client = None

    def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def reply_of(status: int, headers: Mapping[str, str], content: bytes) -> Reply:
    """What an answer means."""
    if 200 <= status < 300:
        return Reply("taken", rejected=_rejected(content))
    pause = _pause(headers.get("retry-after"))
    return Reply(_VERDICTS.get(status, "later"), pause, f"HTTP status {status}")


def _pause(asked: str | None) -> float:
    """The seconds of a Retry-After, which is a number or a date, within bounds."""
    if asked is None:
        return 0.0
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(asked).timestamp() - time.time()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


def _rejected(content: bytes) -> tuple[int, ...]:
    """The places in ``{"rejected": [{"index": 3, ...}]}``, which receivers of several events may answer with."""
    if b'"rejected"' not in content:
        return ()
    try:
        listed = json.loads(content)["rejected"]
        return tuple(one["index"] for one in listed if isinstance(one["index"], int))
    except (ValueError, TypeError, KeyError):
        return ()
