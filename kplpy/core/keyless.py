"""Records put without a partition key: they fill one shard's open aggregate, then go on to the one with most room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kplpy.core.aggregator import Batch
from kplpy.core.item import Item
from kplpy.core.lane import Lane
from kplpy.core.policy import STICKY_RECORDS
from kplpy.core.shard_map import ShardRange

EVERYWHERE = ShardRange("", 0, (1 << 128) - 1)


class Keyless:
    """Kafka's sticky partitioner (KIP-480), made aware of the shards' limits.

    A record without a key has the hash key -1 until it is routed. Then it gets a random hash key of the shard's, the
    same for all records of an aggregate, and that number's 32 hex digits for a partition key: as long as the
    placeholder it came with, so that nothing that was counted changes.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._lane: Lane | None = None
        self._batch: Batch | None = None
        self._left = 0
        self._hash_key = -1

    def choose(self, lanes: Sequence[Lane], now: float) -> Lane | None:
        """The lane for the next record; None when there are none."""
        lane = self._lane
        if lane is not None and lane.alive:
            if self._batch is None:
                self._batch = lane.open
            if self._batch is lane.open and (self._batch is not None or self._left > 0):
                self._left -= 1
                return lane
        self._batch, self._left, self._hash_key = None, STICKY_RECORDS - 1, -1
        self._lane = min(
            lanes, key=lambda each: (each.limiter.backlog(each.queue_bytes, now), self._random()), default=None
        )
        return self._lane

    def give_key(self, item: Item, shard: ShardRange | None) -> None:
        within = shard or EVERYWHERE
        if not within.holds(self._hash_key):
            # Twice, for 106 random bits.
            width = within.end - within.start + 1
            self._hash_key = within.start + int((self._random() + self._random() / (1 << 53)) * width) % width
        item.hash_key = self._hash_key
        item.partition_key = f"{self._hash_key:032x}"
        item.explicit_hash_key = str(self._hash_key)  # or the key's own hash would count
        if shard is None:
            self._hash_key = -1  # they travel alone: each goes elsewhere
