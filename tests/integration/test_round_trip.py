"""From put_record to the stream over a real socket: placing, packing, flushing."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import boto3
import botocore.session
import pytest

from kplpy import FlushTimeoutError, deaggregate
from kplpy.local import Fault
from tests.local_stream import PATIENCE, contents, local, producing, user_records

# --- placing ---


def test_many_streams() -> None:
    names = [f"stream-{n}" for n in range(6)]
    with local(streams=dict.fromkeys(names, 2)) as kinesis, producing(kinesis) as producer:
        futures = [
            (name, n, producer.put_record(name, b"%s %d" % (name.encode(), n), str(n)))
            for n in range(200)
            for name in names
        ]
        for _, _, future in futures:
            future.result(PATIENCE)
        for name in names:
            assert contents(kinesis, name) == Counter(b"%s %d" % (name.encode(), n) for n in range(200))
        assert set(producer.metrics()) == set(names)
        assert {each.user_records_put for each in producer.metrics().values()} == {200}


def test_by_name_and_by_arn() -> None:
    asked: list[tuple[str, Any, Any]] = []

    def note(operation: str, params: Mapping[str, Any], now: float) -> None:
        asked.append((operation, params.get("StreamName"), params.get("StreamARN")))

    with local() as kinesis, producing(kinesis) as producer:
        arn = kinesis.handle("DescribeStreamSummary", {"StreamName": "orders"})["StreamDescriptionSummary"]["StreamARN"]
        kinesis.faults.plan = note
        by_arn = producer.put_record(arn, b"by ARN", "k")
        assert by_arn.stream == arn
        by_arn.result(PATIENCE)
        assert {each[1:] for each in asked} == {(None, arn)}
        assert {each[0] for each in asked} == {"DescribeStreamSummary", "ListShards", "PutRecords"}
        asked.clear()
        producer.put_record("orders", b"by name", "k").result(PATIENCE)
        assert {each[1:] for each in asked} == {("orders", None)}
        assert contents(kinesis) == Counter([b"by ARN", b"by name"])


def test_explicit_hash_keys_and_keys_land_on_their_shard() -> None:
    with local(shards=7) as kinesis, producing(kinesis) as producer:
        shards = kinesis.handle("ListShards", {"StreamName": "orders"})["Shards"]
        ends = [
            (int(each["HashKeyRange"][end]), each["ShardId"])
            for each in shards
            for end in ("StartingHashKey", "EndingHashKey")
        ]
        futures = [
            (shard_id, producer.put_record("orders", b"%d" % n, "any", explicit_hash_key=hash_key))
            for n, (hash_key, shard_id) in enumerate(ends * 20)
        ]
        for shard_id, future in futures:
            assert future.result(PATIENCE).shard_id == shard_id
        spread = [producer.put_record("orders", b"x", f"key-{n}") for n in range(500)]
        assert {each.result(PATIENCE).shard_id for each in spread} == {each["ShardId"] for each in shards}
        # every aggregate is where a consumer keeps all of it
        ranges = {each["ShardId"]: each["HashKeyRange"] for each in shards}
        kept = 0
        for record in kinesis.ledger("orders"):
            low, high = (int(ranges[record.shard_id][end]) for end in ("StartingHashKey", "EndingHashKey"))
            kept += len(deaggregate(record.data, starting_hash_key=low, ending_hash_key=high))
        assert kept == len(futures) + len(spread)


def test_results_name_the_record_that_was_written() -> None:
    with local(shards=3) as kinesis, producing(kinesis) as producer:
        futures = {b"%d" % n: producer.put_record("orders", b"%d" % n, str(n)) for n in range(300)}
        producer.flush(timeout=PATIENCE)
        where = {
            each.data: (record.shard_id, record.sequence_number)
            for record in kinesis.ledger("orders")
            for each in deaggregate(record.data)
        }
        for data, future in futures.items():
            result = future.result(0)
            assert (result.shard_id, result.sequence_number) == where[data]
            assert [each.success for each in result.attempts] == [True]
            assert not result.possible_duplicate


# --- packing ---


def test_aggregation_on_and_off() -> None:
    with local(streams={"on": 1, "off": 1}) as kinesis:
        items = [(b"data %d" % n, f"key-{n}", n * 10**30 if n % 3 == 0 else None) for n in range(500)]
        for name in ("on", "off"):
            with producing(kinesis, aggregation_enabled=name == "on") as producer:
                producer.put_records(name, items)
        for name in ("on", "off"):
            assert contents(kinesis, name) == Counter(data for data, _, _ in items)
        assert len(kinesis.ledger("on")) < 10
        assert len(kinesis.ledger("off")) == 500
        packed = {each.data: (each.partition_key, each.explicit_hash_key) for each in user_records(kinesis, "on")}
        assert packed == {data: (key, None if hk is None else str(hk)) for data, key, hk in items}
        alone = {each.data: each.partition_key for each in kinesis.ledger("off")}
        assert alone == {data: key for data, key, _ in items}


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_aggregation_max_count(most: int) -> None:
    with local() as kinesis:
        with producing(kinesis, aggregation_max_count=most) as producer:
            producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(210)])
        sizes = [len(deaggregate(each.data)) for each in kinesis.ledger("orders")]
        assert sum(sizes) == 210
        assert max(sizes) == most


@pytest.mark.parametrize("most", [64, 1000, 51200, 400_000])
def test_aggregation_max_size(most: int) -> None:
    with local() as kinesis:
        with producing(kinesis, aggregation_max_size=most) as producer:
            size = most // 12
            futures = producer.put_records("orders", [(bytes(size - n % 5), "key") for n in range(100)])
            large = producer.put_record("orders", b"x" * (most + 1), "own key")
        for each in [*futures, large]:
            each.result(0)
        records = kinesis.ledger("orders")
        assert sum(len(deaggregate(each.data)) for each in records) == 101
        together = [len(each.data) for each in records if len(deaggregate(each.data)) > 1]
        assert max(together) <= most
        assert max(together) > most - 2 * size - 40  # filled as far as the next record allows
        (alone,) = [each for each in records if each.data == b"x" * (most + 1)]
        assert alone.partition_key == "own key"


def test_the_outer_key() -> None:
    for knobs, outer in (({}, "a"), ({"aggregate_partition_key": "first"}, "first")):
        with local() as kinesis:
            with producing(kinesis, **knobs) as producer:
                producer.put_records("orders", [(b"0", "first"), (b"1", "second"), (b"2", "first")])
                producer.flush(timeout=PATIENCE)
                producer.put_record("orders", b"alone", "its own").result(PATIENCE)
            packed, alone = kinesis.ledger("orders")
            assert packed.partition_key == outer
            assert [each.partition_key for each in deaggregate(packed.data)] == ["first", "second", "first"]
            assert alone.partition_key == "its own"


@pytest.mark.parametrize("knobs", [{"collection_max_count": 3}, {"collection_max_size": 52224}])
def test_the_size_of_requests(knobs: dict[str, int]) -> None:
    with local(shards=4) as kinesis:
        with producing(kinesis, aggregation_enabled=False, **knobs) as producer:
            producer.put_records("orders", [(bytes(9000), f"ключ {n}") for n in range(60)])
        requests = defaultdict(list)
        for each in kinesis.ledger("orders"):
            requests[each.request].append(len(each.data) + len((each.partition_key or "").encode()))
        assert sum(map(len, requests.values())) == 60
        assert max(map(len, requests.values())) <= knobs.get("collection_max_count", 500)
        assert max(map(sum, requests.values())) <= knobs.get("collection_max_size", 5 << 20)
        assert max(map(len, requests.values())) > 1


def test_records_of_all_sizes_up_to_ten_mebibytes() -> None:
    with local(stream=None) as kinesis:
        kinesis.handle("CreateStream", {"StreamName": "orders", "ShardCount": 1, "MaxRecordSizeInKiB": 10240})
        largest = 10 << 20
        sizes = [0, 1, 51_200, 255 * 1024, 1 << 20, (5 << 20) + 1, largest - 1]
        with producing(kinesis, max_user_record_size=largest, rate_limit=10_000) as producer:
            for size in sizes:
                producer.put_record("orders", bytes(size), "k")
        assert sorted(len(each.data) for each in user_records(kinesis)) == sizes


# --- flush ---


def test_flush_covers_what_was_put_before_it() -> None:
    with local(shards=2) as kinesis, producing(kinesis, record_max_buffered_time_ms=10 * 60_000) as producer:
        futures = producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(100)])
        producer.flush(timeout=PATIENCE)
        assert all(each.done() for each in futures)
        assert len(user_records(kinesis)) == 100
        later = producer.put_record("orders", b"later", "k")
        producer.flush("another", timeout=PATIENCE)
        assert not later.done()
        producer.flush("orders", timeout=PATIENCE)
        assert later.done()


def test_flush_of_one_stream_leaves_the_others() -> None:
    streams = {"one": 1, "other": 1}
    with local(streams=streams) as kinesis, producing(kinesis, record_max_buffered_time_ms=10 * 60_000) as producer:
        one, other = producer.put_record("one", b"x", "k"), producer.put_record("other", b"x", "k")
        producer.flush("one", timeout=PATIENCE)
        assert one.done()
        assert not other.done()
        assert producer.outstanding_records == 1
        producer.flush(timeout=PATIENCE)
        assert other.done()


def test_flush_returns_while_another_thread_keeps_writing() -> None:
    with local() as kinesis, producing(kinesis, rate_limit=10_000, max_buffered_records=2000) as producer:
        stop, wrote = threading.Event(), threading.Semaphore(0)

        def write() -> None:
            number = 0
            while not stop.is_set():
                producer.put_record("orders", b"on and on", str(number))
                number += 1
                wrote.release()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(10):
                assert wrote.acquire(timeout=PATIENCE)
                future = producer.put_record("orders", b"mine", "k")
                producer.flush(timeout=PATIENCE)
                assert future.done()
        finally:
            stop.set()
            writer.join(PATIENCE)


def test_flush_times_out_and_says_how_many_are_left() -> None:
    with local() as kinesis, producing(kinesis, request_timeout_ms=500) as producer:
        kinesis.faults.add(Fault(transport="never"))
        producer.put_records("orders", [(b"x", str(n)) for n in range(7)])
        with pytest.raises(FlushTimeoutError, match=r"^7 records had no outcome within 0\.05 s$") as raised:
            producer.flush(timeout=0.05)
        assert raised.value.remaining == 7
        assert producer.outstanding_records == 7
        with pytest.raises(FlushTimeoutError):
            producer.flush(timeout=0)


# --- how it gets there ---


def test_over_https() -> None:
    with local(https=True) as kinesis:
        with producing(kinesis) as producer:
            producer.put_record("orders", b"x", "k").result(PATIENCE)
        with producing(kinesis, verify=False) as producer, pytest.warns(match="Unverified HTTPS request"):
            producer.put_record("orders", b"y", "k").result(PATIENCE)
        assert contents(kinesis) == Counter([b"x", b"y"])


@pytest.mark.parametrize("kind", ["boto3", "botocore"])
def test_a_session_of_the_user_s(kind: str) -> None:
    session: Any
    if kind == "boto3":
        session = boto3.Session("mine", "secret", region_name="eu-north-1")
    else:
        session = botocore.session.Session()
        session.set_credentials("mine", "secret")
        session.set_config_variable("region", "eu-north-1")
    with local() as kinesis, producing(kinesis, session=session, region_name=None) as producer:
        producer.put_record("orders", b"x", "k").result(PATIENCE)
        assert contents(kinesis) == Counter([b"x"])


def test_threads_start_with_the_first_put_and_end_with_close() -> None:
    before = set(threading.enumerate())
    with local() as kinesis:
        mine = set(threading.enumerate())
        producer = producing(kinesis)
        assert set(threading.enumerate()) <= mine  # those of an earlier test's producer may end
        producer.flush(timeout=PATIENCE)
        assert set(threading.enumerate()) <= mine
        producer.put_record("orders", b"x", "k").result(PATIENCE)
        started = set(threading.enumerate()) - mine
        assert started
        assert all(each.daemon and each.name.startswith("kplpy-") for each in started)
        producer.close()
        for each in started:
            each.join(PATIENCE)
            assert not each.is_alive()
    assert set(threading.enumerate()) <= before | mine
