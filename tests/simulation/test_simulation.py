"""Stories in which clients die, messages are lost, repeated and late, and clocks jump: whatever happens, the books are
right; and stories would notice if they were not."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard._shield import log

from .__main__ import main
from .plan import story
from .planted import PLANTED
from .run import Stage, failure, memory, play, shared

STEPS = 150
ENOUGH = 100
"""Stories within which each planted mistake must come to light."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """It is warned of every leap of a clock, and there are many."""
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


def hold(stage: Stage, seeds: range) -> None:
    """Every story of these seeds ends well."""
    for seed in seeds:
        found = failure(stage, seed, STEPS)
        assert found is None, "\n".join([f"seed {seed}", *found.said, str(found.error.args[0])])


def test_no_story_breaks_the_ledger_in_memory() -> None:
    """Threads that crash, that are slow, and whose steps are repeated, by a clock that somebody sets wrong."""
    hold(memory(), range(40))


@pytest.mark.parametrize(("kind", "stories"), [("sqlite", 8), ("redis", 4), ("postgresql", 2)])
def test_no_story_breaks_a_ledger_that_hosts_share(kind: str, stories: int) -> None:
    """Processes of several hosts, each with its own clock and its own idea of the time."""
    with shared(kind) as stage:
        hold(stage, range(1000, 1000 + stories))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_comes_to_light(name: str) -> None:
    """A ledger or a clock with one plausible mistake does not live through many stories."""
    assert any(failure(PLANTED[name], seed, STEPS, shrink=False) for seed in range(ENOUGH))


def test_a_failing_story_is_told_as_short_as_it_gets() -> None:
    """Out of a hundred and fifty steps remain the few that the mistake needs, and they fail again."""
    stage = PLANTED["SettlesTwice"]
    found = next(one for one in (failure(stage, seed, STEPS) for seed in range(ENOUGH)) if one is not None)
    needed = {"begin", "send", "end", "stray", "wait"}
    assert {action.kind for action in found.story.actions} <= needed
    assert len(found.story.actions) <= 6
    assert any("settle" in line for line in found.said)
    play(memory(), found.story)


def test_the_command_finds_a_story_for_a_known_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """As the page shows it, whatever stories the seeds tell by now."""
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    (command,) = re.findall(r"^python -m tests\.simulation (.*--bug .*?)(?: +#.*)?$", page, re.MULTILINE)
    assert 1 == main(shlex.split(command))
    assert "FAILED" in capsys.readouterr().out


def test_a_seed_tells_one_story() -> None:
    """The same seed plays the same steps with the same replies, and another seed plays others."""
    said = [play(memory(), story(seed, STEPS)).said for seed in (5, 5, 6)]
    assert said[0] == said[1]
    assert said[0] != said[2]
