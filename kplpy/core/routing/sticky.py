"""Chooses the shard of records that are put without a partition key."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.policy import STICKY_CANDIDATES, STICKY_RECORDS
from kplpy.core.record import PendingRecord
from kplpy.core.shard_range import ShardRange

EVERYWHERE = ShardRange("", 0, (1 << 128) - 1)


class StickyPartitioner:
    """Kafka's sticky partitioner (KIP-480), made aware of the shards' limits.

    Keyless records fill one shard's open aggregate. Then the shard that can take most gets the next ones.

    Each time a keyless record is routed, also after a reshard, it gets a random hash key in the range of its shard. All
    records of an aggregate get the same one. The partition key is that number in 32 hex digits. It is as long as the
    placeholder before it, so that the sizes charged and counted stay right.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._queue: ShardQueue | None = None
        self._batch: Batch | None = None
        self._left = 0
        self._new_key(EVERYWHERE)

    def choose(self, queues: Sequence[ShardQueue], now: float) -> ShardQueue | None:
        """Return the queue for the next record. None if there are no queues."""
        queue = self._queue
        if queue is not None and queue.alive:
            if self._batch is None:
                self._batch = queue.open
            if self._batch is queue.open and (self._batch is not None or self._left > 0):
                self._left -= 1
                return queue
        self._batch, self._left = None, STICKY_RECORDS - 1
        self._queue = min(self._candidates(queues), key=lambda each: (each.backlog(now), self._random()), default=None)
        if self._queue is not None and self._queue.shard is not None:
            self._new_key(self._queue.shard)
        return self._queue

    def _candidates(self, queues: Sequence[ShardQueue]) -> Sequence[ShardQueue]:
        """Return all queues, or STICKY_CANDIDATES neighbours if looking at all would cost more than it gains."""
        if len(queues) <= STICKY_CANDIDATES:
            return queues
        first = int(self._random() * len(queues))
        some = queues[first : first + STICKY_CANDIDATES]
        return [*some, *queues[: STICKY_CANDIDATES - len(some)]]

    def give_key(self, item: PendingRecord, shard: ShardRange | None, joins: bool = False) -> None:
        """Give the record a key of this shard. None: any key will do.

        joins: without a shard, the record joins an open batch, so that the key of the record before it will do.
        """
        if not joins if shard is None else not shard.holds(self._hash_key):
            self._new_key(shard or EVERYWHERE)
        item.hash_key = self._hash_key
        item.partition_key = self._key
        item.explicit_hash_key = self._explicit_hash_key

    def _new_key(self, shard: ShardRange) -> None:
        bits = int(self._random() * (1 << 53)) << 53 | int(self._random() * (1 << 53))
        self._hash_key = shard.start + ((shard.end - shard.start + 1) * bits >> 106)
        self._key = f"{self._hash_key:032x}"
        self._explicit_hash_key = str(self._hash_key)  # without it, the hash of the partition key would decide
