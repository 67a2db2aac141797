"""What the routes of calls are sent, checked field by field."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .._accounts import usage_of
from .._budget import clean_tags
from .._config import state
from .._context import Carried, Run, Scope
from .._ids import ids
from .._types import Call, Usage
from ..errors import ConfigError

MOST: Final = 1000
"""Events in one request."""
LEASE: Final = 600
_ID = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
_Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]
_Money = Annotated[Decimal, Field(ge=0, le=9_000_000, allow_inf_nan=False)]
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Tags = Annotated[dict[str, str | int | float | bool | None], Field(max_length=50)]


def _no_number(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("seconds are a number of their own")
    return value


_Instant = Annotated[datetime, BeforeValidator(_no_number)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: _Name
    provider: Annotated[str, Field(max_length=64)] | None = None
    operation: Annotated[str, Field(min_length=1, max_length=64)] = "chat"
    tier: Annotated[str, Field(min_length=1, max_length=64)] = "standard"
    feature: Annotated[str, Field(max_length=256)] | None = None
    metadata: _Tags = Field(default_factory=dict, description="attribution: feature, team, environment, user, any tag")

    def tags(self) -> dict[str, str]:
        """The attribution, as tags are written here."""
        given = {**self.metadata, **({"feature": self.feature} if self.feature else {})}
        return {name: str(value) for name, value in given.items() if value not in (None, "")}

    def within(self) -> Carried:
        """A block in which its attribution is in force. A tag is never a setting, whatever its name: who may tell of
        calls may not set budgets."""
        return Carried(Scope(clean_tags(self.tags()), run=Run(ids())))

    def call(self, at: float) -> Call:
        """What was asked for."""
        provider = self.provider or state.guard.biller.of_model(self.model, at)
        return Call(provider, self.model, self.operation, tier=self.tier)


class _Used(BaseModel):
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cached_input_tokens: _Count = Field(0, description="the part of input_tokens that was read from a cache")
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = Field(0, description="the part of output_tokens that was reasoning")
    cost_usd: _Money | None = Field(None, description="what it did cost, when that is known; else the price list says")
    outcome: Literal["ok", "error", "unknown", "cancelled", "partial"] = "ok"

    def usage(self, tier: str) -> Usage:
        """What was billed."""
        return usage_of(
            self.input_tokens, self.output_tokens, self.cached_input_tokens, self.cache_write_tokens,
            self.reasoning_tokens, tier=tier, cost=self.cost_usd,
        )  # fmt: skip


class Event(_Told, _Used):
    """A call that was made."""

    id: _ID | None = Field(None, description="yours; an event of an id that is known already changes nothing")
    timestamp: _Instant | Annotated[float, Field(strict=True, ge=0, le=2**40, allow_inf_nan=False)] | None = Field(
        None, description="when, also as seconds since 1970; now if it is left out"
    )

    def at(self) -> float:
        """UTC epoch seconds."""
        now = state.guard.clock()
        if self.timestamp is None:
            return now
        told = self.timestamp
        if isinstance(told, datetime):
            told = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
        if told < 0:
            raise ConfigError("timestamp: a call before 1970 is none")
        return min(told, now)


class Reservation(_Told):
    """A call that is about to be made."""

    id: _ID | None = Field(None, description="yours; the same reservation asked for again is granted once")
    input_tokens: _Count | None = None
    text: str | None = Field(None, description="what goes in, counted as one token a byte, and not kept")
    max_output_tokens: _Count | None = Field(None, description="the cap that the call is sent with")
    max_cost: _Money | None = Field(None, description="the most it may cost, instead of tokens")
    ttl: Annotated[int, Field(strict=True, ge=1, le=86_400)] = Field(
        LEASE, description="seconds until it is charged as it is"
    )


class Settlement(_Used):
    """How a reserved call ended."""

    reservation: Annotated[str, Field(min_length=1, max_length=4096)]
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(None, description="the one that answered")


class Release(BaseModel):
    """A reserved call that was not made, or cost nothing."""

    reservation: Annotated[str, Field(min_length=1, max_length=4096)]


class Events(BaseModel):
    """Several calls."""

    events: Annotated[list[dict[str, Any]], Field(max_length=MOST)]


class Ticket(BaseModel):
    """What the server has to know at the end of a reserved call; the caller carries it through a restart."""

    id: _ID
    at: Annotated[float, Field(ge=0, le=2**40, allow_inf_nan=False)]
    provider: Annotated[str, Field(max_length=64)]
    model: _Name
    operation: Annotated[str, Field(min_length=1, max_length=64)]
    tier: Annotated[str, Field(min_length=1, max_length=64)]
    tags: Annotated[dict[str, str], Field(max_length=60)]
    held: Annotated[int, Field(ge=0, le=2**53)]
    counted: bool
    budgets: Annotated[list[str], Field(max_length=1000)]

    def call(self) -> Call:
        """What was reserved for."""
        return Call(self.provider, self.model, self.operation, tier=self.tier)

    def written(self) -> str:
        """As the caller gets it."""
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Ticket:
        """What a caller sent back.

        Raises:
            ConfigError: it is none.
        """
        try:
            return cls.model_validate_json(
                base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            )
        except (ValueError, binascii.Error):
            raise ConfigError("reservation: send the text that /ai-spend/reserve answered with, unchanged") from None
