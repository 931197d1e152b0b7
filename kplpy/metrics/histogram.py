"""A mergeable histogram with a bounded relative error: the buckets of DDSketch (Masson, Rim, Lee, VLDB 2019).

Bucket i holds the values in (GAMMA^(i-1), GAMMA^i]. One value within ERROR of all these stands for the bucket. There
are about 35 buckets for each factor of two. Empty buckets take no memory.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

ERROR = 0.01
"""Largest error of a percentile, relative to its value."""
GAMMA = (1 + ERROR) / (1 - ERROR)
SMALLEST, LARGEST = 1e-3, 1e9
"""Milliseconds. Values up to SMALLEST share one bucket, values above LARGEST (twelve days) another."""

_LOG = math.log(GAMMA)
_FIRST = math.ceil(math.log(SMALLEST) / _LOG)
# The upper bound of each bucket. The last bucket also has all larger values.
_BOUNDS = [GAMMA**index for index in range(_FIRST, math.ceil(math.log(LARGEST) / _LOG) + 1)]
_SECONDS = [bound / 1000 for bound in _BOUNDS]
_LAST = len(_BOUNDS) - 1


class Histogram:
    """Counts of times in milliseconds. The histogram of a Sample no longer changes."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}  # by the index of the bucket's bound in _BOUNDS

    def add_ages(self, arrivals: Sequence[float], now: float) -> None:
        """Count the time from each arrival to now. Arrivals are in seconds and ascend.

        One bisection counts all arrivals of a bucket, so many arrivals in few buckets are cheap.
        """
        counts, seconds = self._counts, _SECONDS
        left = len(arrivals)
        bucket = -1
        while left:
            age = now - arrivals[left - 1]
            bucket += 1  # the next older bucket, where arrivals are close
            if age > seconds[bucket]:
                bucket = bisect_left(seconds, age, bucket)
            if bucket >= _LAST:
                bucket, start = _LAST, 0
            else:
                start = bisect_left(arrivals, now - seconds[bucket], 0, left)
                if start == left:  # a rounding error
                    start -= 1
            counts[bucket] = counts.get(bucket, 0) + left - start
            left = start

    def merge(self, other: Histogram) -> None:
        """Add the counts of `other`."""
        counts = self._counts
        for bucket, count in other._counts.items():
            counts[bucket] = counts.get(bucket, 0) + count

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def percentile(self, percent: float) -> float:
        """Return the value that `percent` (0 to 100) of all values do not exceed, within ERROR; 0.0 without values.

        ValueError: percent is not from 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be from 0 to 100, got {percent!r}")
        rank = max(1, math.ceil(percent / 100 * self.count))
        for bound, count in self.buckets():
            rank -= count
            if rank <= 0:
                return 2 * bound / (GAMMA + 1)
        return 0.0

    def buckets(self) -> list[tuple[float, int]]:
        """Return (upper bound, count) of each bucket with values, ascending. Counts are not cumulative."""
        return [(_BOUNDS[bucket], count) for bucket, count in sorted(self._counts.items())]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]  # a histogram is mutable

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} values>"
