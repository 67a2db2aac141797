"""Where a month will end, and the day a budget runs out: robust, aware of weekdays, and silent without enough data.

Each weekday has a factor: the median, over the last eight weeks, of its share in the seven days around it. What is left
of a day when it is divided by its weekday's factor is the *level*; its median over the last two weeks is what is
projected. Where the level has risen or fallen for four weeks so steadily that chance would hardly do it (Mann-Kendall,
5%), the median slope (Theil-Sen) is carried on. The range comes from the days' median distance from that line and from
how well level, slope and weekdays are known; its upper end also allows for one-off days as often as there were some. It
is meant to hold four times out of five. A one-off day does not move what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import fmean, median
from typing import Final

from .._types import Nano
from ._series import Series

LEAST: Final = 5
"""Complete days without which nothing is said."""
SEASONAL: Final = 14
"""Complete days from which on weekdays are told apart."""
HISTORY: Final = 56
LEVEL: Final = 14
TREND: Final = 28

_SIGNIFICANT: Final = 1.96
_FOUR_OF_FIVE: Final = 1.5
"""A normal distribution would have 1.28; what is estimated from a few weeks scatters more, as simulated months show."""
_MAD: Final = 1.4826
"""What a median absolute deviation is multiplied with to be a standard deviation of a normal distribution."""
_OF_A_MEDIAN: Final = 1.2533
"""How much wider a median of normal values scatters than their mean."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a period will have cost when it ends, in nano-dollars.

    Attributes:
        spent: so far.
        expected: at the end.
        low, high: four times out of five it is between these.
        days: what is expected of each day that is left, today's rest first.
        today: the day that is not over.
        until: the day after the last.
        basis: complete days that it is based on; fewer than `LEAST` make no forecast.
        rising: whether a trend was carried on, and which way: 1, -1 or 0.
    """

    spent: Nano
    expected: Nano
    low: Nano
    high: Nano
    days: tuple[Nano, ...]
    today: date
    until: date
    basis: int
    rising: int = 0

    def reaches(self, limit: Nano, spent: Nano | None = None) -> date | None:
        """The day on which spending gets to `limit`, None when that is not expected before the end.

        Args:
            spent: so far, where the limit counts something else than this forecast.
        """
        total = self.spent if spent is None else spent
        if total >= limit:
            return self.today
        for index, nano in enumerate(self.days):
            total += nano
            if total >= limit:
                return self.today + timedelta(days=index)
        return None


@dataclass(frozen=True, slots=True)
class NotEnough:
    """There is no forecast, and this is why.

    Attributes:
        spent: so far.
        basis: complete days there are.
    """

    spent: Nano
    basis: int

    def __str__(self) -> str:
        days = "1 complete day" if self.basis == 1 else f"{self.basis} complete days"
        return f"not enough data for a forecast: {days}, {LEAST} are needed"


def forecast(history: Series, spent: Nano, today: date, until: date, passed: float = 0.0) -> Forecast | NotEnough:
    """Project a period's spend to its end.

    Args:
        history: complete days up to and without `today`, of this period and before; what is missing at its end counts
            as not known.
        spent: in the period so far, today included.
        today: the day that is not over.
        until: the day after the period's last.
        passed: how much of today is over, from 0 to 1.
    """
    past = _recent(history.before(today))
    if len(past.nano) < LEAST:
        return NotEnough(spent, len(past.nano))
    factors, seen = _factors(past)
    line = _fit(past, factors)
    ahead = [today + timedelta(days=index) for index in range(max(0, (until - today).days))]
    shares = [1 - min(max(passed, 0.0), 1.0), *[1.0] * (len(ahead) - 1)][: len(ahead)]
    weights = [factors[day.weekday()] * share for day, share in zip(ahead, shares, strict=True)]
    levels = [max(0.0, line.at((day - past.first).days)) for day in ahead]
    days = tuple([round(level * weight) for level, weight in zip(levels, weights, strict=True)])
    expected = spent + sum(days)
    places = [(day - past.first).days for day in ahead]
    spread = round(_FOUR_OF_FIVE * line.scatter(places, weights, seen, ahead))
    return Forecast(
        spent=spent,
        expected=expected,
        low=max(spent, expected - spread),
        high=expected + spread + round(line.one_offs * sum(weights)),
        days=days,
        today=today,
        until=until,
        basis=len(past.nano),
        rising=(line.slope > 0) - (line.slope < 0),
    )


def expected_on(history: Series, day: date) -> Nano | None:
    """What is expected of one whole day, None without enough data: what a burn rate is."""
    past = _recent(history.before(day))
    if len(past.nano) < LEAST:
        return None
    factors, _ = _factors(past)
    return round(max(0.0, _fit(past, factors).at((day - past.first).days)) * factors[day.weekday()])


def _recent(history: Series) -> Series:
    return history.since(history.end - timedelta(days=HISTORY)).trimmed()


def _factors(past: Series) -> tuple[Sequence[float], Sequence[int]]:
    """What a weekday costs, as a multiple of a day on average, and how many of each that is known from; 0 of them
    where weekdays are not told apart."""
    nano = past.nano
    if len(nano) < SEASONAL:
        return (1.0,) * 7, (0,) * 7
    shares: list[list[float]] = [[] for _ in range(7)]
    for index, amount in enumerate(nano):
        begin = min(max(0, index - 3), len(nano) - 7)
        around = fmean(nano[begin : begin + 7])
        if around:
            shares[past.day(index).weekday()].append(amount / around)
    factors = [median(share) if share else 0.0 for share in shares]
    mean = fmean(factors)
    if not mean:
        return (1.0,) * 7, (0,) * 7
    return tuple([factor / mean for factor in factors]), tuple(map(len, shares))


@dataclass(frozen=True, slots=True)
class _Line:
    """The level over time: `start` at index `origin`, and its change for each day.

    Attributes:
        sigma: how far days usually are from it.
        points: days that it is drawn through.
        one_offs: what extraordinary days add to a day, on average.
    """

    start: float
    origin: float
    slope: float
    sigma: float
    points: int
    one_offs: float

    def at(self, index: float) -> float:
        return self.start + self.slope * (index - self.origin)

    def scatter(
        self, places: Sequence[int], weights: Sequence[float], seen: Sequence[int], ahead: Sequence[date]
    ) -> float:
        """How far the sum of days with these weights is usually off.

        Their own scatter, and that of the level, of the slope where there is one, and of the weekdays' factors.
        """
        own = math.fsum(weight * weight for weight in weights)
        level = (sum(weights) * _OF_A_MEDIAN) ** 2 / self.points
        lever = math.fsum(weight * (place - self.origin) for place, weight in zip(places, weights, strict=True))
        slope = 12 * lever**2 / self.points**3 if self.slope else 0.0
        by_weekday = [
            math.fsum([weight for day, weight in zip(ahead, weights, strict=True) if day.weekday() == weekday])
            for weekday in range(7)
        ]
        factors = math.fsum((part * _OF_A_MEDIAN) ** 2 / n for part, n in zip(by_weekday, seen, strict=True) if n)
        return self.sigma * math.sqrt(own + level + slope + factors)


def _fit(past: Series, factors: Sequence[float]) -> _Line:
    levels = [
        (index, amount / factors[past.day(index).weekday()])
        for index, amount in enumerate(past.nano)
        if factors[past.day(index).weekday()]
    ]
    last = [point for point in levels if point[0] >= len(past.nano) - TREND]
    slope = _slope(last) if len(last) >= SEASONAL else 0.0
    used = last if slope else [point for point in levels if point[0] >= len(past.nano) - LEVEL] or levels
    origin = median([float(index) for index, _ in used])
    start = median([level - slope * (index - origin) for index, level in used])
    off = [level - start - slope * (index - origin) for index, level in used]
    # Weekdays that are told apart take some of the scatter with them, and few days show little of it.
    bent = len(levels) / (len(levels) - 6) if len(levels) >= SEASONAL else 1.0
    sigma = _MAD * median(map(abs, off)) * math.sqrt(bent) * (1 + 2 / len(used))
    far = [max(0.0, level - start - slope * (index - origin) - 4 * sigma) for index, level in levels]
    return _Line(start, origin, slope, sigma, len(used), fmean(far))


def _slope(points: Sequence[tuple[int, float]]) -> float:
    """The median slope between any two points; 0 where they rise and fall about as often as chance would have it."""
    pairs = [(one, other) for place, one in enumerate(points) for other in points[place + 1 :]]
    balance = sum((other[1] > one[1]) - (other[1] < one[1]) for one, other in pairs)
    count = len(points)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if abs(balance) <= _SIGNIFICANT * deviation:
        return 0.0
    return median([(other[1] - one[1]) / (other[0] - one[0]) for one, other in pairs])
