"""What the actions of ``costguard prices`` share: finding the model that is meant, and the day."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, date, datetime
from decimal import Decimal

from .._biller import Biller
from .._catalog import Catalog
from .._config import state
from .._hosts import provider_name
from ..errors import ConfigError


def add_model(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The arguments that name a model and a day."""
    parser.add_argument("model", nargs="?" if optional else None, help="the model's id, as calls name it")
    parser.add_argument("--provider", help="who bills it; found by the model when left out")
    parser.add_argument("--at", metavar="DAY", help="the day, such as 2026-10-01; today when left out")


def model_of(options: argparse.Namespace) -> tuple[Catalog, str, float]:
    """The catalog, the provider and the time that the arguments mean.

    Raises:
        ConfigError: the day is none, or nobody is known to sell the model.
    """
    catalog = state.prices()
    at = moment(options.at) if options.at else time.time()
    provider = provider_name(options.provider) if options.provider else Biller(catalog).of_model(options.model, at)
    if not provider:
        raise ConfigError(f"nobody is known to sell the model {options.model!r}; name who bills it with --provider")
    return catalog, provider, at


def percent_off(catalog: Catalog, provider: str, model: str, at: float) -> str | None:
    """The negotiated discount on a model's listed prices, as ``15``; None where there is none."""
    left = catalog.negotiated(provider, model, at)
    off = Decimal(100 * (left.den - left.num)) / left.den
    return f"{off.normalize():f}" if off else None


def moment(day: str) -> float:
    """Noon of a day, or the time that is written, as UTC epoch seconds.

    Raises:
        ConfigError: it is neither.
    """
    try:
        if len(day) == 10:
            day = f"{date.fromisoformat(day).isoformat()}T12:00"
        when = datetime.fromisoformat(day)
    except ValueError:
        raise ConfigError(f"{day!r} is no day such as 2026-10-01") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
