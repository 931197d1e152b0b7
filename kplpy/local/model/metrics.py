"""Metric: the data of one metric of CloudWatch, summed up by second or by minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

KEPT_SECONDS = 24 * 3600.0
"""How long data is kept; the service keeps minutes for 15 days."""
FORGET_SECONDS = 600.0
"""How often older data is looked for and dropped."""


@dataclass
class Statistics:
    """The sum of data.

    values: how often each value came; percentiles come from them. A StatisticSet of several values has none.
    """

    count: float
    total: float
    low: float
    high: float
    values: Counter[float] = field(default_factory=Counter)
    has_all_values: bool = True

    @classmethod
    def of_values(cls, values: Sequence[float], counts: Sequence[float]) -> Statistics:
        counter: Counter[float] = Counter()
        for value, count in zip(values, counts, strict=True):
            counter[value] += count  # type: ignore[assignment]  # counts may be fractions
        total = sum(value * count for value, count in zip(values, counts, strict=True))
        return cls(sum(counts), total, min(values), max(values), counter)

    @classmethod
    def of_set(cls, count: float, total: float, low: float, high: float) -> Statistics:
        if low == high:
            return cls.of_values([low], [count])
        return cls(count, total, low, high, has_all_values=False)

    def add(self, other: Statistics) -> None:
        self.count += other.count
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.values.update(other.values)
        self.has_all_values = self.has_all_values and other.has_all_values

    def percentile(self, percent: float) -> float:
        """Return the smallest value that is not below `percent` of the values.

        The high value stands for a set whose values are not known.
        """
        if not self.has_all_values:
            return self.high
        seen, wanted = 0.0, self.count * percent / 100
        for value in sorted(self.values):
            seen += self.values[value]
            if seen >= wanted:
                return value
        return self.high


class Metric:
    """The data of one metric.

    latest: time of the latest datum, epoch seconds
    """

    def __init__(self) -> None:
        self.latest = float("-inf")
        self._sums: dict[tuple[int, str], Statistics] = {}  # by the beginning of the second or minute, and the unit
        self._forget_at = float("-inf")

    def add(self, moment: float, step: int, unit: str, statistics: Statistics, now: float) -> None:
        """Add a datum. `step`: the seconds that are summed up, 1 or 60."""
        key = (int(moment // step * step), unit)
        if key in self._sums:
            self._sums[key].add(statistics)
        else:
            self._sums[key] = statistics
        self.latest = max(self.latest, moment)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_SECONDS
            self._sums = {each: found for each, found in self._sums.items() if each[0] >= now - KEPT_SECONDS}

    def periods(self, start: float, end: float, period: int, unit: str | None) -> list[tuple[float, str, Statistics]]:
        """Return (beginning, unit, sum) of each period with data, by time. Periods begin at multiples of `period`.

        unit: only data of this unit; None: of each
        """
        first = start // period * period
        found: dict[tuple[float, str], Statistics] = {}
        for (moment, of_unit), statistics in sorted(self._sums.items()):
            if not first <= moment < end or unit not in (None, of_unit):
                continue
            key = (float(moment // period * period), of_unit)
            found.setdefault(key, Statistics(0.0, 0.0, float("inf"), float("-inf"))).add(statistics)
        return [(moment, of_unit, each) for (moment, of_unit), each in sorted(found.items())]
