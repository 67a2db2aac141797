"""A journal in tables: what SQLite and PostgreSQL have in common.

Each call is a row, and is added in the same transaction to the sums of its quarter of an hour, which stay when rows are
pruned. What is asked of the sums is answered from them; only questions about users, free tags or odd instants go
through the rows.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import add, neg
from typing import Any, Final, Protocol

from .._journal import (
    QUARTER,
    Bill,
    Correction,
    Extent,
    Group,
    Result,
    Selection,
    Sums,
    Worth,
    check_groups,
    stretches,
)
from .._shield import shielded
from .._types import CostEvent
from ._behind import Behind
from ._columns import (
    ADDED,
    BILLS,
    CALLS,
    CELL,
    CORRECTIONS,
    FAILED,
    MICROS,
    OWN_TAGS,
    RESULTS,
    added_by,
    bill_of,
    corrected,
    correction_of,
    correction_row,
    event_of,
    result_of,
    result_row,
    row_of,
)

Row = tuple[Any, ...]

PAGE: Final = 2_000
"""Calls that are read at once."""
PRUNED: Final = 5_000
"""Calls that are deleted in one transaction, so that nobody waits long for it."""
PRUNE_EVERY: Final = 600.0
KEEP_DAYS: Final = 62
"""Days for which the calls themselves are kept: two months, so that any month can be looked into in the next."""
CLOSING: Final = 5.0

_LATEST: Final = 2**62
_IN_SUMS: Final = frozenset((*CELL[1:], "provider", "model"))
_FAILED: Final = ", ".join(map(repr, FAILED))
_MADE: Final = "CASE WHEN outcome = 'refused' THEN 0 ELSE 1 END"
_MEASURES: Final = ", ".join(
    f"coalesce(sum({one}), 0)"
    for one in (
        f"{_MADE} * calls", f"{_MADE} * nano", f"{_MADE} * saved", f"{_MADE} * input", f"{_MADE} * output",
        f"{_MADE} * cache_read", f"{_MADE} * cache_write", f"{_MADE} * reasoning", f"{_MADE} * estimated",
        f"{_MADE} * estimated_nano", f"{_MADE} * unpriced",
        f"CASE WHEN outcome IN ({_FAILED}) THEN calls ELSE 0 END",
        "CASE WHEN outcome = 'refused' THEN calls ELSE 0 END",
        "CASE WHEN outcome <> 'refused' AND decision = 'cache_hit' THEN calls ELSE 0 END",
        "CASE WHEN outcome <> 'refused' AND decision = 'downgraded' THEN calls ELSE 0 END",
        f"{_MADE} * would_block", f"{_MADE} * micros",
    )
)  # fmt: skip
"""The fields of `Sums`, over a table that has the columns of `CELL` and `ADDED`."""


class Session(Protocol):
    """A transaction of a database."""

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Carry out a statement and return its rows."""
        ...

    def each(self, query: str, rows: Sequence[Row]) -> None:
        """Carry out a statement for each of these rows of values."""
        ...


class SQLJournal:
    """Everything but how the database is reached.

    A subclass has `_write`, which runs a function of a `Session` in a transaction that keeps other writers out, and
    `_read`; both raise `JournalUnavailableError`.

    Args:
        keep: days for which calls are kept; infinite for ever.
    """

    prefix = ""
    """Before each table's name."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._prune_at = 0.0
        self._pruning = threading.Lock()
        self._behind = Behind(self._take)

    def _write(self, work: Callable[[Session], None]) -> None:
        raise NotImplementedError

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        raise NotImplementedError

    def _tag(self, name: str) -> str:
        """The SQL of a free tag's value."""
        raise NotImplementedError

    # -- writing

    @property
    def dropped(self) -> int:
        """Records given up since the process started."""
        return self._behind.dropped

    def record(self, record: CostEvent | Result) -> None:
        """Have a call or a result written soon."""
        self._behind.put(record)

    def flush(self, timeout: float) -> bool:
        """Write what is behind."""
        return self._behind.flush(timeout)

    def close(self) -> None:
        """Write what is behind, and let go of the database."""
        self._behind.close(CLOSING)

    def _take(self, records: Sequence[CostEvent | Result]) -> None:
        """Write a batch, whole or not at all, and each record of it once however often it comes."""
        calls = {one.id: row_of(one) for one in records if isinstance(one, CostEvent)}
        results = {one.id: result_row(one) for one in records if isinstance(one, Result)}
        self._write(lambda session: self._add(session, calls, results))
        now = time.time()
        if now >= self._prune_at and math.isfinite(self._keep):
            self._prune_at = now + PRUNE_EVERY
            with shielded("pruning the journal"):
                self.prune(now - self._keep * 86_400)

    def _add(self, session: Session, calls: dict[str, Row], results: dict[str, Row]) -> None:
        known = self._known(session, "calls", list(calls))
        new = [row for id, row in calls.items() if id not in known]
        session.each(self._insert("calls", CALLS), new)
        cells: dict[Row, Row] = {}
        for key, added in map(added_by, new):
            before = cells.get(key)
            cells[key] = added if before is None else tuple(map(add, before, added))
        self._sum(session, cells)
        known = self._known(session, "results", list(results))
        session.each(self._insert("results", RESULTS), [row for id, row in results.items() if id not in known])

    def _sum(self, session: Session, cells: Mapping[Row, Row]) -> None:
        sums = ", ".join(f"{name} = quarters.{name} + excluded.{name}" for name in ADDED)
        upsert = f"{self._insert('quarters', (*CELL, *ADDED))} ON CONFLICT ({', '.join(CELL)}) DO UPDATE SET {sums}"
        session.each(upsert, [(*key, *cells[key]) for key in sorted(cells)])

    def _known(self, session: Session, table: str, ids: list[str]) -> set[str]:
        known: set[str] = set()
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            marks = ", ".join("?" * len(some))
            known |= {row[0] for row in session.ask(f"SELECT id FROM {self.prefix}{table} WHERE id IN ({marks})", some)}
        return known

    def _insert(self, table: str, columns: Sequence[str]) -> str:
        names = ", ".join(map(quoted, columns))
        return f"INSERT INTO {self.prefix}{table} ({names}) VALUES ({', '.join('?' * len(columns))})"

    def prune(self, before: float) -> None:
        """Delete the calls made before this instant; the sums that they are counted in stay.

        Raises:
            JournalUnavailableError: it cannot be reached.
        """
        oldest = f"SELECT seq FROM {self.prefix}calls WHERE at < ? ORDER BY at LIMIT {PRUNED}"
        delete, values = f"DELETE FROM {self.prefix}calls WHERE seq IN ({oldest})", (round(before * MICROS),)
        with self._pruning:
            while self._read(oldest, values):
                self._write(lambda session: session.each(delete, [values]))

    def correct(self, corrections: Sequence[Correction]) -> int:
        """See `costguard.ports.Journal`."""
        made: list[Correction] = []
        self._write(lambda session: made.extend(self._corrected(session, corrections)))
        return len(made)

    def _corrected(self, session: Session, corrections: Sequence[Correction]) -> list[Correction]:
        known = self._known(session, "corrections", [one.id for one in corrections])
        made = []
        columns = ", ".join(map(quoted, CALLS))
        for one in corrections:
            found = session.ask(f"SELECT {columns} FROM {self.prefix}calls WHERE id = ?", (one.call,))
            if one.id in known or not found:
                continue
            row = corrected(found[0], one.after)
            it = dict(zip(CALLS, row, strict=True))
            change = f"UPDATE {self.prefix}calls SET nano = ?, entry = ?, estimated = ?, unpriced = ? WHERE id = ?"
            session.each(change, [(it["nano"], it["entry"], it["estimated"], it["unpriced"], one.call)])
            (old, less), (new, more) = added_by(found[0]), added_by(row)
            self._sum(session, {old: tuple(map(neg, less))})
            self._sum(session, {new: more})
            session.each(self._insert("corrections", CORRECTIONS), [correction_row(one)])
            made.append(one)
        session.each(f"DELETE FROM {self.prefix}quarters WHERE calls = ?", [(0,)])
        return made

    # -- reading

    def corrections(self, selection: Selection) -> Iterator[Correction]:
        """The corrections made in that time, in their order."""
        where, values = self._where(Selection(selection.since, selection.until), "at", MICROS)
        columns = ", ".join(map(quoted, CORRECTIONS))
        rows = self._read(f"SELECT {columns} FROM {self.prefix}corrections WHERE {where} ORDER BY at, seq", values)
        return iter([correction_of(row) for row in rows])

    def sums(self, selection: Selection, by: Sequence[str] = (), edges: Sequence[float] = ()) -> Sequence[Group]:
        """See `costguard.ports.Journal`."""
        check_groups(by)
        groups = []
        pieces = stretches(selection, edges)
        from_sums = all(self._in_sums(piece, by) for piece in pieces)
        for piece in pieces:
            query, values = self._sums_query(piece, by, from_sums)
            rows = [([str(one) for one in row[: len(by)]], row[len(by) :]) for row in self._read(query, values)]
            found = [Group(tuple(key), piece.since, Sums(*map(int, sums))) for key, sums in rows]
            # Without groups SQL has a row of zeros for nothing at all.
            groups += sorted([one for one in found if one.sums != Sums()], key=lambda one: one.key)
        return groups

    def _in_sums(self, selection: Selection, by: Sequence[str]) -> bool:
        whole = all(not math.isfinite(at) or at % QUARTER == 0 for at in (selection.since, selection.until))
        return whole and _IN_SUMS.issuperset(by) and _IN_SUMS.issuperset(selection.tags)

    def _sums_query(self, selection: Selection, by: Sequence[str], from_sums: bool) -> tuple[str, list[Any]]:
        names = [self._column(name) for name in by]
        columns = ", ".join((*names, _MEASURES))
        if from_sums:
            where, values = self._where(selection, "slot", 1 / QUARTER)
            table = f"{self.prefix}quarters"
        else:
            where, values = self._where(selection, "at", MICROS)
            table = self._rows_as_sums()
        grouped = f" GROUP BY {', '.join(map(str, range(1, len(names) + 1)))}" if names else ""
        return f"SELECT {columns} FROM {table} WHERE {where}{grouped}", values

    def _rows_as_sums(self) -> str:
        """The calls, as if each were a row of sums."""
        return (
            '(SELECT at, provider, model, asked, operation, tier, feature, team, environment, "user", tags, run,'
            " outcome, decision, entry, 1 AS calls, nano, saved, input, output, cache_read, cache_write, reasoning,"
            " estimated, estimated * nano AS estimated_nano, CASE WHEN unpriced = '' THEN 0 ELSE 1 END AS unpriced,"
            " CASE WHEN would_block = '' THEN 0 ELSE 1 END AS would_block, micros"
            f" FROM {self.prefix}calls) AS each_call"
        )

    def calls(self, selection: Selection) -> Iterator[CostEvent]:
        """The selected calls, by time."""
        return map(event_of, self._pages(CALLS, selection))

    def _pages(self, names: Sequence[str], selection: Selection) -> Iterator[Row]:
        """These columns of calls, by time; a page at a time, so that nobody is kept waiting meanwhile."""
        where, values = self._where(selection, "at", MICROS)
        columns = ", ".join(map(quoted, names))
        at, seq = values[0], -1
        while True:
            rows = self._read(
                f"SELECT {columns}, at, seq FROM {self.prefix}calls"
                f" WHERE {where} AND (at, seq) > (?, ?) ORDER BY at, seq LIMIT {PAGE}",
                [at, *values[1:], at, seq],
            )
            yield from rows
            if len(rows) < PAGE:
                return
            at, seq = rows[-1][-2:]

    def call(self, id: str) -> CostEvent | None:
        """The call of an id."""
        columns = ", ".join(map(quoted, CALLS))
        found = self._read(f"SELECT {columns} FROM {self.prefix}calls WHERE id = ?", (id,))
        return event_of(found[0]) if found else None

    def results(self, selection: Selection) -> Iterator[Result]:
        """The results told in that time and with those tags, by time."""
        where, values = self._results_where(selection)
        columns = ", ".join(map(quoted, RESULTS))
        rows = self._read(f"SELECT {columns} FROM {self.prefix}results WHERE {where} ORDER BY at, seq", values)
        return iter([result_of(row) for row in rows])

    def worth(self, selection: Selection) -> Sequence[Worth]:
        """See `costguard.ports.Journal`."""
        where, values = self._results_where(selection)
        made = f"CAST(sum({_MADE}) AS bigint)", f"CAST(sum({_MADE} * nano) AS bigint)"
        # A share of a whole number, so that all shares are the whole: the first ones get what does not divide.
        shares = ", ".join(
            f"coalesce(sum({one} / parts + CASE WHEN place < {one} - {one} / parts * parts THEN 1 ELSE 0 END), 0)"
            for one in ("nano", "made", "failed")
        )
        rows = self._read(
            "WITH told AS (SELECT run, name, feature, value,"
            " row_number() OVER (PARTITION BY run ORDER BY at, seq) - 1 AS place,"
            f" count(*) OVER (PARTITION BY run) AS parts FROM {self.prefix}results WHERE {where}),"
            f" spent AS (SELECT run AS of_run, {made[0]} AS made, {made[1]} AS nano,"
            f" CAST(sum(CASE WHEN outcome IN ({_FAILED}) THEN 1 ELSE 0 END) AS bigint) AS failed"
            f" FROM {self.prefix}calls WHERE run IN (SELECT run FROM told WHERE run <> '') GROUP BY run)"
            f" SELECT name, feature, count(*), sum(value), {shares}"
            " FROM told LEFT JOIN spent ON of_run = run GROUP BY name, feature",
            values,
        )
        return sorted([Worth(str(name), str(feature), *map(int, sums)) for name, feature, *sums in rows], key=_named)

    def bills(self, selection: Selection) -> Iterator[Bill]:
        """See `costguard.ports.Journal`."""
        return map(bill_of, self._pages(BILLS, selection))

    def extent(self) -> Extent:
        """How far back it goes."""
        first, last = self._read(f"SELECT min(slot), max(slot) FROM {self.prefix}quarters")[0]
        if first is None:
            return Extent()
        oldest = self._read(f"SELECT min(at) FROM {self.prefix}calls")[0][0]
        return Extent(first * QUARTER, last * QUARTER, None if oldest is None else oldest / MICROS)

    def _where(self, selection: Selection, column: str, per_second: float) -> tuple[str, list[Any]]:
        clauses = [f"{column} >= ?", f"{column} < ?"]
        bounds = (selection.since, selection.until)
        values: list[Any] = [_LATEST if at == math.inf else round(at * per_second) for at in bounds]
        wanted = {**selection.tags, "provider": selection.provider, "model": selection.model}
        for name, value in wanted.items():
            if value is not None:
                clauses.append(f"{self._column(name)} = ?")
                values.append(value)
        return " AND ".join(clauses), values

    def _results_where(self, selection: Selection) -> tuple[str, list[Any]]:
        return self._where(Selection(selection.since, selection.until, selection.tags), "at", MICROS)

    def _column(self, name: str) -> str:
        if name in CELL or name in OWN_TAGS:
            return quoted(name)
        check_groups([name if name.startswith("tag:") else f"tag:{name}"])
        return self._tag(name.removeprefix("tag:"))


def _named(one: Worth) -> tuple[str, str]:
    return (one.name, one.feature)


def quoted(name: str) -> str:
    """A column's name as it stands in a statement."""
    return f'"{name}"'


def days(text: str) -> float:
    """Read ``keep=``: a number of days such as ``62d``, or ``all``.

    Raises:
        ValueError: it is neither.
    """
    if text == "all":
        return math.inf
    number = float(text.removesuffix("d"))
    if not number > 0:
        raise ValueError(f"keep={text}: give a number of days such as 62d, or all")
    return number
