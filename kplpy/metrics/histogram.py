"""Counts by value with a bounded relative error, which can be merged: DDSketch's buckets (Masson, Rim, Lee, VLDB 2019).

Bucket i holds the values in (GAMMA^(i-1), GAMMA^i], and each is taken for the one that is within ERROR of them all.
So it needs some 35 buckets for each factor of two, and only those that are met are kept.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

ERROR = 0.01
"""How far a percentile may be off, relative to its value."""
GAMMA = (1 + ERROR) / (1 - ERROR)
SMALLEST = 1e-3
"""Values at or below this, in the metric's unit, share one bucket."""

_LOG = math.log(GAMMA)
_FIRST = math.ceil(math.log(SMALLEST) / _LOG)


class Histogram:
    """Never changed by who gets one; `merged` makes another."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = dict(counts or {})

    def add_sorted(self, values: Sequence[float], scale: float = 1.0) -> None:
        """Count `scale` times the values, which ascend; cheap where many of them fall into few buckets."""
        counts = self._counts
        at, size = 0, len(values)
        while at < size:
            index = bucket_of(values[at] * scale)
            end = bisect_right(values, GAMMA**index / scale, at)
            end = max(end, at + 1)  # rounding
            counts[index] = counts.get(index, 0) + end - at
            at = end

    def merge(self, other: Histogram) -> None:
        counts = self._counts
        for index, count in other._counts.items():
            counts[index] = counts.get(index, 0) + count

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def percentile(self, percent: float) -> float:
        """The value that `percent` (0 to 100) of all are not above, within ERROR; 0.0 when there are none."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be from 0 to 100, got {percent!r}")
        rank = max(1, math.ceil(percent / 100 * self.count))
        for index, count in sorted(self._counts.items()):
            rank -= count
            if rank <= 0:
                return value_of(index)
        return 0.0

    def buckets(self) -> list[tuple[float, int]]:
        """(upper bound, count) of each bucket that is met, in ascending order; the counts do not include each other."""
        return [(GAMMA**index, count) for index, count in sorted(self._counts.items())]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]  # it may grow

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} values>"


def merged(histograms: Iterable[Histogram]) -> Histogram:
    whole = Histogram()
    for each in histograms:
        whole.merge(each)
    return whole


def bucket_of(value: float) -> int:
    return _FIRST if value <= SMALLEST else math.ceil(math.log(value) / _LOG)


def value_of(index: int) -> float:
    return 2 * GAMMA**index / (GAMMA + 1)
