"""The time that windows go by."""

from __future__ import annotations

from costguard._clock import SteadyClock


class Host:
    """A host whose clock can be set."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.steady = 50.0

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def clock_of(host: Host) -> SteadyClock:
    return SteadyClock(lambda: host.wall, lambda: host.steady)


def test_it_goes_with_the_host() -> None:
    """Usually it is the host's own time."""
    host = Host()
    clock = clock_of(host)
    host.passes(3.5)
    assert 1003.5 == clock()


def test_it_never_goes_back() -> None:
    """A clock set back stands still until it has caught up."""
    host = Host()
    clock = clock_of(host)
    host.passes(10)
    assert 1010.0 == clock()
    host.wall -= 3600
    assert 1010.0 == clock()
    host.passes(5)
    assert 1010.0 == clock()
    host.wall += 3600
    assert 1015.0 == clock()


def test_a_leap_is_believed_only_when_it_stands() -> None:
    """A day forward by mistake opens no budget at once; a machine that slept is believed after some seconds."""
    host = Host()
    clock = clock_of(host)
    host.wall += 86400
    assert 1000.0 == clock()
    host.passes(4)
    assert 1004.0 == clock()
    host.passes(2)
    assert 87406.0 == clock()
    host.passes(1)
    assert 87407.0 == clock()


def test_a_leap_that_is_taken_back_changes_nothing() -> None:
    """A clock that is set wrong and right again within seconds is as if nothing had happened."""
    host = Host()
    clock = clock_of(host)
    host.wall += 86400
    clock()
    host.passes(1)
    host.wall -= 86400
    assert 1001.0 == clock()
    host.passes(1)
    assert 1002.0 == clock()
