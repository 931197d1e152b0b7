"""Records put without a partition key: they fill one shard's open aggregate, then go on to the one with most room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.policy import STICKY_CANDIDATES, STICKY_RECORDS
from kplpy.core.record import PendingRecord
from kplpy.core.shard_range import ShardRange

EVERYWHERE = ShardRange("", 0, (1 << 128) - 1)


class StickyPartitioner:
    """Kafka's sticky partitioner (KIP-480), made aware of the shards' limits.

    Each time that a keyless record is routed, after a reshard too, it gets a random hash key of the chosen shard's, the
    same for all records of an aggregate, and that number's 32 hex digits for a partition key: as long as the
    placeholder that it came with, so that nothing that was counted changes.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._queue: ShardQueue | None = None
        self._batch: Batch | None = None
        self._left = 0
        self._new_key(EVERYWHERE)

    def choose(self, queues: Sequence[ShardQueue], now: float) -> ShardQueue | None:
        """The queue for the next record; None when there are none."""
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
        """Of very many queues some neighbours, since looking at all of them costs more than the best one gains."""
        if len(queues) <= STICKY_CANDIDATES:
            return queues
        first = int(self._random() * len(queues))
        some = queues[first : first + STICKY_CANDIDATES]
        return [*some, *queues[: STICKY_CANDIDATES - len(some)]]

    def give_key(self, item: PendingRecord, shard: ShardRange | None) -> None:
        """Make it a record of this shard; None: it travels alone, so any will do."""
        if shard is None or not shard.holds(self._hash_key):
            self._new_key(shard or EVERYWHERE)
        item.hash_key = self._hash_key
        item.partition_key = self._key
        item.explicit_hash_key = self._explicit_hash_key

    def _new_key(self, shard: ShardRange) -> None:
        bits = int(self._random() * (1 << 53)) << 53 | int(self._random() * (1 << 53))
        self._hash_key = shard.start + ((shard.end - shard.start + 1) * bits >> 106)
        self._key = f"{self._hash_key:032x}"
        self._explicit_hash_key = str(self._hash_key)  # or the key's own hash would count
