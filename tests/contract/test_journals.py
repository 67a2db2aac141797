"""Every journal of ours, through the suite that other packages run over theirs; and what only ours promise."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from costguard._journal import Result, Selection
from costguard.errors import ConfigError, JournalUnavailableError
from costguard.journals import open_journal
from costguard.journals._behind import Behind
from costguard.journals.memory import MemoryJournal, open_memory
from costguard.journals.postgres import PostgresJournal, open_postgres
from costguard.journals.sqlite import SQLiteJournal, open_sqlite
from costguard.testing import JournalContract
from costguard.testing.journal_contract import START, full_event, traffic

from .postgres_server import PostgresServer, postgres_server

PATIENCE = 60.0
NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


class TestMemoryJournal(JournalContract):
    """The last calls of one process."""

    shared = False

    def make_journal(self) -> MemoryJournal:
        return open_memory("memory://")


class TestSQLiteJournal(JournalContract):
    """The journal of one host."""

    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_journal(self) -> SQLiteJournal:
        return open_sqlite(f"sqlite:///{self.folder}/{next(NUMBERS)}.db?keep=all")


class TestPostgresJournal(JournalContract):
    """The journal of many hosts."""

    server: PostgresServer

    @pytest.fixture(autouse=True)
    def _server(self, server: PostgresServer) -> None:
        self.server = server

    def make_journal(self) -> PostgresJournal:
        return open_postgres(self.server.url(keep="all"))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A journal in a database that nobody has used."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/calls.db?keep=all"
    server: PostgresServer = request.getfixturevalue("server")
    return server.url(keep="all")


def test_sums_stay_when_calls_are_pruned(url: str) -> None:
    """So that a year of calls stays readable on one machine: the detail goes, the figures stay exact."""
    events = traffic()
    with closing(open_journal(url)) as journal:
        assert isinstance(journal, SQLiteJournal | PostgresJournal)
        for event in events:
            journal.record(event)
        assert journal.flush(PATIENCE)
        before = journal.sums(Selection(), ["feature", "model", "team", "outcome"])
        journal.prune(START + 1_800)
        left = [event for event in events if event.time >= START + 1_800]
        assert sorted(event.id for event in left) == sorted(event.id for event in journal.calls(Selection()))
        assert before == journal.sums(Selection(), ["feature", "model", "team", "outcome"])
        assert journal.extent().since == START
        assert journal.extent().calls_since == min(event.time for event in left)


def test_old_calls_are_pruned_by_themselves(tmp_path: Path) -> None:
    """Whatever is older than `keep` goes when new calls are written."""
    with closing(open_sqlite(f"sqlite:///{tmp_path}/calls.db?keep=2d")) as journal:
        now = time.time()
        for days in range(5):
            journal.record(replace(full_event(), id=f"c{days}", time=now - days * 86_400))
        assert journal.flush(PATIENCE)
        # Pruning comes after the batch: flush again behind it.
        journal._behind.close(PATIENCE)
        assert {"c0", "c1"} == {event.id for event in journal.calls(Selection())}
        assert [5] == [group.sums.calls for group in journal.sums(Selection())]


def test_two_journals_write_into_the_same_books(url: str) -> None:
    """As the processes of a service do; a call that both tell of counts once."""
    with closing(open_journal(url)) as one, closing(open_journal(url)) as two:

        def work(journal: object, name: str) -> None:
            for n in range(300):
                journal.record(replace(full_event(), id=f"{name}{n}", run=""))  # type: ignore[attr-defined]
            journal.record(full_event())  # type: ignore[attr-defined]

        threads = [threading.Thread(target=work, args=each) for each in ((one, "a"), (two, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.flush(PATIENCE)
        assert two.flush(PATIENCE)
        assert [601] == [group.sums.calls for group in one.sums(Selection())]


def test_a_journal_that_is_away_stops_nobody_and_gets_everything_later(tmp_path: Path) -> None:
    """Records wait; reading says what is wrong."""
    place = tmp_path / "calls.db"
    place.mkdir()
    with closing(open_sqlite(f"sqlite:///{place}?keep=all")) as journal:
        journal.record(full_event())
        assert not journal.flush(0.05)
        with pytest.raises(JournalUnavailableError, match="check its path"):
            journal.sums(Selection())
        place.rmdir()
        assert journal.flush(PATIENCE)
        assert full_event() == journal.call(full_event().id)


def test_a_server_that_went_away_gets_everything_later(server: PostgresServer) -> None:
    """A restart of PostgreSQL in the middle loses no call and counts none twice."""
    with closing(open_postgres(server.url(keep="all"))) as journal:
        journal.record(replace(full_event(), id="before"))
        assert journal.flush(PATIENCE)
        server.stop()
        try:
            journal.record(replace(full_event(), id="meanwhile"))
            assert not journal.flush(0.05)
            with pytest.raises(JournalUnavailableError, match="check that the server"):
                journal.sums(Selection())
        finally:
            server.start()
        journal.record(replace(full_event(), id="after"))
        assert journal.flush(PATIENCE)
        assert [3] == [group.sums.calls for group in journal.sums(Selection())]


def test_what_is_behind_is_written_when_the_program_ends(tmp_path: Path) -> None:
    """Without a call to flush."""
    program = (
        "import costguard, sys; costguard.configure(journal=sys.argv[1])\n"
        "for _ in range(100): costguard.track('gpt-4o-mini', input_tokens=10, output_tokens=1, feature='f')\n"
    )
    url = f"sqlite:///{tmp_path}/calls.db"
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=120)
    with closing(open_journal(url)) as journal:
        (group,) = journal.sums(Selection(), ["feature"])
        assert (("f",), 100) == (group.key, group.sums.calls)
        assert 100 == len(list(journal.calls(Selection())))


def test_a_killed_process_leaves_whole_batches(tmp_path: Path) -> None:
    """``kill -9`` in the middle of writing: sums and calls still agree."""
    program = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from itertools import count\n"
        "from costguard.journals import open_journal\n"
        "from costguard.testing.journal_contract import full_event\n"
        "journal = open_journal(sys.argv[1])\n"
        "for n in count():\n"
        "    journal.record(replace(full_event(), id=f'c{n}'))\n"
        "    if n % 500 == 0: journal.flush(60); print(n, flush=True)\n"
    )
    url = f"sqlite:///{tmp_path}/calls.db?keep=all"
    with subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(4):
            told = int(child.stdout.readline())
        child.kill()
    with closing(open_journal(url)) as journal:
        kept = len(list(journal.calls(Selection())))
        assert kept > told
        assert [kept] == [group.sums.calls for group in journal.sums(Selection())]


def test_the_file_of_a_newer_costguard_is_left_alone(tmp_path: Path) -> None:
    """Said so, instead of writing into tables of which nothing is known."""
    url = f"sqlite:///{tmp_path}/calls.db"
    with closing(open_journal(url)) as journal:
        journal.record(full_event())
        assert journal.flush(PATIENCE)
    with closing(sqlite3.connect(tmp_path / "calls.db")) as connection, connection:
        connection.execute("INSERT INTO journal_migrations (number) VALUES (99)")
    with closing(open_journal(url)) as journal, pytest.raises(JournalUnavailableError, match="newer costguard"):
        journal.sums(Selection())


def test_the_ledger_and_the_journal_may_share_a_file(tmp_path: Path) -> None:
    """Neither takes the other's tables for its own."""
    from costguard._types import Leg
    from costguard.ledgers import open_ledger

    with (
        closing(open_ledger(f"sqlite:///{tmp_path}/one.db")) as ledger,
        closing(open_journal(f"sqlite:///{tmp_path}/one.db?keep=all")) as journal,
    ):
        journal.record(full_event())
        assert journal.flush(PATIENCE)
        assert 0 == ledger.balances([Leg("b", "w", 5)])[0].spent
        assert full_event() == journal.call(full_event().id)


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite://host/x", "sqlite:///x?kep=2d", "sqlite:///x?keep=never", "sqlite:///x?keep=0",
     "memory://?kept=0", "memory://?kept=x", "memory://?keep=1", "mongodb://x", "postgresql:///x?keep=-1d",
     "postgresql:///x?schema=A;B"],
)  # fmt: skip
def test_urls_that_are_wrong_say_so(url: str) -> None:
    """Which option, and what is allowed."""
    with pytest.raises(ConfigError):
        open_journal(url)


def test_the_memory_journal_is_bounded() -> None:
    """The oldest calls make room, and are counted."""
    journal = MemoryJournal(kept=10)
    for n in range(25):
        journal.record(replace(full_event(), id=f"c{n}"))
        journal.record(Result(f"r{n}", START, "x"))
    assert 30 == journal.dropped
    assert [f"c{n}" for n in range(15, 25)] == [event.id for event in journal.calls(Selection())]
    assert 10 == len(list(journal.results(Selection())))


def test_records_that_cannot_be_written_in_time_are_counted() -> None:
    """The queue is bounded, the oldest go, and one that breaks its batch takes none of the others along."""
    written: list[str] = []
    gate = threading.Event()

    def write(batch: object) -> None:
        gate.wait(PATIENCE)
        if "bad" in batch:  # type: ignore[operator]
            raise ValueError("this one")
        written.extend(batch)  # type: ignore[call-overload]

    from costguard._shield import bugs

    behind = Behind(write, kept=3)
    loud, bugs.loud = bugs.loud, False
    try:
        for number in range(2_000):
            behind.put(f"r{number}")
        behind.put("bad")
        gate.set()
        assert behind.flush(PATIENCE)
    finally:
        bugs.loud = loud
        behind.close(PATIENCE)
    assert behind.dropped + len(written) == 2_001
    assert "r1999" in written
    assert "bad" not in written
    assert behind.dropped > 900


def test_the_driver_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that installs it."""
    from costguard.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match="postgres"):
        open_postgres("postgresql:///x")


def test_relative_files_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may change its directory later."""
    monkeypatch.chdir(tmp_path)
    with closing(open_sqlite("sqlite:calls.db")) as journal:
        (tmp_path / "elsewhere").mkdir()
        os.chdir(tmp_path / "elsewhere")
        journal.record(full_event())
        assert journal.flush(PATIENCE)
    assert (tmp_path / "calls.db").exists()
    shutil.rmtree(tmp_path / "elsewhere")
