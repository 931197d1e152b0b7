"""Space-Saving: the heaviest of any number of keys, in bounded memory, with an error bound.

A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
ICDT 2005: a key without a counter takes over the lightest one, whose weight it then may have had unseen. Here the
lighter half of twice as many counters is taken over at once, for a part of the cost. The bounds stay: no counter weighs
less than `floor`, so those given up make good for what new ones began with, and the heaviest `capacity` never sum to
more than the total. So `floor`, which none of these is below, is at most total / capacity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


class SpaceSaving:
    """Up to 2 × `capacity` counters, and those of one call of `add`."""

    __slots__ = ("_capacity", "_overcounts", "_seen", "floor", "total")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: Counter[str] = Counter()  # since the key has had its counter
        self._overcounts: dict[str, int] = {}  # before that, at most; of those not in here it is `floor`
        self.floor = 0
        """No key without a counter weighs more."""
        self.total = 0

    def add(self, keys: Sequence[str], weights: Iterable[int] | None = None) -> None:
        """Keys, as often as they came, with their weights; each 1 where none are given."""
        seen = self._seen
        if weights is None:
            seen.update(keys)
            self.total += len(keys)
        else:
            for key, weight in zip(keys, weights, strict=True):
                seen[key] = seen.get(key, 0) + weight
                self.total += weight
        if len(seen) > 2 * self._capacity:
            self._drop_the_lighter()

    def _drop_the_lighter(self) -> None:
        overcounts, floor = self._overcounts, self.floor
        weights = {key: weight + overcounts.get(key, floor) for key, weight in self._seen.items()}
        self.floor = sorted(weights.values())[-1 - self._capacity]
        kept = [key for key, weight in weights.items() if weight > self.floor]
        self._seen = Counter({key: self._seen[key] for key in kept})
        self._overcounts = {key: overcounts.get(key, floor) for key in kept}

    def counters(self) -> dict[str, tuple[int, int]]:
        """By key: the most that it can weigh, and by how much that may be too much."""
        overcounts, floor = self._overcounts, self.floor
        found = {}
        for key, weight in self._seen.items():
            overcount = overcounts.get(key, floor)
            found[key] = (weight + overcount, overcount)
        return found


def merge(first: SpaceSaving, second: SpaceSaving) -> tuple[dict[str, tuple[int, int]], int]:
    """The counters of two as one's, and the bound of what has none: see P. K. Agarwal et al., "Mergeable Summaries",
    PODS 2012."""
    left, right = first.counters(), second.counters()
    unknown_left, unknown_right = (first.floor, first.floor), (second.floor, second.floor)
    merged = {}
    for key in left.keys() | right.keys():
        most, overcount = left.get(key, unknown_left)
        more, overcounts = right.get(key, unknown_right)
        merged[key] = (most + more, overcount + overcounts)
    return merged, first.floor + second.floor
