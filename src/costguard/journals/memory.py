"""The last calls of this process, in bounded memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakSet

from .._forks import forks
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
    total,
)
from .._types import CostEvent
from ..errors import ConfigError
from ._columns import sums_of, value_of

R = TypeVar("R", CostEvent, Result)

KEPT: Final = 100_000
"""Calls that are kept, and results."""


class MemoryJournal:
    """Keeps the last calls and results of this process.

    Args:
        kept: how many of each.
    """

    def __init__(self, kept: int = KEPT) -> None:
        if kept < 1:
            raise ConfigError(f"kept={kept}: at least 1 is needed")
        self._kept = kept
        self._calls: dict[str, CostEvent] = {}
        self._results: dict[str, Result] = {}
        self._corrections: dict[str, Correction] = {}
        self._lock = threading.Lock()
        self.dropped = 0
        _journals.add(self)

    def record(self, record: CostEvent | Result) -> None:
        """Keep a call or a result, in the place of the oldest if need be."""
        with self._lock:
            if isinstance(record, Result):
                self._keep(self._results, record)
            else:
                self._keep(self._calls, record)

    def _keep(self, records: dict[str, R], record: R) -> None:
        if record.id not in records and len(records) >= self._kept:
            del records[next(iter(records))]
            self.dropped += 1
        records.setdefault(record.id, record)

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 - nothing is behind
        """Nothing is behind."""
        return True

    def close(self) -> None:
        """Nothing to let go of."""

    def correct(self, corrections: Sequence[Correction]) -> int:
        """See `costguard.ports.Journal`."""
        made = 0
        with self._lock:
            for one in corrections:
                event = self._calls.get(one.call)
                if event is not None and one.id not in self._corrections:
                    self._calls[one.call] = replace(event, cost=one.after)
                    self._corrections[one.id] = one
                    made += 1
        return made

    def corrections(self, selection: Selection) -> Iterator[Correction]:
        """The corrections made in that time, in their order."""
        with self._lock:
            made = list(self._corrections.values())
        return iter([one for one in made if selection.since <= one.time < selection.until])

    def sums(self, selection: Selection, by: Sequence[str] = (), edges: Sequence[float] = ()) -> Sequence[Group]:
        """See `costguard.ports.Journal`."""
        check_groups(by)
        groups = []
        for piece in stretches(selection, edges):
            found: dict[tuple[str, ...], list[Sums]] = {}
            for event in self.calls(piece):
                found.setdefault(tuple([value_of(event, name) for name in by]), []).append(sums_of(event))
            groups += [Group(key, piece.since, total(sums)) for key, sums in sorted(found.items())]
        return groups

    def calls(self, selection: Selection) -> Iterator[CostEvent]:
        """The selected calls, by time."""
        with self._lock:
            events = list(self._calls.values())
        chosen = [event for event in events if _chosen(event, selection)]
        return iter(sorted(chosen, key=attrgetter("time")))

    def call(self, id: str) -> CostEvent | None:
        """The call of an id."""
        return self._calls.get(id)

    def results(self, selection: Selection) -> Iterator[Result]:
        """The results told in that time and with those tags, by time."""
        with self._lock:
            results = list(self._results.values())
        chosen = [one for one in results if _within(one, selection)]
        return iter(sorted(chosen, key=attrgetter("time")))

    def worth(self, selection: Selection) -> Sequence[Worth]:
        """See `costguard.ports.Journal`."""
        results = list(self.results(selection))
        parts, places = Counter(result.run for result in results), Counter[str]()
        spent: dict[str, list[Sums]] = {run: [] for run in parts if run}
        for event in self.calls(Selection()):
            if event.run in spent:
                spent[event.run].append(sums_of(event))
        runs = {run: total(sums) for run, sums in spent.items()}
        found: dict[tuple[str, str], list[Sequence[int]]] = {}
        for result in results:
            run = runs.get(result.run, Sums())
            place = (places[result.run], parts[result.run])
            places[result.run] += 1
            shares = [_share(whole, *place) for whole in (run.nano, run.calls, run.failed)]
            key = (result.name, result.tags.get("feature", ""))
            found.setdefault(key, []).append((1, result.value, *shares))
        return [Worth(*key, *map(sum, zip(*rows, strict=True))) for key, rows in sorted(found.items())]

    def bills(self, selection: Selection) -> Iterator[Bill]:
        """See `costguard.ports.Journal`."""
        return map(Bill.of, self.calls(selection))

    def extent(self) -> Extent:
        """How far back it goes."""
        times = [event.time for event in self.calls(Selection())]
        return Extent(_quarter(times[0]), _quarter(times[-1]), times[0]) if times else Extent()


_journals: Final[WeakSet[MemoryJournal]] = WeakSet()


def _after_fork_in_child() -> None:
    # Another thread of the parent's may have had the lock, and is not here to give it back.
    for journal in list(_journals):
        journal._lock = threading.Lock()


forks.register(after_in_child=_after_fork_in_child)


def _within(record: CostEvent | Result, selection: Selection) -> bool:
    tags = record.tags
    return selection.since <= record.time < selection.until and all(
        tags.get(tag, "") == value for tag, value in selection.tags.items()
    )


def _share(whole: int, place: int, parts: int) -> int:
    """A part of a whole number, so that all parts are the whole: the first ones get what does not divide."""
    return whole // parts + (place < whole % parts)


def _quarter(time: float) -> float:
    return time // QUARTER * QUARTER


def _chosen(event: CostEvent, selection: Selection) -> bool:
    return (
        _within(event, selection)
        and selection.provider in (None, event.call.provider)
        and selection.model in (None, event.model)
    )


def open_memory(url: str) -> MemoryJournal:
    """Open ``memory://``, or ``memory://?kept=1000``.

    Raises:
        ConfigError: it has an option that there is not.
    """
    options: dict[str, Any] = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    if unknown := options.keys() - {"kept"}:
        raise ConfigError(f"journal {url!r}: there is no option {min(unknown)!r}, only kept")
    try:
        return MemoryJournal(**{name: int(value) for name, value in options.items()})
    except ValueError as error:
        raise ConfigError(f"journal {url!r}: {error}") from error
