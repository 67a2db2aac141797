"""Errors as ``application/problem+json`` (RFC 9457), each with what happened and what to do."""

from __future__ import annotations

import math
import time
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from .._book import IdempotencyConflictError
from .._money import decimal_usd
from .._shield import log
from .._types import Refusal, Refused
from ..errors import BudgetExceededError, ConfigError, JournalUnavailableError, LedgerUnavailableError

_TITLES: Final = {
    400: "Bad request", 401: "Who are you?", 402: "Budget exceeded", 403: "Not with this token", 404: "Not found",
    405: "Method not allowed", 409: "Conflict", 413: "Too large", 415: "Unsupported media type",
    422: "Not understood", 503: "Unavailable",
}  # fmt: skip


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem as an answer."""
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def refused(reply: Refused) -> JSONResponse:
    """402: a hold did not fit, with the figures of every budget in the way."""
    error = BudgetExceededError(reply.refusals)
    ends = [one.leg.ends for one in reply.refusals if one.leg.ends is not None]
    after = {"Retry-After": str(max(1, math.ceil(min(ends) - time.time())))} if ends else {}
    if error.reason == "held":
        after = {"Retry-After": "1"}
    return problem(402, str(error), after, reason=error.reason, budgets=[_refusal(one) for one in reply.refusals])


def _refusal(one: Refusal) -> dict[str, Any]:
    return {
        "budget": one.leg.budget,
        "limit": f"{decimal_usd(one.leg.limit):f}",
        "spent": f"{decimal_usd(one.spent):f}",
        "held": f"{decimal_usd(one.held):f}",
        "needed": f"{decimal_usd(one.needed):f}",
        "remaining": f"{decimal_usd(one.room):f}",
        "reason": one.reason,
    }


def add_handlers(app: FastAPI) -> None:
    """Answer every error that a route may raise with a problem."""

    @app.exception_handler(HTTPException)
    async def told(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # A path with several routes: the first that was looked at names only its own methods.
            routes = [one for one in app.routes if isinstance(one, Route) and one.path_regex.match(request.url.path)]
            headers["Allow"] = ", ".join(sorted({method for one in routes for method in one.methods or ()}))
        return problem(error.status_code, str(error.detail), headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [{"at": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
        first = faults[0] if faults else {"at": "body", "what": "not understood"}
        return problem(422, f"{first['at']}: {first['what']}", errors=faults)

    @app.exception_handler(ConfigError)
    async def wrong(_: Request, error: ConfigError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(IdempotencyConflictError)
    async def conflict(_: Request, error: IdempotencyConflictError) -> JSONResponse:
        return problem(409, str(error), error="conflict")

    @app.exception_handler(LedgerUnavailableError)
    @app.exception_handler(JournalUnavailableError)
    async def away(_: Request, error: Exception) -> JSONResponse:
        return problem(503, str(error), {"Retry-After": "1"})

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        log.error("costguard serve failed at %s %s", request.method, request.url.path, exc_info=error)
        return problem(500, "a bug of costguard; its log has the details")
