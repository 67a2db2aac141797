"""The steps of the SQLite ledger in SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from .._book import Entry, Row, Step, WindowKey
from .._outbox import AlertKey, Pending, key_of
from .._terms import PLAIN, Terms
from .._types import Amendment, Crossing, Leg
from ._records import (
    adjusted_as_json,
    amendment_as_json,
    amendment_from_json,
    entry_of,
    leg_from_json,
    leg_text,
    legs_as_json,
    terms_as_text,
    terms_from_text,
)
from ._stepped import REMEMBERED, decided, slot_range

LEGS_KEPT: Final = 6 * 3600.0
"""Seconds that the legs of holds are kept beyond the last of these: so long other holds on them write none anew."""


_HOLD: Final = (
    "SELECT -1, id, state, amount, first, booked, expires, legs.legs, at, adjusted"
    " FROM reservations CROSS JOIN legs ON legs.number = reservations.legs WHERE id = ?"
)
_WINDOW: Final = "SELECT {}, spent, held, fired, ends, {}, NULL, NULL, NULL, NULL FROM windows WHERE budget = ? AND"
_TERMS: Final = "SELECT -2, budget, terms, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM terms WHERE budget = ?"
_AT_ONCE: Final = 100
_KEPT_QUERIES: Final = 512


class _Query(NamedTuple):
    """What is asked of some legs: `windows` and terms, or `all` with a hold; what to ask it with, and whose rows come.

    Each row has an arm of its own. With OR, or IN, SQLite makes a temporary table, which takes longer than the rest.
    """

    legs: tuple[Leg, ...]
    windows: str
    all: str
    asked: tuple[str, ...]
    keys: tuple[WindowKey, ...]


_queries: Final[dict[tuple[int, ...], _Query]] = {}
"""By the identities of the legs, with these: budgets hand out the same ones again."""


def _query_for(legs: tuple[Leg, ...]) -> _Query:
    key = tuple(map(id, legs))
    known = _queries.get(key)
    if known is None:
        if len(_queries) >= _KEPT_QUERIES:
            _queries.clear()
        known = _queries[key] = _query_of(legs)
    return known


def _query_of(legs: tuple[Leg, ...]) -> _Query:
    names = list(dict.fromkeys([name for leg in legs for name in (leg.budget, leg.group) if name]))
    asked = [one for leg in legs for one in (leg.budget, *(slot_range(leg) if leg.slots else (leg.window,)))]
    windows, all = _texts_of(tuple([leg.slots > 0 for leg in legs]), len(names))
    return _Query(legs, windows, all, (*asked, *names), tuple([(leg.budget, leg.window) for leg in legs]))


@lru_cache(maxsize=256)
def _texts_of(rolling: tuple[bool, ...], budgets: int) -> tuple[str, str]:
    windows = [
        f"{_WINDOW.format(number, 'window')} window BETWEEN ? AND ?"
        if slots
        else f"{_WINDOW.format(number, 'NULL')} window = ?"
        for number, slots in enumerate(rolling)
    ]
    arms = [*windows, *[_TERMS] * budgets]
    return " UNION ALL ".join(arms), " UNION ALL ".join([_HOLD, *arms])


_ADD_ROW: Final = (
    "INSERT INTO windows (budget, window, spent, held, fired, ends, leg) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (budget, window) DO UPDATE SET spent = excluded.spent, held = excluded.held,"
    " fired = excluded.fired, ends = excluded.ends, leg = coalesce(excluded.leg, leg)"
)
_CHANGE_ROW: Final = "UPDATE windows SET spent = ?, held = ?, fired = ? WHERE budget = ? AND window = ?"
_CHANGE_ROW_AND_LEG: Final = (
    "UPDATE windows SET spent = ?, held = ?, fired = ?, leg = ? WHERE budget = ? AND window = ?"
)
_ADD_HOLD: Final = (
    "INSERT INTO reservations (id, state, amount, first, booked, expires, at, legs)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, number FROM legs WHERE number = ? AND legs = ? AND until >= ?"
)
_ADD_LEGS: Final = (
    "INSERT INTO legs (number, legs, until) VALUES (?, ?, ?)"
    " ON CONFLICT (number) DO UPDATE SET until = max(until, excluded.until) WHERE legs = excluded.legs"
)
_CHANGE_HOLD: Final = "UPDATE reservations SET state = ?, amount = ?, booked = ?, adjusted = ? WHERE id = ?"
_FORGET_LEGS: Final = (
    "DELETE FROM legs WHERE number IN (SELECT number FROM legs WHERE until < min(?,"
    " ifnull((SELECT min(expires) FROM reservations WHERE noted = 0), 9e999),"
    " ifnull((SELECT min(expires) FROM reservations WHERE noted = 1), 9e999)) LIMIT ?)"
)
_NOTE_ENDED: Final = (
    "UPDATE reservations SET noted = 1 WHERE id IN"
    " (SELECT id FROM reservations WHERE noted = 0 AND state != 'open' AND expires <= ? ORDER BY expires LIMIT ?)"
)
_NOTED_AT_ONCE: Final = 4000
"""Holds whose end is noted in one transaction: some ten milliseconds."""


@lru_cache(maxsize=1024)
def _number_of(legs: str) -> int:
    """The number that legs are looked for under; others may have it too."""
    return int.from_bytes(blake2b(legs.encode(), digest_size=8).digest(), "big") >> 1


_row: Final = tuple.__new__
"""Makes a `Row` in a third of the time."""


class SQLiteTransaction:
    """See `costguard.ledgers._stepped.Transaction`; the whole file is locked while it lasts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._run_each = connection.executemany
        # What was read.
        self._rows: dict[WindowKey, Row] = {}
        self._holds: set[str] = set()

    def lock(self, budgets: Iterable[str], steady: Iterable[str] = ()) -> None:
        """Nothing to do: ``BEGIN IMMEDIATE`` has locked the book."""

    def read(self, legs: Sequence[Leg]) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """The rows that the windows of these legs are made of, and what is in force of their budgets."""
        return self.look(None, legs)[1:]

    def look(self, id: str | None, legs: Sequence[Leg]) -> tuple[Entry | None, dict[WindowKey, Row], dict[str, Terms]]:
        """The hold of this id, the rows that the windows of these legs are made of, and the terms in force of them."""
        if len(legs) > _AT_ONCE:
            # Not so many in one query that SQLite would refuse it.
            entry, found, terms = self.look(id, legs[:_AT_ONCE])
            others, more = self.read(legs[_AT_ONCE:])
            return entry, {**found, **others}, {**terms, **more}
        if not legs and id is None:
            return None, {}, {}
        query = _query_for(tuple(legs))
        entry, rows, terms = None, self._rows, {}
        sql, asked = (query.windows, query.asked) if id is None else (query.all, (id, *query.asked))
        for row in self._run(sql, asked):
            what = row[0]
            if what >= 0:
                _, spent, held, fired, ends, window, _, _, _, _ = row
                key = query.keys[what]
                rows[key if window is None else (key[0], window)] = _row(Row, (spent, held, fired, ends, None))
            elif what == -1:
                entry = entry_of(*row[1:])
                self._holds.add(row[1])
            else:
                terms[row[1]] = terms_from_text(row[2])
        return entry, rows, terms

    def windows(self, at: float) -> tuple[dict[WindowKey, Row], dict[str, Terms]]:
        """Every row that is not over at an instant, with its leg, and what is in force of every budget."""
        rows = self._run(
            "SELECT budget, window, spent, held, fired, ends, leg FROM windows"
            " WHERE leg IS NOT NULL AND (ends IS NULL OR ends > ?)",
            (at,),
        )
        books = {
            (budget, window): Row(spent, held, fired, ends, leg_from_json(leg))
            for budget, window, spent, held, fired, ends, leg in rows
        }
        return books, {budget: terms_from_text(text) for budget, text in self._run("SELECT budget, terms FROM terms")}

    def terms(self, budget: str) -> Terms:
        """What is in force of a budget."""
        found = self._run("SELECT terms FROM terms WHERE budget = ?", (budget,)).fetchone()
        return PLAIN if found is None else terms_from_text(found[0])

    def amended(self, *, id: str | None = None, budget: str | None = None) -> list[Amendment]:
        """The amendment of this id, those of a budget, or all."""
        rows = self._run(
            "SELECT record FROM amendments WHERE id = coalesce(?, id) AND budget = coalesce(?, budget) ORDER BY number",
            (id, budget),
        )
        return [amendment_from_json(record) for (record,) in rows]

    def amend(self, amendment: Amendment, terms: Terms) -> None:
        """Write an amendment, and what is in force after it."""
        self._run(
            "INSERT INTO amendments (id, budget, record) VALUES (?, ?, ?)",
            (amendment.id, amendment.budget, amendment_as_json(amendment)),
        )
        self._run("REPLACE INTO terms VALUES (?, ?)", (amendment.budget, terms_as_text(terms)))

    def entry(self, id: str) -> Entry | None:
        """The hold of this id."""
        return self.look(id, ())[0]

    def write(self, id: str, step: Step) -> None:
        """Write what a step changed."""
        entry = step.entry
        assert entry is not None
        figures, legs = [], []
        for key, row in step.rows.items():
            spent, held, fired, ends, leg = row
            known = self._rows.get(key)
            if known is None or known.ends != ends:
                self._run(_ADD_ROW, (*key, spent, held, fired, ends, leg and leg_text(leg)))
            elif leg is None:
                figures.append((spent, held, fired, *key))
            else:
                legs.append((spent, held, fired, leg_text(leg), *key))
        if figures:
            self._run_each(_CHANGE_ROW, figures)
        if legs:
            self._run_each(_CHANGE_ROW_AND_LEG, legs)
        hold, state = entry.hold, entry.state.value
        if id in self._holds:
            self._run(_CHANGE_HOLD, (state, hold.amount, entry.booked, adjusted_as_json(entry), id))
        else:
            self._add(entry)
        if alerts := decided(step):
            self._run_each(
                "REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, NULL)",
                [(*key_of(one), one.spent, leg_text(one.leg)) for one in alerts],
            )

    def _add(self, entry: Entry) -> None:
        """Write a new hold, and its legs if they are not there yet, or not for as long as it may be asked for."""
        hold = entry.hold
        legs = legs_as_json(hold.legs)
        fields = (hold.id, entry.state.value, hold.amount, entry.first, entry.booked, hold.expires, hold.at)
        number = _number_of(legs)
        while not self._run(_ADD_HOLD, (*fields, number, legs, hold.expires)).rowcount:
            if not self._run(_ADD_LEGS, (number, legs, hold.expires + LEGS_KEPT)).rowcount:
                number += 1

    def pending(self, now: float, limit: int) -> list[Pending]:
        """Alerts that nobody has in hand at `now`."""
        rows = self._run(
            "SELECT leg, percent, spent, until FROM alerts WHERE until IS NULL OR until <= ? LIMIT ?", (now, limit)
        )
        return [Pending(Crossing(leg_from_json(leg), percent, spent), until) for leg, percent, spent, until in rows]

    def hand_out(self, alerts: Sequence[AlertKey], until: float) -> None:
        """Note until when somebody has these alerts in hand."""
        self._run_each(
            "UPDATE alerts SET until = ? WHERE budget = ? AND window = ? AND percent = ?",
            [(until, *key) for key in alerts],
        )

    def delivered(self, alerts: Sequence[AlertKey]) -> None:
        """Delete these alerts."""
        self._run_each("DELETE FROM alerts WHERE budget = ? AND window = ? AND percent = ?", alerts)

    def overdue(self, now: float, limit: int) -> list[str]:
        """Open holds whose lease was over at `now`."""
        self._run(_NOTE_ENDED, (now, _NOTED_AT_ONCE))
        query = (
            "SELECT id FROM reservations WHERE noted = 0 AND state = 'open' AND expires <= ? ORDER BY expires LIMIT ?"
        )
        return [id for (id,) in self._run(query, (now, limit))]

    def forget(self, now: float, keep: float, limit: int) -> int:
        """Delete windows that were over `keep` seconds ago, and so many holds that ended long ago."""
        before = now - REMEMBERED
        noted = self._run(_NOTE_ENDED, (now, _NOTED_AT_ONCE))
        holds = self._run(
            "DELETE FROM reservations WHERE id IN"
            " (SELECT id FROM reservations WHERE noted = 1 AND expires < ? LIMIT ?)",
            (before, limit),
        )
        legs = self._run(_FORGET_LEGS, (before, limit))
        self._run("DELETE FROM windows WHERE ends < ? AND held = 0", (now - keep,))
        return max(holds.rowcount, legs.rowcount, noted.rowcount)
