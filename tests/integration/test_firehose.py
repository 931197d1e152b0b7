"""Delivery streams of Firehose: a producer's threads and botocore against `kplpy local`, and against moto."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from kplpy import InvalidRecordError, Producer, RejectedError, ThrottledError
from kplpy.dead_letters import DeadLetterStream
from kplpy.integrations.logging import KinesisHandler
from kplpy.local import Fault, Limits, LocalKinesis
from kplpy.reading.reader import StreamReader
from tests.integration.cli_process import run, without_slowness
from tests.local_stream import PATIENCE, contents, local, producing

ARN = "arn:aws:firehose:us-east-1:123456789012:deliverystream/logs"
SLOW_DOWN = "ServiceUnavailableException"
PUT = "Firehose.PutRecordBatch"


@pytest.fixture
def service() -> Iterator[LocalKinesis]:
    with local(delivery_streams=["logs"]) as running:
        yield running


def data(service: LocalKinesis) -> list[bytes]:
    return [each.data for each in service.firehose_ledger("logs")]


def test_each_record_gets_its_record_id_in_order(service: LocalKinesis) -> None:
    with producing(service) as producer:
        futures = [producer.put_record(ARN, b"%d\n" % number, f"key {number}") for number in range(600)]
        futures += producer.put_records(ARN, [(b"%d\n" % number, None) for number in range(600, 1200)])
        results = [each.result(PATIENCE) for each in futures]
        assert producer.metrics()[ARN].user_records_put == 1200
    by_id = {each.record_id: each.data for each in service.firehose_ledger("logs")}
    assert [by_id[each.record_id] for each in results] == [b"%d\n" % number for number in range(1200)]
    assert {(each.shard_id, each.sequence_number, each.possible_duplicate) for each in results} == {("", "", False)}
    assert repr(results[0]).startswith(f"RecordResult(record_id={results[0].record_id!r}, attempts=1")


def test_refused_records_are_sent_again_and_no_others(service: LocalKinesis) -> None:
    service.faults.fail_entries(SLOW_DOWN, entries=frozenset({1, 3}), times=2, operation=PUT)
    with producing(service) as producer:
        futures = producer.put_records(ARN, [(b"%d" % number, None) for number in range(5)])
        results = [each.result(PATIENCE) for each in futures]
        totals = producer.metrics()[ARN]
    assert sorted(data(service)) == [b"0", b"1", b"2", b"3", b"4"]
    assert totals.entries_throttled == 3  # two of five, then one of two
    assert [each.attempts[0].error_code for each in results] == [None, SLOW_DOWN, None, SLOW_DOWN, None]
    assert not any(each.possible_duplicate for each in results)


def test_a_refused_request_may_have_been_written(service: LocalKinesis) -> None:
    """Firehose refuses it with HTTP 500."""
    service.faults.add(Fault(code=SLOW_DOWN, status=500), operation=PUT)
    with producing(service) as producer:
        result = producer.put_record(ARN, b"x").result(PATIENCE)
        assert producer.metrics()[ARN].entries_throttled == 1
    assert data(service) == [b"x"]
    assert [each.error_code for each in result.attempts] == [SLOW_DOWN, None]
    assert result.possible_duplicate


def test_a_quota_is_learnt_from_refusals() -> None:
    """Three seconds' worth of a small quota: all records arrive once, and little is sent in vain."""
    limits = Limits(firehose_bytes_per_second=1 << 20)
    with local(delivery_streams=["logs"], limits=limits) as service, producing(service) as producer:
        records = [b"%06d" % number + bytes(10_000) for number in range(300)]
        for future in producer.put_records(ARN, [(each, None) for each in records]):
            future.result(PATIENCE)
        totals = producer.metrics()[ARN]
        assert sorted(data(service)) == records
        assert totals.entries_throttled < totals.kinesis_records_sent / 2


def test_fail_if_throttled(service: LocalKinesis) -> None:
    service.faults.fail_entries(SLOW_DOWN, operation=PUT)
    with producing(service, streams={ARN: {"fail_if_throttled": True}}) as producer:
        error = producer.put_record(ARN, b"x", "k").exception(PATIENCE)
    assert isinstance(error, ThrottledError)
    assert error.record is not None
    assert (error.stream, error.record.data, error.record.partition_key) == (ARN, b"x", "k")


def test_the_largest_record_and_one_byte_more(service: LocalKinesis) -> None:
    with producing(service) as producer:
        with pytest.raises(InvalidRecordError, match="at most 1024000 bytes"):
            producer.put_record(ARN, bytes(1_024_001))
        assert producer.put_record(ARN, bytes(1_024_000), "k" * 256).result(PATIENCE).record_id
        assert producer.outstanding_records == 0
    assert data(service) == [bytes(1_024_000)]


def test_records_of_many_sizes_fill_requests_within_the_limits(service: LocalKinesis) -> None:
    sizes = [1_024_000, 1, 700_000, 0, 1_024_000, 5]
    with producing(service) as producer:
        futures = producer.put_records(ARN, [(bytes(size), None) for size in sizes])
        assert all(each.result(PATIENCE).record_id for each in futures)
        assert producer.metrics()[ARN].requests_failed == 0
    assert Counter(map(len, data(service))) == Counter(sizes)


def test_joined_records_share_an_id_and_keep_their_own_newlines(service: LocalKinesis) -> None:
    lines = [b"line %d\n" % number for number in range(200)]
    with producing(service, joined_record_size=1000) as producer:
        results = [each.result(PATIENCE) for each in producer.put_records(ARN, [(line, None) for line in lines])]
        totals = producer.metrics()[ARN]
    records = data(service)
    assert b"".join(records) == b"".join(lines)
    assert all(len(each) <= 1000 and each.endswith(b"\n") for each in records)
    assert len({each.record_id for each in results}) == len(records) == totals.kinesis_records_put
    assert totals.user_records_put == 200


def test_a_missing_delivery_stream(service: LocalKinesis) -> None:
    missing = ARN.replace("logs", "nope")
    with producing(service, close_timeout_ms=0) as producer:
        with pytest.raises(RejectedError, match="ResourceNotFoundException"):
            producer.connect(missing, timeout=2)
        future = producer.put_record(missing, b"x")
        deadline = time.monotonic() + PATIENCE
        while producer.health().last_error is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "ResourceNotFoundException" in str(producer.health().last_error)
        assert not future.done()  # until the grace is over


def test_connecting_sends_no_record_and_asks_nothing_of_kinesis(service: LocalKinesis) -> None:
    operations: list[str] = []
    service.faults.plan = lambda operation, params, now: operations.append(operation)
    with producing(service) as producer:
        producer.connect(ARN)
        producer.put_record(ARN, b"x").result(PATIENCE)
    assert operations == ["Firehose.DescribeDeliveryStream", PUT]


def test_a_stream_and_a_delivery_stream_of_one_name() -> None:
    other = ARN.replace("logs", "orders")
    with (
        local(delivery_streams=["orders"]) as service,
        producing(service, compression="gzip", ordered=True, aggregate_single_records=True) as producer,
    ):
        futures = [producer.put_record(each, b"to " + each[:5].encode(), "k") for each in ("orders", other)]
        of_stream, of_delivery_stream = (each.result(PATIENCE) for each in futures)
        producer.flush(other)
        assert producer.metrics()[other].user_records_put == producer.metrics()["orders"].user_records_put == 1
        assert contents(service) == Counter([b"to order"])
        assert [each.data for each in service.firehose_ledger("orders")] == [b"to arn:a"]
    assert of_stream.sequence_number
    assert not of_stream.record_id
    assert of_delivery_stream.record_id


def test_asyncio(service: LocalKinesis) -> None:
    async def put() -> list[str]:
        async with producing(service) as producer:
            await producer.aconnect(ARN)
            futures = [await producer.aput_record(ARN, b"a"), *await producer.aput_records(ARN, [(b"b", "k")])]
            await producer.aflush(ARN)
            return [(await each).record_id for each in futures]

    ids = asyncio.run(put())
    assert ids == [each.record_id for each in service.firehose_ledger("logs")]


def test_metrics_have_the_name_and_no_shard(service: LocalKinesis) -> None:
    service.faults.fail_entries(SLOW_DOWN, operation=PUT)
    with producing(service, metrics_granularity="shard", hot_partition_keys=10) as producer:
        for key in ("k", None):
            producer.put_record(ARN, b"four", key).result(PATIENCE)
        metrics = producer.metrics()
        assert metrics.find("UserRecordsPut", stream="logs").total == 2
        assert metrics.find("KinesisRecordsDataPut", stream="logs").total == 8
        assert metrics.find("ErrorsByCode", stream="logs", error_code=SLOW_DOWN).total == 1
        assert {name for sample in metrics.samples for name, _ in sample.dimensions} == {"StreamName", "ErrorCode"}
        assert not [each for each in metrics.samples if each.name.startswith("Shard")]
        hot = producer.hot_keys()[ARN]
        assert [each.partition_key for each in hot.by_records] == ["k"]
        assert producer.health().outstanding_records == 0


def test_a_spool_keeps_records_for_the_next_process(service: LocalKinesis, tmp_path: Path) -> None:
    service.faults.outage(operation=PUT)
    options: dict[str, Any] = {"spool": tmp_path / "spool", "joined_record_size": 30}
    with producing(service, **options, close_timeout_ms=0) as producer:
        for number in range(10):
            producer.put_record(ARN, b"%d of ten\n" % number, None if number % 2 else "k").stored(PATIENCE)
    service.faults.clear()
    with producing(service, **options) as producer:
        assert producer.recovered == 10
        producer.flush(timeout=PATIENCE)
    assert sorted(set(b"".join(data(service)).splitlines())) == [b"%d of ten" % number for number in range(10)]


def test_failed_records_of_a_stream_go_to_a_delivery_stream(service: LocalKinesis) -> None:
    service.faults.fail_entries("ProvisionedThroughputExceededException", times=100)
    for envelope in (True, False):
        dead = DeadLetterStream(ARN, envelope=envelope)
        with producing(service, fail_if_throttled=True, on_failure=dead) as producer:
            future = producer.put_record("orders", b"lost", "k", explicit_hash_key=7, headers={"a": "b"})
            assert future.exception(PATIENCE)
    line, plain = data(service)
    assert line.endswith(b"\n")
    assert json.loads(line)["stream"] == "orders"
    assert plain == b"lost"


def test_log_records(service: LocalKinesis) -> None:
    with producing(service) as producer:
        handler = KinesisHandler(ARN, producer=producer, terminator="\n")
        handler.handle(logging.LogRecord("app", logging.INFO, "app.py", 1, "hello %s", ("you",), None))
        handler.close()
    assert data(service) == [b"hello you\n"]
    with pytest.raises(InvalidRecordError, match="no headers"):
        KinesisHandler(ARN, producer=producer, headers={"a": "b"})


def test_a_delivery_stream_cannot_be_read() -> None:
    with pytest.raises(InvalidRecordError, match="a delivery stream cannot be read"):
        StreamReader(ARN)


def test_the_put_command(service: LocalKinesis, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    at = ("put", ARN, "log", "--endpoint-url", service.endpoint_url)
    done = run(tmp_path, *at, "--keep-newline", "--set", "joined_record_size=1000")
    assert done.returncode == 0, done.stderr
    assert b": 1 Firehose record, 1 request" in done.stderr
    assert data(service) == [b"one\ntwo\n"]
    done = run(tmp_path, *at)
    assert b"--keep-newline keeps them" in without_slowness(done.stderr)
    assert data(service)[1:] == [b"one", b"two"]
    missing = run(tmp_path, "put", ARN.replace("logs", "nope"), "log", "--endpoint-url", service.endpoint_url)
    assert missing.returncode == 1
    assert b"ResourceNotFoundException" in missing.stderr


@pytest.mark.moto
def test_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, without an endpoint: the region is the ARN's, not the producer's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    arn = ARN.replace("us-east-1", "eu-west-1")
    with mock_aws():
        bucket = boto3.client("s3", region_name="us-east-1")
        bucket.create_bucket(Bucket="destination")
        destination: Any = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::destination"}
        boto3.client("firehose", region_name="eu-west-1").create_delivery_stream(
            DeliveryStreamName="logs", S3DestinationConfiguration=destination
        )
        with Producer(region_name="us-east-1", joined_record_size=1000, metrics_level="none") as producer:
            producer.connect(arn)
            futures = producer.put_records(arn, [(b"%d\n" % number, None) for number in range(700)])
            assert len({each.result(PATIENCE).record_id for each in futures}) == 3
        objects = bucket.list_objects(Bucket="destination")["Contents"]
        parts = [bucket.get_object(Bucket="destination", Key=each["Key"])["Body"].read() for each in objects]
    assert sorted(b"".join(parts).split()) == sorted(b"%d" % number for number in range(700))
