"""One book behind ``costguard serve``, for programs that reach a server and no database.

The server runs the step on its own ledger; here it is asked over HTTP, within a bounded time: a step takes `TOTAL`
seconds with its second try, and after three failures in a row the next ones fail at once, until a probe succeeds
(`_breaker`). Ids make it safe to ask again when an answer was lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from .._book import IdempotencyConflictError
from .._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Nano, Refused
from .._web import client_library, untraced
from ..errors import ConfigError, LedgerUnavailableError
from . import _form
from ._breaker import Breaker

T = TypeVar("T")

CONNECT: Final = 0.5
TOTAL: Final = 1.2
"""Seconds for a connection, and for one step with its second try."""
CONNECTIONS: Final = 32

_PATH: Final = "/ledger/"
_HINTS: Final = {
    401: "it wants a token: name one in the URL, https://TOKEN@host",
    403: "its token may not use the ledger: make one with `costguard tokens create --scope ledger`",
    404: "nothing like costguard serve answers there: check the address",
    413: "it refuses a body of that size",
}


class HttpLedger:
    """Counts on a `costguard serve`, shared by everybody who names the same one.

    Args:
        url: the server's address, with a token for the scope ``ledger`` as its user: ``https://TOKEN@host:port``.
        timeout: seconds that a step may take, its connecting and its second try included.

    Raises:
        ConfigError: the URL is none.
        MissingExtraError: there is no HTTP client; the extra ``http`` has one.
    """

    inline = False

    def __init__(self, url: str, *, timeout: float = TOTAL) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"ledger {parts.scheme}://: give an address such as 'https://TOKEN@costs.example.com'")
        if not 0.05 <= timeout <= 60:
            raise ConfigError(f"timeout={timeout!r}: give seconds from 0.05 to 60")
        self._library = client_library()
        # Without the token, for messages.
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        token = unquote(parts.username or "")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._client: Any = None
        self._inherited: list[Any] = []
        self.breaker = Breaker(self.where, timeout)

    def reserve(self, hold: Hold) -> Granted | Refused:
        """See `costguard.ports.Ledger.reserve`."""
        return self._ask("reserve", _form.hold_out(hold), _form.reply_in)

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        """See `costguard.ports.Ledger.extend`."""
        return self._ask("extend", {"id": id, "amount": amount}, _form.reply_in)

    def settle(self, id: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.settle`."""
        return self._ask("settle", {"id": id, "actual": actual}, _granted)

    def release(self, id: str) -> Granted:
        """See `costguard.ports.Ledger.release`."""
        return self._ask("release", {"id": id}, _granted)

    def adjust(self, id: str, correction: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.adjust`."""
        return self._ask("adjust", {"id": id, "correction": correction, "actual": actual}, _granted)

    def amend(self, amendment: Amendment) -> None:
        """See `costguard.ports.Ledger.amend`."""
        self._ask("amend", _form.amendment_out(amendment), lambda raw: raw)

    def amendments(self, budget: str | None = None) -> Sequence[Amendment]:
        """See `costguard.ports.Ledger.amendments`."""
        return self._ask("amendments", {"budget": budget}, _listed("amendments", _form.amendment_in))

    def balances(self, legs: Sequence[Leg], at: float = 0.0) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.balances`."""
        asked = {"legs": [_form.leg_out(leg) for leg in legs], "at": at}
        return self._ask("balances", asked, _listed("balances", _form.balance_in))

    def windows(self, at: float) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.windows`."""
        return self._ask("windows", {"at": at}, _listed("balances", _form.balance_in))

    def reap(self, now: float) -> Sequence[Granted]:
        """See `costguard.ports.Ledger.reap`."""
        return self._ask("reap", {"now": now}, _listed("replies", _granted))

    def undelivered(self, now: float) -> Sequence[Crossing]:
        """See `costguard.ports.Ledger.undelivered`."""
        return self._ask("undelivered", {"now": now}, _listed("crossings", _form.crossing_in))

    def delivered(self, crossings: Sequence[Crossing]) -> None:
        """See `costguard.ports.Ledger.delivered`."""
        self._ask("delivered", {"crossings": [_form.crossing_out(one) for one in crossings]}, lambda raw: raw)

    def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    # -- over the wire -----------------------------------------------------------------------------------------

    def _ask(self, step: str, body: Any, read: Callable[[Any], T]) -> T:
        until = time.monotonic() + self._timeout
        self.breaker.enter()
        answer = self._answered(step, body, until)
        try:
            document = answer.json()
        except ValueError as error:
            raise self._unavailable(f"its answer is no JSON (HTTP status {answer.status_code})", 404) from error
        if answer.status_code != 200:
            raise self._told(answer.status_code, document)
        try:
            return read(document)
        except (ValueError, TypeError) as error:
            raise self._unavailable(f"its answer to {step} is not understood: {error}", 404) from error

    def _answered(self, step: str, body: Any, until: float) -> Any:
        """The server's answer, asked for a second time where the first one was lost."""
        library = self._library
        while True:
            left = until - time.monotonic()
            try:
                with untraced():
                    answer = self._mine().post(
                        f"{self.where}{_PATH}{step}", json=body, headers=self._headers,
                        timeout=library.Timeout(max(left, 0.05), connect=min(CONNECT, max(left, 0.05))),
                    )  # fmt: skip
            except (library.HTTPError, OSError) as error:
                if time.monotonic() >= until or isinstance(error, library.ConnectError):
                    raise self._lost(error) from error
                until = min(until, time.monotonic() + self._timeout / 2)
                continue
            if answer.status_code >= 500:
                raise self._lost(f"HTTP status {answer.status_code}")
            self.breaker.succeeded()
            return answer

    def _lost(self, why: object) -> LedgerUnavailableError:
        self.breaker.failed()
        error = self._unavailable(str(why) or type(why).__name__, 0)
        error.unsure = True
        return error

    def _told(self, status: int, document: Any) -> Exception:
        """The error that the server's own ledger raised."""
        fields = document if isinstance(document, dict) else {}
        detail = str(fields.get("detail", ""))
        match fields.get("error"):
            case "unknown":
                return KeyError(detail)
            case "conflict":
                return IdempotencyConflictError(detail)
            case "malformed":
                return ValueError(detail)
        return self._unavailable(f"HTTP status {status}{': ' if detail else ''}{detail}", status)

    def _unavailable(self, why: str, status: int) -> LedgerUnavailableError:
        hint = _HINTS.get(status, "check that the server runs and can be reached from here")
        return LedgerUnavailableError(f"the ledger {self.where} cannot be used: {why}; {hint}")

    def _mine(self) -> Any:
        with self._lock:
            if self._pid != os.getpid():
                # The parent's connections are neither used nor closed in a child.
                self._inherited.append(self._client)
                self._client, self._pid = None, os.getpid()
            if self._client is None:
                limits = self._library.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
                self._client = self._library.Client(limits=limits, follow_redirects=False)
            return self._client


def open_http(url: str) -> HttpLedger:
    """The ledger that a URL names: the address of a ``costguard serve``."""
    return HttpLedger(url)


def _granted(raw: Any) -> Granted:
    reply = _form.reply_in(raw)
    if not isinstance(reply, Granted):
        raise ValueError("a step that is never refused was refused")
    return reply


def _listed(name: str, read: Callable[[Any], T]) -> Callable[[Any], Sequence[T]]:
    def items(raw: Any) -> Sequence[T]:
        if not isinstance(raw, dict):
            raise ValueError("no object")
        return list(_form.each(raw, name, read))

    return items
