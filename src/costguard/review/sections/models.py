"""Which models the money went to."""

from __future__ import annotations

from ..._journal import Sums
from .._context import Context
from .._model import Change, Column, Row, Section

BY = ("provider", "model")


def section(context: Context) -> Section | None:
    """Models by what they cost, with the share of spend and the cost of a call."""
    now, before = context.sums(BY), context.sums(BY, before=True)
    keys = sorted([key for key, sums in now.items() if sums.calls], key=lambda key: (-now[key].nano, key))
    if not keys:
        return None
    whole = context.total().nano
    shown = keys if not context.top or len(keys) <= context.top + 1 else keys[: context.top]
    rows = [_row(context, key, now[key], before.get(key), whole) for key in shown]
    if len(shown) < len(keys):
        rest = keys[len(shown) :]
        sums = sum([now[key] for key in rest], Sums())
        was = sum([before.get(key, Sums()) for key in rest], Sums())
        rows.append(_row(context, ("", f"({len(rest)} others)"), sums, was, whole))
    change = () if context.compared is None else (Column("change", "change", "change", 2),)
    return Section(
        "models",
        "Model mix",
        (
            Column("model", "model", "text"), Column("provider", "provider", "text", 4),
            Column("spend", "spend", "money"), Column("share", "share", "share"), *change,
            Column("calls", "calls", "count", 1), Column("per_call", "$/call", "money", 1),
            Column("input_tokens", "tokens in", "count", 5), Column("output_tokens", "out", "count", 6),
            Column("cached", "cached", "share", 3),
        ),
        tuple(rows),
    )  # fmt: skip


def _row(context: Context, key: tuple[str, ...], sums: Sums, before: Sums | None, whole: int) -> Row:
    change = () if context.compared is None else (Change(sums.nano, 0 if before is None else before.nano),)
    # Calls that nobody can price did not cost nothing.
    priced = bool(sums.nano) or not sums.unpriced
    return (
        *key[::-1], sums.nano if priced else None, sums.nano / whole if whole and priced else None, *change,
        sums.calls, sums.nano // sums.calls if sums.calls and priced else None,
        sums.input_tokens, sums.output_tokens, sums.cache_read / sums.input_tokens if sums.input_tokens else None,
    )  # fmt: skip
