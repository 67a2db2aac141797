"""Calls and alerts, posted to a URL in batches: to an AI Spend API, or to anything that takes JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from .._types import Alert, CostEvent
from ..errors import ConfigError
from ._courier import Courier
from ._post import Poster
from ._posting import Posting, alone, heads, outbox, together
from ._record import as_json, as_spend

Form = Literal["spend", "events"]


class HttpExporter(Posting):
    """Posts what it is told to a URL, in a thread of its own, and tries again for as long as the receiver is away.

    Args:
        url: where to, for example ``https://costs.example.com/ai-spend/track``.
        form: ``spend`` for calls as the AI Spend API takes them (`model`, `input_tokens`, `output_tokens`,
            `metadata`), ``events`` for calls and alerts as in the JSON lines. Both go as ``{"events": [...]}``; with
            ``batch=1`` each goes alone, as a plain object.
        token: sent as ``Authorization: Bearer``.
        headers: sent with every request.
        spool: a folder for what is still to be sent, so that it outlives an outage and the end of the process. Any
            number of processes may share it. Without one, the newest `kept` events wait in memory.
        batch: events in a request at most.
        every: seconds between requests that are not full.
        kept: events kept in memory where there is no spool.
        spool_limit: bytes that one process may have waiting in the spool.
        connect_timeout, timeout: seconds for connecting, and for each wait for the receiver.

    Raises:
        ConfigError: an argument is malformed.
        MissingExtraError: there is no HTTP client; the extra ``http`` has one.
    """

    def __init__(
        self,
        url: str,
        *,
        form: Form = "spend",
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        spool: str | os.PathLike[str] | None = None,
        batch: int = 100,
        every: float = 5.0,
        kept: int = 10_000,
        spool_limit: int = 64 * 2**20,
        connect_timeout: float = 3.0,
        timeout: float = 10.0,
    ) -> None:
        if form not in ("spend", "events"):
            raise ConfigError(f"form={form!r}: allowed are 'spend' and 'events'")
        self._calls_only = form == "spend"
        self._read: Callable[[Any], dict[str, Any]] = as_spend if form == "spend" else as_json
        poster = Poster(url, heads(token, headers), (connect_timeout, timeout))
        waiting = outbox(spool, f"http-{form} {url}", kept, spool_limit)
        body = alone if batch == 1 else together
        courier = Courier(waiting, poster, body, most=batch, every=every, name="http")
        super().__init__(courier, spooled=spool is not None)

    def export(self, record: CostEvent | Alert) -> None:
        """Have it sent soon."""
        if isinstance(record, Alert) and self._calls_only:
            return
        self._courier.put(json.dumps(self._read(record), ensure_ascii=False).encode())
