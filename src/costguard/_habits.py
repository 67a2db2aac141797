"""What calls usually use: learned from finished calls, for budgets that reserve what is expected.

For each kind of call (a feature and a model) two things are learned: how many input tokens come out of a byte of the
request, and the 99th percentile of the answer's length. Short answers finish first, so a figure learned from the
first completions would be too low: nothing is said until there are enough of them, several times as many as are
still under way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

ENOUGH: Final = 200
"""Finished calls of a kind before its habits are believed."""
TIMES_IN_FLIGHT: Final = 3
"""And at least this many for each of its calls under way."""
KINDS: Final = 4096
"""Kinds of calls remembered; the one unused for longest is forgotten."""

_STEPS: Final = 8
"""Buckets for each doubling of an answer's length: a quantile is at most a ninth too high."""
_PERMILLE: Final = 1000

Kind = tuple[str, str, str]
"""Provider, model, feature."""


class Forecast(NamedTuple):
    """What a call of a kind is expected to use, on the high side.

    Attributes:
        input_permille: input tokens for a thousand tokens of the request's bound, at most 1000.
        output: output tokens of one answer: the 99th percentile.
    """

    input_permille: int
    output: int


@dataclass(slots=True)
class _Habit:
    in_flight: int = 0
    finished: int = 0
    ratios: float = 0.0
    squares: float = 0.0
    lengths: dict[int, int] = field(default_factory=dict)


class Habits:
    """Learns from finished calls. Not exact under threads, and need not be: it only estimates."""

    def __init__(self) -> None:
        self._habits: dict[Kind, _Habit] = {}

    def begin(self, kind: Kind) -> None:
        """A call of this kind is under way."""
        habit = self._habits.pop(kind, None) or _Habit()
        self._habits[kind] = habit
        habit.in_flight += 1
        if len(self._habits) > KINDS:
            self._habits.pop(next(iter(self._habits)), None)

    def end(self, kind: Kind) -> None:
        """A call of this kind ended, however."""
        habit = self._habits.get(kind)
        if habit is not None:
            habit.in_flight = max(0, habit.in_flight - 1)

    def learn(self, kind: Kind, bound: int, used: int, output: int) -> None:
        """A call whose request was bounded at `bound` input tokens used `used`, and answered with `output`."""
        habit = self._habits.get(kind)
        if habit is None:
            return
        ratio = min(1.0, used / bound) if bound else 1.0
        habit.finished += 1
        habit.ratios += ratio
        habit.squares += ratio * ratio
        bucket = math.ceil(math.log2(output) * _STEPS) if output > 1 else 0
        habit.lengths[bucket] = habit.lengths.get(bucket, 0) + 1

    def forecast(self, kind: Kind) -> Forecast | None:
        """What the next call of this kind is expected to use; None until enough is known."""
        habit = self._habits.get(kind)
        if habit is None or habit.finished < max(ENOUGH, TIMES_IN_FLIGHT * habit.in_flight):
            return None
        mean = habit.ratios / habit.finished
        spread = math.sqrt(max(0.0, habit.squares / habit.finished - mean * mean))
        return Forecast(min(_PERMILLE, math.ceil(_PERMILLE * (mean + 3 * spread))), _quantile(habit))


def _quantile(habit: _Habit) -> int:
    beyond = habit.finished // 100
    for bucket in sorted(habit.lengths, reverse=True):
        if habit.lengths[bucket] > beyond:
            return math.ceil(2 ** (bucket / _STEPS))
        beyond -= habit.lengths[bucket]
    return 1
