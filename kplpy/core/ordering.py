"""Ordered mode: no record is sent while it could overtake a record in flight.

A record is sent for the first time when all earlier records with its hash key have their outcomes, or in one aggregate
with them. A request without a response may be written even later. Still, the first copies of delivered records appear
in the stream in their order.
"""

from __future__ import annotations

from collections.abc import Iterable

from kplpy.core.batching.collector import Collector
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.routing.router import Router


def block_overtaking(router: Router, collector: Collector, in_flight: Iterable[Batch], now: float) -> None:
    """Hold back the queues that have a batch without a verdict, and unblock the others.

    A batch holds back the queue of its shard, so that each shard has one Kinesis record in flight. If the shard is
    closed, the batch holds back each queue that its records would go to now. These are the children of a split shard,
    or the merged shard, which so waits for both parents. Where the service places the records, there is no order.

    in_flight: the batches in flight, those that wait to be judged, and those of the bisection.
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
