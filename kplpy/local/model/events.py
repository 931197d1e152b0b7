"""What a journal keeps: the two kinds of change, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kplpy.local.model.sequence import sequence_count
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import Stream

PlainRecord = tuple[int, int, "str | None", bytes, "str | None"]
"""Shard index, count within the stream, partition key, data, explicit hash key."""


@dataclass(frozen=True, slots=True)
class CallEvent:
    """An operation that changed something other than records."""

    stream: str
    operation: str
    params: Mapping[str, Any]
    now: float
    phases: tuple[float, float, float]
    """The phases then in force (creating, updating, deleting), since they decide when it took effect."""

    def plain(self) -> list[Any]:
        return ["call", self.stream, self.operation, dict(self.params), self.now, list(self.phases)]


@dataclass(frozen=True, slots=True)
class PutEvent:
    """Records that one request brought."""

    stream: str
    now: float
    request: int
    count: int
    """The stream's count after them."""
    records: list[PlainRecord]

    @classmethod
    def of(cls, stream: Stream, now: float, request: int, accepted: list[tuple[Shard, Record]]) -> PutEvent:
        """Of records that the stream has accepted and not taken in yet."""
        records = [
            (shard.index, sequence_count(each.number), each.key, each.data, each.explicit) for shard, each in accepted
        ]
        return cls(stream.name, now, request, stream.count + len(records), records)

    def plain(self) -> list[Any]:
        return ["put", self.stream, self.now, self.request, self.count, self.records]

    def held(self, stream: Stream) -> PutEvent:
        """The same with only those records that the stream still holds."""
        records = [each for each in self.records if each[0] in stream.shards and stream.shards[each[0]].holds(each[1])]
        return PutEvent(self.stream, self.now, self.request, self.count, records)


Event = CallEvent | PutEvent
