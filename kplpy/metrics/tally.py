"""What user records that were answered together add up to: how many, when they arrived, how large their data is."""

from __future__ import annotations

import sys
from array import array
from typing import NamedTuple

from kplpy.core.item import Completion, Item
from kplpy.metrics.frame import Update
from kplpy.metrics.histogram import Histogram


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
    retried: list[Item]
    fresh: list[Item]

    def until(self, moment: float, name: str, stream: str, shard: str | None) -> Update:
        """Milliseconds from each record's arrival."""
        total = self.records * moment - self.arrived
        least, most = moment - self.last, moment - self.first
        return (name, stream, shard, None), self.records, total * 1000, least * 1000, most * 1000, None


def tally(group: list[Completion], histogram: Histogram, now: float) -> Tally:
    """Of one shard's and one outcome's records; the times to their answers go into `histogram`."""
    arrivals = array("d")
    ascending = True
    data, smallest, largest = 0, sys.maxsize, 0
    retried: list[Item] = []
    fresh: list[Item] = []
    for each in group:
        batch = each.batch
        if batch is not None:
            those = batch.arrivals()
            size, least, most = batch.sizes()
        else:
            those = array("d", sorted([item.arrival for item in each.items]))
            sizes = [len(item.data) for item in each.items]
            size, least, most = sum(sizes), min(sizes), max(sizes)
        ascending = ascending and not (arrivals and those[0] < arrivals[-1])
        arrivals += those
        data, smallest, largest = data + size, min(smallest, least), max(largest, most)
        if batch is None or batch.tried:
            retried += [item for item in each.items if item.tries]
    if retried:
        fresh = [item for each in group for item in each.items if not item.tries]
    if not ascending:
        arrivals = array("d", sorted(arrivals))
    histogram.add_ages(arrivals, now)
    return Tally(len(arrivals), sum(arrivals), arrivals[0], arrivals[-1], data, smallest, largest, retried, fresh)
