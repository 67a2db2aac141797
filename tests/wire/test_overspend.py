"""The limit holds when a crowd runs against it: the smallest cells of `benchmarks/overspend.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.overspend import HARD, SHAPES, WAITING, Cell, Ledgers, Policy, Provider, Size, run

SMALL = Size(workers=20, calls=5, limit="0.205")
NAMED = {shape.name: shape for shape in SHAPES}


@pytest.fixture(scope="module")
def counter() -> Iterator[Provider]:
    """A provider that counts, in a process of its own."""
    with Provider() as provider:
        yield provider


@pytest.mark.parametrize(
    ("shape", "policy", "ledger", "processes"),
    [
        ("asyncio, uncapped, 4,000 tokens", HARD, "memory", 1),
        ("streams, uncapped", WAITING, "sqlite", 2),
    ],
)
def test_a_crowd_spends_its_limit_and_no_more(
    shape: str, policy: Policy, ledger: str, processes: int, counter: Provider
) -> None:
    """A hundred calls of a cent or more, and money for twenty: never a cent too much, and who waits gets it all."""
    with Ledgers() as ledgers:
        result = run(Cell(NAMED[shape], policy, ledger, processes, SMALL), counter, ledgers.fresh(ledger))
    assert [] == result.faults()
    assert 100 == result.outcomes["answered"] + result.outcomes["refused"]
