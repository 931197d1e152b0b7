"""What user records that were answered together add up to: how many, when they arrived, how large their data is."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

from kplpy.core.aggregator import Batch
from kplpy.core.item import Completion, Item
from kplpy.metrics.frame import Update
from kplpy.metrics.histogram import Histogram

FEW = 4
"""Records a batch, up to which it is faster to look at each of them."""

_arrival_of = attrgetter("arrival")


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
    """Of one shard's and one outcome's records; the times to their answers go into `histogram`.

    Batches know; their records are not looked at again then, which would cost a cache miss or two each.
    """
    if sum([len(each.items) for each in group]) > FEW * len(group):
        batches = [each.batch for each in group if each.batch is not None]
        if len(batches) == len(group) and all(batch.in_order and not batch.tried for batch in batches):
            return _of_batches(batches, histogram, now)
    return _of_items([item for each in group for item in each.items], histogram, now)


def _of_batches(batches: list[Batch], histogram: Histogram, now: float) -> Tally:
    sizes: list[int] = []
    for batch in batches:
        histogram.add_ages(batch.items, now, _arrival_of)
        sizes += batch.sizes()
    sizes.sort()  # of so many, mostly alike, faster than min() and max()
    return Tally(
        len(sizes),
        sum([batch.arrived for batch in batches]),
        min([batch.arrival for batch in batches]),
        max([batch.latest for batch in batches]),
        sum(sizes),
        sizes[0],
        sizes[-1],
        [],
        [],
    )


def _of_items(items: list[Item], histogram: Histogram, now: float) -> Tally:
    arrivals = [item.arrival for item in items]
    arrivals.sort()
    histogram.add_ages(arrivals, now, float)
    sizes = [len(item.data) for item in items]
    sizes.sort()
    retried = [item for item in items if item.tries]
    fresh = [item for item in items if not item.tries] if retried else []
    return Tally(len(items), sum(arrivals), arrivals[0], arrivals[-1], sum(sizes), sizes[0], sizes[-1], retried, fresh)
