"""Money: what people write becomes exact integers, and integers become what people read."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard._money import MAX_NANO, NANO, decimal_usd, format_usd, nano_up, parse_rate, parse_usd

AMOUNTS = st.integers(0, MAX_NANO)


@pytest.mark.parametrize(
    ("written", "nano"),
    [
        ("$5", 5 * NANO),
        ("5", 5 * NANO),
        ("5$", 5 * NANO),
        ("5 USD", 5 * NANO),
        ("5usd", 5 * NANO),
        ("US$5", 5 * NANO),
        ("us$ 5", 5 * NANO),
        ("$5 USD", 5 * NANO),
        ("  $ 5.00 ", 5 * NANO),
        ("$1,000.50", 1000_500_000_000),
        ("1,234,567", 1_234_567 * NANO),
        ("1_000", 1000 * NANO),
        ("0.000_1", 100_000),
        (".5", NANO // 2),
        ("0.1", NANO // 10),
        ("0", 0),
        ("$0.00", 0),
        (0, 0),
        (5, 5 * NANO),
        (0.1, NANO // 10),
        (0.3, 300_000_000),
        (1e-9, 1),
        (1e-7, 100),
        (Decimal("0.1"), NANO // 10),
        (Decimal("1E+2"), 100 * NANO),
        (Decimal("-0"), 0),
        ("9007199.254740991", MAX_NANO),
    ],
)
def test_amounts_are_read_as_people_write_them(written: object, nano: int) -> None:
    """Strings with and without a sign, ints, floats and Decimals all mean the dollars they show."""
    assert nano == parse_usd(written)


@pytest.mark.parametrize(
    "written",
    [
        "abc", "", " ", "$", "USD", "-1", "$-1", "nan", "inf", "Infinity", "1e3", "5 EUR", "€5", "5.", "1..0", "1.2.3",
        "0,50", "5,50", "1,00", "1,,0", ",5", "1,0000", "12,34,567", "1.000,50", "_5", "5_", "1__0", "$5$", "5 5",
        "$5/day", "\u0665", "5\x00", None, True, False, [], (), object(), b"5", 5j, Fraction(1, 2),
        -1, -0.01, float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"),
        Decimal("-1e-30"), 10**7, 1e300, pytest.param(10**5000, id="long"), Decimal("1E+999999"),
        "9007199.254740992", "9" * 500,
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_with_a_short_reason(written: object) -> None:
    """Anything ambiguous or impossible is a ValueError whose message says what was written, never an odd amount."""
    with pytest.raises(ValueError, match=r"no amount|largest amount|finite") as caught:
        parse_usd(written)
    assert 30 < len(str(caught.value)) < 200


def test_a_decimal_comma_is_never_taken_for_thousands() -> None:
    """A limit of "0,50" meant as fifty cents must not silently become fifty dollars."""
    with pytest.raises(ValueError, match="0,50"):
        parse_usd("0,50")


@pytest.mark.parametrize("precision", [1, 3, 28])
def test_the_host_programs_decimal_context_changes_nothing(precision: int) -> None:
    """A program that computes with few digits or traps inexact results still gets exact money."""
    with decimal.localcontext() as context:
        context.prec = precision
        context.rounding = decimal.ROUND_DOWN
        context.traps[decimal.Inexact] = True
        context.traps[decimal.Rounded] = True
        assert parse_usd("1.23456789") == 1_234_567_890
        assert parse_usd(Decimal("1.2345678901")) == 1_234_567_891
        assert parse_rate("1.2500001") == 1_250_001
        assert Decimal("1234.567891234") == decimal_usd(1_234_567_891_234)
        assert format_usd(1_234_567_891_234) == "$1,234.5679"
        assert format_usd(123_457) == "$0.0001235"


@given(st.decimals(0, 9_000_000, allow_nan=False, places=14))
def test_reading_rounds_up_by_less_than_a_nano_dollar(amount: Decimal) -> None:
    """An amount between two nano-dollars counts as the larger one."""
    exact = Fraction(amount) * NANO
    assert 0 <= parse_usd(amount) - exact < 1


@given(st.floats(0, 9_000_000))
def test_a_float_is_read_as_it_prints(amount: float) -> None:
    """0.1 is ten cents and not the binary fraction beside it."""
    assert -(-Fraction(repr(amount)) * NANO // 1) == parse_usd(amount)


@given(AMOUNTS)
def test_amounts_survive_every_round_trip(nano: int) -> None:
    """Integer to Decimal to text and back loses nothing."""
    usd = decimal_usd(nano)
    assert nano == parse_usd(usd) == parse_usd(f"${usd:,f}") == parse_usd(f"{usd:f} USD")


@given(st.integers(-MAX_NANO, 100 * MAX_NANO))
def test_formatting_stays_within_half_of_its_last_digit(nano: int) -> None:
    """What is shown is the amount rounded to its last digit, at least four significant ones below a dollar, never
    zero for something that is not, and readable back."""
    shown = format_usd(nano)
    assert shown.startswith("-$" if nano < 0 else "$")
    digits = shown.lstrip("-$").replace(",", "")
    places = len(digits.partition(".")[2])
    assert 2 <= places <= 9
    back = Fraction(digits) * NANO
    assert abs(back - abs(nano)) * 2 <= Fraction(NANO, 10**places)
    assert bool(nano) == bool(back)
    assert abs(back - abs(nano)) <= abs(nano) * Fraction(5, 10**4)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_234, "$0.000001234"),
        (123_456, "$0.0001235"),
        (12_345_678, "$0.01235"),
        (10_000_000, "$0.01"),
        (999_999_999, "$1.0000"),
        (NANO, "$1.00"),
        (1_500_000_000, "$1.50"),
        (1_234_567_890, "$1.2346"),
        (1_234_567 * NANO, "$1,234,567.00"),
        (-25 * NANO // 100, "-$0.25"),
    ],
)
def test_amounts_are_shown_readably(nano: int, shown: str) -> None:
    """Whole cents look like cents, small amounts keep their digits, large ones their commas."""
    assert shown == format_usd(nano)


@given(st.integers(0, 10**18))
def test_a_cost_is_rounded_up_once(pico: int) -> None:
    """Pico-dollars become the smallest number of nano-dollars that covers them."""
    assert 0 <= nano_up(pico) * 1000 - pico < 1000


@pytest.mark.parametrize(("written", "pico"), [("0.15", 150_000), (2.5, 2_500_000), (0, 0), ("0.0000001", 1)])
def test_rates_are_read_in_pico_dollars(written: object, pico: int) -> None:
    """Dollars a million tokens are pico-dollars a token."""
    assert pico == parse_rate(written)


@pytest.mark.parametrize(
    "written", ["", "abc", "-1", True, None, float("nan"), Decimal("1E+999999"), pytest.param(10**5000, id="long")]
)
def test_what_is_no_rate_is_refused(written: object) -> None:
    """A rate is a finite number that is not negative."""
    with pytest.raises(ValueError, match="no"):
        parse_rate(written)
