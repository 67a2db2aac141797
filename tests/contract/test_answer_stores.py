"""Where the response cache keeps answers: memory, a file, and a real Redis behave alike."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from costguard.errors import ConfigError
from costguard.optimize.stores import open_store
from costguard.optimize.stores.memory import MemoryStore
from costguard.optimize.stores.redis import RedisStore
from costguard.optimize.stores.sqlite import SQLiteStore
from costguard.ports import AnswerStore, Leases, Vectors

from .servers import fresh, running

Open = Callable[[], AnswerStore]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server."""
    with running(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "redis"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the store; for those that are shared, each time the same one."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    if request.param == "sqlite":
        return lambda: SQLiteStore(tmp_path / "answers.db")
    url, namespace = request.getfixturevalue("redis_url"), fresh()
    return lambda: RedisStore(url, namespace)


def test_what_is_put_is_found_until_it_expires(opener: Open) -> None:
    """By whoever shares the store, any text, the last one put."""
    store, now = opener(), time.time()
    assert store.get("aa", now) is None
    store.put("aa", "first", now + 60)
    store.put("aa", 'täxt \u2028 {"a": "\\ud83d"}', now + 60)
    store.put("bb", "gone", now - 1)
    other = opener()
    assert 'täxt \u2028 {"a": "\\ud83d"}' == other.get("aa", now)
    assert other.get("bb", now) is None
    store.close()
    other.close()


def test_all_who_share_a_store_make_the_same_keys(opener: Open) -> None:
    """The secret is the store's, so that an answer is found by other processes too."""
    first, second = opener().secret(), opener().secret()
    assert first == second
    assert first is not None
    assert 32 == len(first)


def test_clearing_forgets_answers_and_keeps_the_secret(opener: Open) -> None:
    """What was kept is gone for everybody."""
    store, now = opener(), time.time()
    secret = store.secret()
    store.put("aa", "text", now + 60)
    store.clear()
    assert opener().get("aa", now) is None
    assert secret == opener().secret()


def test_a_request_is_leased_to_one_at_a_time(opener: Open) -> None:
    """To the first who asks, until he gives it up or his time is over; nobody else can give it up."""
    store, other = opener(), opener()
    if not isinstance(store, Leases) or not isinstance(other, Leases):
        assert isinstance(store, MemoryStore)
        return
    now = time.time()
    assert [True, True, False] == [store.lease("aa", owner, now, 60) for owner in ("me", "me", "you")]
    assert other.lease("bb", "you", now, 60)
    other.give_up("aa", "you")
    assert not other.lease("aa", "you", now, 60)
    store.give_up("aa", "me")
    assert other.lease("aa", "you", now, 0.05)
    deadline = time.monotonic() + 30
    while not store.lease("aa", "me", time.time(), 60):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_vectors_are_read_on_from_where_one_stopped(opener: Open) -> None:
    """Those of one scope, in their order, each once; clearing forgets them too."""
    store, other = opener(), opener()
    if not isinstance(store, Vectors) or not isinstance(other, Vectors):
        assert isinstance(store, MemoryStore)
        return
    later = time.time() + 60
    store.note("ss:model", "aa", "[1]", later)
    store.note("tt:model", "bb", "[2]", later)
    first = list(other.notes("ss:model", ""))
    assert [("aa", "[1]")] == [row[1:] for row in first]
    other.note("ss:model", "cc", "[3]", later)
    assert [("cc", "[3]")] == [row[1:] for row in store.notes("ss:model", first[-1][0])]
    store.clear()  # type: ignore[attr-defined]
    assert [] == list(other.notes("ss:model", ""))


def test_memory_is_bounded_by_number_and_size() -> None:
    """Those unused for longest make room."""
    store = MemoryStore(entries=2, size=10)
    for key in ("a", "b"):
        store.put(key, "xx", 100)
    store.get("a", 0)
    store.put("c", "xx", 100)
    assert (store.get("a", 0), store.get("b", 0)) == ("xx", None)
    store.put("d", "x" * 9, 100)
    assert (store.get("a", 0), store.get("d", 0)) == (None, "x" * 9)
    assert store.get("d", 100) is None


def test_a_file_is_bounded_and_its_owners_alone(tmp_path: Path) -> None:
    """Those that expire first make room; nobody else may read the answers."""
    store = SQLiteStore(tmp_path / "answers.db", entries=3)
    for number in range(10):
        store.put(f"{number}", "x", 100 + number)
    assert [None] * 7 + ["x"] * 3 == [store.get(f"{number}", 0) for number in range(10)]
    assert 0o600 == stat.S_IMODE((tmp_path / "answers.db").stat().st_mode)


def test_a_store_that_is_away_finds_nothing_and_raises_nothing(tmp_path: Path) -> None:
    """A call costs its price then, and goes on."""
    store = open_store("redis://127.0.0.1:1/0")
    assert store.get("aa", 0) is None
    assert store.secret() is None
    store.put("aa", "x", time.time() + 60)
    file = SQLiteStore(tmp_path / "answers.db")
    file.close()
    (tmp_path / "answers.db").write_bytes(b"no database at all, and long enough to be looked at" * 100)
    assert file.get("aa", 0) is None
    file.put("aa", "x", 100)
    for away in (store, file):
        assert isinstance(away, Leases)
        assert isinstance(away, Vectors)
        away.note("ss", "aa", "[1]", time.time() + 60)
        assert () == away.notes("ss", "")
        assert away.lease("aa", "me", 0, 60)
        away.give_up("aa", "me")


@pytest.mark.parametrize(
    "url", ["nowhere://", "sqlite://", "memory://?entries=0", "memory://?colour=red", "sqlite:////proc/none/x.db", 7]
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(ConfigError):
        open_store(url)
