"""Money as integers: nano-dollars in every ledger, pico-dollars in every price.

A rate in US dollars per million tokens is a whole number of pico-dollars (1e-12 USD)
per token for nearly every published price, so a call's cost is summed exactly and rounded
up once to nano-dollars (1e-9 USD). Nano, not pico, is what ledgers count in because a Redis
script compares doubles: 2**53 nano-dollars are $9.0 million, 2**53 pico-dollars only $9,007.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation

NANO = 10**9
"""Nano-dollars in a dollar."""
PICO_PER_NANO = 1000

MAX_NANO = 2**53 - 1
"""The largest amount every ledger compares exactly, a little over nine million dollars."""

_AMOUNT = re.compile(
    r"""\s*(?: (?:US)?\$\s*(?P<dollars>[\d_,]*\.?\d+)
             | (?P<plain>[\d_,]*\.?\d+) \s* (?:USD|usd|\$)?
             )\s*""",
    re.VERBOSE,
)


def parse_usd(value: str | int | float | Decimal) -> int:
    """Return `value` dollars as nano-dollars, rounded up.

    Accepts ``"$5"``, ``"5 USD"``, ``"0.000_1"``, ``"$1,000"``, ints, floats and `Decimal`.

    Raises:
        ValueError: it is not a finite, non-negative amount below `MAX_NANO`.
    """
    nano = int((_decimal(value) * NANO).to_integral_value(ROUND_CEILING))
    if nano > MAX_NANO:
        raise ValueError(f"{value!r} is above ${MAX_NANO // NANO:,}, the largest amount a ledger counts exactly")
    return nano


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no amount of money")
    try:
        if isinstance(value, str):
            match = _AMOUNT.fullmatch(value)
            if match is None:
                raise ValueError(f"{value!r} is no amount of US dollars; write it like '$5' or '0.50 USD'")
            amount = Decimal((match["dollars"] or match["plain"]).replace(",", ""))
        elif isinstance(value, int | float | Decimal):
            amount = Decimal(str(value))
        else:
            raise ValueError(f"{value!r} is no amount of US dollars; write it like '$5' or Decimal('0.50')")
    except InvalidOperation:
        raise ValueError(f"{value!r} is no amount of US dollars") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{value!r} is no amount of money: it must be finite and not negative")
    return amount


def parse_rate(usd_per_million: str | int | float | Decimal) -> int:
    """Return a rate in US dollars per million units as pico-dollars per unit, rounded up.

    Raises:
        ValueError: it is not a finite, non-negative number.
    """
    return int((_decimal(usd_per_million) * 10**6).to_integral_value(ROUND_CEILING))


def nano_up(pico: int) -> int:
    """Round a whole cost in pico-dollars up to nano-dollars: done once per call, never per line."""
    return -(-pico // PICO_PER_NANO)


def decimal_usd(nano: int) -> Decimal:
    """Nano-dollars as exact `Decimal` dollars."""
    return Decimal(nano).scaleb(-9)


def format_usd(nano: int) -> str:
    """Nano-dollars for people: cents from a cent up, four significant digits below, never rounded to zero."""
    sign = "-" if nano < 0 else ""
    usd = decimal_usd(abs(nano))
    if usd == 0:
        return "$0.00"
    if usd >= Decimal("0.01") and usd == usd.quantize(Decimal("0.01")):
        return f"{sign}${usd:,.2f}"
    if usd >= 1:
        return f"{sign}${usd:,.4f}"
    digits = min(9, 3 - usd.adjusted())
    return f"{sign}${usd:.{digits}f}"
