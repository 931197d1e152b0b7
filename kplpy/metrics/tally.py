"""What user records that were answered together add up to: how many, when they arrived, how large their data is."""

from __future__ import annotations

import sys
from array import array
from operator import attrgetter
from typing import NamedTuple

from kplpy.core.outcome import Completion
from kplpy.core.record import PendingRecord
from kplpy.metrics.frame import Update
from kplpy.metrics.histogram import Histogram

_tried = attrgetter("tried")


class Tally(NamedTuple):
    """Sums and extremes, by the core's clock and in bytes. `retried`: those that had been sent before, `fresh` the
    others, where there are any retried; else both are empty."""

    records: int
    arrived: float
    first: float
    last: float
    data: int
    smallest: int
    largest: int
    retried: list[PendingRecord]
    fresh: list[PendingRecord]

    def until(self, moment: float, name: str, stream: str, shard: str | None) -> Update:
        """Milliseconds from each record's arrival."""
        total = self.records * moment - self.arrived
        least, most = moment - self.last, moment - self.first
        return (name, stream, shard, None), self.records, total * 1000, least * 1000, most * 1000, None


class Ages:
    """The times from records' arrivals to `now`, when they are all answered."""

    # So many at a time are counted as they come; fewer are merged, for most of them would have a bucket to themselves.
    MANY = 512

    def __init__(self, now: float) -> None:
        self.now = now
        self._histogram = Histogram()
        self._few: list[float] = []

    def add(self, arrivals: array[float]) -> None:
        """They ascend."""
        if len(arrivals) < self.MANY:
            self._few += arrivals
        else:
            self._histogram.add_ages(arrivals, self.now)

    def histogram(self) -> Histogram:
        self._few.sort()
        self._histogram.add_ages(self._few, self.now)
        self._few = []
        return self._histogram


def tally(group: list[Completion], ages: Ages) -> Tally:
    """Of one shard's and one outcome's records; the times to their answers go into `ages`."""
    arrivals = array("d")
    ascending = True
    data, smallest, largest = 0, sys.maxsize, 0
    retried: list[PendingRecord] = []
    fresh: list[PendingRecord] = []
    for each in group:
        batches = each.batches
        if len(batches) == 1:
            those = batches[0].arrivals()
            size, least, most = batches[0].sizes()
            tried = batches[0].tried
        else:
            # What is read of a batch here has been read of it just before, for its request.
            sizes = [batch.data_size for batch in batches] or [len(item.data) for item in each.items]
            those = array("d", sorted([batch.arrival for batch in batches] or [item.arrival for item in each.items]))
            size, least, most = sum(sizes), min(sizes), max(sizes)
            tried = not batches or any(map(_tried, batches))
        ascending = ascending and not (arrivals and those[0] < arrivals[-1])
        arrivals += those
        data, smallest, largest = data + size, min(smallest, least), max(largest, most)
        if tried:
            retried += [item for item in each.items if item.tries]
    if retried:
        fresh = [item for each in group for item in each.items if not item.tries]
    if not ascending:
        arrivals = array("d", sorted(arrivals))
    ages.add(arrivals)
    return Tally(len(arrivals), sum(arrivals), arrivals[0], arrivals[-1], data, smallest, largest, retried, fresh)
