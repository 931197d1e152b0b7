"""Records put without a partition key: kplpy chooses their shard, and what users see of them has no key."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from kplpy import RejectedError, UserRecord, deaggregate
from kplpy.errors import RecordFailedError
from kplpy.local import Fault, LocalKinesis
from tests.local_stream import PATIENCE, contents, local, producing


def read_as_the_kcl(kinesis: LocalKinesis) -> Counter[bytes]:
    return Counter(
        user_record.data
        for record in kinesis.ledger("orders")
        for user_record in deaggregate(
            record.data, starting_hash_key=record.shard_range[0], ending_hash_key=record.shard_range[1]
        )
    )


def test_every_way_to_put_one() -> None:
    async def put() -> None:
        future = await producer.aput_record("orders", b"async")
        await future

    with local(shards=64) as kinesis, producing(kinesis) as producer:
        producer.put_record("orders", b"first").result(PATIENCE)
        futures = [producer.put_record("orders", b"%d" % n) for n in range(300)]
        futures += producer.put_records("orders", [(b"%d" % n, None) for n in range(300, 500)])
        futures += producer.put_records("orders", [UserRecord(b"%d" % n) for n in range(500, 600)])
        asyncio.run(put())
        for future in futures:
            result = future.result(PATIENCE)
            assert len(result.attempts) == 1
            assert not result.possible_duplicate
        assert producer.outstanding_bytes == 0
        totals = producer.metrics()["orders"]
        assert totals.kinesis_records_put < 100  # of 602 that random keys would spread over 64 shards
    assert read_as_the_kcl(kinesis) == Counter([b"first", b"async", *(b"%d" % n for n in range(600))])


def test_a_failed_one_has_no_key_either() -> None:
    told: list[RecordFailedError] = []
    with local(shards=2) as kinesis, producing(kinesis, on_failure=told.append) as producer:
        kinesis.faults.add(Fault(code="InvalidArgumentException", message="no such thing"), times=2)
        future = producer.put_record("orders", b"x")
        assert repr(future).startswith("<RecordFuture orders None ")
        with pytest.raises(RejectedError, match="no such thing") as raised:
            future.result(PATIENCE)
        assert raised.value.record == UserRecord(b"x", None, None)
        producer.flush(timeout=PATIENCE)
        assert [error.record for error in told] == [UserRecord(b"x", None, None)]
        again = producer.put_records(
            "orders", [error.record for error in told if error.record]
        )  # a dead letter is put as it came
        with pytest.raises(RejectedError):
            again[0].result(PATIENCE)


def test_one_that_must_be_sent_again_after_a_reshard_is_of_a_shard_that_is_open() -> None:
    with local(shards=1) as kinesis, producing(kinesis) as producer:
        producer.put_record("orders", b"before").result(PATIENCE)
        kinesis.handle(
            "UpdateShardCount", {"StreamName": "orders", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}
        )
        # The first aggregate finds the reshard out and, its records being of one hash key, is where it belongs.
        producer.put_record("orders", b"while").result(PATIENCE)
        producer.put_records("orders", [(b"keyed", str(n)) for n in range(50)])
        producer.flush(timeout=PATIENCE)
        kinesis.faults.fail_entries("InternalFailure", times=3)
        futures = producer.put_records("orders", [(b"%d" % n, None) for n in range(100)])
        shards = {future.result(PATIENCE).shard_id for future in futures}
        assert shards <= {"shardId-000000000001", "shardId-000000000002"}
        assert contents(kinesis)[b"99"] == 1
    kept = read_as_the_kcl(kinesis)
    assert all(kept[b"%d" % n] == 1 for n in range(100))


def test_an_explicit_hash_key_alone_decides_the_shard() -> None:
    with local(shards=4) as kinesis, producing(kinesis) as producer:
        future = producer.put_record("orders", b"x", explicit_hash_key=(1 << 128) - 1)
        assert future.result(PATIENCE).shard_id == "shardId-000000000003"
        (record,) = kinesis.ledger("orders")
        assert len(record.partition_key or "") == 32


def test_a_size_that_leaves_no_room_for_the_key() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        fits = producer.put_record("orders", bytes((1 << 20) - 32))
        assert fits.result(PATIENCE).shard_id
        with pytest.raises(ValueError, match=r"1048545 of data and 32 of key"):
            producer.put_record("orders", bytes((1 << 20) - 31))
