"""The PostgreSQL ledger: every promise of a ledger, and what can happen to a server, over a real one."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from queue import SimpleQueue

import pytest

from costguard._types import Granted, Hold, Leg, Refused
from costguard.errors import ConfigError, LedgerUnavailableError, MissingExtraError
from costguard.ledgers import open_ledger
from costguard.ledgers._pool import CrowdedError, LostError, Pool, Turn
from costguard.ledgers._postgres_book import MIGRATIONS, lock_key
from costguard.ledgers._postgres_wire import Wire
from costguard.ledgers.postgres import PostgresLedger, open_postgres
from costguard.testing import LedgerContract

from .postgres_server import PostgresServer, postgres_server
from .shared import Kept, Opener, SharedLedgerContract, ended, forked

LEG = Leg("b", "w", 10**15)
OTHER = Leg("other", "w", 10**15)
PATIENT = 30
"""Seconds that a step may take where a busy machine is no bug."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def ledger(server: PostgresServer) -> Iterator[PostgresLedger]:
    """A ledger with the time-out that users have, its tables made."""
    with closing(open_postgres(server.url(timeout=PATIENT))) as patient:
        patient.balances([LEG])
    with closing(open_postgres(server.url(patient._schema))) as ledger:
        ledger._ready = True
        yield ledger


@pytest.fixture
def patient(server: PostgresServer) -> Iterator[PostgresLedger]:
    with closing(open_postgres(server.url(timeout=PATIENT))) as ledger:
        yield ledger


class TestPostgresLedger(LedgerContract, SharedLedgerContract):
    """The ledger of many hosts."""

    examples = 6
    histories = 10
    holds = 20
    seconds = 1.0

    @pytest.fixture(autouse=True)
    def _server(self, server: PostgresServer) -> None:
        self.server = server

    def make_ledger(self) -> PostgresLedger:
        return open_postgres(self.server.url(timeout=PATIENT))

    def make_usual_ledger(self) -> PostgresLedger:
        ledger = self.make_ledger()
        ledger.balances([LEG])
        ledger.close()
        return open_postgres(self.server.url(ledger._schema))

    def make_opener(self) -> Opener:
        url = self.server.url(timeout=PATIENT)
        return lambda: open_postgres(url)

    def kept(self, opener: Opener) -> Kept:
        with closing(opener()) as ledger:
            assert isinstance(ledger, PostgresLedger)
            ledger.balances([])
            schema = ledger._schema
        # What a killed writer had sent is still being done: wait until its connections are gone.
        until = time.monotonic() + PATIENT
        busy = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'costguard' AND state <> 'idle'"
        while self.server.sql(busy):
            assert time.monotonic() < until
            time.sleep(0.005)
        windows = self.server.sql(f"SELECT budget, spent, held FROM {schema}.windows")
        return windows, self.server.sql(f"SELECT id, state, amount, booked FROM {schema}.holds")


def _hold(id: str, *legs: Leg, amount: int = 5) -> Hold:
    return Hold(id, amount, legs or (LEG,), time.time() + 1000)


def _books(ledger: PostgresLedger, leg: Leg = LEG) -> tuple[int, int]:
    (balance,) = ledger.balances([leg])
    return balance.spent, balance.held


def _backends(server: PostgresServer) -> list[int]:
    return [pid for (pid,) in server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'costguard'")]


# -- a server that is away, hangs or comes back


@pytest.fixture
def hanging(server: PostgresServer) -> Iterator[PostgresServer]:
    yield server
    server.resume()


def test_a_server_that_hangs_holds_nobody_up_for_long(ledger: PostgresLedger, hanging: PostgresServer) -> None:
    """A step fails after 600 ms whether it was connected or not, later ones at once, and all goes on afterwards."""
    ledger.reserve(_hold("a"))
    hanging.hang()
    stopped = time.monotonic()
    ledger._link.breaker.clock = lambda: stopped
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(LedgerUnavailableError, match=r"gave no answer in time; it may take 0.6 s: check its load"):
            ledger.settle("a", 3)
        assert 0.5 < time.monotonic() - started < 1.2
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(LedgerUnavailableError, match="failed 3 times in a row and is tried again in"):
            ledger.settle("a", 3)
    assert time.monotonic() - started < 0.3
    hanging.resume()
    ledger._link.breaker.clock = time.monotonic
    ledger._link.timeout = PATIENT
    assert Granted() == ledger.settle("a", 3)
    assert (3, 0) == _books(ledger)


def test_an_address_that_never_answers_holds_nobody_up_for_long() -> None:
    """Something listens there and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ledger = open_postgres(f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/books")
        started = time.monotonic()
        with pytest.raises(LedgerUnavailableError, match="gave no answer in time") as caught:
            ledger.balances([LEG])
        assert time.monotonic() - started < 1.2
    assert "secret" not in str(caught.value)
    assert "me" not in str(caught.value).partition("cannot")[0].split("//")[1]


def test_a_server_that_is_not_there_says_what_to_check() -> None:
    """Nothing is sent before the first step, which fails at once and names no password."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    ledger = open_ledger(f"postgres://me:secret@127.0.0.1:{port}/books")
    with pytest.raises(LedgerUnavailableError, match=r"onnection refused.*check that the server runs") as caught:
        ledger.reserve(_hold("a"))
    assert "secret" not in str(caught.value)
    ledger.close()


def test_a_restarted_server_is_not_noticed(patient: PostgresLedger, server: PostgresServer) -> None:
    """Connections that broke while they were idle are replaced, all of them, and the step is repeated."""
    threads = [threading.Thread(target=patient.reserve, args=(_hold(f"h{number}"),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    server.start()
    for number in range(6):
        assert Granted() == patient.settle(f"h{number}", 2)
    assert (12, 0) == _books(patient)


@pytest.mark.parametrize("landed", [True, False])
def test_a_step_whose_answer_was_lost_is_done_once(
    patient: PostgresLedger, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    """The connection breaks around the commit: the step is repeated, and counted once."""
    real, broken = Wire.ask, [True]

    def ask(self: Wire, *statements: str) -> object:
        if statements[-1] == "COMMIT" and broken:
            broken.clear()
            if landed:
                real(self, *statements)
            self.close()
            raise LostError("the connection was closed")
        return real(self, *statements)

    patient.reserve(_hold("before"))
    monkeypatch.setattr(Wire, "ask", ask)
    assert Granted() == patient.reserve(_hold("a", amount=40))
    assert not broken
    assert (0, 45) == _books(patient)
    broken.append(True)
    assert Granted() == patient.settle("a", 30)
    assert (30, 5) == _books(patient)


def test_an_error_of_the_server_names_its_cure(patient: PostgresLedger, server: PostgresServer) -> None:
    """A user without rights hears which are needed; with them, but not those to make tables, it works."""
    patient.reserve(_hold("a"))
    schema = patient._schema
    server.sql("CREATE ROLE app LOGIN")
    with closing(open_postgres(server.url(schema, timeout=PATIENT).replace("user=costguard", "user=app"))) as ledger:
        with pytest.raises(LedgerUnavailableError, match=r"permission denied for schema .*its user needs CREATE"):
            ledger.settle("a", 3)
        server.sql(f"GRANT USAGE ON SCHEMA {schema} TO app")
        server.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO app")
        assert Granted() == ledger.settle("a", 3)
        assert (3, 0) == _books(ledger)


def test_tables_that_were_dropped_are_made_again(patient: PostgresLedger, server: PostgresServer) -> None:
    """Somebody who empties the database in a test run need not restart his program."""
    patient.reserve(_hold("a"))
    server.sql(f"DROP SCHEMA {patient._schema} CASCADE")
    assert Granted() == patient.reserve(_hold("b"))
    assert (0, 5) == _books(patient)


# -- locks


def test_steps_on_other_budgets_go_on_while_one_is_locked(patient: PostgresLedger, server: PostgresServer) -> None:
    """A host that hangs in the middle of its step stands in the way of its own budgets only, and not for ever."""
    patient.balances([LEG])
    with closing(open_postgres(server.url(patient._schema, patience=0))) as hasty, _locked(server, hasty):
        with pytest.raises(LedgerUnavailableError, match="other steps held the same budgets all that time"):
            hasty.reserve(_hold("a", LEG, OTHER))
        assert 0 == hasty._link.breaker.failures, "the server is there"
        assert Granted() == patient.reserve(_hold("b", OTHER))
        assert (0, 0) == _books(patient), "reading waits for nobody"
    assert Granted() == patient.reserve(_hold("a", LEG, OTHER))


def test_a_budget_that_others_hold_for_longer_than_the_time_out_is_waited_for(
    patient: PostgresLedger, server: PostgresServer
) -> None:
    """The server answers, so it is not away: the step has its turn when the others have had theirs."""
    patient.balances([LEG])
    replies: list[object] = []
    with closing(open_postgres(server.url(patient._schema, timeout=1, patience=PATIENT))) as ledger:
        with _locked(server, ledger):
            waiting = threading.Thread(target=lambda: replies.append(ledger.reserve(_hold("a"))))
            waiting.start()
            waiting.join(1.5)
            assert [] == replies
            assert waiting.is_alive()
        waiting.join(PATIENT)
    assert [Granted()] == replies


@contextmanager
def _locked(server: PostgresServer, ledger: PostgresLedger, budget: str = "b") -> Iterator[None]:
    """Somebody else keeps a budget."""
    import psycopg

    with psycopg.connect(f"host={server.home} user=costguard dbname=postgres") as other:
        other.execute(f"SELECT pg_advisory_xact_lock({lock_key(ledger._schema, 'budget', budget)})")
        yield


def test_steps_over_the_same_budgets_in_any_order_never_wait_for_each_other(patient: PostgresLedger) -> None:
    """Locks are taken in one order, so no deadlock costs anybody his step."""
    legs = [Leg(f"b{number}", "w", 10**15) for number in range(5)]
    errors: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(15):
                turned = legs[(thread + number) % 5 :] + legs[: (thread + number) % 5]
                mine = tuple(turned if number % 2 else reversed(turned))
                patient.reserve(_hold(f"{thread}-{number}", *mine[:3]))
                patient.settle(f"{thread}-{number}", 5)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == errors
    assert 6 * 15 * 3 * 5 == sum(balance.spent for balance in patient.balances(legs))


def test_one_id_used_for_two_calls_at_once_is_caught(patient: PostgresLedger) -> None:
    """They lock different budgets, so that only the hold's own row can tell; one is granted, the other an error."""
    replies: list[object] = []

    def ask(leg: Leg, gate: threading.Barrier, id: str) -> None:
        gate.wait()
        try:
            replies.append(patient.reserve(_hold(id, leg)))
        except Exception as error:
            replies.append(type(error).__name__)

    for number in range(10):
        gate = threading.Barrier(2)
        threads = [threading.Thread(target=ask, args=(leg, gate, f"h{number}")) for leg in (LEG, OTHER)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 10 == replies.count(Granted())
    assert 10 == replies.count("IdempotencyConflictError")
    assert 50 == _books(patient)[1] + _books(patient, OTHER)[1]


def test_connections_are_bounded_and_shared(server: PostgresServer) -> None:
    """Many threads take turns on a few connections; whoever finds none free in time is told which knob to turn."""
    with closing(open_postgres(server.url(timeout=PATIENT, connections=2))) as ledger:
        ledger.balances([])
        threads = [
            threading.Thread(target=lambda thread=thread: [ledger.reserve(_hold(f"{thread}-{n}")) for n in range(5)])
            for thread in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (0, 200) == _books(ledger)
        pool = ledger._link._here.pool
        assert 2 >= len(pool)
        ledger._link.patience = ledger._link.timeout = 0.1
        pool.heard = time.monotonic() + 1000
        taken = [pool.take(ledger._link.turn()) for _ in range(2)]
        with pytest.raises(LedgerUnavailableError, match=r"connections were all busy.*raise \?connections=") as caught:
            ledger.balances([LEG])
        assert not caught.value.unsure, "it was never sent"
        assert 0 == ledger._link.breaker.failures, "it says nothing about the server"
        del taken
        # What an interrupt dropped makes room by itself.
        ledger._link.patience = ledger._link.timeout = PATIENT
        assert (0, 200) == _books(ledger)


def test_connections_are_had_in_the_order_of_asking() -> None:
    """Whoever came first is served first, and one who gave up keeps nobody waiting."""
    pool, served = Pool(_FakeWire, 1), SimpleQueue[str]()
    wire = pool.take(Turn(pool, PATIENT, PATIENT))

    def ask(name: str) -> None:
        mine = pool.take(Turn(pool, PATIENT, PATIENT))
        served.put(name)
        pool.give(mine)

    threads = []
    for place, name in enumerate("abcdef"):
        threads.append(threading.Thread(target=ask, args=(name,)))
        threads[-1].start()
        while len(pool._queue) <= place:
            time.sleep(0.001)
    with pytest.raises(CrowdedError, match="it gave no answer in time"):
        pool.take(Turn(pool, 0.01, 0.01))
    assert 6 == len(pool._queue)
    pool.give(wire)
    for thread in threads:
        thread.join(PATIENT)
    assert list("abcdef") == [served.get_nowait() for _ in range(6)]
    assert 1 == len(pool)


def test_a_connection_in_use_while_the_pool_is_closed_is_closed_when_it_is_given_back() -> None:
    """It is nobody's any more; whoever asks the ledger again gets another."""
    closed: list[object] = []

    class Wire(_FakeWire):
        def close(self) -> None:
            closed.append(self)

    pool = Pool(Wire, 2)
    idle, used = (pool.take(Turn(pool, PATIENT, PATIENT)) for _ in range(2))
    pool.give(idle)
    pool.close()
    assert [idle] == closed
    pool.give(used)
    assert [idle, used] == closed
    again = pool.take(Turn(pool, PATIENT, PATIENT))
    pool.give(again)
    assert again is pool.take(Turn(pool, PATIENT, PATIENT))
    assert [idle, used] == closed


def test_a_silent_server_is_given_up_by_all_who_wait_for_it(server: PostgresServer, hanging: PostgresServer) -> None:
    """Also by those in the queue for a connection: they do not wait out each other's time-outs."""
    with closing(open_postgres(server.url(timeout=PATIENT, connections=1))) as patient:
        patient.reserve(_hold("a"))
        with closing(open_postgres(server.url(patient._schema, connections=1))) as ledger:
            ledger.balances([LEG])
            hanging.hang()
            seconds: list[float] = []

            def ask() -> None:
                started = time.monotonic()
                with pytest.raises(LedgerUnavailableError, match=r"gave no answer in time|failed \d+ times"):
                    ledger.settle("a", 3)
                seconds.append(time.monotonic() - started)

            threads = [threading.Thread(target=ask) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            hanging.resume()
    # One after another they would take seven seconds.
    assert 12 == len(seconds)
    assert max(seconds) < 3


class _FakeWire:
    idle = True

    def close(self) -> None:
        raise AssertionError("it is in order")


# -- processes


def test_processes_that_start_at_once_make_the_tables_once(server: PostgresServer) -> None:
    """A fleet that is deployed against an empty database comes up."""
    url = server.url(timeout=PATIENT)

    def work(process: int) -> None:
        with closing(open_postgres(url)) as ledger:
            ledger.reserve(_hold(f"h{process}"))

    assert [0] * 6 == ended(*[forked(lambda process=process: work(process)) for process in range(6)])
    with closing(open_postgres(url)) as ledger:
        assert (0, 30) == _books(ledger)
        every = [(number,) for number in range(1, len(MIGRATIONS) + 1)]
        assert every == server.sql(f"SELECT number FROM {ledger._schema}.migrations ORDER BY number")


def test_a_child_neither_uses_nor_closes_its_parents_connections(
    patient: PostgresLedger, server: PostgresServer
) -> None:
    """After the child has come and gone the parent's connection is the one it had."""
    patient.reserve(_hold("a"))
    mine = [pid for (pid,) in server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'costguard'")]

    def work() -> None:
        patient.settle("a", 3)
        assert set(mine) < set(_backends(server))
        patient.close()

    assert [0] == ended(forked(work))
    assert (3, 0) == _books(patient)
    assert mine == _backends(server)


def test_books_of_a_newer_costguard_are_left_alone(patient: PostgresLedger, server: PostgresServer) -> None:
    """An older program does not guess what a newer one's tables mean."""
    patient.balances([LEG])
    server.sql(f"INSERT INTO {patient._schema}.migrations (number) VALUES (99)")
    with closing(open_postgres(server.url(patient._schema, timeout=PATIENT))) as ledger:
        with pytest.raises(LedgerUnavailableError, match=r"newer costguard .schema 99, this one knows \d+.: upgrade"):
            ledger.reserve(_hold("a"))


def test_what_is_over_long_ago_is_deleted(patient: PostgresLedger, server: PostgresServer) -> None:
    """Tables do not grow for ever, and what is open or lasting stays."""
    now = time.time()
    patient.reserve(Hold("open", 5, (LEG,), now + 99_000))
    for number in range(20):
        leg = Leg("day", f"d{number:03d}", 10, now, now + number)
        patient.reserve(Hold(f"old-{number}", 1, (leg, LEG), now + 10))
        patient.settle(f"old-{number}", 1)
    patient.reap(now + 100_000)
    assert (25, 0) == _books(patient), "the open one was charged"
    assert [("b",)] == server.sql(f"SELECT budget FROM {patient._schema}.windows")
    assert [("open",)] == server.sql(f"SELECT id FROM {patient._schema}.holds")


# -- the URL


def test_each_schema_has_books_of_its_own(server: PostgresServer) -> None:
    """Two teams share a database."""
    with closing(open_postgres(server.url(timeout=PATIENT))) as one, closing(open_postgres(server.url())) as other:
        other._link.timeout = PATIENT
        tight = Leg("b", "w", 10)
        assert Granted() == one.reserve(_hold("a", tight, amount=10))
        assert isinstance(one.reserve(_hold("b", tight, amount=1)), Refused)
        assert Granted() == other.reserve(_hold("a", tight, amount=10))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("?schema=a-b", "small letters, digits and _"),
        ("?schema=", "small letters, digits and _"),
        ("?timeout=soon", "timeout= in the ledger's URL: could not convert"),
        ("?timeout=0", "0.05 to 60 seconds"),
        ("?patience=-1", "0 to 600 seconds"),
        ("?connections=0", "at least 1 is needed"),
        ("?conections=3", 'invalid URI query parameter: "conections"'),
    ],
)
def test_a_url_that_is_not_understood_says_what_is_wrong(options: str, said: str) -> None:
    """Before anything is sent, and without the password."""
    with pytest.raises(ConfigError, match=said) as caught:
        open_postgres(f"postgresql://me:secret@localhost/books{options}")
    assert "secret" not in str(caught.value)


def test_options_of_libpq_reach_it(server: PostgresServer) -> None:
    """Whatever libpq understands may stand in the URL, spaces too."""
    url = f"{server.url(timeout=PATIENT)}&application_name=my%20shop&options=-c%20default_transaction_read_only%3Don"
    with closing(open_postgres(url)) as ledger:
        assert Granted() == ledger.reserve(_hold("a"))
        assert [("my shop",)] == server.sql(
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'my%'"
        )


def test_without_its_driver_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence is the command that installs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"costguard-ai\[postgres\]"):
        open_ledger("postgresql://localhost/books")
