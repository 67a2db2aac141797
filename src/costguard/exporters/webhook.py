"""Alerts, posted to a URL as they come: as JSON, or as Slack and those that copy it take a message."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Literal

from .._types import Alert, CostEvent
from ..errors import ConfigError
from ._courier import Courier
from ._post import Poster
from ._posting import Posting, alone, heads, outbox
from ._record import as_json
from ._sentences import sentence

Form = Literal["json", "slack"]


class WebhookExporter(Posting):
    """Posts each alert to a URL, one request each, and tries again for as long as the receiver is away.

    Args:
        url: where to.
        form: ``json`` for the alert as in the JSON lines, ``slack`` for ``{"text": "..."}``.
        token: sent as ``Authorization: Bearer``.
        headers: sent with every request.
        spool: a folder for alerts that are still to be sent; other exporters may use it too.

    Raises:
        ConfigError: an argument is malformed.
        MissingExtraError: there is no HTTP client; the extra ``http`` has one.
    """

    def __init__(
        self,
        url: str,
        *,
        form: Form = "json",
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        spool: str | os.PathLike[str] | None = None,
    ) -> None:
        if form not in ("json", "slack"):
            raise ConfigError(f"form={form!r}: allowed are 'json' and 'slack'")
        self._slack = form == "slack"
        poster = Poster(url, heads(token, headers), (3.0, 10.0))
        waiting = outbox(spool, f"webhook-{form} {url}", 1000, 2**20)
        courier = Courier(waiting, poster, alone, most=1, every=5.0, name="webhook")
        super().__init__(courier, spooled=spool is not None)

    def export(self, record: CostEvent | Alert) -> None:
        """Have an alert sent; calls are none of its business."""
        if isinstance(record, Alert):
            body = {"text": text(record)} if self._slack else as_json(record)
            self._courier.put(json.dumps(body, ensure_ascii=False).encode())


def text(alert: Alert) -> str:
    """An alert in words as Slack shows them, whatever names are in it."""
    return sentence(alert).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
