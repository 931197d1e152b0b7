"""The changes that the journal keeps: calls that change a stream, and records that were put."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

from kplpy.local.model.delivery_stream import DeliveryRecord, DeliveryStream
from kplpy.local.model.queue import Delivery
from kplpy.local.model.sequence import sequence_count
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import Stream

PlainRecord = tuple[int, int, "str | None", bytes, "str | None"]
"""A record as (shard index, count within the stream, partition key, data, explicit hash key)."""
StreamKey = tuple[bool, str]
"""True for a delivery stream of Firehose, and the stream's name."""


@dataclass(frozen=True, slots=True)
class CallEvent:
    """A call of an operation that changes something other than records."""

    stream: str
    """The stream's name; "" for a call that changes the whole account."""
    operation: str
    params: Mapping[str, Any]
    now: float
    phases: tuple[float, float, float]
    """The phases at that time (creating, updating, deleting), in seconds.

    They decide when the change took effect.
    """

    @property
    def key(self) -> StreamKey:
        return (self.operation.startswith("Firehose."), self.stream)

    @property
    def creates(self) -> bool:
        """True if the call creates its stream."""
        return self.operation in ("CreateStream", "Firehose.CreateDeliveryStream")

    def plain(self) -> list[Any]:
        return ["call", self.stream, self.operation, dict(self.params), self.now, list(self.phases)]


@dataclass(frozen=True, slots=True)
class PutEvent:
    """The records of one request that a Kinesis stream accepted."""

    stream: str
    now: float
    request: int
    count: int
    """The stream's count of records after this request."""
    records: list[PlainRecord]

    @classmethod
    def of(cls, stream: Stream, now: float, request: int, accepted: list[tuple[Shard, Record]]) -> PutEvent:
        """Make the event of records that the stream has accepted and not stored yet."""
        records = [
            (shard.index, sequence_count(each.number), each.key, each.data, each.explicit) for shard, each in accepted
        ]
        return cls(stream.name, now, request, stream.count + len(records), records)

    @property
    def key(self) -> StreamKey:
        return (False, self.stream)

    def plain(self) -> list[Any]:
        return ["put", self.stream, self.now, self.request, self.count, self.records]

    def without_trimmed(self, stream: Stream) -> PutEvent:
        """Return this event with only the records that the stream still holds."""
        records = [each for each in self.records if each[0] in stream.shards and stream.shards[each[0]].holds(each[1])]
        return PutEvent(self.stream, self.now, self.request, self.count, records)


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """The records of one request that a delivery stream accepted."""

    stream: str
    now: float
    request: int
    count: int
    """The delivery stream's count of records after this request."""
    records: list[bytes]
    """The records' data. The last one's number is `count`."""

    @property
    def key(self) -> StreamKey:
        return (True, self.stream)

    def plain(self) -> list[Any]:
        return ["deliver", self.stream, self.now, self.request, self.count, self.records]

    def delivery_records(self) -> list[DeliveryRecord]:
        first = self.count - len(self.records) + 1
        return [DeliveryRecord(number, self.now, data, self.request) for number, data in enumerate(self.records, first)]

    def without_trimmed(self, stream: DeliveryStream) -> DeliveryEvent:
        """Return this event with only the records that the delivery stream still holds."""
        trimmed = stream.count - len(stream.records)
        before = self.count - len(self.records)
        return replace(self, records=self.records[max(0, trimmed - before) :])


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """What one request changed of the received records of a queue."""

    stream: str
    queue: str
    """The last part of the queue's ARN."""
    now: float
    deliveries: list[Delivery]

    @property
    def key(self) -> StreamKey:
        return (False, self.stream)

    @classmethod
    def of(cls, stream: str, queue: str, now: float, deliveries: list[list[Any]]) -> QueueEvent:
        """Make the event from the members of plain()."""
        return cls(stream, queue, now, [Delivery(*each) for each in deliveries])

    def plain(self) -> list[Any]:
        return ["queue", self.stream, self.queue, self.now, [list(astuple(each)) for each in self.deliveries]]

    def without_trimmed(self, stream: Stream) -> QueueEvent:
        """Return this event with only the records that the stream still holds."""
        shards = stream.shards
        held = [each for each in self.deliveries if each.shard in shards and shards[each.shard].holds(each.count)]
        return replace(self, deliveries=held)


@dataclass(frozen=True, slots=True)
class ChannelEvent:
    """A delivery of a channel."""

    stream: str
    channel: str
    """The last part of the channel's ARN."""
    now: float
    delivered: int
    """The stream's count of records up to which they are delivered."""

    @property
    def key(self) -> StreamKey:
        return (False, self.stream)

    def plain(self) -> list[Any]:
        return ["channel", self.stream, self.channel, self.now, self.delivered]


Event = CallEvent | PutEvent | DeliveryEvent | QueueEvent | ChannelEvent
