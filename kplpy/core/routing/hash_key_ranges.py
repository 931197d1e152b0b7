"""Finds the shards of many hash keys."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from kplpy.accelerator import compiled
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.record import PendingRecord

Route = Callable[[PendingRecord], object]
Opened = Callable[[Batch], object]


@compiled
class HashKeyRanges:
    """The ranges of shards that cover all hash keys. Does not change.

    ends: the last hash key of each shard, ascending.
    by_first_byte: the index of the one shard that takes all hash keys with this first byte. -1 if several do.
    """

    __slots__ = ("_by_first_byte", "_ends")

    def __init__(self, ends: list[int], by_first_byte: list[int]) -> None:
        self._ends = ends
        self._by_first_byte = by_first_byte

    def group(
        self, items: Iterator[PendingRecord], number: int
    ) -> tuple[Iterable[tuple[int, list[PendingRecord]]], int, PendingRecord | None]:
        """Number the records, from `number` on, and group them by the index of their shard.

        Takes records from `items` up to the first one without a hash key. Returns the groups, the next number, and this
        one. It is not numbered. None: there was no such record.
        """
        ends, by_first_byte = self._ends, self._by_first_byte
        groups: defaultdict[int, list[PendingRecord]] = defaultdict(list)
        for item in items:
            hash_key = item.hash_key
            if hash_key < 0:
                return groups.items(), number, item
            item.number = number
            number += 1
            index = by_first_byte[hash_key >> 120]
            if index < 0:
                index = bisect_left(ends, hash_key)  # 0.07 µs; the list takes 0.03
            groups[index].append(item)
        return groups.items(), number, None

    def append(
        self,
        items: Sequence[PendingRecord],
        number: int,
        queues: list[ShardQueue],
        pack_at: int,
        route: Route,
        opened: Opened,
    ) -> int:
        """Number the records, and append each to the few of its shard's queue. Return the next number.

        A queue with so many few as `pack_at`, or without an open batch, packs them. route: called with each record that
        has no hash key. opened: called with each batch that was opened.
        """
        ends = self._ends
        for item in items:
            item.number = number
            number += 1
            hash_key = item.hash_key
            if hash_key < 0:
                route(item)
                continue
            queue = queues[bisect_left(ends, hash_key)]
            few = queue.few
            few.append(item)
            if len(few) >= pack_at or queue.open is None:
                for batch in queue.add([]):
                    opened(batch)
        return number
