"""What the page on reliability counts is so."""

from __future__ import annotations

from ..histories.planted import PLANTED as RACES
from ..property.planted import PLANTED as WRONG_BOOKS
from ..simulation.planted import PLANTED as WRONG_STAGES
from .blocks import ROOT


def test_the_page_counts_the_planted_mistakes() -> None:
    """As many as there are for each of the proofs."""
    page = " ".join((ROOT / "docs" / "reliability.md").read_text().split())
    assert (
        f"{len(WRONG_BOOKS)} for the state machine, {len(WRONG_STAGES)} for the simulator, {len(RACES)} for the history"
        " checker."
    ) in page
