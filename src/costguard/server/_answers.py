"""What the routes answer with, for the schema at ``/openapi.json``. Money is text, so that nobody rounds it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Amount = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$", description="US dollars")]
Currency = Literal["USD"]


class Stand(BaseModel):
    """How a budget stands."""

    budget: str
    limit: Amount
    spent: Amount
    held: Amount
    remaining: Amount
    percent: float


class Charged(BaseModel):
    """What a call is charged."""

    id: str
    cost_usd: Amount
    currency: Currency
    priced: bool
    estimated: bool
    price: str


class Told(Charged):
    """A call that is booked; `budgets` when it is new."""

    duplicate: bool
    budgets: list[Stand] | None = None


class Rejected(BaseModel):
    """An event that was not understood."""

    index: int
    error: str


class ToldMany(BaseModel):
    """What became of several calls."""

    accepted: int
    duplicates: int
    rejected: list[Rejected]


class Reserved(BaseModel):
    """A reservation, to be sent back when the call has ended."""

    reservation: str
    id: str
    amount: Amount
    currency: Currency
    expires_at: datetime
    budgets: list[Stand]


class Reached(BaseModel):
    """A threshold of a budget."""

    percent: float
    reached: bool


class Heading(BaseModel):
    """Where a budget is heading."""

    burn_per_day: Amount | None
    burn_basis: str
    expected: Amount | None
    runs_out: datetime | date | None
    note: str | None


class Status(BaseModel):
    """A budget's present window."""

    budget: str
    scope: dict[str, str]
    period: str | None
    limit: Amount
    spent: Amount
    held: Amount
    remaining: Amount
    utilization: float
    currency: Currency
    resets_at: datetime | None
    paused: bool
    alerts: list[Reached]
    forecast: Heading | None


class Named(BaseModel):
    """A budget that has no books yet, as one with a window for each value of a tag."""

    budget: str


class Statuses(BaseModel):
    """Every budget."""

    budgets: list[Status]


class StatusOfOne(Status):
    """The fullest budget of a feature or a name, and all of them."""

    budgets: list[Status]


class Deleted(BaseModel):
    """The name of a budget that was taken away."""

    deleted: str


class Health(BaseModel):
    """The server can count."""

    status: Literal["ok"]
