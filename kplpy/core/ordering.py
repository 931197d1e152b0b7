"""Ordered mode: nothing is sent that could overtake what is under way.

A record is sent for the first time when those with its hash key that were accepted before it have their answers, or
in one aggregate with them. So whatever becomes of attempts that nobody heard of again, no record that is delivered
appears in the stream for the first time before an earlier one does.
"""

from __future__ import annotations

from collections.abc import Iterable

from kplpy.core.batching.collector import Collector
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.routing.router import Router


def block_overtaking(router: Router, collector: Collector, in_flight: Iterable[Batch], now: float) -> None:
    """Hold queues back behind the batches that have no verdict yet, and let the others go.

    A batch holds back the queue of its shard: one Kinesis record under way a shard. When that is no more, it holds back
    every queue that its records would go to now: a split shard's children, or what the shard was merged into, which so
    waits for both. Where the service places the records itself there is no order to keep.
    """
    for queue in router:
        queue.ordered = not router.placed_by_service
        queue.unblock()
    if not router.placed_by_service:
        for batch in in_flight:
            if batch.queue.shard is not None and router.is_current(batch.queue):
                batch.queue.held_back = True
                continue
            for item in batch.items:
                successor = router.queue_of(item.hash_key)
                if successor is not None:
                    successor.hold_back(item.hash_key)
    for queue in router:
        collector.unblock(queue, now)
