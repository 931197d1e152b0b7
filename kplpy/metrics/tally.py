"""Sums over user records with the same outcome: their number, arrival times and sizes."""

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
    """Sums and extremes of one group of user records.

    records: number of records.
    arrival_sum, first, last: sum, earliest and latest of the arrival times, in seconds of the core's clock.
    data, smallest, largest: sum, smallest and largest of the data sizes, in bytes.
    retried: records with failed attempts.
    fresh: the other records, if `retried` has any; else empty.
    """

    records: int
    arrival_sum: float
    first: float
    last: float
    data: int
    smallest: int
    largest: int
    retried: list[PendingRecord]
    fresh: list[PendingRecord]

    def times_until(self, moment: float, name: str, stream: str, shard: str | None) -> Update:
        """Return the milliseconds from each record's arrival to `moment`, as values of the metric `name`."""
        total = self.records * moment - self.arrival_sum
        least, most = moment - self.last, moment - self.first
        return (name, stream, shard, None), self.records, total * 1000, least * 1000, most * 1000, None


class Ages:
    """Histogram of the times from records' arrivals to `now`, when all of them get their outcome."""

    # Fewer arrivals than this are collected first: alone, most of them would have a bucket to themselves.
    MANY = 512

    def __init__(self, now: float) -> None:
        self.now = now
        self._histogram = Histogram()
        self._few: list[float] = []

    def add(self, arrivals: array[float]) -> None:
        """Count arrivals in ascending order."""
        if len(arrivals) < self.MANY:
            self._few += arrivals
        else:
            self._histogram.add_ages(arrivals, self.now)

    def histogram(self) -> Histogram:
        """Return the histogram of all arrivals so far."""
        self._few.sort()
        self._histogram.add_ages(self._few, self.now)
        self._few = []
        return self._histogram


def tally(group: list[Completion], ages: Ages) -> Tally:
    """Add up records of one shard and one outcome. Their arrivals also go into `ages`."""
    arrivals = array("d")
    ascending = True
    data, smallest, largest = 0, sys.maxsize, 0
    retried: list[PendingRecord] = []
    fresh: list[PendingRecord] = []
    for each in group:
        batches = each.batches
        if len(batches) == 1:
            times = batches[0].arrivals()
            size, least, most = batches[0].sizes()
            tried = batches[0].tried
        else:
            if batches and batches[0].queue.compression is None:
                # Reads only what the request has just read of each batch. Records with headers are in aggregates.
                sizes = [batch.sizes()[0] if batch.aggregated else batch.data_size for batch in batches]
            else:
                sizes = [len(item.data) for item in each.items]
            times = array("d", sorted([batch.arrival for batch in batches] or [item.arrival for item in each.items]))
            size, least, most = sum(sizes), min(sizes), max(sizes)
            tried = not batches or any(map(_tried, batches))
        ascending = ascending and not (arrivals and times[0] < arrivals[-1])
        arrivals += times
        data, smallest, largest = data + size, min(smallest, least), max(largest, most)
        if tried:
            retried += [item for item in each.items if item.tries]
    if retried:
        fresh = [item for each in group for item in each.items if not item.tries]
    if not ascending:
        arrivals = array("d", sorted(arrivals))
    ages.add(arrivals)
    return Tally(len(arrivals), sum(arrivals), arrivals[0], arrivals[-1], data, smallest, largest, retried, fresh)
