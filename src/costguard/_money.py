"""Money as integers: nano-dollars in every ledger, pico-dollars in every price.

A rate in US dollars per million tokens is a whole number of pico-dollars (1e-12 USD)
per token for nearly every published price, so a call's cost is summed exactly and rounded
up once to nano-dollars (1e-9 USD). Nano, not pico, is what ledgers count in because a Redis
script compares doubles: 2**53 nano-dollars are $9.0 million, 2**53 pico-dollars only $9,007.
"""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from typing import Final

NANO = 10**9
"""Nano-dollars in a dollar."""
PICO_PER_NANO = 1000

MAX_NANO = 2**53 - 1
"""The largest amount every ledger compares exactly, a little over nine million dollars."""

# A comma only ever separates thousands: "0,50" is fifty cents to some readers and must not become fifty dollars.
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+(?:_[0-9]+)*)?(?:\.[0-9]+(?:_[0-9]+)*)?"
_AMOUNT = re.compile(
    rf"""\s*(?: (?:US)?\$ \s* (?P<dollars>{_DIGITS}) (?:\s*USD)?
             | (?P<plain>{_DIGITS}) \s* (?:USD|\$)?
             )\s*""",
    re.VERBOSE | re.IGNORECASE,
)

# Neither the precision nor the traps of the host program's own decimal context may change an amount.
_EXACT: Final = Context(prec=400, rounding=ROUND_CEILING, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
_PLAIN: Final = Context(prec=400, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


def parse_usd(value: str | int | float | Decimal) -> int:
    """Return `value` dollars as nano-dollars, rounded up.

    Accepts ``"$5"``, ``"5 USD"``, ``"0.000_1"``, ``"$1,000"``, ints, floats and `Decimal`.

    Raises:
        ValueError: it is not a finite, non-negative amount below `MAX_NANO`.
    """
    return _whole(value, NANO, MAX_NANO, f"above ${MAX_NANO // NANO:,}, the largest amount a ledger counts exactly")


def _whole(value: str | int | float | Decimal, times: int, most: int, why: str) -> int:
    """`value` times a power of ten as an integer, rounded up; nothing larger than `most` is ever written out."""
    amount = _decimal(value)
    # Compared before it is multiplied: a hostile exponent must not fill the memory with digits.
    if amount > most // times + 1 or (scaled := _scaled(amount, times)) > most:
        raise ValueError(f"{_shown(value)} is {why}")
    return scaled


def _scaled(amount: Decimal, times: int) -> int:
    return int(_EXACT.multiply(amount, Decimal(times)).to_integral_value(ROUND_CEILING, _EXACT))


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{_shown(value)} is no amount of US dollars; write it like '$5' or Decimal('0.50')")
    if isinstance(value, str):
        amount = _written(value)
    else:
        # A float is what it prints as: 0.1 is ten cents, not the binary fraction beside it.
        amount = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{_shown(value)} is no amount of money: it must be finite and not negative")
    return amount


def _written(text: str) -> Decimal:
    match = _AMOUNT.fullmatch(text)
    digits = "" if match is None else match["dollars"] or match["plain"] or ""
    if not digits:
        raise ValueError(f"{_shown(text)} is no amount of US dollars; write it like '$5' or '0.50 USD'")
    return _EXACT.create_decimal(digits.replace(",", "").replace("_", ""))


def _shown(value: object) -> str:
    """What was written, cut where it is too long for a message. An integer of many digits cannot even be printed."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_rate(usd_per_million: str | int | float | Decimal) -> int:
    """Return a rate in US dollars per million units as pico-dollars per unit, rounded up.

    Raises:
        ValueError: it is not a finite, non-negative number, or above what any unit could cost.
    """
    most = MAX_NANO * PICO_PER_NANO
    return _whole(usd_per_million, 10**6, most, "no rate: one unit alone would pass every limit a ledger can count")


def nano_up(pico: int) -> int:
    """Round a whole cost in pico-dollars up to nano-dollars: done once per call, never per line."""
    return -(-pico // PICO_PER_NANO)


def decimal_usd(nano: int) -> Decimal:
    """Nano-dollars as exact `Decimal` dollars."""
    return Decimal(nano).scaleb(-9, _EXACT)


def format_usd(nano: int) -> str:
    """Nano-dollars for people: cents from a cent up, four significant digits below, never rounded to zero."""
    usd = decimal_usd(abs(nano))
    sign = "-" if nano < 0 else ""
    if usd and usd < 1:
        places = min(9, 3 - usd.adjusted())
    else:
        places = 4
    whole_cents = nano % (NANO // 100) == 0
    return f"{sign}${usd.quantize(Decimal(1).scaleb(-2 if whole_cents else -places), context=_PLAIN):,f}"
