"""The Redis ledger when things go wrong: several processes, killed ones, servers that hang, restart, forget or refuse."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from costguard._types import Amendment, Granted, Hold, Leg, Refused
from costguard.errors import ConfigError, LedgerUnavailableError, MissingExtraError
from costguard.ledgers import _redis_link, open_ledger
from costguard.ledgers._pool import Turn
from costguard.ledgers.redis import RedisLedger

from .proxy import DroppingProxy
from .servers import RedisServer, command, fresh

LEG = Leg("b", "w", 100)
WORKER = """
import sys, time
from costguard._types import Granted, Hold, Leg
from costguard.ledgers import open_ledger
ledger = open_ledger(sys.argv[1])
leg = Leg("b", "w", 100)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server of our own, which tests leave running and as they found it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Servers for tests that break them."""
    started: list[RedisServer] = []

    def start(**options: str) -> RedisServer:
        started.append(RedisServer(tmp_path, **options))
        return started[-1].start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def ledger(shared: RedisServer) -> Iterator[RedisLedger]:
    """Empty books on the shared server."""
    ledger = RedisLedger(shared.url, namespace=fresh())
    yield ledger
    ledger.close()


def hold(id: str, amount: int = 10, *legs: Leg) -> Hold:
    """A hold that runs for an hour."""
    return Hold(id, amount, legs or (LEG,), time.time() + 3600)


def books(ledger: RedisLedger) -> tuple[int, int]:
    """Spent and held."""
    (balance,) = ledger.balances([LEG])
    return balance.spent, balance.held


def worker(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process with a ledger."""
    return subprocess.Popen([sys.executable, "-c", WORKER + code, *arguments], stdout=subprocess.PIPE, text=True)


# -- processes


def test_processes_are_granted_exactly_what_fits(shared: RedisServer, ledger: RedisLedger) -> None:
    """Four processes try twenty-five holds each against room for ten: ten are granted."""
    url = f"{shared.url}?namespace={ledger._prefix[5:-2]}"
    code = """
granted = 0
for number in range(25):
    granted += isinstance(ledger.reserve(Hold(f"{sys.argv[2]}-{number}", 10, (leg,), time.time() + 60)), Granted)
print(granted)
"""
    workers = [worker(code, url, str(number)) for number in range(4)]
    assert 10 == sum(int(one.communicate(timeout=60)[0]) for one in workers)
    assert (0, 100) == books(ledger)


def test_clients_that_amend_at_once_are_all_heard(shared: RedisServer, ledger: RedisLedger) -> None:
    """Of three that add to a limit at the same time none overwrites another, and one that runs already sees it."""
    code = """
from costguard._types import Amendment
for number in range(20):
    ledger.amend(Amendment(f"{sys.argv[2]}-{number}", "b", "top-up", time.time(), 5, time.time() + 500))
"""
    url = f"{shared.url}?namespace={ledger._prefix[5:-2]}"
    workers = [worker(code, url, str(number)) for number in range(3)]
    assert [0] * 3 == [one.wait(60) for one in workers]
    for one in workers:
        one.communicate()
    assert 60 == len(ledger.amendments("b"))
    assert Granted() == ledger.reserve(hold("a", 400))
    assert isinstance(ledger.reserve(hold("b", 1)), Refused)


def test_an_alert_outlives_the_client_that_decided_on_it(shared: RedisServer, ledger: RedisLedger) -> None:
    """It is killed before it can send it; another client does, by the server's clock."""
    code = """
import os
leg = Leg("b", "w", 100, marks=((50.0, 50),))
ledger.reserve(Hold("h", 60, (leg,), time.time() + 60))
ledger.settle("h", 60)
os.kill(os.getpid(), 9)
"""
    killed = worker(code, f"{shared.url}?namespace={ledger._prefix[5:-2]}")
    killed.communicate(timeout=60)
    assert -9 == killed.returncode
    assert [] == ledger.undelivered(time.time())
    assert [] == ledger.undelivered(time.time() + 10**6)
    ledger._clock = "client"
    (crossing,) = ledger.undelivered(time.time() + 61)
    assert ("b", 50.0, 60) == (crossing.leg.budget, crossing.percent, crossing.spent)
    ledger.delivered([crossing])
    assert [] == ledger.undelivered(time.time() + 10**6)


def test_a_top_up_ends_by_the_servers_clock(shared: RedisServer, ledger: RedisLedger) -> None:
    """A client whose clock is behind does not spend what was to be spent yesterday."""
    now = time.time()
    ledger.amend(Amendment("1", "b", "top-up", now - 60, 100, now - 30))
    ledger.amend(Amendment("2", "b", "top-up", now - 60, 10, now + 600))
    behind = Hold("a", 150, (LEG,), now + 600, now - 50)
    assert isinstance(ledger.reserve(behind), Refused)
    assert Granted() == ledger.reserve(Hold("b", 110, (LEG,), now + 600, now + 10**6))


def test_a_killed_client_is_charged_when_its_lease_is_over(shared: RedisServer, ledger: RedisLedger) -> None:
    """Its call may have been sent; nobody has to end it by hand, and the rest of the limit can be spent."""
    code = """
ledger.reserve(Hold("killed", 40, (leg,), time.time() + 0.5))
print("held", flush=True)
time.sleep(60)
"""
    killed = worker(code, f"{shared.url}?namespace={ledger._prefix[5:-2]}")
    assert killed.stdout is not None
    assert "held\n" == killed.stdout.readline()
    killed.kill()
    killed.communicate()
    assert (0, 40) == books(ledger)
    deadline = time.monotonic() + 10
    while not ledger.reap(time.time()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (40, 0) == books(ledger)
    assert Granted() == ledger.reserve(hold("rest", 60))


# -- servers that do not answer


def test_a_server_that_hangs_costs_a_caller_little_and_then_nothing(make: Callable[..., RedisServer]) -> None:
    """Each of the first three waits at most 600 ms, those after them not at all; when the server is back, one probe
    finds out."""
    server = make()
    ledger = RedisLedger(server.url)
    ledger.reserve(hold("before"))
    now = time.monotonic()
    ledger._link.breaker.clock = lambda: now
    server.pause()
    waits = [_failed(ledger, f"h{number}") for number in range(3)]
    # A busy machine may stretch one of them.
    assert sorted(waits)[1] < _redis_link.TOTAL
    refused = [_failed(ledger, f"r{number}", r"3 times in a row and is tried again in 0\.25 s") for number in range(20)]
    assert min(refused) < 0.001
    now += 0.25
    assert _failed(ledger, "probe", "check its load") > 0.1
    assert _failed(ledger, "after the probe", r"4 times in a row and is tried again in 0\.50 s") < 0.1
    server.go_on()
    now += 0.5
    assert Granted() == ledger.reserve(hold("again"))
    assert Granted() == ledger.settle("before", 5)
    ledger.close()


def _failed(ledger: RedisLedger, id: str, match: str = "check") -> float:
    """How long it took to hear that the ledger is not there."""
    start = time.monotonic()
    with pytest.raises(LedgerUnavailableError, match=match):
        ledger.reserve(hold(id))
    return time.monotonic() - start


def test_a_port_where_nobody_listens_is_told_at_once() -> None:
    """With a sentence that says what to check, and without the password."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ledger = RedisLedger(f"redis://:secret@127.0.0.1:{unused.getsockname()[1]}/0")
        assert _failed(ledger, "h", "check that the server runs and can be reached from here") < 0.25
        with pytest.raises(LedgerUnavailableError) as caught:
            ledger.settle("h", 1)
        assert "secret" not in str(caught.value)


def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_is_held_twice(shared: RedisServer) -> None:
    """The script ran, the connection broke before its answer came: each step with the same figures counts once."""
    with DroppingProxy(shared.port) as proxy:
        ledger = RedisLedger(f"redis://127.0.0.1:{proxy.port}/0", namespace=fresh())
        ledger.reserve(hold("first", 1))
        for step in (
            lambda: ledger.reserve(hold("h", 10)),
            lambda: ledger.extend("h", 5),
            lambda: ledger.settle("h", 12),
        ):
            proxy.drops = 1
            assert Granted() == step()
            assert 0 == proxy.drops
        assert (12, 1) == books(ledger)
        proxy.drops = 2
        with pytest.raises(LedgerUnavailableError):
            ledger.reserve(same := hold("again", 7))
        assert Granted() == ledger.reserve(same)
        assert (12, 8) == books(ledger)
        ledger.close()


def test_a_server_that_answers_others_is_waited_for(shared: RedisServer, ledger: RedisLedger) -> None:
    """It is slow, not away: the step has its answer when its turn has come."""
    ledger.reserve(hold("first", 1))
    _others_are_answered(ledger)
    command(shared.url, "CLIENT", "PAUSE", str(int(2000 * _redis_link.TOTAL)))
    assert Granted() == ledger.reserve(hold("h", 10))
    assert (0, 11) == books(ledger)
    assert 1 == len(ledger._link._here.pool), "on the connection it had"


def test_a_connection_that_alone_is_silent_is_given_up(shared: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers others: it is the way to it that is gone, and another one is tried."""
    monkeypatch.setattr(_redis_link, "STALE", 0.3)
    with DroppingProxy(shared.port) as proxy:
        ledger = RedisLedger(f"redis://127.0.0.1:{proxy.port}/0", namespace=fresh())
        ledger.reserve(hold("first", 1))
        _others_are_answered(ledger)
        proxy.silent, proxy.drops = True, 3
        assert Granted() == ledger.reserve(hold("h", 10))
        assert 0 == proxy.drops
        assert (0, 11) == books(ledger)
        ledger.close()


def test_a_step_that_had_no_connection_says_nothing_of_the_server(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are busy for longer than its patience: it was not sent, and later steps are not failed for it."""
    ledger.reserve(hold("first", 1))
    _others_are_answered(ledger)
    pool = ledger._link._here.pool
    taken = [pool.take(Turn(pool, 1, 1)) for _ in range(_redis_link.CONNECTIONS)]
    monkeypatch.setattr(_redis_link, "PATIENCE", 0.0)
    for _ in range(4):
        with pytest.raises(LedgerUnavailableError, match=r"connections were all busy") as caught:
            ledger.reserve(hold("h"))
        assert not caught.value.unsure
    del taken
    assert Granted() == ledger.reserve(hold("h"))


def _others_are_answered(ledger: RedisLedger) -> None:
    ledger._link._here.pool.heard = time.monotonic() + 1000


# -- servers that forget


def test_scripts_that_were_flushed_are_told_again(shared: RedisServer, ledger: RedisLedger) -> None:
    """As after a restart or a failover; also when several are sent together."""
    legs = (LEG, Leg("rolling", "000000000100", 100, 100, 101, slots=3))
    for number in range(3):
        ledger.reserve(Hold(f"over-{number}", 5, legs, time.time() - 1))
    for step in (
        lambda: ledger.reserve(hold("h", 10, *legs)),
        lambda: ledger.extend("h", 5),
        lambda: ledger.reap(0.0),
        lambda: ledger.settle("h", 12),
    ):
        command(shared.url, "SCRIPT", "FLUSH")
        assert step()
    assert (27, 0) == books(ledger)


def test_books_that_vanish_are_noticed_and_nothing_is_reserved(make: Callable[..., RedisServer]) -> None:
    """After FLUSHALL the limit would be new: reservations stay closed until somebody says to go on. What this process
    still ends is booked all the same, once."""
    server = make()
    ledger = RedisLedger(server.url)
    ledger.reserve(hold("spent", 60))
    ledger.settle("spent", 60)
    for id in ("open", "unsent"):
        ledger.reserve(hold(id, 20))
    command(server.url, "FLUSHALL")
    for _ in range(2):
        with pytest.raises(LedgerUnavailableError, match=r"lost writes .*accept_loss"):
            ledger.reserve(hold("h"))
        with pytest.raises(LedgerUnavailableError, match="lost writes"):
            ledger.extend("open", 1)
    ledger.settle("open", 15)
    assert Granted() == ledger.settle("open", 15)
    ledger.release("unsent")
    with pytest.raises(KeyError):
        ledger.settle("never was", 5)
    assert (15, 0) == books(ledger)
    ledger.accept_loss()
    assert Granted() == ledger.reserve(hold("h", 80))
    assert isinstance(ledger.reserve(hold("i", 6)), Refused)
    ledger.close()


def test_a_settlement_notices_the_loss_too(make: Callable[..., RedisServer]) -> None:
    """It books what it has to book, and closes the reservations after it."""
    server = make()
    ledger = RedisLedger(server.url)
    ledger.reserve(hold("open", 20))
    command(server.url, "FLUSHALL")
    assert Granted() == ledger.settle("open", 15)
    with pytest.raises(LedgerUnavailableError, match="lost writes"):
        ledger.reserve(hold("h"))
    assert (15, 0) == books(ledger)
    ledger.close()


def test_a_server_that_went_back_in_time_is_noticed(shared: RedisServer, ledger: RedisLedger) -> None:
    """A replica that had not heard of the last write becomes the primary: the number of the last write is lower."""
    for number in range(3):
        ledger.reserve(hold(f"h{number}"))
    epoch = ledger._history.split(" ")[1]
    command(shared.url, "HSET", f"{ledger._prefix}books", "@", f"2 {epoch}")
    with pytest.raises(LedgerUnavailableError, match="lost writes"):
        ledger.reserve(hold("next"))
    # Others write on, and the number passes what was seen: it stays noticed.
    command(shared.url, "HSET", f"{ledger._prefix}books", "@", f"50 {epoch}")
    with pytest.raises(LedgerUnavailableError, match="lost writes"):
        ledger.reserve(hold("next"))


@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_a_restart_loses_nothing_with_appendonly_and_is_noticed_without(
    make: Callable[..., RedisServer], appendonly: str
) -> None:
    """``kill -9`` and a new start: connections and scripts are made anew in the same step."""
    server = make(appendonly=appendonly)
    ledger = RedisLedger(server.url)
    ledger.reserve(hold("spent", 60))
    ledger.settle("spent", 50)
    ledger.reserve(hold("open", 20))
    server.kill()
    server.start()
    if appendonly == "yes":
        assert Granted() == ledger.reserve(hold("h", 30))
        ledger.settle("open", 10)
        assert (60, 30) == books(ledger)
    else:
        with pytest.raises(LedgerUnavailableError, match="lost writes"):
            ledger.reserve(hold("h", 30))
    ledger.close()


def test_a_failover_that_loses_writes_is_noticed(make: Callable[..., RedisServer], tmp_path: Path) -> None:
    """A replica is promoted that had not heard of the last settlement, and clients are led to it: nothing is reserved
    on books that say too little, open calls are booked there when they end, and somebody has to say to go on."""
    primary = make()
    folder = tmp_path / "replica"
    folder.mkdir()
    replica = RedisServer(folder).start()
    command(replica.url, "REPLICAOF", "127.0.0.1", str(primary.port))
    try:
        with DroppingProxy(primary.port) as proxy:
            ledger = RedisLedger(f"redis://127.0.0.1:{proxy.port}/0")
            for id, amount in (("first", 30), ("open", 20)):
                ledger.reserve(hold(id, amount))
            ledger.settle("first", 25)
            assert command(primary.url, "WAIT", "1", "60000") == 1
            # The primary is cut off from here on, and does not know it.
            command(replica.url, "REPLICAOF", "NO", "ONE")
            ledger.reserve(hold("unheard", 40))
            ledger.settle("unheard", 40)
            assert (65, 20) == books(ledger)
            primary.kill()
            proxy.to = replica.port
            with pytest.raises(LedgerUnavailableError, match="lost writes"):
                ledger.reserve(hold("next"))
            assert (25, 20) == books(ledger)
            ledger.settle("open", 15)
            with pytest.raises(LedgerUnavailableError, match="lost writes"):
                ledger.reserve(hold("next"))
            ledger.accept_loss()
            assert Granted() == ledger.reserve(hold("next"))
            assert (40, 10) == books(ledger)
            ledger.close()
    finally:
        replica.stop()


# -- servers that refuse


def test_a_server_that_refuses_writes_says_why(make: Callable[..., RedisServer]) -> None:
    """A replica, a full server: another sentence each, and nothing half done."""
    server = make()
    ledger = RedisLedger(server.url)
    ledger.reserve(hold("h", 10))
    command(server.url, "CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(LedgerUnavailableError, match="raise its maxmemory"):
        ledger.reserve(hold("full", 10))
    command(server.url, "CONFIG", "SET", "maxmemory", "0")
    command(server.url, "REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(LedgerUnavailableError, match="name the primary"):
        ledger.reserve(hold("replica", 10))
    command(server.url, "REPLICAOF", "NO", "ONE")
    assert (0, 10) == books(ledger)
    command(server.url, "RPUSH", "cg2:{default}:hold:other", "somebody else's")
    with pytest.raises(LedgerUnavailableError, match="somebody else writes to its keys"):
        ledger.reserve(hold("other", 10))
    assert (0, 10) == books(ledger)
    command(server.url, "CONFIG", "SET", "requirepass", "right")
    ledger.close()
    with pytest.raises(LedgerUnavailableError, match="check the user and password"):
        RedisLedger(server.url.replace("//", "//:wrong@")).reserve(hold("h"))
    ledger = RedisLedger(server.url.replace("//", "//:right@"))
    assert Granted() == ledger.reserve(hold("i"))
    ledger.close()


def test_books_that_a_full_server_throws_away_are_noticed(make: Callable[..., RedisServer]) -> None:
    """The windows of all budgets are one key, with the ledger's history: none is evicted without the others."""
    server = make(maxmemory="3mb", **{"maxmemory-policy": "allkeys-random"})
    ledger = RedisLedger(server.url)
    ledger.reserve(hold("spent", 60))
    ledger.settle("spent", 60)
    for number in range(50_000):
        command(server.url, "SET", f"somebody else's {number}", "x" * 20_000)
        if not number % 50 and command(server.url, "EXISTS", "cg2:{default}:books") == 0:
            break
    with pytest.raises(LedgerUnavailableError, match=r"lost writes .*accept_loss"):
        ledger.reserve(hold("h"))
    ledger.close()


def test_a_server_set_up_to_lose_books_is_warned_about_once(
    make: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """One that evicts keys, and one that writes no log."""
    server = make(maxmemory="100mb", **{"maxmemory-policy": "allkeys-lru"})
    ledger = RedisLedger(server.url)
    with caplog.at_level(logging.WARNING, "costguard"):
        for number in range(3):
            ledger.reserve(hold(f"h{number}"))
    assert 1 == caplog.text.count("noeviction")
    assert 1 == caplog.text.count("appendonly")
    ledger.close()


def test_every_step_stays_on_one_node_of_a_cluster(make: Callable[..., RedisServer]) -> None:
    """A cluster refuses a step whose keys are not in one slot; the namespace is their tag."""
    server = make(**{"cluster-enabled": "yes"})
    command(server.url, "CLUSTER", "ADDSLOTS", *[str(slot) for slot in range(16384)])
    deadline = time.monotonic() + 15
    while "cluster_state:ok" not in command(server.url, "CLUSTER", "INFO"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ledger = RedisLedger(server.url, namespace="acme", clock="client", keep=0)
    legs = (LEG, Leg("{odd}", "w", 100, 0, 10), Leg("rolling", "000000000100", 100, 100, 101, slots=3))
    ledger.reserve(hold("h", 10, *legs))
    ledger.extend("h", 5)
    ledger.settle("h", 12)
    ledger.reserve(hold("over", 10, *legs))
    ledger.reap(time.time() + 7200)
    ledger.reap(time.time() + 7201)
    assert [22, 0, 0] == [one.spent for one in ledger.balances(legs)]
    ledger.close()


def test_a_slot_that_moves_to_another_node_closes_the_ledger_and_tears_nothing(
    make: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """While its keys are on the way, and after: nothing is reserved at the node that is named. All of them are at the
    other one."""
    (tmp_path / "other").mkdir()
    here, there = make(**{"cluster-enabled": "yes"}), RedisServer(tmp_path / "other", **{"cluster-enabled": "yes"})
    try:
        there.start()
        ids = {node: command(node.url, "CLUSTER", "MYID") for node in (here, there)}
        command(here.url, "CLUSTER", "ADDSLOTS", *[str(slot) for slot in range(16384)])
        command(there.url, "CLUSTER", "MEET", "127.0.0.1", str(here.port))
        for node in (here, there):
            _until(lambda node=node: "cluster_state:ok" in command(node.url, "CLUSTER", "INFO"))
            _until(lambda node=node: "cluster_known_nodes:2" in command(node.url, "CLUSTER", "INFO"))
        ledger = RedisLedger(here.url, namespace="acme")
        ledger.reserve(hold("open", 20))
        ledger.reserve(hold("ended", 30))
        ledger.settle("ended", 25)
        slot = str(command(here.url, "CLUSTER", "KEYSLOT", "{acme}"))
        command(there.url, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[here])
        command(here.url, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[there])
        keys = command(here.url, "CLUSTER", "GETKEYSINSLOT", slot, "100")
        for some in (keys[:2], keys[2:]):
            command(here.url, "MIGRATE", "127.0.0.1", str(there.port), "", "0", "5000", "KEYS", *some)
            with pytest.raises(LedgerUnavailableError):
                ledger.reserve(hold("on the way"))
        for node in (there, here):
            command(node.url, "CLUSTER", "SETSLOT", slot, "NODE", ids[there])
        with pytest.raises(LedgerUnavailableError, match="name the node that does"):
            ledger.reserve(hold("after"))
        ledger.close()
        moved = RedisLedger(there.url, namespace="acme")
        assert (25, 20) == books(moved)
        moved.settle("open", 15)
        assert (40, 0) == books(moved)
        moved.close()
    finally:
        there.stop()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- before anything is sent


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Naming the URL is enough to hear of it."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r"costguard-ai\[redis\]"):
        open_ledger("redis://localhost")


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost?namespace=a{b}",
        "redis://localhost?namespace=",
        "redis://localhost?no_such_option=1",
        "redis://localhost?db=first",
        "redis://localhost:port",
    ],
)
def test_a_malformed_url_is_a_config_error(url: str) -> None:
    """It is read when the ledger is opened, before a call depends on it."""
    with pytest.raises(ConfigError):
        open_ledger(url)


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://host:6380/1?ssl_cert_reqs=none", "unix:///tmp/r.sock"])
def test_opening_sends_nothing(url: str) -> None:
    """A program starts while its ledger is away; each budget says what happens then."""
    ledger = open_ledger(url)
    assert isinstance(ledger, RedisLedger)
    assert 0 == len(ledger._link._here.pool)
    ledger.close()
