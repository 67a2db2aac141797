"""``/ai-spend/report``, ``/metrics`` and ``/healthz``: what was spent, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from starlette.exceptions import HTTPException

from .._config import state
from ..ports import Journal
from ..review import render, review, span
from . import _answers
from ._door import needs

router: Final = APIRouter(tags=["reports"], dependencies=[needs("read")])
health: Final = APIRouter(tags=["health"])

_NANO: Final = 1e9
Format = Literal["json", "csv", "html", "md"]


@router.get("/ai-spend/report", responses={
    200: {"content": {kind: {} for kind in ("application/json", "text/csv", "text/markdown", "text/html")},
          "description": "In the format that was asked for"},
    404: {"description": "No journal is kept"},
})  # fmt: skip
def report(
    period: Literal["monthly", "weekly", "daily"] = "monthly",
    group_by: Annotated[str, Query(max_length=200)] = "feature",
    month: Annotated[str, Query(pattern=r"^\d{4}-\d{2}$")] | None = None,
    timezone: Annotated[str, Query(max_length=64)] = "UTC",
    format: Format = "json",
    top: Annotated[int, Query(ge=0, le=10_000)] = 0,
) -> Any:
    """The review of a period, as `costguard report` makes it."""
    reviewed = span(
        state.guard.clock(), month=month, period="monthly" if month else period, timezone=timezone
    )  # fmt: skip
    made = review(
        journal(), reviewed, budgets=state.guard.admission.known(), top=top, catalog=state.catalog,
        group_by=[name.strip() for name in group_by.split(",") if name.strip()] or ["feature"],
    )  # fmt: skip
    text = render(made, format)
    if format == "html":
        # The page is one file with its styles in it, and no script.
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
        return HTMLResponse(text, headers={"content-security-policy": policy})
    if format == "json":
        return JSONResponse(json.loads(text))
    return PlainTextResponse(text, media_type="text/csv" if format == "csv" else "text/markdown")


def journal() -> Journal:
    """The journal, everything that was told written."""
    kept = state.guard.journal
    if kept is None:
        raise HTTPException(404, "this server keeps no journal, so there is nothing to report; start it with --journal")
    kept.flush(5.0)
    return kept


@router.get("/metrics", response_class=PlainTextResponse)
def metrics() -> PlainTextResponse:
    """Budgets and spend, as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Books())
    return PlainTextResponse(generate_latest(registry).decode(), media_type=CONTENT_TYPE_LATEST)


class _Books:
    """Reads the books when it is scraped."""

    def collect(self) -> Iterator[Any]:
        """The families of metrics. The amounts are floats, as everything is in Prometheus; the ledger's are not."""
        guard = state.guard
        families = {
            name: GaugeMetricFamily(f"costguard_budget_{name}_usd", words, labels=["budget"])
            for name, words in (
                ("limit", "The limit in force."), ("spent", "Spent in the present window."),
                ("held", "Reserved for calls in flight."),
            )
        }  # fmt: skip
        for one in guard.windows():
            for name, amount in (("limit", one.leg.limit), ("spent", one.spent), ("held", one.held)):
                families[name].add_metric([one.leg.budget], amount / _NANO)
        yield from families.values()
        cost = CounterMetricFamily("costguard_cost_usd", "What calls told here did cost.", labels=["feature", "model"])
        calls = CounterMetricFamily("costguard_calls", "Calls told here.", labels=["feature", "model"])
        tallies: dict[tuple[str, str], list[int]] = {}
        for cell, tally in guard.tallies.read({}):
            sums = tallies.setdefault((dict(cell.tags).get("feature", ""), cell.model), [0, 0])
            sums[0] += tally.nano
            sums[1] += tally.calls
        for labels, (nano, count) in sorted(tallies.items()):
            cost.add_metric(list(labels), nano / _NANO)
            calls.add_metric(list(labels), count)
        yield cost
        yield calls


@health.get("/healthz", response_model=_answers.Health)
def healthz() -> JSONResponse:
    """Whether the server can count: 200, or 503 when its ledger is away."""
    state.guard.ledger.balances([])
    return JSONResponse({"status": "ok"})
