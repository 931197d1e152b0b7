"""Ordered mode: nothing is sent that could overtake what is under way.

A record is sent for the first time when those with its hash key that were accepted before it have their answers, or
in one aggregate with them. So whatever becomes of attempts that nobody heard of again, no record that is delivered
appears in the stream for the first time before an earlier one does.
"""

from __future__ import annotations

from collections.abc import Iterable

from kplpy.core.batching.batch import Batch
from kplpy.core.batching.collector import Collector
from kplpy.core.routing.router import Router


def hold_back(router: Router, collector: Collector, under_way: Iterable[Batch], now: float) -> None:
    """Hold lanes back behind the batches that have no verdict yet, and let the others go.

    A batch holds back the lane of its shard: one Kinesis record under way a shard. When that is no more, it holds back
    every lane that its records would go to now: a split shard's children, or what the shard was merged into, which so
    waits for both. Where the service places the records itself there is no order to keep.
    """
    for lane in router:
        lane.ordered = not router.managed
        lane.let_go()
    if not router.managed:
        for batch in under_way:
            if batch.lane.shard is not None and router.lives(batch.lane):
                batch.lane.behind = True
                continue
            for item in batch.items:
                heir = router.lane_of(item.hash_key)
                if heir is not None:
                    heir.hold_behind(item.hash_key)
    for lane in router:
        collector.let_go(lane, now)
