"""What the figures rest on, said openly: what is a guess, what has no price, whose calls nobody knows."""

from __future__ import annotations

from .._context import Context
from .._figures import count, day, money
from .._model import Advice, Column, Section

FAILED = ("error", "unknown", "cancelled")


def section(context: Context) -> Section | None:
    """Parts of the calls that a reader has to know about."""
    whole = context.total()
    if not whole.calls and not whole.refused:
        return None
    nobody = context.sums(("feature",)).get(("",))
    failed = sum([sums.nano for (outcome,), sums in context.sums(("outcome",)).items() if outcome in FAILED])
    parts = [
        ("no feature", nobody.calls if nobody else 0, nobody.nano if nobody else 0),
        ("cost estimated, on the dear side", whole.estimated, whole.estimated_nano),
        ("partly without a price, not in spend", whole.unpriced, None),
        ("failed or cancelled", whole.failed, failed),
        ("refused by a budget", whole.refused, None),
        ("would have been refused", whole.would_block, None),
        ("answered from the cache", whole.cache_hits, None),
        ("sent to a cheaper model", whole.downgraded, None),
    ]
    rows = [
        (what, calls, nano, None if nano is None or not whole.nano else nano / whole.nano)
        for what, calls, nano in parts
        if calls
    ]
    return Section(
        "quality",
        "What the figures rest on",
        (
            Column("what", "calls that were", "text"), Column("calls", "calls", "count"),
            Column("spend", "spend", "money"), Column("share", "share", "share"),
        ),
        tuple(rows),
        notes=tuple(_notes(context)),
        advice=tuple(_advice(context)),
        facts={name: getattr(whole, name) for name in ("estimated", "unpriced", "failed", "refused", "would_block")},
    )  # fmt: skip


def _notes(context: Context) -> list[str]:
    extent, span, notes = context.journal.extent(), context.span, []
    if extent.since is not None and extent.since > span.since:
        notes.append(f"The journal begins on {span.date(extent.since)}; what was spent before is not in it.")
    if context.journal.dropped:
        notes.append(f"{count(context.journal.dropped)} calls were given up because the journal was away.")
    return notes


def _advice(context: Context) -> list[Advice]:
    whole, found = context.total(), []
    if whole.unpriced:
        models = sorted({key[1] for key, sums in context.sums(("provider", "model")).items() if sums.unpriced})
        named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
        text = f"{count(whole.unpriced)} calls have parts without a price, so spend is at least this much: {named}."
        found.append(Advice("?", text, 'costguard.prices.add("...", input=..., output=...)'))
    if whole.estimated_nano * 20 > whole.nano:
        text = f"{money(whole.estimated_nano)} of {money(whole.nano)} are estimates, on the dear side."
        found.append(Advice("?", text, context.step("report", "--group-by model,entry"), whole.estimated_nano))
    pruned = context.journal.extent().calls_since
    if pruned is not None and pruned > context.span.since and any(_needs_calls(name) for name in context.group_by):
        text = f"Calls before {day(context.span.date(pruned))} are pruned, so users and free tags are incomplete."
        found.append(Advice("?", text, "a longer ?keep= in the journal's URL"))
    return found


def _needs_calls(name: str) -> bool:
    return name == "user" or name.startswith("tag:")
