"""FOCUS rows add up to the calls, to the last nano-dollar."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from decimal import Decimal

from costguard._types import Cost, Usage
from costguard.review.focus import COLUMNS, focus_csv

from .traffic import CATALOG, made, month

MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "ServiceCategory", "ServiceName",
)  # fmt: skip


def rows(events: list) -> list[dict[str, str]]:
    """The CSV, read back."""
    return list(csv.DictReader(io.StringIO(focus_csv(events, CATALOG))))


def test_the_mandatory_columns_are_there() -> None:
    """Those of FOCUS 1.2; ours begin with x_."""
    assert set(MANDATORY) <= set(COLUMNS)
    assert all(name.startswith("x_") or name[0].isupper() for name in COLUMNS)


def test_a_month_adds_up_by_feature_and_tokens() -> None:
    """Costs by feature, tokens by meter, exactly those of the calls."""
    calls = list(month(500))
    told = rows(calls)
    cost, theirs = Counter[str](), Counter[str]()
    for call in calls:
        theirs[call.tags.get("feature", "")] += call.cost.nano
    for row in told:
        cost[json.loads(row["Tags"]).get("feature", "")] += Decimal(row["BilledCost"]) * 10**9
    assert cost == theirs
    read = sum(call.usages[0].counts.get("cache_read", 0) for call in calls)
    assert sum(int(row["ConsumedQuantity"]) for row in told if row["SkuMeter"] == "Cached Input Tokens") == read
    assert focus_csv(calls, CATALOG) == focus_csv(calls, CATALOG)


def test_a_row_says_that_it_is_an_estimate_and_of_what() -> None:
    """One call: a row for its input and one for its output, in its day and month."""
    told = rows([made("a", "2026-12-31T23:00", counts={"input": 1_000, "output": 200})])
    assert [(row["SkuMeter"], row["BilledCost"], row["PricingQuantity"]) for row in told] == [
        ("Input Tokens", "0.002500000000", "1000"),
        ("Output Tokens", "0.002000000000", "200"),
    ]
    row = told[0]
    assert row["ChargeDescription"].startswith("Estimate by costguard")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z")
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")


def test_what_has_no_price_has_no_amount() -> None:
    """Its quantity stands in a column of ours."""
    [row] = rows([made("a", "2026-10-03", "nobody-knows-1", provider="unknown-host", counts={"input": 7})])
    assert (row["BilledCost"], row["ConsumedQuantity"], row["SkuPriceId"], row["x_Quantity"]) == ("", "", "", "7")


def test_what_was_booked_is_told_and_not_what_it_would_cost_today() -> None:
    """A reported cost, and one booked at own prices that are gone, keep their sums."""
    reported = made(
        "a", "2026-10-03", usages=(Usage({"input": 10, "output": 1}, reported=77),), cost=Cost(77, "reported")
    )
    own = made("b", "2026-10-03", cost=Cost(1_000_003, "own:openai/gpt-4o"))
    assert sum(Decimal(row["BilledCost"]) for row in rows([reported])) == Decimal(77).scaleb(-9)
    assert sum(Decimal(row["BilledCost"]) for row in rows([own])) == Decimal(1_000_003).scaleb(-9)


def test_no_name_becomes_a_formula() -> None:
    """A feature named like one is text in a spreadsheet."""
    [row, _] = rows([made("a", "2026-10-03", tags={"feature": "=HYPERLINK(1)"})])
    assert row["x_Feature"] == "'=HYPERLINK(1)"
