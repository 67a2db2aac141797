"""A provider's books beside ours, as a table; see `costguard.review.reconcile`."""

from __future__ import annotations

from decimal import Decimal

from .._figures import money
from .._model import Advice, Column, Row, Section
from ..reconcile import Drift, Reconciled

MONEY = (
    Column("ours", "ours", "money"), Column("theirs", "theirs", "money"), Column("drift", "drift", "money"),
    Column("percent", "of theirs", "share", 1),
)  # fmt: skip
TOKENS = (
    Column("our_tokens", "our tokens", "count"), Column("their_tokens", "their tokens", "count"),
    Column("token_drift", "drift", "count"), Column("token_percent", "of theirs", "share", 1),
)  # fmt: skip

_DAYS = "Days are in UTC, as providers bill them; their reports may settle for some days after."


def section(found: Reconciled, tolerance: Decimal) -> Section:
    """Each day and model in both books."""
    in_money = found.total.theirs is not None
    models = (Column("model", "model", "text"),) if found.by_model else ()
    columns = (Column("day", "day", "text"), *models, *(MONEY if in_money else TOKENS))
    return Section(
        "reconciled",
        "Both books",
        columns,
        tuple([_row(found, one, in_money) for one in found.drifts]),
        ("total", *(["—"] if found.by_model else []), *_figures(found.total, in_money)),
        notes=tuple(_notes(found)),
        advice=tuple(_advice(found, tolerance)),
        facts={
            "provider": found.provider, "first": str(found.first), "last": str(found.last),
            "beyond_tolerance": len(found.beyond(tolerance)), "tolerance_percent": str(tolerance),
        },
    )  # fmt: skip


def _row(found: Reconciled, one: Drift, in_money: bool) -> Row:
    model = (one.model,) if found.by_model else ()
    return (str(one.day), *model, *_figures(one, in_money))


def _figures(one: Drift, in_money: bool) -> Row:
    ours, theirs = (one.ours, one.theirs) if in_money else (one.our_tokens, one.their_tokens)
    if ours is None or theirs is None:
        return (ours, theirs, None, None)
    return (ours, theirs, theirs - ours, (theirs - ours) / theirs if theirs else None)


def _notes(found: Reconciled) -> list[str]:
    said = [f"Drift is what {found.provider} has more than we.", _DAYS]
    if found.rest:
        items = "; ".join(f"{name} {money(nano)}" for name, nano in found.rest)
        said.append(f"Not of any model, and not compared: {items}.")
    return said


def _advice(found: Reconciled, tolerance: Decimal) -> list[Advice]:
    advice = []
    unseen = [one for one in found.drifts if one.theirs and not one.ours]
    if unseen:
        lacking = sum(one.theirs or 0 for one in unseen)
        models = ", ".join(sorted({one.model or "all of it" for one in unseen})[:3])
        text = f"{money(lacking)} were billed for what the journal has no call of: {models}."
        advice.append(Advice("!", text, "look for programs with that key that are not instrumented", lacking))
    far = [one for one in found.beyond(tolerance) if one.nano is not None]
    if far:
        apart = sum(abs(one.nano or 0) for one in far)
        rows = "1 row is" if len(far) == 1 else f"{len(far)} rows are"
        text = f"{rows} more than {tolerance}% apart, {money(apart)} together."
        advice.append(Advice("!", text, "costguard.prices.add(...) for negotiated rates", apart))
    return advice
