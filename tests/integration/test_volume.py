"""Half a gigabyte in 200,000 records goes through a producer, over HTTP and HTTPS, and is read back identical."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from mypy_boto3_kinesis import KinesisClient

from kplpy import Producer, RecordFuture, UserRecord, deaggregate
from kplpy.local import LocalKinesisProcess

RECORDS = 200_000
LARGE_EVERY = 1000  # 0.1 %
SHARDS = 8
STREAM = "volume"
LARGEST = 1 << 20

# A record's data is its number and a slice of this. It is cheap to make, and to make again for the comparison.
POOL = random.Random(3).randbytes(LARGEST + (1 << 22))


@dataclass(frozen=True)
class Put:
    data: bytes
    partition_key: str | None
    explicit_hash_key: str | None


def record(number: int) -> Put:
    """Return the record with this number. It is the same at each call."""
    chance = random.Random(number)
    key: str | None = None
    kind = number % 10
    if kind < 5:
        key = f"customer-{chance.randrange(5000)}"
    elif kind < 8:
        key = f"顧客-{chance.randrange(5000)}-🙂é"
    elif kind == 8:
        key = "Ω" * chance.randint(1, 256)
    explicit_hash_key = str(chance.randrange(1 << 128)) if number % 7 == 0 else None
    size = chance.randint(0, 4096)
    if number % LARGE_EVERY == 0:
        # Record 0 has exactly the service's limit, with its key. kplpy's keys have 32 characters.
        most = LARGEST - (32 if key is None else len(key.encode()))
        size = most if number == 0 else chance.randint(64 << 10, most)
    start = chance.randrange(1 << 22)
    mark = b"%d|" % number
    return Put(mark + POOL[start : start + size - len(mark)], key, explicit_hash_key)


def put_all(producer: Producer) -> list[RecordFuture]:
    """Put all records, alternately by put_records and put_record."""
    futures: list[RecordFuture] = []
    for start in range(0, RECORDS, 500):
        puts = [record(number) for number in range(start, start + 500)]
        if start % 1000:
            futures += [
                producer.put_record(STREAM, each.data, each.partition_key, explicit_hash_key=each.explicit_hash_key)
                for each in puts
            ]
        else:
            futures += producer.put_records(
                STREAM, [(each.data, each.partition_key, each.explicit_hash_key) for each in puts]
            )
    return futures


@dataclass(frozen=True)
class Got:
    record: UserRecord
    shard: str
    low: int  # the shard's hash key range
    high: int
    alone: bool  # not in an aggregate; then the service does not return the explicit hash key


def read_back(client: KinesisClient) -> Iterator[Got]:
    """Yield all records of the stream, as a KCL consumer gets them."""
    for shard in client.list_shards(StreamName=STREAM)["Shards"]:
        low, high = (int(shard["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
        iterator: str | None = client.get_shard_iterator(
            StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            page = client.get_records(ShardIterator=iterator)
            for each in page["Records"]:
                for user_record in deaggregate(each, starting_hash_key=low, ending_hash_key=high):
                    yield Got(user_record, shard["ShardId"], low, high, user_record.data == each["Data"])
            iterator = page.get("NextShardIterator") if page["Records"] else None


def hash_key(partition_key: str, explicit_hash_key: str | None) -> int:
    """Compute the hash key as the service does."""
    if explicit_hash_key is not None:
        return int(explicit_hash_key)
    return int.from_bytes(hashlib.md5(partition_key.encode()).digest(), "big")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("volume")
@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_the_records_read_are_those_put(https: bool) -> None:
    with LocalKinesisProcess(shards=SHARDS, stream=STREAM, limits=False, https=https) as kinesis:
        with Producer(
            endpoint_url=kinesis.endpoint_url,
            verify=kinesis.ca_bundle,
            region_name=kinesis.region_name,
            rate_limit=1_000_000,
            record_ttl_ms=None,
            max_block_ms=300_000,
            close_timeout_ms=300_000,
        ) as producer:
            futures = put_all(producer)
            producer.flush(timeout=300)
            totals = producer.metrics()[STREAM]
            assert producer.outstanding_records == 0
            assert producer.outstanding_bytes == 0

        shards = [future.result(0).shard_id for future in futures]  # every record was delivered
        assert len(shards) == RECORDS
        assert len(set(shards)) == SHARDS
        assert totals.user_records_put == RECORDS
        assert totals.user_records_failed == 0
        assert totals.kinesis_records_put < RECORDS / 5  # records were aggregated, so aggregates are tested

        seen = bytearray(RECORDS)
        total = large = 0
        for got in read_back(kinesis.client()):
            data, key = got.record.data, got.record.partition_key
            number = int(data[: data.index(b"|", 0, 8)])
            put = record(number)
            assert data == put.data, number
            assert key == (put.partition_key or futures[number].partition_key), number
            explicit = put.explicit_hash_key if put.partition_key else futures[number].explicit_hash_key
            assert explicit == (put.explicit_hash_key or explicit), number
            assert got.record.explicit_hash_key == (None if got.alone else explicit), number
            assert got.low <= hash_key(key or "", explicit) <= got.high, number
            assert got.shard == shards[number], number
            seen[number] += 1
            total += len(data)
            large += len(data) >= 64 << 10
        assert seen == bytes([1]) * RECORDS  # no record is missing or there twice
        assert large == RECORDS // LARGE_EVERY
        assert total > 480e6
