"""What every journal has to pass. Subclass it in a test module, and pytest runs all of it.

class TestMyJournal(JournalContract):
    def make_journal(self):
        return MyJournal(...)
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from .._journal import GROUPS, QUARTER, Bill, Correction, Extent, Result, Selection, Sums, Worth
from .._types import Call, Cost, CostEvent, Usage
from ..errors import ConfigError
from ..ports import Journal

START: Final = 1_790_000_100.0
"""A whole quarter of an hour."""
_PATIENCE: Final = 60.0


class JournalContract:
    """Every `costguard.ports.Journal` keeps these promises.

    Attributes:
        shared: whether processes that open the same journal write into the same books.
    """

    shared = True

    def make_journal(self) -> Journal:
        """A fresh journal that keeps nothing yet; each call makes another one."""
        raise NotImplementedError("a contract's subclass says how its journal is made")

    @contextmanager
    def opened(self, *records: CostEvent | Result) -> Iterator[Journal]:
        """A fresh journal that has these records, closed afterwards."""
        journal = self.make_journal()
        try:
            for record in records:
                journal.record(record)
            assert journal.flush(_PATIENCE)
            yield journal
        finally:
            journal.close()

    # -- what is recorded comes back

    def test_it_is_a_journal(self) -> None:
        """It has every method, and has dropped nothing yet."""
        with self.opened() as journal:
            assert isinstance(journal, Journal)
            assert 0 == journal.dropped

    def test_an_empty_journal_answers(self) -> None:
        """Reading needs no set-up."""
        with self.opened() as journal:
            assert [] == list(journal.sums(Selection()))
            assert [] == list(journal.sums(Selection(), ["feature", "tag:customer"], [START]))
            assert [] == list(journal.calls(Selection()))
            assert [] == list(journal.results(Selection()))
            assert [] == list(journal.worth(Selection()))
            assert [] == list(journal.bills(Selection()))
            assert journal.call("nobody") is None
            assert Extent() == journal.extent()

    def test_a_call_comes_back_as_it_was(self) -> None:
        """With every unit of its usages, its price entry, its tags and what was decided."""
        event = full_event()
        with self.opened(event) as journal:
            assert event == journal.call(event.id)
            assert [event] == list(journal.calls(Selection()))

    # -- corrections

    def test_a_correction_counts_once_in_calls_and_sums(self) -> None:
        """The call, the sums of its quarter and those that are asked for by its price have the new cost; repeats and
        corrections of calls that are not kept change nothing, and the record of it stays."""
        event = replace(full_event(), cost=Cost(1000, "openai/a", estimated=True, unpriced=("pages",)))
        other = replace(event, id="other", cost=Cost(5, "openai/a"))
        after = Cost(700, "openai/b")
        one = Correction("c1", event.id, START + 9, event.cost, after, "a price was wrong")
        with self.opened(event, other) as journal:
            lost = Correction("c2", "nobody", START + 9, event.cost, after)
            assert 1 == journal.correct([one, lost])
            assert 0 == journal.correct([one])
            assert replace(event, cost=after) == journal.call(event.id)
            (group,) = journal.sums(Selection())
            assert (2, 705, 0, 0, 0) == (
                group.sums.calls, group.sums.nano, group.sums.estimated, group.sums.estimated_nano, group.sums.unpriced
            )  # fmt: skip
            by_entry = {group.key: group.sums.nano for group in journal.sums(Selection(), ["entry"])}
            assert {("openai/a",): 5, ("openai/b",): 700} == by_entry
            assert [one] == list(journal.corrections(Selection()))
            assert [] == list(journal.corrections(Selection(until=START)))
            back = Correction("c3", event.id, START + 10, after, event.cost)
            assert 1 == journal.correct([back])
            assert event == journal.call(event.id)
            (group,) = journal.sums(Selection())
            assert (1005, 1) == (group.sums.nano, group.sums.estimated)

    def test_a_plain_call_comes_back_as_it_was(self) -> None:
        """Nothing is made up where nothing was said."""
        event = CostEvent("plain", START, 0.25, Call("openai", "gpt-4o"), (), Cost(0))
        with self.opened(event) as journal:
            assert event == journal.call("plain")

    def test_odd_texts_break_nothing(self) -> None:
        """Quotes, other alphabets, a NUL and half a character: the call is kept, readable texts as they are."""
        tags = {"feature": 'o\'brien "x" %s ? {}', "customer": "Ünïcødé 数据 🎈", "user": "a\\b"}
        odd = replace(full_event(), id="odd", tags=tags)
        broken = CostEvent("broken", START, 0, Call("openai", "a\0b\ud800"), (), Cost(5))
        with self.opened(odd, broken) as journal:
            assert odd == journal.call("odd")
            assert broken.cost == journal.call("broken").cost  # type: ignore[union-attr]
            assert 1 == journal.sums(Selection(tags={"customer": tags["customer"]}))[0].sums.calls
            assert 1 == journal.sums(Selection(tags={"feature": tags["feature"]}))[0].sums.calls

    def test_a_call_recorded_twice_counts_once(self) -> None:
        """Also in another batch; a batch may be repeated after an error."""
        event = full_event()
        with self.opened(event, event) as journal:
            journal.record(event)
            assert journal.flush(_PATIENCE)
            assert [event] == list(journal.calls(Selection()))
            assert [event.cost.nano] == [group.sums.nano for group in journal.sums(Selection())]

    def test_calls_come_by_time(self) -> None:
        """However they were recorded, and many of them too."""
        events = [replace(full_event(), id=f"c{n}", time=START + n % 97, run="") for n in range(2_500)]
        with self.opened(*events) as journal:
            found = list(journal.calls(Selection()))
            assert [event.time for event in found] == sorted(event.time for event in events)
            assert {event.id for event in found} == {event.id for event in events}
            part = list(journal.calls(Selection(START + 10, START + 20)))
            assert sum(10 <= n % 97 < 20 for n in range(2_500)) == len(part)

    # -- sums

    def test_sums_are_exact(self) -> None:
        """Grouped by anything, over whole and odd stretches, they are what the calls add up to."""
        events = traffic()
        edges = [START + QUARTER, START + 3 * QUARTER]
        with self.opened(*events) as journal:
            for by in (*[[name] for name in GROUPS], ["tag:customer"], [], ["feature", "model", "outcome"]):
                for selection in (Selection(), Selection(START + QUARTER, START + 2 * QUARTER + 17.5)):
                    assert _answer(journal, selection, by, edges) == _truth(events, selection, by, edges), (
                        by,
                        selection,
                    )

    def test_sums_of_a_selection(self) -> None:
        """Only calls with these tags, or without, of this provider and model."""
        events = traffic()
        selections = [
            Selection(tags={"feature": "search"}),
            Selection(tags={"feature": ""}),
            Selection(tags={"customer": "c1", "team": "web"}),
            Selection(tags={"user": "u1"}, provider="anthropic"),
            Selection(provider="openai", model="gpt-4o-2024-08-06"),
            Selection(START, START + QUARTER),
        ]
        with self.opened(*events) as journal:
            for selection in selections:
                for by in (["feature"], ["user"]):
                    assert _answer(journal, selection, by, []) == _truth(events, selection, by, []), selection
                chosen = [event.id for event in events if _meant(event, selection)]
                assert chosen
                assert sorted(chosen) == sorted(event.id for event in journal.calls(selection))

    def test_large_amounts_add_up_exactly(self) -> None:
        """Beyond what a double can tell apart."""
        nano = 2**53 - 1
        events = [CostEvent(f"c{n}", START, 0, Call("openai", "m"), (), Cost(nano)) for n in range(3)]
        with self.opened(*events) as journal:
            assert [3 * nano] == [group.sums.nano for group in journal.sums(Selection())]
            assert [3 * nano] == [group.sums.nano for group in journal.sums(Selection(), ["user"])]

    def test_what_cannot_be_grouped_by_is_said(self) -> None:
        """With what can."""
        with self.opened(full_event()) as journal:
            for name in ("colour", "tag:", 'tag:x" --', "nano"):
                said = ""
                try:
                    journal.sums(Selection(), [name])
                except ConfigError as error:
                    said = str(error)
                assert "feature" in said, name

    def test_it_says_how_far_back_it_goes(self) -> None:
        """To the quarter of an hour for sums, exactly for calls."""
        with self.opened(*[replace(full_event(), id=f"c{n}", time=START + 7 + n) for n in (0, 2_000)]) as journal:
            assert Extent(START, START + 2 * QUARTER, START + 7) == journal.extent()

    # -- results

    def test_results_join_their_calls(self) -> None:
        """By run: all its calls count, failed ones too, whenever they were made."""
        one, two, other = (replace(full_event(), id=f"c{n}", run=run) for n, run in enumerate(("r1", "r1", "r2")))
        failed = replace(one, id="failed", outcome="error", time=START - 5_000)
        results = [
            Result("a", START + 1, "ticket", 4_000_000_000, {"feature": "support", "customer": "c1"}, "r1"),
            Result("b", START + 2, "ticket", 0, {"feature": "search"}, "r2"),
            Result("c", START + 3, "lead", 7, {}, ""),
            Result("d", START + QUARTER, "lead", 7, {}, "nothing-was-called"),
        ]
        with self.opened(one, two, other, failed, *results, results[0]) as journal:
            assert results == list(journal.results(Selection()))
            assert results[:2] == list(journal.results(Selection(START, START + 3)))
            assert results[:1] == list(journal.results(Selection(tags={"customer": "c1"})))
            nano = one.cost.nano
            assert [
                Worth("lead", "", 2, 14),
                Worth("ticket", "search", 1, 0, nano, 1, 0),
                Worth("ticket", "support", 1, 4_000_000_000, 3 * nano, 3, 1),
            ] == list(journal.worth(Selection()))
            searched = journal.worth(Selection(START, START + 3, {"feature": "search"}))
            assert [Worth("ticket", "search", 1, 0, nano, 1, 0)] == list(searched)

    def test_results_of_a_run_share_its_cost(self) -> None:
        """Equally, and to the last nano-dollar: what does not divide goes to the first ones. Refused calls cost
        nothing; a second result of the run is none of a selection that has only the first."""
        calls = [replace(full_event(), id=f"c{n}", run="r", cost=Cost(nano)) for n, nano in enumerate((5, 5, 1))]
        refused = replace(full_event(), id="refused", run="r", outcome="refused", cost=Cost(0))
        names = ("b", "a", "b")
        results = [Result(f"t{n}", START + n, name, n, {}, "r") for n, name in enumerate(names)]
        with self.opened(*calls, refused, *results) as journal:
            # Of 11 nano-dollars and 3 calls the three results have 4, 4 and 3, and one each.
            assert [Worth("a", "", 1, 1, 4, 1, 0), Worth("b", "", 2, 2, 7, 2, 0)] == list(journal.worth(Selection()))
            assert [Worth("b", "", 1, 0, 11, 3, 0)] == list(journal.worth(Selection(START, START + 1)))

    def test_bills_are_those_of_the_calls(self) -> None:
        """In the same order, and with everything that prices depend on."""
        events = [replace(one, id=f"c{n}") for n, one in enumerate((*traffic(), full_event()))]
        with self.opened(*events) as journal:
            for selection in (Selection(), Selection(START + 60, tags={"feature": "search"})):
                assert [Bill.of(event) for event in journal.calls(selection)] == list(journal.bills(selection))

    # -- many at once

    def test_threads_record_at_once(self) -> None:
        """Nothing is lost."""
        with self.opened() as journal:

            def work(number: int) -> None:
                for n in range(250):
                    journal.record(replace(full_event(), id=f"{number}-{n}", run=""))

            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert journal.flush(_PATIENCE)
            assert [2_000] == [group.sums.calls for group in journal.sums(Selection())]
            assert 0 == journal.dropped

    def test_a_forked_child_writes_its_own_and_nothing_of_its_parent(self) -> None:
        """What was behind in the parent is written once, by the parent."""
        if not hasattr(os, "fork"):
            return
        with self.opened(replace(full_event(), id="before")) as journal:
            for n in range(50):
                journal.record(replace(full_event(), id=f"parent-{n}"))
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for n in range(50):
                        journal.record(replace(full_event(), id=f"child-{n}"))
                    code = 0 if journal.flush(_PATIENCE) and journal.call("child-7") else 2
                finally:
                    os._exit(code)
            assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert journal.flush(_PATIENCE)
            expected = 101 if self.shared else 51
            assert [expected] == [group.sums.calls for group in journal.sums(Selection())]

    def test_it_goes_on_after_it_was_closed(self) -> None:
        """A call that was in flight when its program closed the journal is kept."""
        with self.opened() as journal:
            journal.close()
            journal.record(full_event())
            assert journal.flush(_PATIENCE)
            assert full_event() == journal.call(full_event().id)


def full_event() -> CostEvent:
    """A call of which everything is known that a journal keeps."""
    return CostEvent(
        id="0123456789abcdef",
        time=START + 0.123456,
        duration=1.25,
        call=Call("openai", "gpt-4o-mini", "chat", "api.openai.com", stream=True, tier="flex"),
        usages=(
            Usage(
                {"input": 100, "cache_read": 40, "output": 7, "reasoning": 3}, "gpt-4o-mini-2024-07-18", "flex", "eu"
            ),
            Usage({"web_searches": 2}, tier="flex", reported=12, estimated=True),
        ),
        cost=Cost(123_456_789, "openai/gpt-4o-mini@2024-07-18", True, ("web_searches",)),
        held=10**9,
        tags={"feature": "support", "team": "web", "environment": "prod", "user": "u1", "customer": "c1"},
        budgets=("support", "all"),
        outcome="partial",
        error="TimeoutError",
        would_block=("all",),
        decision="downgraded",
        asked="gpt-4o",
        saved=42,
        fingerprint="f" * 32,
        run="r1",
    )


def traffic(count: int = 300) -> list[CostEvent]:
    """Calls of every kind over an hour, the same each time."""
    chance = random.Random(7)  # noqa: S311 - made up traffic
    models = [("openai", "gpt-4o", "gpt-4o-2024-08-06"), ("openai", "gpt-4o-mini", None), ("anthropic", "opus", None)]
    events = []
    for n in range(count):
        provider, sent, served = chance.choice(models)
        outcome = chance.choice(("ok", "ok", "ok", "error", "unknown", "cancelled", "partial", "refused"))
        tags = {name: chance.choice(values) for name, values in _TAGS.items() if chance.random() < 0.8}
        counts = {unit: chance.randrange(1, 500) for unit in _UNITS if chance.random() < 0.4}
        refused = outcome == "refused"
        usages = () if refused else (Usage(counts, served, chance.choice(("standard", "batch"))),)
        cost = (
            Cost(0)
            if refused
            else Cost(chance.randrange(10**9), f"{provider}/{sent}@2025-01-01", n % 9 == 0, ("x",) * (n % 7 == 0))
        )
        events.append(
            CostEvent(
                f"call-{n}", START + chance.randrange(3_600 * 10**6) / 10**6, chance.randrange(10**6) / 10**6,
                Call(provider, sent, chance.choice(("chat", "embeddings"))), usages, cost,
                tags=tags, outcome=outcome,  # type: ignore[arg-type]
                decision="blocked" if refused else chance.choice(("allowed", "downgraded", "cache_hit")),
                would_block=("b",) * (n % 11 == 0), saved=chance.randrange(1_000), asked=chance.choice(("", "gpt-5")),
            )
        )  # fmt: skip
    return events


_TAGS: Final = {
    "feature": ("search", "support"), "team": ("web", "data"), "environment": ("prod",), "user": ("u1", "u2", "u3"),
    "customer": ("c1", "c2"),
}  # fmt: skip
_UNITS: Final = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_image", "images")


def _answer(journal: Journal, selection: Selection, by: Sequence[str], edges: Sequence[float]) -> object:
    return [(group.starts, group.key, group.sums) for group in journal.sums(selection, by, edges)]


def _truth(events: Sequence[CostEvent], selection: Selection, by: Sequence[str], edges: Sequence[float]) -> object:
    """The same, added up in the plainest way."""
    found: dict[tuple[float, tuple[str, ...]], Counter[str]] = {}
    for event in events:
        if _meant(event, selection):
            starts = max((edge for edge in edges if selection.since < edge <= event.time), default=selection.since)
            key = tuple([_value(event, name) for name in by])
            found.setdefault((starts, key), Counter()).update(_counted(event))
    return [(starts, key, Sums(**counts)) for (starts, key), counts in sorted(found.items())]


def _meant(event: CostEvent, selection: Selection) -> bool:
    served = next((usage.model for usage in event.usages if usage.model), event.call.model)
    return (
        selection.since <= event.time < selection.until
        and all(event.tags.get(tag, "") == value for tag, value in selection.tags.items())
        and selection.provider in (None, event.call.provider)
        and selection.model in (None, served)
    )


def _value(event: CostEvent, name: str) -> str:
    values = {
        "provider": event.call.provider,
        "model": next((usage.model for usage in event.usages if usage.model), event.call.model),
        "asked": event.asked or event.call.model,
        "operation": event.call.operation,
        "tier": event.usages[0].tier if event.usages else "standard",
        "outcome": event.outcome,
        "decision": event.decision,
        "entry": event.cost.entry,
    }
    return values[name] if name in values else event.tags.get(name.removeprefix("tag:"), "")


def _counted(event: CostEvent) -> dict[str, int]:
    if event.outcome == "refused":
        return {"refused": 1}
    counts = Counter[str]()
    for usage in event.usages:
        counts.update(usage.counts)
    return {
        "calls": 1,
        "nano": event.cost.nano,
        "saved": event.saved,
        "input_tokens": sum(
            counts[unit] for unit in ("input", "cache_read", "cache_write", "cache_write_1h", "input_image")
        ),
        "output_tokens": counts["output"] + counts["reasoning"],
        "cache_read": counts["cache_read"],
        "cache_write": counts["cache_write"] + counts["cache_write_1h"],
        "reasoning": counts["reasoning"],
        "estimated": int(event.cost.estimated),
        "estimated_nano": event.cost.nano if event.cost.estimated else 0,
        "unpriced": int(bool(event.cost.unpriced)),
        "failed": int(event.outcome in ("error", "unknown", "cancelled")),
        "cache_hits": int(event.decision == "cache_hit"),
        "downgraded": int(event.decision == "downgraded"),
        "would_block": int(bool(event.would_block)),
        "micros": round(event.duration * 10**6),
    }
