"""When a server that is away is tried again."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from costguard.errors import LedgerUnavailableError
from costguard.ledgers._breaker import FAILURES, Breaker


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _opened(clock: _Clock) -> Breaker:
    breaker = Breaker("redis://host", 0.6, clock)
    for _ in range(FAILURES):
        breaker.enter()
        breaker.failed()
    return breaker


def _lets_in(breaker: Breaker) -> bool:
    """Whether a thread of its own is let through; it says nothing of what it found."""
    with ThreadPoolExecutor(1) as pool:
        try:
            pool.submit(breaker.enter).result()
        except LedgerUnavailableError:
            return False
    return True


def test_pauses_begin_short_and_double_up_to_five_seconds() -> None:
    """A machine that was busy for a moment is forgiven quickly, a dead server is left alone."""
    clock = _Clock()
    breaker = _opened(clock)
    pauses = []
    for _ in range(7):
        with pytest.raises(
            LedgerUnavailableError, match=r"redis://host failed \d times in a row and is tried again in"
        ):
            breaker.enter()
        began = clock.now
        while not _lets_in_here(breaker):
            clock.now += 0.125
        pauses.append(clock.now - began)
        breaker.failed()
    assert [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0] == pauses


def _lets_in_here(breaker: Breaker) -> bool:
    try:
        breaker.enter()
    except LedgerUnavailableError:
        return False
    return True


def test_one_tries_and_everybody_else_is_told_so() -> None:
    """Twenty callers at the end of the pause: a server that hangs keeps one of them."""
    clock = _Clock()
    breaker = _opened(clock)
    clock.now += 0.25
    assert [True] + [False] * 19 == [_lets_in(breaker) for _ in range(20)]
    with pytest.raises(LedgerUnavailableError, match="failed 3 times in a row and is being tried again; check"):
        breaker.enter()


def test_a_success_lets_everybody_in_at_once_and_forgets_the_pauses() -> None:
    """The next failures begin with a short pause again."""
    clock = _Clock()
    breaker = _opened(clock)
    for _ in range(3):
        clock.now += 5
        breaker.enter()
        breaker.failed()
    clock.now += 5
    breaker.enter()
    breaker.succeeded()
    assert all(_lets_in(breaker) for _ in range(3))
    for _ in range(FAILURES):
        breaker.failed()
    assert not _lets_in(breaker)
    clock.now += 0.25
    assert _lets_in(breaker)


def test_only_failures_in_a_row_count() -> None:
    """Two, an answer, and two: nobody is kept out."""
    breaker = Breaker("redis://host", 0.6, _Clock())
    for _ in range(3):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert _lets_in(breaker)


def test_steps_that_were_under_way_lengthen_no_pause() -> None:
    """Thirty callers who fail at the same silence are one silence."""
    clock = _Clock()
    breaker = _opened(clock)
    for _ in range(27):
        breaker.failed()
    clock.now += 0.25
    assert _lets_in(breaker), "a probe, in another thread"
    breaker.failed()
    clock.now += 0.6
    breaker.enter()
    breaker.failed()
    clock.now += 0.5
    assert _lets_in(breaker)


def test_a_probe_that_an_interrupt_ended_keeps_nobody_out_for_long() -> None:
    """It says neither that it failed nor that it succeeded: after the time that it may take somebody else tries."""
    clock = _Clock()
    breaker = _opened(clock)
    clock.now += 0.25
    assert _lets_in(breaker)
    assert not _lets_in(breaker)
    clock.now += 0.6
    assert _lets_in(breaker)


def test_a_forked_child_tries_for_itself() -> None:
    """Also when another thread of its parent was inside at the fork."""
    breaker = _opened(_Clock())
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with breaker._lock:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        try:
            breaker.enter()
            breaker.failed()
        except BaseException:
            os._exit(1)
        os._exit(0)
    leave.set()
    thread.join()
    assert 0 == os.waitpid(child, 0)[1]
    assert not _lets_in(breaker), "the parent's own is as it was"
