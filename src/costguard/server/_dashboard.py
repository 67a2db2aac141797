"""``/dashboard``: budgets burning down, spend, refusals and alerts, live. It works without its script too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import jinja2
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from .._config import state
from .._journal import Selection, Sums
from .._period import Period
from .._shield import log
from .._types import Alert, Balance, CostEvent, Nano
from ..ports import Journal
from ..review._daily import day_of, passed_of
from ..review._figures import count, day, money, share
from ..review.forecast import Forecast
from ..review.formats._charts import Bars, Burn, Part, bars, burn, mix
from ..review.formats.html import PAGE, percent
from ..review.outlook import Outlook
from ._budgets import ahead, standing
from ._door import COOKIE, permit
from ._sessions import LASTS
from ._tokens import write_private

DAYS: Final = 14
"""Days that spend is shown of."""
LISTED: Final = 7
"""Days that the table of a budget's chart has one by one."""
REMEMBERED: Final = 200
"""Alerts the times of which are kept."""
CHARTS: Final = 4
"""Budgets that are drawn, the fullest first; the table has all of them."""
_QUARTER: Final = 900
_DAY: Final = 86_400
_HERE: Final = Path(__file__).with_name("page")

router: Final = APIRouter(include_in_schema=False)


class Alerts:
    """An exporter that remembers when the latest alerts were, also after a restart.

    Args:
        path: the file that they are kept in; it need not be there.

    Attributes:
        times: UTC epoch seconds by the alerts' ids, the latest last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.times: dict[str, float] = {}
        try:
            self.times = {str(id): float(at) for id, at in json.loads(path.read_text("utf-8")).items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # The books say what was reached; only the times are lost.
            log.warning("%s: no file of alerts (%s: %s)", path, type(error).__name__, error)

    def export(self, record: CostEvent | Alert) -> None:
        """Remember an alert."""
        if isinstance(record, Alert):
            with self._lock:
                latest = [*self.times.items(), (record.id, record.time)][-REMEMBERED:]
                self.times = dict(latest)
                write_private(self._path, json.dumps(self.times, indent=1))

    def flush(self, timeout: float) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A window's chart, and the figures that it draws: the latest days with what was spent on each and up to its end,
    the latest first, and what was spent before them."""

    burn: Burn
    days: tuple[tuple[str, Nano, Nano], ...]
    before: Nano


@dataclass(frozen=True, slots=True)
class Row:
    """One budget's window, with where it is heading and its chart."""

    balance: Balance
    ahead: Outlook | None
    chart: Chart | None

    @property
    def forecast(self) -> Forecast | None:
        """What it will have cost at its end, where enough is known."""
        found = self.ahead
        return found.forecast if found is not None and isinstance(found.forecast, Forecast) else None

    @property
    def used(self) -> float:
        """The share of the limit that is spent."""
        limit = self.balance.leg.limit
        return self.balance.spent / limit if limit else 1.0

    @property
    def heading(self) -> str:
        """Where it is heading, in words."""
        found = self.ahead
        if found is None or self.balance.paused:
            return "paused" if self.balance.paused else "—"
        if found.exhausted:
            return "used up"
        told = [f"runs out {day(found.runs_out)}"] if found.runs_out is not None else []
        if self.forecast is not None:
            told.append(f"{money(self.forecast.expected)} at its end")
        return ", ".join(told) or "too early to tell"

    @property
    def resets(self) -> str:
        """When it begins anew."""
        leg = self.balance.leg
        return "—" if leg.ends is None or leg.slots else f"{datetime.fromtimestamp(leg.ends, UTC):%b %d, %H:%M}"


@router.get("/dashboard")
def page(request: Request, token: str = "", live: str = "yes") -> Response:
    """The whole page; whoever is not known is asked for a token."""
    if token and request.app.state.sessions.redeem(token):
        return _admitted(request, lambda: True)
    try:
        permit(request, "read")
    except HTTPException as error:
        return _html("login.html", error.status_code, wrong=bool(token))
    return _html("dashboard.html", live=live != "no", **_shown(request))


@router.post("/dashboard")
async def login(request: Request) -> Response:
    """Exchange a token for a cookie that is good for reading until the token is revoked."""
    secret = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0].strip()
    tokens = request.app.state.tokens
    if not tokens.allow(secret, "read"):
        return _html("login.html", 401, wrong=True)
    return _admitted(request, lambda: bool(tokens.allow(secret, "read")))


@router.get("/dashboard/live")
def fragment(request: Request) -> Response:
    """What changes of the page."""
    try:
        permit(request, "read")
    except HTTPException as error:
        # The whole page is loaded again, which asks for a token.
        return Response(status_code=error.status_code, headers={"HX-Refresh": "true"})
    return _html("live.html", **_shown(request))


@router.get("/dashboard/htmx.min.js")
def script() -> Response:
    """The one script, which is part of the package."""
    return FileResponse(_HERE / "htmx.min.js", media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})


def _admitted(request: Request, good: Any) -> Response:
    answer = RedirectResponse("/dashboard", 303)
    answer.set_cookie(
        COOKIE, request.app.state.sessions.begin(good), max_age=LASTS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https", path="/",
    )  # fmt: skip
    return answer


_templates: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader([_HERE, PAGE]), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)  # fmt: skip
_templates.filters |= {"money": money, "count": count, "share": share, "percent": percent}


def _html(name: str, status: int = 200, **shown: Any) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(name).render(**shown), status)


def _shown(request: Request) -> dict[str, Any]:
    now, kept = state.guard.clock(), state.guard.journal
    if kept is not None:
        kept.flush(1.0)
    balances = [(balance, ahead(known, balance), known) for balance, known in standing()]
    drawn = [_chart(kept, balance, found, known.period.timezone, now) if kept and known else None
             for balance, found, known in balances[:CHARTS]]  # fmt: skip
    drawn += [None] * (len(balances) - len(drawn))
    rows = [Row(balance, found, chart) for (balance, found, _), chart in zip(balances, drawn, strict=True)]
    return {
        "at": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC", "rows": rows, "days": DAYS,
        "alerts": _alerts(rows, request.app.state.alerts.times), "kept": kept is not None,
        **(_spend(kept, now) if kept is not None else {}),
    }  # fmt: skip


def _chart(kept: Journal, balance: Balance, found: Outlook | None, zone: str, now: float) -> Chart | None:
    leg = balance.leg
    if leg.slots or leg.ends is None or leg.ends - leg.starts < 2 * _DAY or not balance.spent:
        return None
    edges = _days(leg.starts, leg.ends, zone)
    sums = dict.fromkeys(edges, 0)
    for group in kept.sums(Selection(leg.starts, _quarter(now), dict(leg.scope)), (), edges):
        sums[group.starts] = sums.get(group.starts, 0) + group.sums.nano
    told = found.forecast if found is not None and isinstance(found.forecast, Forecast) else None
    spent = [sums[at] for at in edges if at <= now]
    names = [day(day_of(at, zone)) for at in edges]
    drawn = burn(
        spent, told.days if told else (), told.low if told else 0,
        told.high if told else 0, leg.limit, names, passed_of(now, zone),
    )  # fmt: skip
    table = list(zip(names, spent, accumulate(spent), strict=False))
    return Chart(drawn, tuple(reversed(table[-LISTED:])), sum(spent[:-LISTED]))


def _days(since: float, until: float, zone: str) -> list[float]:
    found: list[float] = []
    at = since
    while at < until and len(found) < 400:
        found.append(at)
        at = Period("day", zone).window(at, "").ends or until
    return found


def _quarter(now: float) -> float:
    """Where the running quarter of an hour ends: whole ones are read quickly, and the future has no calls."""
    return (now // _QUARTER + 1) * _QUARTER


def _spend(kept: Journal, now: float) -> dict[str, Any]:
    today = now // _DAY * _DAY
    edges = [today - _DAY * back for back in reversed(range(DAYS))]
    daily = dict.fromkeys(edges, Sums())
    features: dict[str, Sums] = {}
    models: dict[str, Sums] = {}
    held_up: dict[tuple[str, ...], Sums] = {}
    for group in kept.sums(Selection(edges[0], _quarter(now)), ("feature", "model"), edges):
        feature, model = group.key
        daily[group.starts] = daily.get(group.starts, Sums()) + group.sums
        features[feature] = features.get(feature, Sums()) + group.sums
        models[model] = models.get(model, Sums()) + group.sums
        held_up[group.key] = held_up.get(group.key, Sums()) + group.sums
    whole = sum(daily.values(), Sums())
    return {
        "today": daily[today], "whole": whole,
        "daily": [(day(day_of(at, "UTC")), one) for at, one in daily.items()], "bars": _bars(daily),
        "features": _ranked(features), "models": _ranked(models), "mix": _mix(_ranked(models), whole.nano),
        "held_up": [
            (*key, one) for key, one in sorted(held_up.items(), key=lambda item: -item[1].refused - item[1].downgraded)
            if one.refused or one.downgraded or one.would_block
        ][:20],
        "unpriced": [(name, one) for name, one in _ranked(models) if one.unpriced],
    }  # fmt: skip


def _ranked(found: Mapping[str, Sums]) -> list[tuple[str, Sums]]:
    return sorted(found.items(), key=lambda item: (-item[1].nano, item[0]))


def _bars(daily: Mapping[float, Sums]) -> Bars:
    labels = [day(day_of(at, "UTC")) for at in daily]
    titles = [f"{label}: {money(one.nano)}" for label, one in zip(labels, daily.values(), strict=True)]
    weekends = [day_of(at, "UTC").weekday() > 4 for at in daily]
    return bars([one.nano for one in daily.values()], labels, titles, weekends)


def _mix(models: Sequence[tuple[str, Sums]], whole: int) -> tuple[Part, ...]:
    paid = [(name, one.nano) for name, one in models if one.nano]
    return mix(
        [nano for _, nano in paid], [name or "(none)" for name, _ in paid], [share(nano / whole) for _, nano in paid]
    )


def _alerts(rows: Iterable[Row], times: Mapping[str, float]) -> list[tuple[str, float, Balance, str]]:
    """The thresholds that are reached, the latest first; when, for those that a server of this home alerted of."""
    found = []
    for row in rows:
        leg = row.balance.leg
        for mark, nano in leg.marks:
            if row.balance.spent >= nano:
                at = times.get(f"{leg.budget}/{leg.window}/{mark:g}", 0.0)
                found.append((at, leg.budget, mark, row.balance))
    found.sort(key=lambda one: (-one[0], one[1], -one[2]))
    return [
        (name, mark, balance, f"{datetime.fromtimestamp(at, UTC):%b %d, %H:%M}" if at else "elsewhere")
        for at, name, mark, balance in found[:20]
    ]
