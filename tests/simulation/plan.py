"""What happens in a simulation: a list of actions that follows from a seed, and from nothing else.

An action names what it acts on by small numbers that are taken modulo what there is, so that any part of a story is a
story too: that is how a failing one is made short.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

STARTS: Final = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    for text in (
        "2026-05-20 12:00:00",
        "2026-03-28 22:59:00",  # Berlin loses an hour that night
        "2026-10-24 21:59:30",  # and gets it back in the next
        "2026-10-25 00:59:00",  # the repeated hour itself
        "2026-02-28 22:59:50",  # the end of a February, in Berlin
        "2026-12-31 22:59:00",  # and of a year
    )
)
"""Where stories begin: some shortly before a clock change or the end of a month."""

SLOW: Final = 20.0
"""Seconds that a thread may be late with the windows it read."""
SLOWLY: Final = 7
"""The `which` of a call that begins so."""
FATES: Final = ("answered", "answer lost", "request lost", "twice", "late")
"""What becomes of a message: it is carried out and answered; carried out, and the answer is lost; lost itself; carried
out twice; carried out later, when its sender has long given up."""
JUMPS: Final = (-3600, -90, -7, 20, 59, 61, 300, 3600, 86_400, 31 * 86_400)
"""Seconds by which somebody sets a host's clock wrong."""
WAITS: Final = (0.01, 0.4, 1, 3, 6, 12, 30, 61, 400, 3600)
AMOUNTS: Final = (0, 1, 10, 25, 30, 40, 60, 100)
LEASES: Final = (2, 5, 30, 200, 200)


class Action(NamedTuple):
    """One thing that happens; `who` and `which` are taken modulo the callers and the calls that there are."""

    kind: str
    who: int = 0
    which: int = 0
    figure: float = 0
    budgets: int = 0
    fate: str = "answered"


@dataclass(frozen=True)
class Story:
    """When it begins, and what happens then."""

    start: float
    actions: tuple[Action, ...]


def story(seed: int, steps: int) -> Story:
    """The story of a seed. Each has faults of its own kind, since a mixture of all faults hides most of them."""
    dice = random.Random(seed)
    weights = {"begin": 30, "send": 18, "end": 18, "retry": 8, "extend": 8, "contradict": 2, "wait": 10, "reap": 6}
    weights |= {"deliver": 3, "takeover": 2}
    faults = {"crash": 2, "stray": 8, "jump": 3, "restart": 1, "adjust": 4, "amend": 5}
    weights |= {name: weight for name, weight in faults.items() if dice.random() < 0.7}
    fates = [7, *(dice.choice((0, 1, 3)) for _ in FATES[1:])]
    amounts = AMOUNTS if dice.random() < 0.7 else (dice.choice(AMOUNTS[1:]),)
    every = 63
    actions = []
    for _ in range(steps):
        (kind,) = dice.choices(list(weights), list(weights.values()))
        figure = {
            "begin": lambda: dice.choice(amounts),
            "extend": lambda: dice.choice(amounts),
            # A call mostly costs less than was held for it, and in one of twenty more: the bound was wrong.
            "send": lambda: dice.choice((0, 200, 500, 1000)) if dice.random() < 0.95 else 1300,
            "wait": lambda: dice.choice(WAITS) if dice.random() < 0.97 else 86_400,
            "jump": lambda: dice.choice(JUMPS),
            "adjust": lambda: dice.choice((0, 5, 20, 40)),
            "amend": lambda: dice.choice((30, 80, 200)),
        }.get(kind, lambda: dice.randrange(6))()
        (fate,) = dice.choices(FATES, fates)
        budgets = every if dice.random() < 0.4 else dice.randrange(1, every + 1)
        actions.append(Action(kind, dice.randrange(4), dice.randrange(8), figure, budgets, fate))
    return Story(dice.choice(STARTS), tuple(actions))
