"""A review's figures once more, by plain SQL over the calls themselves: no code of the review, none of its sums."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

Asked = Callable[..., list[tuple[Any, ...]]]

MADE = "outcome <> 'refused'"


def figures(path: str, since: float, until: float, before: float) -> dict[str, Any]:
    """The figures of a file's journal for calls from `since` to `until`, compared with those from `before`."""
    connection = sqlite3.connect(path)

    def ask(query: str, *values: object) -> list[tuple[Any, ...]]:
        return connection.execute(query, values).fetchall()

    try:
        return _figures(ask, *[round(at * 10**6) for at in (since, until, before)])
    finally:
        connection.close()


def _figures(ask: Asked, since: int, until: int, before: int) -> dict[str, Any]:
    calls = f"FROM calls WHERE at >= ? AND at < ? AND {MADE}"
    span = (since, until)
    return {
        "spent": ask(f"SELECT sum(nano), count(*), sum(saved), sum(unpriced <> '') {calls}", *span)[0],
        "before": ask(f"SELECT coalesce(sum(nano), 0) {calls}", before, since)[0][0],
        "features": _by_first(ask(
            "SELECT feature, sum(nano), count(*), sum(cache_read), sum(input),"
            f" sum(outcome IN ('error', 'unknown', 'cancelled')) {calls} GROUP BY feature", *span,
        )),
        "features_before": _by_first(ask(f"SELECT feature, sum(nano) {calls} GROUP BY feature", before, since)),
        "models": {
            row[:2]: row[2:]
            for row in ask(
                f"SELECT provider, model, sum(nano), count(*), sum(input), sum(output) {calls} GROUP BY 1, 2", *span
            )
        },
        "days": _by_first(ask(
            f"SELECT date(at / 1000000, 'unixepoch'), sum(nano), count(*) {calls} GROUP BY 1", *span
        )),
        "trends": {
            row[:2]: row[2]
            for row in ask(
                f"SELECT feature, date(at / 1000000, 'unixepoch'), sum(nano) {calls} GROUP BY 1, 2", *span
            )
        },
        "quality": ask(
            "SELECT sum(feature = ''), sum((feature = '') * nano), sum(estimated), sum(estimated * nano),"
            " sum(unpriced <> ''), sum(outcome IN ('error', 'unknown', 'cancelled')),"
            f" sum((outcome IN ('error', 'unknown', 'cancelled')) * nano) {calls}", *span,
        )[0],
        "value": _by_first(_value(ask, *span)),
        "value_before": _by_first(_value(ask, before, since)),
    }  # fmt: skip


def _value(ask: Asked, since: int, until: int) -> list[tuple[Any, ...]]:
    """Each simulated run has at most one result, so a plain join is the whole truth."""
    return ask(
        "SELECT name, count(*), sum(value), sum(cost), sum(made), sum(failed) FROM ("
        " SELECT results.id, results.name, results.value, sum(calls.nano) AS cost, count(*) AS made,"
        "  sum(calls.outcome IN ('error', 'unknown', 'cancelled')) AS failed"
        " FROM results JOIN calls ON calls.run = results.run"
        " WHERE results.at >= ? AND results.at < ? GROUP BY results.id) GROUP BY name",
        since, until,
    )  # fmt: skip


def _by_first(rows: list[tuple[Any, ...]]) -> dict[Any, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in rows}


def compare(document: Mapping[str, Any], truth: Mapping[str, Any]) -> int:
    """Check every figure of a review's JSON against the truth, and return how many there were."""
    checks = [*_verdict(document, truth), *_spend(document, truth), *_rest(document, truth)]
    for what, reported, true in checks:
        assert reported == true, f"{what}: the review says {reported}, SQL says {true}"
    return len(checks)


def _verdict(document: Mapping[str, Any], truth: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    verdict = document["verdict"]
    nano, calls, saved, unpriced = truth["spent"]
    total = document["sections"]["spend"]["total"]
    return [
        ("spent", verdict["spent"], usd(nano)),
        ("spent before", verdict["spent_before"], usd(truth["before"])),
        ("calls", verdict["calls"], calls),
        ("saved", verdict["saved"], usd(saved)),
        ("without a price", verdict["calls_without_a_price"], unpriced),
        ("total", total["spend"], usd(nano)),
        ("total calls", total["calls"], calls),
        ("total per call", total["per_call"], usd(nano // calls)),
        ("total change", total["change"], change(nano, truth["before"])),
    ]


def _spend(document: Mapping[str, Any], truth: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    rows = document["sections"]["spend"]["rows"]
    checks: list[tuple[str, Any, Any]] = [("features", {row["feature"] for row in rows}, set(truth["features"]))]
    days = sorted(truth["days"])
    for row in rows:
        name = row["feature"]
        nano, calls, cached, tokens, failed = truth["features"][name]
        was = truth["features_before"].get(name, (0,))[0]
        checks += [
            (name, row["spend"], usd(nano) if nano else None),
            (f"{name} calls", row["calls"], calls),
            (f"{name} failed", row["failed"], failed),
            (f"{name} per call", row["per_call"], usd(nano // calls) if nano else None),
            (f"{name} cached", row["cached"], round(cached / tokens, 6)),
            (f"{name} change", row["change"], change(nano, was)),
            (f"{name} trend", row["trend"], [usd(truth["trends"].get((name, day), 0)) for day in days]),
        ]
    return checks


def _rest(document: Mapping[str, Any], truth: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    sections, whole = document["sections"], truth["spent"][0]
    checks: list[tuple[str, Any, Any]] = []
    for row in sections["models"]["rows"]:
        nano, calls, tokens_in, tokens_out = truth["models"].pop((row["provider"], row["model"]))
        checks += [
            (f"{row['model']} spend", row["spend"], usd(nano) if nano else None),
            (f"{row['model']} share", row["share"], round(nano / whole, 6) if nano else None),
            (f"{row['model']} calls", (row["calls"], row["input_tokens"], row["output_tokens"]),
             (calls, tokens_in, tokens_out)),
        ]  # fmt: skip
    checks.append(("models left out", truth["models"], {}))
    for row in sections["steps"]["rows"]:
        nano, calls = truth["days"].get(row["since"], (0, 0))
        checks.append((row["since"], (row["spend"], row["calls"]), (usd(nano), calls)))
    nobody, nobody_nano, estimated, estimated_nano, unpriced, failed, failed_nano = truth["quality"]
    expected = {
        "no feature": (nobody, usd(nobody_nano)),
        "cost estimated, on the dear side": (estimated, usd(estimated_nano)),
        "partly without a price, not in spend": (unpriced, None),
        "failed or cancelled": (failed, usd(failed_nano)),
    }
    reported = {row["what"]: (row["calls"], row["spend"]) for row in sections["quality"]["rows"]}
    checks.append(("quality", reported, {what: it for what, it in expected.items() if it[0]}))
    checks.append(("outcomes", {row["outcome"] for row in sections["value"]["rows"]}, set(truth["value"])))
    for row in sections["value"]["rows"]:
        count, value, cost, calls, failed = truth["value"][row["outcome"]]
        was = truth["value_before"].get(row["outcome"])
        checks += [
            (row["outcome"], (row["count"], row["value"], row["cost"]), (count, usd(value), usd(cost))),
            (f"{row['outcome']} each", row["each"], usd(cost // count)),
            (f"{row['outcome']} calls", (row["calls"], row["failed"]), (calls, failed)),
            (f"{row['outcome']} margin", row["margin"], usd(value - cost)),
            (f"{row['outcome']} change", row["change"], change(cost // count, was[2] // was[0] if was else 0)),
        ]
    return checks


def usd(nano: int) -> str:
    """Dollars as the documents write them."""
    return f"{Decimal(nano).scaleb(-9):f}"


def change(now: int, before: int) -> float | None:
    """By what part an amount changed."""
    return round((now - before) / before, 6) if before else None
