"""Space-Saving: finds the heaviest of any number of keys, in bounded memory, with an error bound.

A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
ICDT 2005. There, a key without a counter takes over the lightest counter, because it may have had that weight unseen.
Here are twice as many counters, and the lighter half is dropped at once. That costs less, and the bounds stay:

- A new counter begins with the weight `floor`. No dropped counter weighed more, and no kept counter weighs less.
- So the heaviest `capacity` counters never sum to more than the total, and `floor` is at most total / capacity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


class SpaceSaving:
    """Weighs keys with at most 2 × `capacity` counters, and those of one call of `add`.

    floor: no key without a counter weighs more.
    total: the weight of all keys.
    """

    __slots__ = ("_capacity", "_overcounts", "_seen", "floor", "total")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: Counter[str] = Counter()  # the weight since the key got its counter
        self._overcounts: dict[str, int] = {}  # the most that a key weighed before; missing: `floor`
        self.floor = 0
        self.total = 0

    def add(self, keys: Sequence[str], weights: Iterable[int] | None = None) -> None:
        """Add the keys, each as often as it came. weights: one for each key; without them each weighs 1."""
        seen = self._seen
        if weights is None:
            seen.update(keys)
            self.total += len(keys)
        else:
            for key, weight in zip(keys, weights, strict=True):
                seen[key] = seen.get(key, 0) + weight
                self.total += weight
        if len(seen) > 2 * self._capacity:
            self._drop_lighter_half()

    def _drop_lighter_half(self) -> None:
        overcounts, floor = self._overcounts, self.floor
        weights = {key: weight + overcounts.get(key, floor) for key, weight in self._seen.items()}
        self.floor = sorted(weights.values())[-1 - self._capacity]
        kept = [key for key, weight in weights.items() if weight > self.floor]
        self._seen = Counter({key: self._seen[key] for key in kept})
        self._overcounts = {key: overcounts.get(key, floor) for key in kept}

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return by key the most that it can weigh, and the possible error."""
        overcounts, floor = self._overcounts, self.floor
        found = {}
        for key, weight in self._seen.items():
            overcount = overcounts.get(key, floor)
            found[key] = (weight + overcount, overcount)
        return found


def merge(first: SpaceSaving, second: SpaceSaving) -> tuple[dict[str, tuple[int, int]], int]:
    """Return the counters of both together, and the bound for keys without a counter.

    See P. K. Agarwal et al., "Mergeable Summaries", PODS 2012.
    """
    left, right = first.counters(), second.counters()
    unknown_left, unknown_right = (first.floor, first.floor), (second.floor, second.floor)
    merged = {}
    for key in left.keys() | right.keys():
        most, overcount = left.get(key, unknown_left)
        more, overcounts = right.get(key, unknown_right)
        merged[key] = (most + more, overcount + overcounts)
    return merged, first.floor + second.floor
