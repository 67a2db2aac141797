"""The shortest story that still fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .plan import Action, Story

Fails = Callable[[Story], bool]


def shortest(story: Story, fails: Fails, patience: int = 2000) -> Story:
    """Leave out what the failure does not need, half the story at first and single actions at last; then make what is
    left plainer. Plays the story at most `patience` times."""
    plays = 0

    def still(actions: tuple[Action, ...]) -> bool:
        nonlocal plays
        plays += 1
        return plays <= patience and fails(replace(story, actions=actions))

    actions, before = story.actions, -1
    # Again while it helps: what was needed by something that is gone is not needed any more.
    while len(actions) != before:
        before, size = len(actions), len(actions)
        while size:
            place = 0
            while place < len(actions):
                shorter = actions[:place] + actions[place + size :]
                if still(shorter):
                    actions = shorter
                else:
                    # Small pieces from every place: a call's beginning and its end go only together.
                    place += size if size > 3 else 1
            size = size // 2 if size > 4 else size - 1
    for place, action in enumerate(actions):
        for plainer in ({"fate": "answered"}, {"who": 0}, {"which": 0}, {"budgets": 1}):
            changed = (*actions[:place], action._replace(**plainer), *actions[place + 1 :])
            if changed != actions and still(changed):
                actions, action = changed, changed[place]
    return replace(story, actions=actions)
