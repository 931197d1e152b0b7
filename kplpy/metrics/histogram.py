"""Counts by value with a bounded relative error, which can be merged: DDSketch's buckets (Masson, Rim, Lee, VLDB 2019).

Bucket i holds the values in (GAMMA^(i-1), GAMMA^i], and each is taken for the one that is within ERROR of them all.
So it needs some 35 buckets for each factor of two, and only those that are met are kept.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

ERROR = 0.01
"""How far a percentile may be off, relative to its value."""
GAMMA = (1 + ERROR) / (1 - ERROR)
SMALLEST, LARGEST = 1e-3, 1e9
"""Milliseconds. Values at or below the one share a bucket, and so do those above the other (twelve days)."""

_LOG = math.log(GAMMA)
_FIRST = math.ceil(math.log(SMALLEST) / _LOG)
# The upper bound of each bucket; but above the last one's there may be values too.
_BOUNDS = [GAMMA**index for index in range(_FIRST, math.ceil(math.log(LARGEST) / _LOG) + 1)]
_SECONDS = [bound / 1000 for bound in _BOUNDS]
_LAST = len(_BOUNDS) - 1


class Histogram:
    """Of times in milliseconds. What is handed out in a Sample does not change any more."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}  # by the place of the bucket's bound in _BOUNDS

    def add_ages(self, arrivals: Sequence[float], now: float) -> None:
        """Count the times from each arrival to now, in seconds; the arrivals ascend.

        Few of them are looked at where many fall into few buckets.
        """
        counts, seconds = self._counts, _SECONDS
        left = len(arrivals)
        bucket = -1
        while left:
            age = now - arrivals[left - 1]
            bucket += 1  # the next older one, where they are close
            if age > seconds[bucket]:
                bucket = bisect_left(seconds, age, bucket)
            if bucket >= _LAST:
                bucket, start = _LAST, 0
            else:
                start = bisect_left(arrivals, now - seconds[bucket], 0, left)
                if start == left:  # by rounding
                    start -= 1
            counts[bucket] = counts.get(bucket, 0) + left - start
            left = start

    def merge(self, other: Histogram) -> None:
        counts = self._counts
        for bucket, count in other._counts.items():
            counts[bucket] = counts.get(bucket, 0) + count

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def percentile(self, percent: float) -> float:
        """The value that `percent` (0 to 100) of all are not above, within ERROR; 0.0 when there are none."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be from 0 to 100, got {percent!r}")
        rank = max(1, math.ceil(percent / 100 * self.count))
        for bound, count in self.buckets():
            rank -= count
            if rank <= 0:
                return 2 * bound / (GAMMA + 1)
        return 0.0

    def buckets(self) -> list[tuple[float, int]]:
        """(upper bound, count) of each bucket that is met, in ascending order; the counts do not include each other."""
        return [(_BOUNDS[bucket], count) for bucket, count in sorted(self._counts.items())]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]  # it may grow

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} values>"
