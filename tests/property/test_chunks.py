"""Chunks under every history Hypothesis can think of, and proof that it would notice if they were wrong."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from costguard._types import Granted, Hold
from costguard.ledgers._chunks import Chunk
from costguard.ledgers.chunked import ChunkedLedger

from .chunks import ChunksMachine, chunks_machine
from .planted import looking_for_a_bug


class TestChunks(ChunksMachine.TestCase):  # type: ignore[name-defined,misc]
    """Several processes with chunks keep the promises of one ledger, after every step of every history."""

    if settings.get_current_profile_name() != "deep":
        settings = settings(settings.get_profile("quick"), max_examples=50)


class KeepsWhatIsInTheWay(ChunkedLedger):
    """Lets a call be refused while it has money in hand itself."""

    def _give_back(self, budgets: Collection[str]) -> bool:
        return False


class GivesOnlyUnusedChunksBack(ChunkedLedger):
    """Keeps what is left of a chunk for as long as one of its calls goes on."""

    def _is_over(self, chunk: Chunk, now: float) -> bool:
        return super()._is_over(chunk, now) and not self._purse.sums(chunk).open


class ForgetsTheOpenOnes(ChunkedLedger):
    """Settles a chunk without asking for holds for its open calls."""

    def _sent(self, hold: Hold) -> bool:
        return False


class NeverTooOld(ChunkedLedger):
    """Keeps a chunk until somebody needs it."""

    def _is_over(self, chunk: Chunk, now: float) -> bool:
        return False


class SettlesAtNothing(ChunkedLedger):
    """Gives the whole chunk back."""

    def _finish(self, chunk: Chunk) -> None:
        self.inner.release(chunk.hold.id)
        self._purse.drop(chunk)


class PaysTwice(ChunkedLedger):
    """Believes that a chunk is larger than it is."""

    def _open(self, hold: Hold, family: object) -> bool:
        opened = super()._open(hold, family)  # type: ignore[arg-type]
        for chunk in self._purse.live():
            if opened and chunk.hold.legs == hold.legs and chunk.amount == chunk.hold.amount:
                chunk.amount += 9
        return opened


class CorrectsOnlyHere(ChunkedLedger):
    """Does not tell the ledger what a call of a settled chunk did really cost."""

    def _change(self, id: str, chunk: Chunk, step: object, name: str) -> Granted:
        with chunk.turn:
            child, after, done = self._purse.change(id, step)  # type: ignore[arg-type]
            if not done and after is not None and chunk.total is not None:
                self._purse.changed(id, child, after, chunk.total)
        return Granted()


class LosesAlerts(ChunkedLedger):
    """Tells nobody of the thresholds that a chunk's settlement reached."""

    def _heard(self) -> list[Granted]:
        self._purse.told.clear()
        return []


class AsksForTheLast(ChunkedLedger):
    """Forgets that a call was paid for, so that it may be asked for again."""

    def reserve(self, hold: Hold) -> Granted:
        self._purse._state.pop(hold.id, None)
        return super().reserve(hold)  # type: ignore[return-value]


PLANTED: Final[tuple[type[ChunkedLedger], ...]] = (
    KeepsWhatIsInTheWay, GivesOnlyUnusedChunksBack, ForgetsTheOpenOnes, NeverTooOld, SettlesAtNothing, PaysTwice,
    CorrectsOnlyHere, LosesAlerts, AsksForTheLast,
)  # fmt: skip


@pytest.mark.parametrize("wrong", PLANTED, ids=lambda kind: kind.__name__)
def test_a_planted_bug_is_found(wrong: type[ChunkedLedger]) -> None:
    """Chunks with one plausible mistake do not get through."""
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(chunks_machine(wrong), settings=looking_for_a_bug())
