"""Alerts in words, the same in every place where people read them."""

from __future__ import annotations

from datetime import date

from .._money import format_usd
from .._types import Alert, ForecastAlert, Nano


def sentence(alert: Alert) -> str:
    """An alert as a sentence without a full stop."""
    leg = alert.balance.leg
    scope = ", ".join(f"{tag} {value}" for tag, value in leg.scope)
    name = f"Budget {leg.budget}{f' ({scope})' if scope else ''}"
    spent = f"{format_usd(alert.balance.spent)} of {format_usd(leg.limit)} spent"
    if not isinstance(alert, ForecastAlert):
        return f"{name} has reached {alert.percent:g}%: {spent}"
    resets = f", before it resets on {day(alert.resets)}" if alert.resets else ""
    burn = "" if alert.burn is None else f", {format_usd(_about(alert.burn))} a day"
    return f"{name} is on course to be exhausted on {day(alert.runs_out)}{resets}: {spent}{burn}"


def _about(nano: Nano) -> Nano:
    """A forecast to the cent, where that is not all of it."""
    return round(nano, -7) if nano > 10**9 else nano


def day(at: date) -> str:
    """A day as people say it, with its year: an alert may be read much later."""
    return f"{at.day} {at:%B %Y}"
