"""Threads that become greenlets when costguard has begun already."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from costguard import _greens
from costguard._waiting import Lines
from costguard._writer import Writer
from costguard.ledgers.memory import MemoryLedger


def test_locks_from_before_are_made_anew_but_one_that_somebody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A greenlet that waits for a thread's lock stops all others. Who has one gives that very one back."""
    free, taken, lines = MemoryLedger(), MemoryLedger(), Lines(shared=False)
    before = free._lock, taken._lock
    with taken._lock:
        made = _renewed(monkeypatch, {id(free), id(taken), id(lines)})
    assert free._lock in made
    assert lines._lock in made
    assert taken._lock is before[1]


def test_a_worker_that_began_as_a_thread_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits where nobody wakes it any more: what is put later is written all the same."""
    writer, done = Writer(), list[int]()
    writer.put(lambda: done.append(1))
    assert writer.flush(30)
    first = writer._thread
    _renewed(monkeypatch, {id(writer)})
    writer.put(lambda: done.append(2))
    assert writer.flush(30)
    assert (done, writer._thread is first) == ([1, 2], False)


def _renewed(monkeypatch: pytest.MonkeyPatch, those: set[int]) -> list[Any]:
    """Renew these objects alone, for other tests of this process have threads at work; returns the locks made."""
    made: list[Any] = []
    plain = threading.Lock

    def lock() -> Any:
        made.append(plain())
        return made[-1]

    with monkeypatch.context() as patch:
        every = _greens.gc.get_objects()
        patch.setattr(_greens.gc, "get_objects", lambda: [one for one in every if id(one) in those])
        patch.setattr(threading, "Lock", lock)
        _greens.renew()
    return made
