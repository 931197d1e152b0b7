"""Numbers records and puts them into the queues of their predicted shards. Every record passes here."""

from __future__ import annotations

from collections.abc import Sequence

from kplpy.core.batching.shard_queue import ShardQueue
from kplpy.core.record import PendingRecord
from kplpy.core.routing.hash_key_ranges import Opened, Route
from kplpy.core.routing.shard_map import ShardMap

# A drain is sparse if it has fewer than SPARSE_BELOW records a queue, and none above SMALL_RECORD bytes. Then records
# wait in their queue until PACK_AT of them are packed together.
SPARSE_BELOW, PACK_AT, SMALL_RECORD = 8, 16, 1024


def is_sparse(items: Sequence[PendingRecord], queues: int) -> bool:
    """Return True if the records are few and small for this many queues: see SPARSE_BELOW."""
    return len(items) < SPARSE_BELOW * queues and max(map(len, [item.data for item in items])) <= SMALL_RECORD


def group_by_shard(
    items: Sequence[PendingRecord],
    number: int,
    shards: ShardMap,
    queues: list[ShardQueue],
    route: Route,
    opened: Opened,
) -> int:
    """Number the records, from `number` on, and queue them. Return the next number.

    The records of a queue are added together, which costs 0.5 µs a record instead of 0.9.

    shards: the map that `queues` belong to, which must cover all hash keys.
    route: called with each record that has no hash key yet.
    opened: called with each batch that was opened.
    """
    rest = iter(items)
    while True:
        groups, number, keyless = shards.ranges.group(rest, number)
        for index, group in groups:
            for batch in queues[index].add(group):
                opened(batch)
        if keyless is None:
            return number
        keyless.number = number
        number += 1
        route(keyless)


def append_by_shard(
    items: Sequence[PendingRecord],
    number: int,
    shards: ShardMap,
    queues: list[ShardQueue],
    route: Route,
    opened: Opened,
) -> int:
    """Do the same as group_by_shard for a sparse drain. The records wait in their queue to be packed with later ones.

    With 512 records a drain, a record costs 1.4 µs instead of 4.5 with 4,096 shards, and 0.9 instead of 2.0 with 256.
    Adding one record to an aggregate costs nearly as much as adding many. A list for each queue and drain would also
    make work for the garbage collector.
    """
    return shards.ranges.append(items, number, queues, PACK_AT, route, opened)
