"""A CSV in the columns of FOCUS, the FinOps Foundation's specification of cost data: our estimate, not an invoice.

One row for each day, provider, model, tier, feature, team, environment and meter. Rows of one call add up to what it
was booked at: what rounding added is on its last meter. What has no price is on rows of its own, with its quantity in
``x_Quantity`` and no amount anywhere.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from .._catalog import Catalog
from .._money import PICO_PER_NANO
from .._rates import TOKEN_UNITS
from .._types import STANDARD, CostEvent, Unit, Usage

VERSION: Final = "1.2"

COLUMNS: Final[tuple[str, ...]] = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory",
    "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId", "SubAccountId", "Tags",
    "x_Calls", "x_CostSource", "x_Estimated", "x_Feature", "x_FocusVersion", "x_Model", "x_Quantity",
)  # fmt: skip

_METERS: Final = {
    "input": "Input Tokens",
    "output": "Output Tokens",
    "reasoning": "Reasoning Tokens",
    "cache_read": "Cached Input Tokens",
    "cache_write": "Cache Write Tokens",
    "cache_write_1h": "Cache Write Tokens (1 hour)",
    "cache_write_12h": "Cache Write Tokens (12 hours)",
}
_NAMES: Final = {"openai": "OpenAI", "anthropic": "Anthropic", "google": "Google", "azure": "Microsoft", "aws": "AWS"}

_Key = tuple[str, str, str, str, str, str, str, str, str]
"""Day, provider, model, tier, feature, team, environment, meter, price entry."""


@dataclass(slots=True)
class _Row:
    pico: int = 0
    quantity: int = 0
    calls: int = 0
    estimated: bool = False
    priced: bool = True


def focus_csv(events: Iterable[CostEvent], catalog: Catalog) -> str:
    """The calls as one CSV, days in UTC as providers bill them."""
    rows: dict[_Key, _Row] = {}
    for event in events:
        if event.outcome != "refused" and event.decision != "cache_hit":
            _add(rows, event, catalog)
    out = io.StringIO()
    table: csv.DictWriter[str] = csv.DictWriter(out, COLUMNS, lineterminator="\n", restval="")
    table.writeheader()
    for key in sorted(rows):
        table.writerow(_columns(key, rows[key]))
    return out.getvalue()


def _add(rows: dict[_Key, _Row], event: CostEvent, catalog: Catalog) -> None:
    day = datetime.fromtimestamp(event.time, UTC).date().isoformat()
    feature, team, environment = [event.tags.get(tag, "") for tag in ("feature", "team", "environment")]
    tier = next((usage.tier for usage in event.usages), event.call.tier)
    lines = list(_lines(event, catalog))
    left = event.cost.nano * PICO_PER_NANO - sum(pico or 0 for _, _, pico in lines)
    for place, (meter, quantity, pico) in enumerate(lines):
        last = place == len(lines) - 1
        key = (day, event.call.provider, event.model, tier, feature, team, environment, meter, event.cost.entry)
        row = rows.setdefault(key, _Row(priced=pico is not None))
        row.pico += (pico or 0) + (left if last else 0)
        row.priced = row.priced or bool(left and last)
        row.quantity += quantity
        row.calls += 1
        row.estimated = row.estimated or event.cost.estimated


def _lines(event: CostEvent, catalog: Catalog) -> Iterator[tuple[str, int, int | None]]:
    """Meters of a call with their quantities and pico-dollars, None for what has no price.

    Where today's prices do not give the booked cost, what was booked is shared out in their proportion.
    """
    if any(usage.reported for usage in event.usages) or not event.usages:
        yield "reported" if event.usages else "unknown", sum(_tokens(usage) for usage in event.usages), 0
        return
    told = catalog.explain(event.call.provider, event.call.model, event.usages, event.time)
    booked, listed = event.cost.nano, told.cost.nano
    priced = [line for line in told.lines if line.note != "no price is known"]
    for line in sorted(told.lines, key=lambda line: (line.note != "no price is known", line.unit)):
        pico = line.pico if booked == listed else line.pico * booked // max(1, listed)
        yield line.unit, line.quantity, pico if line in priced else None


def _tokens(usage: Usage) -> int:
    return usage.input_tokens + usage.output_tokens


def _columns(key: _Key, row: _Row) -> dict[str, Any]:
    day, provider, model, tier, feature, team, environment, meter, entry = key
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    month = start.replace(day=1)
    cost = format(Decimal(row.pico).scaleb(-12), "f") if row.priced else ""
    quantity = row.quantity if row.priced else ""
    unit = "Tokens" if meter in TOKEN_UNITS or meter == "reported" else "Units"
    tags = {"environment": environment, "feature": feature, "team": team}
    return {
        **_always(provider),
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost),
        "BillingPeriodStart": _instant(month),
        "BillingPeriodEnd": _instant(month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)),
        "ChargePeriodStart": _instant(start),
        "ChargePeriodEnd": _instant(datetime.fromtimestamp(start.timestamp() + 86_400, UTC)),
        "ChargeDescription": f"Estimate by costguard: {model}, {_meter(meter)}",
        "SkuId": f"{provider}/{model}" if row.priced else "",
        "SkuMeter": _meter(meter) if row.priced else "",
        "SkuPriceId": f"{entry}/{meter}" if row.priced and entry else "",
        "PricingCategory": "Standard" if tier == STANDARD else "Other",
        **dict.fromkeys(("PricingQuantity", "ConsumedQuantity"), quantity),
        **dict.fromkeys(("PricingUnit", "ConsumedUnit"), unit if row.priced else ""),
        "Tags": json.dumps({tag: value for tag, value in tags.items() if value}, sort_keys=True),
        "x_Calls": row.calls,
        "x_CostSource": "reported" if meter == "reported" else "catalog" if row.priced else "none",
        "x_Estimated": str(row.estimated).lower(),
        "x_Feature": _plain(feature),
        "x_FocusVersion": VERSION,
        "x_Model": _plain(model),
        "x_Quantity": row.quantity,
    }


def _always(provider: str) -> dict[str, str]:
    """What every row of a provider says."""
    name = _NAMES.get(provider, provider)
    return {
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "BillingAccountId": provider,
        **dict.fromkeys(("BillingAccountName", "InvoiceIssuerName", "ProviderName", "PublisherName"), name),
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "ServiceName": f"{name} API",
    }


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _meter(unit: Unit) -> str:
    return _METERS.get(unit, unit.replace("_", " ").title())


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
