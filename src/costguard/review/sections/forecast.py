"""Where a span that is not over will end, and the day each budget runs out."""

from __future__ import annotations

from datetime import date

from .._context import Context
from .._daily import back, daily, day_of, passed_of
from .._figures import day, money
from .._model import Advice, Column, Row, Section
from ..forecast import Forecast, NotEnough, forecast
from ..outlook import Outlook, outlooks

COLUMNS = (
    Column("what", "what", "text"), Column("spent", "so far", "money"), Column("expected", "at the end", "money"),
    Column("low", "from", "money", 2), Column("high", "to", "money", 2), Column("limit", "limit", "money", 1),
    Column("burn", "a day", "money", 3), Column("runs_out", "runs out", "text"),
)  # fmt: skip


def section(context: Context) -> Section | None:
    """The whole span and each budget; None where there is nothing ahead."""
    span = context.span
    if span.closed or span.kind == "day":
        return None
    whole = of_all(context)
    found = outlooks(context.journal, context.budgets, span.ends, context.scope)
    rows = [_all(whole), *[_budget(one) for one in found]]
    notes = [f"{str(whole).capitalize()}."] if isinstance(whole, NotEnough) else _notes(whole)
    return Section(
        "forecast",
        "Forecast",
        COLUMNS,
        tuple(rows),
        notes=tuple(notes),
        advice=tuple([advice for one in found for advice in _advice(one)]),
        facts=_facts(whole),
    )


def of_all(context: Context) -> Forecast | NotEnough:
    """What all calls of the span will have cost at its end."""
    span = context.span
    past = daily(context.journal, back(span.ends), span.ends, span.timezone, tags=context.scope)[()]
    today, end = day_of(span.ends, span.timezone), day_of(span.until - 1, span.timezone)
    until = date.fromordinal(end.toordinal() + 1)
    return forecast(past, context.total().nano, today, until, passed_of(span.ends, span.timezone))


def _all(whole: Forecast | NotEnough) -> Row:
    if isinstance(whole, NotEnough):
        return ("all calls", whole.spent, None, None, None, None, None, "no limit")
    return ("all calls", whole.spent, whole.expected, whole.low, whole.high, None, _burn(whole), "no limit")


def _burn(whole: Forecast) -> int | None:
    return sum(whole.days[1:]) // (len(whole.days) - 1) if len(whole.days) > 1 else None


def _budget(one: Outlook) -> Row:
    ahead = one.forecast if isinstance(one.forecast, Forecast) else None
    figures = (None, None, None) if ahead is None else (ahead.expected, ahead.low, ahead.high)
    return (one.budget, one.spent, *figures, one.limit, one.burn, _when(one))


def _when(one: Outlook) -> str:
    if one.exhausted:
        return "exhausted"
    if one.runs_out is not None:
        return f"~{day(one.runs_out)}"
    return "lasts" if isinstance(one.forecast, Forecast) else "not known"


def _notes(whole: Forecast) -> list[str]:
    rising = {1: ", carrying on a steady rise", -1: ", carrying on a steady fall", 0: ""}[whole.rising]
    return [
        f"From {whole.basis} complete days, by weekday{rising}. Four times out of five the end is between from and to."
    ]


def _advice(one: Outlook) -> list[Advice]:
    if one.exhausted or one.runs_out is None:
        return []
    ahead = one.forecast
    lack = ahead.expected - one.limit if isinstance(ahead, Forecast) else 0
    text = f"{one.budget} will be exhausted on {day(one.runs_out)}: {money(one.spent)} of {money(one.limit)} spent"
    text += f", {money(one.burn)} a day." if one.burn is not None else "."
    return [Advice("!", text, "raise its limit, or look at what costs most", lack)]


def _facts(whole: Forecast | NotEnough) -> dict[str, object]:
    if isinstance(whole, NotEnough):
        return {"enough": False, "complete_days": whole.basis}
    return {"enough": True, "complete_days": whole.basis, "rising": whole.rising, "days": list(whole.days)}
