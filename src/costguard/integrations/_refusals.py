"""How a service tells its clients that a budget refused them: the figures are its own business."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from ..errors import BudgetExceededError, ConfigError

DETAIL: Final = {"detail": "budget exceeded"}


def checked_status(refuse_with: int | None) -> int | None:
    """The HTTP status to refuse with, None for letting the error through.

    Raises:
        ConfigError: it is no status of an error.
    """
    if refuse_with is not None and not (isinstance(refuse_with, int) and 400 <= refuse_with <= 599):
        raise ConfigError(f"refuse_with={refuse_with!r}: give an HTTP status from 400 to 599, such as 429")
    return refuse_with


def retry_after(error: BudgetExceededError) -> dict[str, str]:
    """The header that says when to come back, where that is known."""
    if error.resets_at is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil((error.resets_at - datetime.now(UTC)).total_seconds())))}
