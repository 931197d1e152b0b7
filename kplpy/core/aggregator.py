"""Packing user records bound for one shard into Kinesis records, with the exact size known on the way."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

from kplpy.core.item import Item
from kplpy.wire.sizes import ENVELOPE, record_size, table_entry_size

if TYPE_CHECKING:
    from kplpy.core.lane import Lane

AGGREGATE_KEY = "a"


def utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class Batch:
    """The user records of one Kinesis record. Carries minima: `arrival` is that of its oldest record.

    `packed` is the exact size of the aggregate that the records make, whether or not they travel as one. Once it is
    closed, `data_size` is that of the Kinesis record's data, and `wire_size` what the service counts: its key as well.
    """

    __slots__ = (
        "_hash_keys",
        "_keys",
        "arrival",
        "closed",
        "data_size",
        "items",
        "lane",
        "packed",
        "payload",
        "wire_size",
    )
    data_size: int
    wire_size: int

    def __init__(self, lane: Lane, first: Item) -> None:
        self.lane = lane
        self.items = [first]
        self.arrival = first.arrival
        self.closed = False
        self.payload = len(first.data) + len(first.partition_key)
        self._keys = {first.partition_key: 0}
        self._hash_keys: dict[str, int] = {}
        hash_key_index = None
        self.packed = ENVELOPE + table_entry_size(utf8_size(first.partition_key))
        if first.explicit_hash_key is not None:
            self._hash_keys[first.explicit_hash_key] = hash_key_index = 0
            self.packed += table_entry_size(len(first.explicit_hash_key))
        self.packed += record_size(0, hash_key_index, len(first.data))

    def try_add(self, item: Item, max_size: int, max_count: int) -> bool:
        """Add the record unless the aggregate would grow above `max_size` bytes or `max_count` records."""
        key = item.partition_key
        data_size = len(item.data)
        grown = self.packed
        index = self._keys.get(key)
        if index is None:
            index = len(self._keys)
            grown += table_entry_size(len(key) if key.isascii() else len(key.encode()))
        hash_key = item.explicit_hash_key
        if hash_key is None:
            if index < 0x4000 and data_size < 0x3F00:  # record_size() of most records, without the call
                body = data_size + (4 if index < 0x80 else 5) + (data_size >= 0x80)
                grown += body + (2 if body < 0x80 else 3)
            else:
                grown += record_size(index, None, data_size)
        else:
            hash_key_index = self._hash_keys.get(hash_key)
            if hash_key_index is None:
                hash_key_index = len(self._hash_keys)
                grown += table_entry_size(len(hash_key))
            grown += record_size(index, hash_key_index, data_size)
            if grown <= max_size:
                self._hash_keys[hash_key] = hash_key_index
        if grown > max_size or len(self.items) >= max_count:
            return False
        self._keys[key] = index
        self.packed = grown
        self.payload += data_size + len(key)
        self.items.append(item)
        if item.arrival < self.arrival:
            self.arrival = item.arrival
        return True

    @property
    def aggregated(self) -> bool:
        return len(self.items) > 1

    @property
    def outer_key(self) -> str | None:
        """The Kinesis record's partition key: "a" for an aggregate, as the KPL writes it, unless asked otherwise.

        None for a keyless record where the service needs none.
        """
        if self.aggregated and not self.lane.first_key_outside:
            return AGGREGATE_KEY
        first = self.items[0]
        return None if first.keyless and self.lane.omits_keys else first.partition_key

    def close(self) -> None:
        """No more records. The sizes are final."""
        self.closed = True
        self._keys = self._hash_keys = {}
        self.data_size = self.packed if self.aggregated else len(self.items[0].data)
        self.wire_size = self.data_size + utf8_size(self.outer_key or "")

    def without(self, gone: Collection[Item]) -> Batch | None:
        """A closed batch of the records that are not in `gone`, in their order; None when none is left."""
        kept = [item for item in self.items if item not in gone]
        return batch_of(self.lane, kept) if kept else None


def batch_of(lane: Lane, items: list[Item]) -> Batch:
    """A closed batch of these records, whatever its size."""
    batch = Batch(lane, items[0])
    for item in items[1:]:
        batch.try_add(item, sys.maxsize, sys.maxsize)
    batch.close()
    return batch
