"""Shards that split and merge under the producer: what consumers would be given, and what the results tell."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from kplpy import RecordFuture, UserRecord, deaggregate
from kplpy.local import LocalKinesis
from tests.local_stream import PATIENCE, local, producing

MIDDLE = 1 << 127
FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with local() as kinesis:
        yield kinesis


def split(kinesis: LocalKinesis, shard: str = FIRST, at: int = MIDDLE) -> None:
    kinesis.handle("SplitShard", {"StreamName": "orders", "ShardToSplit": shard, "NewStartingHashKey": str(at)})


def merge(kinesis: LocalKinesis, left: str, right: str) -> None:
    kinesis.handle("MergeShards", {"StreamName": "orders", "ShardToMerge": left, "AdjacentShardToMerge": right})


def kept_by_consumers(kinesis: LocalKinesis) -> list[UserRecord]:
    """A KCL drops an aggregate with a record outside its shard."""
    return [
        user_record
        for record in kinesis.ledger("orders")
        for user_record in deaggregate(
            record.data, starting_hash_key=record.shard_range[0], ending_hash_key=record.shard_range[1]
        )
    ]


def test_an_aggregate_that_landed_beside_its_shard_is_sent_again(kinesis: LocalKinesis) -> None:
    with producing(kinesis) as producer:
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        split(kinesis)
        futures = producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(200)])
        results = [future.result(PATIENCE) for future in futures]
        assert {each.shard_id for each in results} == {"shardId-000000000001", "shardId-000000000002"}
        assert all(each.possible_duplicate for each in results)
        assert {each.attempts[0].error_code for each in results} == {"WrongShard"}
        assert {len(each.attempts) for each in results} == {2}
        assert producer.metrics()["orders"].wrong_shard == 1
        # from here on the shards are known again
        after = [
            future.result(PATIENCE) for future in producer.put_records("orders", [(b"after", "1"), (b"after", "2")])
        ]
        assert not any(each.possible_duplicate for each in after)
    kept = Counter(each.data for each in kept_by_consumers(kinesis))
    assert kept == Counter({b"before": 1, b"after": 2, **{b"%d" % n: 1 for n in range(200)}})


def test_an_aggregate_that_fits_where_it_landed_is_delivered(kinesis: LocalKinesis) -> None:
    with producing(kinesis) as producer:
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        split(kinesis)
        items = [(b"%d" % n, "k", MIDDLE + n) for n in range(50)]
        for future in producer.put_records("orders", items):
            result = future.result(PATIENCE)
            assert result.shard_id == "shardId-000000000002"
            assert not result.possible_duplicate
            assert len(result.attempts) == 1
        assert producer.metrics()["orders"].wrong_shard == 0
    assert len(kept_by_consumers(kinesis)) == 51


def test_records_that_travel_alone_are_where_the_service_put_them(kinesis: LocalKinesis) -> None:
    with producing(kinesis, aggregation_enabled=False) as producer:
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        split(kinesis)
        for future in producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(100)]):
            result = future.result(PATIENCE)
            assert not result.possible_duplicate
            assert len(result.attempts) == 1
    assert len(kinesis.ledger("orders")) == 101


def test_after_a_merge_nothing_is_written_twice() -> None:
    with local(shards=2) as kinesis, producing(kinesis) as producer:
        producer.put_records("orders", [(b"before", "k", 0), (b"before", "k", MIDDLE)])
        producer.flush(timeout=PATIENCE)
        merge(kinesis, FIRST, SECOND)
        for future in producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(200)]):
            result = future.result(PATIENCE)
            assert result.shard_id == "shardId-000000000002"
            assert not result.possible_duplicate
        assert producer.metrics()["orders"].wrong_shard == 0
        kept = Counter(each.data for each in kept_by_consumers(kinesis))
        assert kept == Counter({b"before": 2, **{b"%d" % n: 1 for n in range(200)}})


def test_splits_and_merges_under_load_lose_nothing() -> None:
    with local(shards=4) as kinesis, producing(kinesis, record_max_buffered_time_ms=5) as producer:
        futures: list[RecordFuture] = []
        stop = threading.Event()

        def put() -> None:
            number = 0
            while not stop.is_set():
                futures.append(producer.put_record("orders", b"%d" % number, str(number)))
                number += 1
                if number % 200 == 0:
                    producer.flush(timeout=PATIENCE)

        putting = threading.Thread(target=put)
        putting.start()
        try:
            for count in (8, 5, 3, 6, 4):
                target = {"StreamName": "orders", "TargetShardCount": count, "ScalingType": "UNIFORM_SCALING"}
                kinesis.handle("UpdateShardCount", target)
                put_meanwhile = producer.put_record("orders", b"", "marker")
                put_meanwhile.result(PATIENCE)
                producer.flush(timeout=PATIENCE)
        finally:
            stop.set()
            putting.join(PATIENCE)
        producer.flush(timeout=PATIENCE)
        for future in futures:
            future.result(0)
        kept = Counter(each.data for each in kept_by_consumers(kinesis))
        assert set(kept) - {b""} == {b"%d" % n for n in range(len(futures))}
        # what was written twice was told of
        twice = {data for data, times in kept.items() if times > 1} - {b""}
        told = {b"%d" % n for n, future in enumerate(futures) if future.result(0).possible_duplicate}
        assert twice <= told
