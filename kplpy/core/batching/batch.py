"""Packing user records bound for one shard into Kinesis records, with the exact size known on the way."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection
from typing import TYPE_CHECKING

from kplpy.core.record import PendingRecord
from kplpy.wire.encode import Packing

if TYPE_CHECKING:
    from kplpy.core.batching.shard_queue import ShardQueue

AGGREGATE_KEY = "a"


def utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class Batch:
    """The user records of one Kinesis record.

    `arrival` is that of its oldest record; `tried`: some may have been sent before. What metrics want to know of the
    records is kept together: to look at each again would be a cache miss, three times as slow.

    Once it is closed, `data_size` is the exact size of the Kinesis record's data, and `wire_size` what the service
    counts: its key as well.
    """

    __slots__ = (
        "_arrivals",
        "_packing",
        "arrival",
        "closed",
        "data_size",
        "items",
        "payload",
        "queue",
        "tried",
        "wire_size",
    )
    data_size: int
    wire_size: int

    def __init__(self, queue: ShardQueue, first: PendingRecord) -> None:
        self.queue = queue
        self.items = [first]
        self.arrival = first.arrival
        self._arrivals: array[float] | None = None  # of one record alone there is no need
        self.tried = bool(first.tries)
        self.closed = False
        self.payload = len(first.data) + len(first.partition_key)
        self._packing: Packing | None = None

    @property
    def packed(self) -> int:
        """The exact size of the aggregate that the records make."""
        return self._packed().size

    def add(self, items: list[PendingRecord], max_size: int, max_count: int) -> int:
        """Add records until the aggregate would have more than `max_size` bytes or `max_count` of them.

        Returns how many were added.
        """
        room = max_count - len(self.items)
        if len(items) > room:
            items = items[:room]
        packing = self._packed()
        count = packing.add(items, max_size)
        if not count:
            return 0
        if count < len(items):
            items = items[:count]
        self.items += items
        self.payload = packing.data_size + packing.key_size
        arrivals = [item.arrival for item in items]
        arrivals.sort()  # as they nearly are, which makes it faster than min()
        before = self._arrivals
        if before is None:
            before = self._arrivals = array("d", (self.arrival,))
        if arrivals[0] < before[-1]:
            arrivals = sorted((*before, *arrivals))
            self.arrival = arrivals[0]
            del before[:]
        before.fromlist(arrivals)
        return count

    def _packed(self) -> Packing:
        packing = self._packing
        if packing is None:
            packing = self._packing = Packing()
            packing.add(self.items, sys.maxsize)
        return packing

    def parts(self) -> tuple[bytes, bytes]:
        """The Kinesis record's data, but for its end, and that, which is short."""
        return self._packed().parts() if self.aggregated else (self.items[0].data, b"")

    def arrivals(self) -> array[float]:
        """Of each record, ascending."""
        return array("d", (self.arrival,)) if self._arrivals is None else self._arrivals

    def sizes(self) -> tuple[int, int, int]:
        """Of all its records' data, of the smallest, and of the largest."""
        if not self.aggregated:
            return (len(self.items[0].data),) * 3
        packing = self._packed()
        return packing.data_size, packing.smallest, packing.largest

    @property
    def aggregated(self) -> bool:
        return len(self.items) > 1

    @property
    def outer_key(self) -> str | None:
        """The Kinesis record's partition key: "a" for an aggregate, as the KPL writes it, unless asked otherwise.

        None for a keyless record where the service needs none.
        """
        if self.aggregated and not self.queue.first_key_outside:
            return AGGREGATE_KEY
        first = self.items[0]
        return None if first.keyless and self.queue.omits_keys else first.partition_key

    def close(self) -> None:
        """No more records. The sizes are final."""
        self.closed = True
        if self.aggregated:
            self.data_size = self.packed
        else:
            self._packing = None
            self.data_size = len(self.items[0].data)
        self.wire_size = self.data_size + utf8_size(self.outer_key or "")

    @classmethod
    def alone(cls, queue: ShardQueue, item: PendingRecord) -> Batch:
        """A closed batch of one record."""
        batch = cls(queue, item)
        batch.closed = True
        size = batch.data_size = len(item.data)
        key = item.partition_key
        if not (item.keyless and queue.omits_keys):
            size += len(key) if key.isascii() else len(key.encode())
        batch.wire_size = size
        return batch

    def without(self, gone: Collection[PendingRecord]) -> Batch | None:
        """A closed batch of the records that are not in `gone`, in their order; None when none is left."""
        kept = [item for item in self.items if item not in gone]
        return batch_of(self.queue, kept) if kept else None


def batch_of(queue: ShardQueue, items: list[PendingRecord]) -> Batch:
    """A closed batch of these records, whatever its size."""
    batch = Batch(queue, items[0])
    batch.add(items[1:], sys.maxsize, sys.maxsize)
    batch.tried = any(item.tries for item in items)
    batch.close()
    return batch
