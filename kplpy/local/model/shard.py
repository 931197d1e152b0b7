"""One shard: its hash range, when it was open, its limits, and the records that it holds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from kplpy.local.model.limits import Limits, ReadRate, WriteRate, read_rate, write_rate
from kplpy.local.model.sequence import (
    LAST_COUNT,
    sequence_base,
    sequence_count,
    sequence_floor,
    sequence_number,
    shard_id,
)


@dataclass(slots=True)
class Record:
    """A record in a shard."""

    number: int
    arrived: float
    key: str | None
    """None for a record without a partition key, which only RecordDistributionStrategy AUTO allows."""
    data: bytes
    explicit: str | None
    """The explicit hash key, as the request gave it."""
    request: int
    """The model's running number of the record's request."""

    @property
    def size(self) -> int:
        key = self.key
        return len(self.data) + (0 if key is None else len(key) if key.isascii() else len(key.encode()))


_number = attrgetter("number")
_arrived = attrgetter("arrived")


class Shard:
    """A shard of a stream, with its records.

    first, last: the first and the last hash key of its range
    opened, closed: epoch seconds; closed is None while the shard is open
    parents: ids of the shards that it replaced
    """

    def __init__(
        self, index: int, first: int, last: int, parents: tuple[Shard, ...], now: float, limits: Limits, phase: float
    ) -> None:
        self.index = index
        self.id = shard_id(index)
        self.first, self.last = first, last
        self.parents = tuple(each.id for each in parents)
        self.opened = now
        self.closed: float | None = None
        # Above the second of every parent, so that a child's sequence numbers are above those of its parents.
        self.opened_second: int = max([int(now), *(each.opened_second + 1 for each in parents)])
        self.base = sequence_base(index, self.opened_second)
        self.children: list[Shard] = []
        self.records: list[Record] = []
        self.head = 0  # index of the first record that is not trimmed; drop() shortens the list now and then
        self.accepted_records = 0
        self.accepted_bytes = 0
        self.write_rate: WriteRate | None = write_rate(
            limits.shard_records_per_second, limits.shard_bytes_per_second, limits.rate_form, now, phase
        )
        self.read_rate: ReadRate | None = read_rate(limits, now)

    def close(self, now: float, children: list[Shard]) -> None:
        self.closed = now
        self.children = children

    def position(self, number: int) -> int:
        """Return the index in `records` of the first record with this sequence number or a higher one."""
        return bisect_left(self.records, number, lo=self.head, key=_number)

    def position_at(self, time: float) -> int:
        """Return the index in `records` of the first record that arrived at `time` (epoch seconds) or later."""
        return bisect_left(self.records, time, lo=self.head, key=_arrived)

    def floor(self, count: int) -> int:
        return sequence_floor(self.base, count)

    def holds(self, count: int) -> bool:
        """Return True if the shard still holds the record with this count within the stream."""
        position = self.position(self.floor(count))
        return position < len(self.records) and sequence_count(self.records[position].number) == count

    def since(self, count: int, time: float = float("-inf")) -> Iterator[Record]:
        """Yield the held records after the one with this count within the stream, from `time` (epoch seconds) on."""
        position = max(self.position(self.floor(count + 1)), self.position_at(time))
        while position < len(self.records):
            yield self.records[position]
            position += 1

    def add(self, record: Record, size: int, store: bool) -> None:
        """Store a record; without `store`, only count it."""
        self.accepted_records += 1
        self.accepted_bytes += size
        if store:
            self.records.append(record)

    def drop(self, position: int) -> int:
        """Trim the records before index `position`; return their size in bytes."""
        freed = sum(self.records[each].size for each in range(self.head, position))
        for each in range(self.head, position):
            self.records[each] = _TRIMMED
        self.head = position
        if self.head > 1024 and self.head * 2 > len(self.records):
            del self.records[: self.head]
            self.head = 0
        return freed

    def describe(self) -> dict[str, Any]:
        """Return the Shard structure of ListShards and DescribeStream."""
        numbers = {"StartingSequenceNumber": str(sequence_number(self.base, 0, self.opened_second))}
        if self.closed is not None:
            numbers["EndingSequenceNumber"] = str(self.ending_number())
        shard: dict[str, Any] = {"ShardId": self.id, "HashKeyRange": self.range(), "SequenceNumberRange": numbers}
        for name, parent in zip(("ParentShardId", "AdjacentParentShardId"), self.parents, strict=False):
            shard[name] = parent
        return shard

    def describe_children(self) -> list[dict[str, Any]]:
        """Return the ChildShard structures of GetRecords and SubscribeToShard."""
        return [
            {"ShardId": each.id, "ParentShards": list(each.parents), "HashKeyRange": each.range()}
            for each in self.children
        ]

    def range(self) -> dict[str, str]:
        return {"StartingHashKey": str(self.first), "EndingHashKey": str(self.last)}

    def ending_number(self) -> int:
        """Return a closed shard's ending number, which is above that of its records, as in the service."""
        return sequence_number(self.base, LAST_COUNT, self.closed or 0.0)


_TRIMMED = Record(0, 0.0, None, b"", None, 0)
