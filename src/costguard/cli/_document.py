"""What commands print for programs: one JSON document on stdout, money as decimal strings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .._money import decimal_usd


def document(schema: str, body: Mapping[str, Any]) -> None:
    """Print a document of a schema such as ``costguard.prices/1``."""
    print(json.dumps({"schema": schema, **body}, indent=2, ensure_ascii=False))


def usd(nano: int) -> str:
    """Nano-dollars as a decimal string without an exponent."""
    return f"{decimal_usd(nano):f}"


def rate_usd(pico: int, units: int = 1) -> str:
    """Pico-dollars a unit as dollars for `units`, exact and without trailing zeros."""
    plain = f"{(Decimal(pico) * units).scaleb(-12):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
