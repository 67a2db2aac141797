"""The tables of the PostgreSQL ledger, and its steps in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from .._book import Entry, Row, Step, WindowKey
from .._outbox import AlertKey, Pending, key_of
from .._terms import PLAIN, Terms
from .._types import Amendment, Crossing, Leg
from ._postgres_wire import Rows, Wire
from ._records import (
    adjusted_as_json,
    amendment_as_json,
    amendment_from_json,
    entry_from,
    leg_from_json,
    leg_text,
    legs_as_json,
    terms_as_text,
    terms_from_text,
)
from ._stepped import REMEMBERED, decided, slot_range

MIGRATE: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    "{patience}",
    "SELECT pg_advisory_xact_lock({lock})",
    "CREATE SCHEMA IF NOT EXISTS {schema}",
    """CREATE TABLE IF NOT EXISTS {schema}.migrations (
        number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now()
    )""",
)
VERSION: Final = "SELECT coalesce(max(number), 0) FROM {schema}.migrations"
MIGRATED: Final = "INSERT INTO {schema}.migrations (number) VALUES ({number})"

MIGRATIONS: Final = (
    (
        """CREATE TABLE {schema}.windows (
            budget text COLLATE "C" NOT NULL, "window" text COLLATE "C" NOT NULL,
            spent bigint NOT NULL, held bigint NOT NULL, fired float8 NOT NULL, ends float8,
            PRIMARY KEY (budget, "window")
        )""",
        """CREATE TABLE {schema}.holds (
            id text COLLATE "C" PRIMARY KEY, state text NOT NULL, amount bigint NOT NULL, first bigint NOT NULL,
            booked bigint NOT NULL, expires float8 NOT NULL, legs text NOT NULL
        )""",
        "CREATE INDEX windows_ends ON {schema}.windows (ends)",
        "CREATE INDEX holds_open ON {schema}.holds (expires) WHERE state = 'open'",
        "CREATE INDEX holds_ended ON {schema}.holds (expires) WHERE state <> 'open'",
    ),
    ("ALTER TABLE {schema}.holds ADD COLUMN adjusted text",),
    (
        "ALTER TABLE {schema}.holds ADD COLUMN at float8 NOT NULL DEFAULT 0",
        "ALTER TABLE {schema}.windows ADD COLUMN leg text",
        'CREATE TABLE {schema}.terms (budget text COLLATE "C" PRIMARY KEY, terms text NOT NULL)',
        """CREATE TABLE {schema}.amendments (
            number bigserial PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE, budget text COLLATE "C" NOT NULL,
            record text NOT NULL
        )""",
    ),
    (
        """CREATE TABLE {schema}.alerts (
            budget text COLLATE "C" NOT NULL, "window" text COLLATE "C" NOT NULL, percent float8 NOT NULL,
            spent bigint NOT NULL, leg text NOT NULL, until float8, PRIMARY KEY (budget, "window", percent)
        )""",
    ),
    (
        # The books of single runs had no end before; those that are still used get one at their next call.
        """UPDATE {schema}.windows SET ends = extract(epoch FROM now()) + 366 * 86400.0
        WHERE ends IS NULL AND "window" LIKE 'run:%'""",
    ),
)
"""Each is applied once, in order; the table ``migrations`` tells which were. Never edit one: add another."""

_ROWS: Final = 'SELECT budget, "window", spent, held, fired, ends FROM {schema}.windows WHERE {wanted}'
_ENTRY: Final = "SELECT state, amount, first, booked, expires, legs, adjusted, at FROM {schema}.holds WHERE id = {id}"
_WRITE_ROWS: Final = """
    INSERT INTO {schema}.windows AS known (budget, "window", spent, held, fired, ends, leg) VALUES {rows}
    ON CONFLICT (budget, "window") DO UPDATE SET spent = excluded.spent, held = excluded.held,
        fired = excluded.fired, ends = excluded.ends, leg = coalesce(excluded.leg, known.leg)"""
_ADD: Final = """
    INSERT INTO {schema}.holds (id, state, amount, first, booked, expires, legs, at)
    VALUES ({id}, '{state}', {amount}, {first}, {booked}, {expires}, {legs}, {at})"""
_CHANGE: Final = """
    UPDATE {schema}.holds SET state = '{state}', amount = {amount}, booked = {booked}, adjusted = {adjusted}
    WHERE id = {id}"""
_WINDOWS: Final = """
    SELECT budget, "window", spent, held, fired, ends, leg FROM {schema}.windows
    WHERE leg IS NOT NULL AND (ends IS NULL OR ends > {at})"""
_TERMS: Final = "SELECT budget, terms FROM {schema}.terms WHERE {wanted}"
_AMENDMENTS: Final = "SELECT record FROM {schema}.amendments WHERE {wanted} ORDER BY number"
_AMEND: Final = (
    "INSERT INTO {schema}.amendments (id, budget, record) VALUES ({id}, {budget}, {record})",
    """INSERT INTO {schema}.terms VALUES ({budget}, {terms})
    ON CONFLICT (budget) DO UPDATE SET terms = excluded.terms""",
)
_DECIDED: Final = """
    INSERT INTO {schema}.alerts VALUES {alerts} ON CONFLICT (budget, "window", percent)
    DO UPDATE SET spent = excluded.spent, leg = excluded.leg, until = NULL"""
_PENDING: Final = """
    SELECT percent, spent, leg, until FROM {schema}.alerts WHERE until IS NULL OR until <= {now} LIMIT {limit}
    FOR UPDATE SKIP LOCKED"""
_HAND_OUT: Final = """
    UPDATE {schema}.alerts SET until = {until} WHERE (budget, "window", percent) IN ({alerts})"""
_DELIVERED: Final = 'DELETE FROM {schema}.alerts WHERE (budget, "window", percent) IN ({alerts})'
_OVERDUE: Final = """
    SELECT id FROM {schema}.holds WHERE state = 'open' AND expires <= {now} ORDER BY expires LIMIT {limit}"""
_FORGET: Final = """
    DELETE FROM {schema}.windows WHERE (budget, "window") IN (
        SELECT budget, "window" FROM {schema}.windows WHERE ends < {over} AND held = 0 FOR UPDATE SKIP LOCKED
    )"""
_FORGET_HOLDS: Final = """
    DELETE FROM {schema}.holds WHERE id IN (
        SELECT id FROM {schema}.holds WHERE state <> 'open' AND expires < {long_ago} LIMIT {limit}
        FOR UPDATE SKIP LOCKED
    ) RETURNING 1"""
"""What another step has in hand is skipped: waiting for it in no particular order could wait for ever."""


class PostgresTransaction:
    """See `costguard.ledgers._stepped.Transaction`. What needs no answer is sent along with what does.

    Args:
        begin: the statements that open a transaction.
        timeout: seconds after which the caller wants to have heard something.
    """

    def __init__(self, wire: Wire, schema: str, begin: Sequence[str], timeout: float) -> None:
        self._wire = wire
        self._schema = schema
        self._queued = [*begin]
        self._timeout = timeout
        self._sent = False
        self._new: set[str] = set()

    def lock(self, budgets: Iterable[str], steady: Iterable[str] = ()) -> None:
        """Keep every other step on these budgets out until the end, and amendments of the `steady` ones."""
        schema = self._schema
        keys = {lock_key(schema, "budget", budget): "pg_advisory_xact_lock_shared" for budget in steady}
        keys |= {lock_key(schema, "budget", budget): "pg_advisory_xact_lock" for budget in budgets}
        if keys:
            # In one statement, which has half the time for all of them: that it is over is news of the server.
            self._queued += [
                f"SET LOCAL statement_timeout = {int(self._timeout * 500)}",
                f"SELECT {', '.join(f'{keys[key]}({key})' for key in sorted(keys))}",
                f"SET LOCAL statement_timeout = {int(self._timeout * 800)}",
            ]

    def read(self, legs: Sequence[Leg]) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """The rows that the windows of these legs are made of, each statement of which sees one moment, and what is in
        force of their budgets."""
        if not legs:
            return {}, {}
        names = self._queue_read(legs)
        terms, rows = self._answers(2)
        return _books(names, rows), _all_terms(terms)

    def look(self, id: str, legs: Sequence[Leg]) -> tuple[Entry | None, dict[WindowKey, Row], dict[str, Terms]]:
        """The hold of this id and what `read` says of these legs, at one go."""
        if not legs:
            return self.entry(id), {}, {}
        self._queue(_ENTRY, id=self._text(id))
        names = self._queue_read(legs)
        found, terms, rows = self._answers(3)
        return self._entry(id, found), _books(names, rows), _all_terms(terms)

    def windows(self, at: float) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """Every row that is not over at an instant, with its leg, and what is in force of every budget."""
        self._queue(_TERMS, wanted="true")
        self._queue(_WINDOWS, at=_float(at))
        terms, rows = self._answers(2)
        return {(_plain(budget), _plain(window)): _row(*figures) for budget, window, *figures in rows}, _all_terms(
            terms
        )

    def terms(self, budget: str) -> Terms:
        """What is in force of a budget."""
        return _all_terms(self._ask(_TERMS, wanted=f"budget = {self._text(budget)}")).get(budget, PLAIN)

    def amended(self, *, id: str | None = None, budget: str | None = None) -> list[Amendment]:
        """The amendment of this id, those of a budget, or all."""
        given = [("id", id), ("budget", budget)]
        wanted = [f"{column} = {self._text(value)}" for column, value in given if value is not None]
        return [
            amendment_from_json(text or "") for (text,) in self._ask(_AMENDMENTS, wanted=" AND ".join(wanted) or "true")
        ]

    def amend(self, amendment: Amendment, terms: Terms) -> None:
        """Write an amendment, and what is in force after it."""
        for statement in _AMEND:
            self._queue(
                statement, id=self._text(amendment.id), budget=self._text(amendment.budget),
                record=self._wire.literal(amendment_as_json(amendment)), terms=self._text(terms_as_text(terms)),
            )  # fmt: skip

    def entry(self, id: str) -> Entry | None:
        """The hold of this id."""
        return self._entry(id, self._ask(_ENTRY, id=self._text(id)))

    def _entry(self, id: str, found: Rows) -> Entry | None:
        if not found:
            self._new.add(id)
            return None
        self._new.discard(id)
        state, amount, first, booked, expires, legs, adjusted, at = found[0]
        return entry_from({
            "id": id, "state": state, "amount": _int(amount), "first": _int(first), "booked": _int(booked),
            "expires": float(expires or 0), "legs": legs, "adjusted": adjusted, "at": float(at or 0),
        })  # fmt: skip

    def write(self, id: str, step: Step) -> None:
        """Write what a step changed."""
        entry = step.entry
        assert entry is not None
        if step.rows:
            rows = [
                f"({self._text(budget)}, {self._text(window)}, {row.spent}, {row.held}, {_float(row.fired)},"
                f" {_float(row.ends)}, {'NULL' if row.leg is None else self._wire.literal(leg_text(row.leg))})"
                for (budget, window), row in step.rows.items()
            ]
            self._queue(_WRITE_ROWS, rows=", ".join(rows))
        hold = entry.hold
        # Of two first steps of one hold on different budgets, one fails to add it, and finds the other when repeated.
        self._queue(
            _ADD if id in self._new else _CHANGE, id=self._text(id), state=entry.state.value, amount=hold.amount,
            first=entry.first, booked=entry.booked, expires=_float(hold.expires),
            legs=self._wire.literal(legs_as_json(hold.legs)),
            adjusted="NULL" if entry.adjusted is None else self._wire.literal(adjusted_as_json(entry) or ""),
            at=_float(hold.at),
        )  # fmt: skip

        if alerts := decided(step):
            rows = [f"({self._key(key_of(one))}, {one.spent}, {self._leg(one.leg)}, NULL)" for one in alerts]
            self._queue(_DECIDED, alerts=", ".join(rows))

    def pending(self, now: float, limit: int) -> list[Pending]:
        """Alerts that nobody has in hand at `now`, and that no other transaction is looking at."""
        return [
            Pending(
                Crossing(leg_from_json(leg or ""), float(percent or 0), _int(spent)),
                None if until is None else float(until),
            )
            for percent, spent, leg, until in self._ask(_PENDING, now=_float(now), limit=limit)
        ]

    def hand_out(self, alerts: Sequence[AlertKey], until: float) -> None:
        """Note until when somebody has these alerts in hand."""
        self._queue(_HAND_OUT, until=_float(until), alerts=self._keys(alerts))

    def delivered(self, alerts: Sequence[AlertKey]) -> None:
        """Delete these alerts."""
        self._queue(_DELIVERED, alerts=self._keys(alerts))

    def overdue(self, now: float, limit: int) -> list[str]:
        """Open holds whose lease was over at `now`."""
        return [_plain(id) for (id,) in self._ask(_OVERDUE, now=_float(now), limit=limit)]

    def forget(self, now: float, keep: float, limit: int) -> int:
        """Delete windows that were over `keep` seconds ago, and so many holds that ended long ago."""
        self._queue(_FORGET, over=_float(now - keep))
        return len(self._ask(_FORGET_HOLDS, long_ago=_float(now - REMEMBERED), limit=limit))

    def commit(self) -> None:
        """Make it all true at once."""
        self._wire.ask(*self._queued, "COMMIT")

    def undo(self) -> None:
        """Give the locks back, with nothing changed."""
        if self._sent:
            self._wire.ask("ROLLBACK")

    def _queue(self, statement: str, **values: object) -> None:
        self._queued.append(statement.format(schema=self._schema, **values))

    def _queue_read(self, legs: Sequence[Leg]) -> dict[str, str]:
        """Queue the terms and the rows of these legs; the names of their budgets by what they are called there."""
        wanted, names = [], {}
        for leg in legs:
            first, last = slot_range(leg) if leg.slots else (leg.window, leg.window)
            names[_ascii(leg.budget)] = leg.budget
            between = f"BETWEEN {self._text(first)} AND {self._text(last)}"
            wanted.append(f'(budget = {self._text(leg.budget)} AND "window" {between})')
        budgets = {name for leg in legs for name in (leg.budget, leg.group) if name}
        self._queue(_TERMS, wanted=f"budget IN ({', '.join(map(self._text, sorted(budgets)))})")
        self._queue(_ROWS, wanted=" OR ".join(wanted))
        return names

    def _ask(self, query: str, **values: object) -> Rows:
        self._queue(query, **values)
        return self._answers(1)[0]

    def _answers(self, count: int) -> list[Rows]:
        """Send what is queued; the answers to the last of it."""
        statements, self._queued, self._sent = self._queued, [], True
        return self._wire.ask(*statements)[-count:]

    def _keys(self, alerts: Sequence[AlertKey]) -> str:
        return ", ".join(f"({self._key(key)})" for key in alerts)

    def _key(self, key: AlertKey) -> str:
        budget, window, percent = key
        return f"{self._text(budget)}, {self._text(window)}, {_float(percent)}"

    def _leg(self, leg: Leg) -> str:
        return self._wire.literal(leg_text(leg))

    def _text(self, text: str) -> str:
        return self._wire.literal(_ascii(text))


def lock_key(*parts: str) -> int:
    """The number of an advisory lock, the same on every host."""
    digest = blake2b("\0".join(("costguard", *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _ascii(text: str) -> str:
    """Any text in letters that every database can keep, whatever its encoding."""
    return json.dumps(text)[1:-1]


def _plain(text: str | None) -> str:
    plain: str = json.loads(f'"{text}"')
    return plain


def _books(names: Mapping[str, str], rows: Rows) -> dict[WindowKey, Row]:
    return {(names[budget or ""], _plain(window)): _row(*figures) for budget, window, *figures in rows}


def _row(spent: str | None, held: str | None, fired: str | None, ends: str | None, leg: str | None = None) -> Row:
    until, known = None if ends is None else float(ends), None if leg is None else leg_from_json(leg)
    return Row(_int(spent), _int(held), float(fired or 0), until, known)


def _all_terms(rows: Rows) -> dict[str, Terms]:
    return {_plain(budget): terms_from_text(terms or "") for budget, terms in rows}


def _int(text: str | None) -> int:
    return int(text or 0)


def _float(number: float | None) -> str:
    return "NULL" if number is None else f"'{float(number)!r}'::float8"
