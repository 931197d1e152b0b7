"""Packs a sample's user records as a producer would, plain, aggregated and compressed, and measures the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kplpy.config.options import Config
from kplpy.config.rules import GZIP_LEVELS
from kplpy.core.batching.shard_queue import AGGREGATE_KEY
from kplpy.core.policy import DEFAULT_LEVEL
from kplpy.doctor.prices import billed_bytes, put_units
from kplpy.doctor.sample import Sample
from kplpy.records import UserRecord
from kplpy.wire.compressed import check_codec, pack_batch
from kplpy.wire.encode import Entry, Packing
from kplpy.wire.tags import encode_tags


@dataclass(slots=True)
class Packed:
    """Kinesis records that hold a number of user records.

    records, bytes: Kinesis records, their data and keys. units, billed: as in ShardSample.
    """

    user_records: int = 0
    records: int = 0
    bytes: int = 0
    units: int = 0
    billed: int = 0

    def add(self, size: int, users: int) -> None:
        """Count one Kinesis record of `size` bytes that holds `users` user records."""
        self.user_records += users
        self.records += 1
        self.bytes += size
        self.units += put_units(size)
        self.billed += billed_bytes(size)

    def per_user_record(self, name: str) -> float:
        return float(getattr(self, name)) / self.user_records if self.user_records else 0.0


def as_stored(sample: Sample) -> Packed:
    """Return the sample as it is in the stream."""
    names = ("user_records", "records", "bytes", "units", "billed")
    return Packed(*(sample.total(each) for each in names))


def plain(sample: Sample) -> Packed:
    """Return the sample with each user record alone."""
    packed = Packed()
    for one in sample.shards:
        for record in one.kept:
            packed.add(len(record.data) + _key_size(record), 1)
    return packed


def aggregated(
    sample: Sample, config: Config, most_records: int, codec: Literal["none", "gzip", "zstd"] = "none"
) -> Packed:
    """Return the sample in aggregates, each of one shard, at most aggregation_max_size and `most_records`.

    As in the producer, a record that is alone in its aggregate is sent plain, and one with less data than
    compression_min_size, or that compression does not make smaller, is sent uncompressed.

    codec: compresses each one; "none" leaves it an aggregate of the KPL. Raises ImportError without the codec's
        library.
    """
    check_codec(codec)
    packed = Packed()
    for one in sample.shards:
        for packing, records in _packings(one.kept, config.aggregation_max_size, most_records):
            packed.add(_size(packing, records, config, codec), len(records))
    return packed


def _size(packing: Packing, records: list[UserRecord], config: Config, codec: Literal["none", "gzip", "zstd"]) -> int:
    """Return the bytes of the Kinesis record's data and key."""
    first = records[0]
    is_aggregate = len(records) > 1 or config.aggregate_single_records or bool(first.headers)
    size = packing.size if is_aggregate else len(first.data)
    if codec != "none" and size >= config.compression_min_size:
        level = min(config.compression_level or DEFAULT_LEVEL, GZIP_LEVELS)
        size = min(size, len(pack_batch(packing.message(), codec, level)))
    has_outer_key = is_aggregate and config.aggregate_partition_key == "a"
    return size + (len(AGGREGATE_KEY) if has_outer_key else _key_size(first))


def _key_size(record: UserRecord) -> int:
    return len((record.partition_key or "").encode())


def _packings(
    records: list[UserRecord], max_size: int, most_records: int
) -> Iterator[tuple[Packing, list[UserRecord]]]:
    """Yield full aggregates with their records."""
    packing, packed = Packing(), list[UserRecord]()
    for record in records:
        tags = encode_tags(record.headers or {})
        entry = Entry(record.data, record.partition_key or AGGREGATE_KEY, record.explicit_hash_key, tags)
        if len(packed) < most_records and packing.add([entry], max_size):
            packed.append(record)
            continue
        if packed:
            yield packing, packed
        packing, packed = Packing(), [record]
        packing.add([entry], max(max_size, len(record.data) + 4096 + len(tags)))
    if packed:
        yield packing, packed
