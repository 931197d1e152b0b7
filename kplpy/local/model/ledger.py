"""The ledger: every record that a stream or a delivery stream accepted and still holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge

from kplpy.local.model.delivery_stream import DeliveryStream
from kplpy.local.model.sequence import sequence_count
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import Stream
from kplpy.wire.decode import decode_aggregate


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """A Kinesis record that the service accepted."""

    stream: str
    incarnation: int
    """Rises each time a stream is created, so a recreated stream differs from its predecessor."""
    shard_id: str
    shard_range: tuple[int, int]
    """The shard's first and last hash key.

    A KCL consumer drops aggregates with a hash key outside this range.
    """
    sequence_number: str
    time: float
    """When the record was accepted, epoch seconds."""
    partition_key: str | None
    data: bytes
    explicit_hash_key: str | None
    request: int
    """The model's running number of the record's request."""

    @property
    def dropped(self) -> bool:
        """True for an aggregate that a KCL consumer drops.

        One of the aggregate's hash keys is then outside shard_range.
        """
        return decode_aggregate(self.data, *self.shard_range) == []


@dataclass(frozen=True, slots=True)
class DeliveryLedgerRecord:
    """A record that Firehose accepted."""

    delivery_stream: str
    incarnation: int
    """Rises each time a delivery stream is created, so a recreated one differs from its predecessor."""
    number: int
    """The record's place in the order of acceptance, from 1."""
    record_id: str
    time: float
    """When the record was accepted, epoch seconds."""
    data: bytes
    request: int
    """The model's running number of the record's request."""


def records_of(stream: Stream) -> Iterator[LedgerRecord]:
    """Yield the records that a stream holds, in the order of acceptance."""

    def by_count(shard: Shard) -> Iterator[tuple[int, Shard, Record]]:
        return ((sequence_count(each.number), shard, each) for each in shard.records[shard.head :])

    for _, shard, record in merge(*map(by_count, list(stream.shards.values())), key=lambda each: each[0]):
        yield LedgerRecord(
            stream=stream.name,
            incarnation=stream.incarnation,
            shard_id=shard.id,
            shard_range=(shard.first, shard.last),
            sequence_number=str(record.number),
            time=record.arrived,
            partition_key=record.key,
            data=record.data,
            explicit_hash_key=record.explicit,
            request=record.request,
        )


def firehose_records(stream: DeliveryStream, after: int) -> Iterator[DeliveryLedgerRecord]:
    """Yield the records that a delivery stream holds, those after the record with the number `after`."""
    for each in stream.since(after):
        yield DeliveryLedgerRecord(
            delivery_stream=stream.name,
            incarnation=stream.incarnation,
            number=each.number,
            record_id=stream.record_id(each.number),
            time=each.arrived,
            data=each.data,
            request=each.request,
        )
