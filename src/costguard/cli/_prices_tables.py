"""The tables of ``costguard prices``, for people."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .._rates import TOKEN_UNITS
from ..errors import MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(about: Mapping[str, Any]) -> None:
    """The prices of a model."""
    console = _console()
    _say(console, f"{about['provider']}/{about['model']}", _facts(about))
    for price in about["prices"]:
        _say(console, _heading(price), "")
        table = _table("unit", "tier", "US dollars", "for")
        for tier, rates in price["tiers"].items():
            for unit, rate in rates.items():
                table.add_row(unit, tier, rate["usd"], _each(rate["for"]))
                for step in rate.get("above", ()):
                    table.add_row(f"  above {step['input_tokens']:,}", tier, step["usd"], _each(rate["for"]))
        console.print(table)
    _sourced(console, about)


def explain(about: Mapping[str, Any]) -> None:
    """The lines of a cost."""
    console = _console()
    table = _table("unit", "quantity", "rate", "US dollars", "why")
    for line in about["lines"]:
        rate = "" if line["rate_usd"] is None else _rate(line["rate_usd"], line["unit"] in TOKEN_UNITS)
        table.add_row(line["unit"], f"{line['quantity']:,}", rate, line["usd"] or "?", line["note"])
    console.print(table)
    _say(console, f"${about['usd']}", f"priced as {about['entry'] or 'nothing'}, tier {about['tier']}")
    if "recorded" in about:
        _say(console, f"${about['recorded']['usd']}", f"recorded, priced as {about['recorded']['entry'] or 'nothing'}")
    if about["stands_for"]:
        _say(console, "", f"{about['model']} stands for {about['stands_for']} at the moment")
    if about["discount_percent"]:
        _say(console, "", f"the rates are {about['discount_percent']} % below the list, by your discount")
    for words in about["assumed"]:
        _say(console, "", words)
    if about["unpriced"]:
        _say(console, "", f"without a price, and not in the sum: {', '.join(about['unpriced'])}")
    _sourced(console, about)


def repriced(about: Mapping[str, Any], shown: int) -> None:
    """The calls that were priced again."""
    console = _console()
    if about["calls"]:
        table = _table("call", "before", "after", "priced as")
        for call in about["calls"][:shown]:
            table.add_row(call["id"], call["before_usd"], call["after_usd"], call["after_entry"])
        console.print(table)
    if len(about["calls"]) > shown:
        _say(console, "", f"and {len(about['calls']) - shown:,} more")
    done = "corrected" if about["written"] else "to correct, nothing was written"
    _say(console, f"{about['changed']:,} calls", f"{done}: ${about['before_usd']} before, ${about['after_usd']} after")
    if about["written"]:
        _say(console, f"{about['ledger_corrected']:,}", "of them in the ledger's windows too")
    _say(console, f"{about['same']:,}", "cost what was recorded")
    if about["left_out"]:
        _say(console, f"{about['left_out']:,}", "are not charged by their usage (cut off, refused, unknown) and stay")


def _rate(usd: str, tokens: bool) -> str:
    return f"{f'{Decimal(usd) * 1_000_000:f}'.rstrip('0').rstrip('.')} /M" if tokens else f"{usd} each"


def _facts(about: Mapping[str, Any]) -> str:
    facts = []
    if about["moves"]:
        facts.append(f"what {about['asked']} stands for at the moment")
    if about["why"]:
        facts.append(about["why"])
    if about["context"]:
        facts.append(f"takes {about['context']:,} tokens")
    if about["max_output"]:
        facts.append(f"gives up to {about['max_output']:,}")
    if about["retired"]:
        facts.append("retired" if about["retired"] == "past" else f"{_retires(about)} on {about['retired']}")
    if about["free"]:
        facts.append("listed as free")
    if about["discount_percent"]:
        facts.append(f"{about['discount_percent']} % off by your discount, which is not in these rates")
    facts += [f"times {ratio} in {'any region' if name == '*' else name}" for name, ratio in about["regions"].items()]
    return ", ".join(facts)


def _retires(about: Mapping[str, Any]) -> str:
    return "retires" if about["current"] else "retired"


def _heading(price: Mapping[str, Any]) -> str:
    hours = f", {price['hours'][0]} to {price['hours'][1]} UTC" if price["hours"] else ""
    since = f"from {price['from']}" if price["from"] else "always"
    return f"{since}{hours}{', own price' if price['own'] else ''}{', holds now' if price['holds'] else ''}"


def _each(units: int) -> str:
    return "a million" if units == 1_000_000 else "each" if units == 1 else f"{units:,}"


def _sourced(console: Console, about: Mapping[str, Any]) -> None:
    if about["source"]:
        checked = f", checked {about['checked']}" if about["checked"] else ""
        _say(console, "", f"{about['source']}{checked}")


def _say(console: Console, strong: str, plain: str) -> None:
    from rich.text import Text

    text = Text(strong, style="bold")
    if plain:
        text.append(f"{'  ' if strong else ''}{plain}", style="not bold")
    console.print(text)


def _console() -> Console:
    try:
        from rich.console import Console
    except ImportError:
        raise MissingExtraError("cli") from None
    return Console(highlight=False)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = column in ("quantity", "rate", "US dollars", "before", "after")
        table.add_column(column, justify="right" if numbers else "left", no_wrap=numbers, overflow="fold")
    return table
