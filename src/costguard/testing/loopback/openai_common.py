"""What all of OpenAI's endpoints share: paths, the served model, the tier, the spelling of an error."""

from __future__ import annotations

import re
from typing import Any

from .exchange import Exchange, Json

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


def pattern(path: str) -> re.Pattern[str]:
    """The path under OpenAI's own prefix, Azure's three, and none."""
    return re.compile(rf"(?:/openai/deployments/(?P<deployment>[^/]+)|/openai/v1|/openai|/v1)?{path}")


def served(exchange: Exchange, default: str = "loopback") -> str:
    """The model that answers: as scripted, else as asked for, else the Azure deployment."""
    deployment = exchange.match.groupdict().get("deployment")
    return str(exchange.reply.model or exchange.body.get("model") or deployment or default)


def choose_tier(exchange: Exchange) -> str:
    """The tier that is reported back: as scripted, else as asked for."""
    asked = exchange.body.get("service_tier")
    return exchange.reply.service_tier or {None: "default", "auto": "default", "fast": "priority"}.get(
        asked, str(asked)
    )


def error(status: int, detail: Any) -> Json:
    """An error body."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": str(detail), "type": kind, "param": None, "code": None}}
