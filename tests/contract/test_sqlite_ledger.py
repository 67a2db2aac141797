"""The SQLite ledger: every promise of a ledger, and what can happen to a file."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from costguard._types import Granted, Hold, Leg, Refused
from costguard.errors import ConfigError, LedgerUnavailableError
from costguard.ledgers import _sqlite_book, open_ledger, sqlite
from costguard.ledgers._sqlite_tables import MIGRATIONS
from costguard.ledgers.sqlite import SQLiteLedger, open_sqlite
from costguard.testing import LedgerContract

from .shared import Kept, Opener, SharedLedgerContract, ended, forked

LEG = Leg("b", "w", 10**15)
NOBODY = 65534


class TestSQLiteLedger(LedgerContract, SharedLedgerContract):
    """The ledger of one host."""

    examples = 15
    histories = 30
    seconds = 1.0

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_ledger(self) -> SQLiteLedger:
        return SQLiteLedger(self._fresh())

    def make_opener(self) -> Opener:
        path = self._fresh()
        return lambda: SQLiteLedger(path)

    def kept(self, opener: Opener) -> Kept:
        with closing(opener()) as ledger:
            assert isinstance(ledger, SQLiteLedger)
            with closing(sqlite3.connect(ledger._path)) as connection:
                assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
                # One moment for both, since others may be writing.
                connection.execute("BEGIN")
                windows = connection.execute("SELECT budget, spent, held FROM windows").fetchall()
                return windows, connection.execute("SELECT id, state, amount, booked FROM holds").fetchall()

    def _fresh(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder)) / "books.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "books.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SQLiteLedger]:
    """A ledger with 7 spent and 5 held."""
    with closing(SQLiteLedger(path)) as ledger:
        ledger.reserve(_hold("spent", 9))
        ledger.settle("spent", 7)
        ledger.reserve(_hold("open", 5))
        yield ledger


def _hold(id: str, amount: int = 5) -> Hold:
    return Hold(id, amount, (LEG,), time.time() + 1000)


def _books(ledger: SQLiteLedger) -> tuple[int, int]:
    (balance,) = ledger.balances([LEG])
    return balance.spent, balance.held


# -- the disk


@contextmanager
def _file_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _fill(ledger: SQLiteLedger) -> int:
    """Reserve until the disk is full; how many were granted."""
    granted = 0
    with pytest.raises(LedgerUnavailableError, match=r"check the path, its disk and its permissions|disk is full"):
        for number in range(5000):
            ledger.reserve(_hold(f"fill-{number}", 1))
            granted += 1
    return granted


def test_a_full_disk_closes_the_ledger_and_leaves_the_book_readable(path: Path) -> None:
    """No step is half done, what was granted stays, and all goes on once there is room."""

    def work() -> None:
        ledger = SQLiteLedger(path)
        with _file_limit(300_000):
            granted = _fill(ledger)
            assert granted > 10
            assert (0, granted) == _books(ledger)
            with pytest.raises(LedgerUnavailableError):
                for number in range(granted):
                    ledger.settle(f"fill-{number}", 1)
        spent, held = _books(ledger)
        assert granted == spent + held
        ledger.settle(f"fill-{granted - 1}", 1)
        assert (spent + 1, held - 1) == _books(ledger)
        ledger.close()

    # In a child, so that the limit is no other test's.
    assert [0] == ended(forked(work))


def test_a_full_book_says_to_free_space(ledger: SQLiteLedger) -> None:
    """SQLite's own word for a full disk gets its own advice."""
    assert ledger._connection is not None
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerUnavailableError, match="its disk is full: free some space"):
        for number in range(1000):
            ledger.reserve(_hold(f"h{number}", 0))
    assert (7, 5) == _books(ledger)


def test_a_file_that_may_not_be_written_is_said_to_be_so(ledger: SQLiteLedger, path: Path) -> None:
    """A read-only file is the ledger being away, with advice; after a chmod it goes on."""
    ledger.close()
    folders = [folder for folder in path.parents if folder.stat().st_uid == os.getuid() and folder != Path("/")]
    before = {one: stat.S_IMODE(one.stat().st_mode) for one in (path, *folders)}
    try:
        path.chmod(0o444)
        for folder in folders:
            folder.chmod(before[folder] | 0o111)
        with _as_nobody(), pytest.raises(LedgerUnavailableError, match=r"check the path, its disk and its permissions"):
            ledger.reserve(_hold("a"))
    finally:
        for one, mode in before.items():
            one.chmod(mode)
    assert Granted() == ledger.reserve(_hold("a"))
    assert (7, 10) == _books(ledger)


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may write everywhere, so it steps down for a moment."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_deleted_book_is_noticed_and_not_silently_begun_anew(ledger: SQLiteLedger, path: Path, what: str) -> None:
    """A fresh, empty book would hand the whole limit out again."""
    for one in path.parent.iterdir() if what == "file" else ():
        one.unlink()
    if what == "folder":
        shutil.rmtree(path.parent)
    for _ in range(2):
        with pytest.raises(LedgerUnavailableError, match=r"was deleted while it was in use.*restore it, or restart"):
            ledger.reserve(_hold("a"))
    assert not path.exists()


def test_a_replaced_book_is_said_to_be_so_once_and_then_used(ledger: SQLiteLedger, path: Path) -> None:
    """After a restored backup all processes count in the same file again."""
    ledger.close()
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    ledger.reserve(_hold("lost", 1))
    for one in path.parent.iterdir():
        if one != backup:
            one.unlink()
    backup.rename(path)
    with pytest.raises(LedgerUnavailableError, match="was replaced by another file"):
        ledger.reserve(_hold("a"))
    assert (7, 5) == _books(ledger)


def test_a_damaged_book_is_said_to_be_so(ledger: SQLiteLedger, path: Path) -> None:
    """Garbage in the file is an error with advice, never a wrong balance."""
    ledger.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(LedgerUnavailableError, match="it is damaged: move it away"):
        ledger.reserve(_hold("a"))
    path.write_bytes(content)
    assert (7, 5) == _books(ledger)


def test_another_file_is_not_taken_for_a_book(path: Path) -> None:
    """A path that names something else is said to."""
    path.parent.mkdir()
    path.write_text("[settings]\n" * 400)
    with pytest.raises(LedgerUnavailableError, match=r"file is not a database.*it is another file"):
        SQLiteLedger(path)
    assert path.read_text() == "[settings]\n" * 400


def test_a_book_of_a_newer_costguard_is_left_alone(ledger: SQLiteLedger, path: Path) -> None:
    """An older program does not guess what a newer one's tables mean."""
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerUnavailableError, match=r"newer costguard .schema 99, this one knows \d+\)"):
        SQLiteLedger(path)


def test_a_book_of_an_older_costguard_is_brought_up_to_date(ledger: SQLiteLedger, path: Path) -> None:
    """Its figures stay, and its open holds end as ever."""
    old = path.with_name("old.db")
    with closing(sqlite3.connect(old)) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.execute("ATTACH ? AS new", (str(path),))
        connection.execute("INSERT INTO windows SELECT budget, window, spent, held, fired, ends FROM new.windows")
        connection.execute("INSERT INTO holds SELECT id, state, amount, first, booked, expires, legs FROM new.holds")
        connection.commit()
    with closing(SQLiteLedger(old)) as updated:
        assert (7, 5) == _books(updated)
        updated.settle("open", 3)
        updated.adjust("spent", "one", 6)
        assert (9, 0) == _books(updated)


BOOK_OF_0_1 = """
PRAGMA user_version = 5;
INSERT INTO windows VALUES
    ('b', 'w', 12, 8, 0, NULL, '["b","w",1000000000000000,0.0,null,true,[],[],0,""]'),
    ('c', 'w', 7, 3, 0, NULL, '["c","w",9,0.0,null,true,[],[],0,""]');
INSERT INTO terms VALUES ('b', '500 0');
INSERT INTO holds (id, state, amount, first, booked, expires, legs, adjusted, at) VALUES
    ('open', 'open', 5, 5, 0, 4e9, '[["b","w",1000000000000000,0.0,null,true,[],[],0,""]]', NULL, 1.0),
    ('due', 'open', 3, 2, 0, 90.0, '[["b","w",1000000000000000,0.0,null,true,[],[],0,""],["c","w",9]]', NULL, 2.0),
    ('spent', 'settled', 9, 9, 6, 5e9, '[["b","w",1000000000000000,0.0,null,true,[],[],0,""]]', '[7,[["one",6]]]', 3.0),
    ('old', 'expired', 6, 6, 6, 10.0, '[["b","w",1000000000000000,0.0,null,true,[],[],0,""]]', NULL, 4.0);
""".replace('["c","w",9]', '["c","w",9,0.0,null,true,[],[],0,""]')
"""As costguard 0.1 left it: two holds open, one corrected, one charged."""


@contextmanager
def _as_of_0_1(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of a program of that version, to a book of its own."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statements in MIGRATIONS[:5]:
            for statement in statements:
                connection.execute(statement)
        connection.executescript(BOOK_OF_0_1)
        yield connection


def test_a_book_that_kept_legs_in_each_hold_is_brought_up_to_date(path: Path) -> None:
    """Open holds end on the legs that they were made on, corrections stand, and what is over is forgotten."""
    with _as_of_0_1(path) as connection:
        before = connection.execute("SELECT id, state, amount, booked, legs FROM holds ORDER BY id").fetchall()
    other = Leg("c", "w", 9)
    with closing(SQLiteLedger(path)) as ledger, closing(sqlite3.connect(path)) as connection:
        assert before == connection.execute("SELECT id, state, amount, booked, legs FROM holds ORDER BY id").fetchall()
        assert 2 == len(ledger.balances([LEG, other]))
        ledger.settle("spent", 7)
        ledger.settle("open", 2)
        ledger.reap(100.0)
        assert [(17, 0), (10, 0)] == [(one.spent, one.held) for one in ledger.balances([LEG, other])]
        ledger.settle("due", 1)
        ledger.adjust("spent", "two", 5)
        assert [(14, 0), (8, 0)] == [(one.spent, one.held) for one in ledger.balances([LEG, other])]
        assert isinstance(ledger.reserve(_hold("more", 487)), Refused)
        ledger.reap(4.5e9)
        assert [("spent",)] == connection.execute("SELECT id FROM holds").fetchall()
        ledger.reap(6e9)
        assert [(0,), (0,)] == connection.execute(
            "SELECT count(*) FROM reservations UNION ALL SELECT count(*) FROM legs"
        ).fetchall()


def test_an_older_program_that_has_the_book_open_writes_nothing_wrong(path: Path) -> None:
    """While programs are brought up to date one after another, the old ones are told that the book is not theirs."""
    with _as_of_0_1(path) as old:
        assert 4 == len(old.execute("SELECT * FROM holds").fetchall())
        with closing(SQLiteLedger(path)) as ledger:
            for statement in (
                "INSERT INTO holds (id, state, amount, first, booked, expires, legs) VALUES ('a', 'open', 1, 1, 0, 4, '')",
                "UPDATE holds SET state = 'settled', amount = 5, booked = 5, adjusted = NULL WHERE id = 'open'",
                "DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE state != 'open' AND expires < 100 LIMIT 9)",
            ):
                old.execute("BEGIN IMMEDIATE")
                with pytest.raises(sqlite3.OperationalError, match="it is a view"):
                    old.execute(statement)
                old.execute("ROLLBACK")
            ledger.settle("open", 2)
            assert (14, 3) == _books(ledger)


def test_a_book_that_a_newer_costguard_has_changed_under_an_open_ledger_is_said_to_be_so(
    ledger: SQLiteLedger, path: Path
) -> None:
    """After the first step that found other tables, the next tells why."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE reservations RENAME TO something")
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerUnavailableError):
        ledger.reserve(_hold("a"))
    with pytest.raises(LedgerUnavailableError, match="newer costguard"):
        ledger.reserve(_hold("a"))


# -- other processes


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real figures are five seconds and one."""
    monkeypatch.setattr(sqlite, "PATIENCE", 0.4)
    monkeypatch.setattr(sqlite, "TURN", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_book_that_another_program_keeps_locked_is_waited_for_a_bounded_time(
    ledger: SQLiteLedger, path: Path
) -> None:
    """All waiting together has an end, also for threads that wait behind one another; then all goes on."""
    errors: list[LedgerUnavailableError] = []

    def ask(number: int) -> None:
        try:
            ledger.reserve(_hold(f"h{number}"))
        except LedgerUnavailableError as error:
            errors.append(error)

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 2
        other.execute("ROLLBACK")
    assert 6 == len(errors)
    assert "another program has kept it locked" in str(errors[0])
    assert Granted() == ledger.reserve(_hold("a"))


@pytest.mark.usefixtures("impatient")
def test_a_step_that_waited_while_others_were_served_has_its_patience_before_it(
    ledger: SQLiteLedger, path: Path
) -> None:
    """A crowd in one process is not failed for having been in line when another process comes between."""
    replies: list[object] = []
    waiting = threading.Thread(target=lambda: replies.append(ledger.reserve(_hold("a"))))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        with ledger._lock:
            waiting.start()
            waiting.join(sqlite.PATIENCE)
            ledger._served = time.monotonic() + 100
            other.execute("BEGIN IMMEDIATE")
        waiting.join(sqlite.PATIENCE)
        assert waiting.is_alive()
        other.execute("ROLLBACK")
    waiting.join(60)
    assert [Granted()] == replies


@pytest.mark.usefixtures("impatient")
def test_a_process_that_hangs_in_its_turn_keeps_nobody_out(ledger: SQLiteLedger, path: Path) -> None:
    """The queue in front of the book only orders the steps."""
    descriptor = os.open(f"{path}-lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert Granted() == ledger.reserve(_hold("a"))
    finally:
        os.close(descriptor)


def test_a_step_that_fails_lets_go_of_the_book(ledger: SQLiteLedger, path: Path) -> None:
    """Whatever went wrong in one process, the others need not wait for it."""
    with pytest.raises(KeyError):
        ledger.settle("unknown", 1)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    with pytest.raises(ValueError):
        ledger.settle("open", -1)
    with (path.with_name(f"{path.name}-lock")).open("r+") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_child_uses_nothing_that_its_parent_had_open(ledger: SQLiteLedger, path: Path) -> None:
    """SQLite must not carry a connection over a fork. The child lives on when the parent has closed the book."""
    gone = path.with_name("closed")

    def work() -> None:
        assert ledger._connection is None
        ledger.reserve(_hold("childs", 11))
        while not gone.exists():
            time.sleep(0.005)
        ledger.settle("childs", 11)
        assert (18, 5) == _books(ledger)

    child = forked(work)
    ledger.reserve(_hold("parents", 13))
    ledger.release("parents")
    # The last to close a book tidies up its files, so it must know of everyone who has it open.
    ledger.close()
    gone.touch()
    assert [0] == ended(child)
    assert (18, 5) == _books(ledger)


def test_a_fork_by_other_means_than_pythons_gets_a_connection_of_its_own(ledger: SQLiteLedger) -> None:
    """Servers that fork in C run no hooks: the process id tells."""
    connection = ledger._connection
    ledger._pid = -1
    ledger.reserve(_hold("a"))
    assert ledger._connection is not connection
    assert (7, 10) == _books(ledger)
    inherited: Any = ledger._inherited[0]
    inherited[0].close()
    os.close(inherited[1])


def test_steps_after_a_close_open_the_file_again(ledger: SQLiteLedger) -> None:
    """Closing is not the end of a ledger."""
    ledger.close()
    ledger.settle("open", 4)
    assert (11, 0) == _books(ledger)


# -- time


def test_what_is_over_long_ago_is_deleted(ledger: SQLiteLedger, path: Path) -> None:
    """The file does not grow for ever, and what is open or lasting stays."""
    now = time.time()
    for number in range(300):
        ledger.reserve(Hold(f"old-{number}", 1, (Leg("day", f"d{number:03d}", 10, now, now + number),), now + 10))
        ledger.settle(f"old-{number}", 1)
    for later in (100_000, 100_001):
        ledger.reap(now + later)
    with closing(sqlite3.connect(path)) as connection:
        assert [("b",)] == connection.execute("SELECT budget FROM windows").fetchall()
        assert [] == connection.execute("SELECT id FROM holds WHERE id LIKE 'old-%'").fetchall()


def test_more_leases_than_fit_in_one_batch_are_charged_together(ledger: SQLiteLedger) -> None:
    """However many processes died, one round of the reaper charges them all."""
    now = time.time()
    for number in range(450):
        ledger.reserve(Hold(f"dead-{number}", 2, (LEG,), now + 10))
    assert 450 == len(ledger.reap(now + 11))
    assert (907, 5) == _books(ledger)


def _rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count


def test_legs_are_kept_once_and_as_long_as_a_hold_needs_them(ledger: SQLiteLedger, path: Path) -> None:
    """Many holds on the same legs write them once; they go after the last of these holds, open ones not counted."""
    now = time.time()
    day = Leg("day", "d", 10**9)
    for number in range(20):
        ledger.reserve(Hold(f"h{number}", 1, (day,), now + 10 * number))
    ledger.settle("h0", 1)
    assert 2 == _rows(path, "legs")
    # Far in the future nothing but this process's lateness keeps the holds open: nobody has charged them yet.
    ledger._transact(lambda store: store.forget(now + 10**7, 0, 200))
    assert (2, 20) == (_rows(path, "legs"), _rows(path, "reservations"))
    ledger.settle("open", 2)
    assert 19 == len(ledger.reap(now + 10**7))
    assert (0, 0) == (_rows(path, "legs"), _rows(path, "reservations"))
    ledger.reserve(Hold("anew", 1, (day,), now + 10))
    assert 1 == _rows(path, "legs")
    ledger.settle("anew", 1)


def test_legs_that_share_a_number_are_told_apart(
    ledger: SQLiteLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number is made of the text, and no such number is sure to be the only one's."""
    monkeypatch.setattr(_sqlite_book, "_number_of", lambda _: 5)
    legs = [Leg(f"b{number}", "w", 10**9) for number in range(4)]
    for _ in range(2):
        for leg in legs:
            ledger.reserve(Hold(f"{leg.budget}-{_}", 1, (leg,), time.time() + 1000))
    assert 5 == _rows(path, "legs")
    for leg in legs:
        ledger.settle(f"{leg.budget}-0", 1)
    assert [(1, 1)] * 4 == [(one.spent, one.held) for one in ledger.balances(legs)]


# -- the URL


def test_urls_name_absolute_and_relative_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative file stays where it was when the program changes its directory."""
    monkeypatch.chdir(tmp_path)
    for url, path in (
        ("sqlite:here.db", "here.db"),
        ("sqlite:a/b%20c.db", "a/b c.db"),
        (f"sqlite://{tmp_path}/there.db", "there.db"),
        (f"sqlite:///{tmp_path}/four%23slashes.db?durability=power", "four#slashes.db"),
    ):
        ledger = open_ledger(url)
        monkeypatch.chdir("/")
        ledger.reserve(_hold("a"))
        assert (tmp_path / path).exists(), url
        ledger.close()
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/a.db"])
def test_a_url_without_a_file_says_how_it_is_written(url: str) -> None:
    """It shows both ways."""
    with pytest.raises(ConfigError, match=r"write sqlite:///absolute/path.db or sqlite:relative.db"):
        open_sqlite(url)


def test_an_option_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """A misspelt option is not silently ignored."""
    with pytest.raises(ConfigError, match="no option 'durabilty'"):
        open_sqlite(f"sqlite://{tmp_path}/a.db?durabilty=power")
    with pytest.raises(ConfigError, match="'process' and 'power'"):
        open_sqlite(f"sqlite://{tmp_path}/a.db?durability=forever")


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_decides_what_is_waited_for(tmp_path: Path, durability: Any, level: int) -> None:
    """``power`` waits for the disk in each step, ``process`` does not."""
    with closing(SQLiteLedger(tmp_path / "a.db", durability=durability)) as ledger:
        assert ledger._connection is not None
        assert level == ledger._connection.execute("PRAGMA synchronous").fetchone()[0]
