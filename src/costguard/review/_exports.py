"""What providers export of their own books, read into lines.

Shapes that are told apart by what is in them:

* OpenAI, JSON: pages of ``/v1/organization/costs`` and ``/v1/organization/usage/completions``.
* OpenAI, CSV: the cost and usage downloads, which have the same fields as columns.
* Anthropic, JSON: pages of ``/v1/organizations/cost_report`` (amounts in cents) and ``.../usage_report/messages``.
* Anthropic, CSV: the console's cost download (``cost_usd``) and usage download (``usage_input_tokens_no_cache``).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, DecimalException
from typing import Any, Final

from .._money import NANO
from .._types import Nano
from ..errors import ConfigError

Row = Mapping[str, Any]

_PREFIX: Final = re.compile(r"^[a-z ]+\|\s*")
"""OpenAI writes a tier in front of a model: ``priority | gpt-5, output``."""
_TOKENS: Final = {
    "openai": ("input_tokens", "output_tokens"),
    "anthropic": (
        "uncached_input_tokens", "cache_read_input_tokens", "output_tokens",
        "usage_input_tokens_no_cache", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h",
        "usage_input_tokens_cache_read", "usage_output_tokens",
    ),
}  # fmt: skip
_MUCH: Final = Decimal(10) ** 12


@dataclass(frozen=True, slots=True)
class Billed:
    """One line of an export.

    Attributes:
        provider: ``openai`` or ``anthropic``.
        day: in UTC.
        model: as the provider spells it, empty when the line is of no model or the export does not say.
        nano: in nano-dollars, rounded to the nearest; None when the export is of tokens only.
        tokens: input and output together, None when the export is of money only.
        item: what the line is, where it is no model's.
    """

    provider: str
    day: date
    model: str
    nano: Nano | None
    tokens: int | None = None
    item: str = ""


def read_export(text: str, name: str) -> list[Billed]:
    """Read a provider's export.

    Args:
        name: the file's, for messages.

    Raises:
        ConfigError: it is none of the known shapes, says nothing, or an amount in it is none.
    """
    try:
        rows = list(_json_rows(text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text))
        lines = [line for row in rows if (line := _line(row)) is not None]
    except (ValueError, TypeError, KeyError, DecimalException, OverflowError) as error:
        raise ConfigError(f"{name} is no export that can be read: {str(error) or type(error).__name__}") from None
    if not lines:
        raise ConfigError(f"{name} has no line with an amount or with tokens in it")
    if len({line.provider for line in lines}) > 1:
        raise ConfigError(f"{name} is of two providers: reconcile them one after the other")
    return lines


def _csv_rows(text: str) -> Iterator[Row]:
    head = text.lstrip("\ufeff").partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter="\t" if "\t" in head else ",")
    columns = set(reader.fieldnames or ())
    if not columns & {"start_time", "start_time_iso", "usage_date_utc"}:
        raise ValueError("there is no column start_time, start_time_iso or usage_date_utc")
    for row in reader:
        told = {key: value for key, value in row.items() if value not in (None, "")}
        provider = "anthropic" if "usage_date_utc" in columns else "openai"
        yield {**told, "provider": provider, "money": bool(columns & {"amount_value", "cost_usd"})}


def _json_rows(text: str) -> Iterator[Row]:
    """The results of all buckets of all pages, each with its day."""
    for page in _documents(text):
        for bucket in page["data"]:
            openai = "start_time" in bucket
            for result in bucket["results"]:
                yield {
                    **{key: value for key, value in result.items() if value is not None},
                    "start_time" if openai else "usage_date_utc": bucket["start_time" if openai else "starting_at"],
                    "provider": "openai" if openai else "anthropic",
                    "money": "amount" in result,
                }


def _documents(text: str) -> Iterator[Any]:
    """One page, a list of pages, or pages one after the other."""
    decoder = json.JSONDecoder(parse_float=Decimal)
    at = 0
    text = text.strip()
    while at < len(text):
        document, end = decoder.raw_decode(text, at)
        yield from document if isinstance(document, list) else [document]
        at = end + len(text[end:]) - len(text[end:].lstrip())


def _line(row: Row) -> Billed | None:
    provider = row["provider"]
    nano = _nano(row, provider) if row["money"] else None
    tokens = None if row["money"] else _tokens(row, provider)
    if nano is None and tokens is None:
        return None
    model, item = _model(row)
    return Billed(provider, _day(row), model, nano, tokens, item)


def _nano(row: Row, provider: str) -> Nano | None:
    amount = row.get("amount")
    if isinstance(amount, Mapping):
        value, currency, unit = amount.get("value"), amount.get("currency"), NANO
    elif amount is not None:
        # Anthropic's API counts in cents.
        value, currency, unit = amount, row.get("currency"), NANO // 100
    else:
        value, unit = row.get("amount_value", row.get("cost_usd")), NANO
        currency = row.get("amount_currency", "usd")
    if value is None:
        return None
    if str(currency or "usd").lower() != "usd":
        raise ValueError(f"an amount of {provider}'s is in {currency}, and only US dollars can be compared")
    number = Decimal(str(value))
    if not number.is_finite() or abs(number) > _MUCH:
        raise ValueError(f"{value!r} is no amount")
    # Sums of fractions of a cent come with thousands of digits, and as zeros with exponents to match.
    return round(number * unit) if abs(number) > Decimal("1e-12") else 0


def _tokens(row: Row, provider: str) -> int | None:
    names = [name for name in _TOKENS[provider] if name in row]
    written = row.get("cache_creation")
    more = sum(int(value) for value in written.values()) if isinstance(written, Mapping) else 0
    return sum(int(row[name]) for name in names) + more if names else None


def _model(row: Row) -> tuple[str, str]:
    model = row.get("model") or row.get("model_version")
    if model:
        return _spelled(str(model)), ""
    item = str(row.get("line_item") or row.get("description") or row.get("cost_type") or "")
    name, comma, _ = _PREFIX.sub("", item).partition(",")
    # "gpt-4o-2024-08-06, input" is a model's; "web search tool calls" is nobody's.
    plain = name.strip()
    if plain and " " not in plain and (comma or any(letter.isdigit() for letter in plain)):
        return _spelled(plain), ""
    return "", item


def _spelled(model: str) -> str:
    """A model's id, out of the name that is shown: ``Claude Haiku 4.5`` is ``claude-haiku-4.5``."""
    return "-".join(model.lower().split())


def _day(row: Row) -> date:
    told = row.get("usage_date_utc") or row.get("start_time_iso") or row["start_time"]
    if isinstance(told, int | Decimal) or str(told).isdigit():
        return datetime.fromtimestamp(int(told), UTC).date()
    moment = datetime.fromisoformat(str(told))
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC).date()
