"""kplpy as its users write it. Never run: test_typing.py has mypy --strict read it.

A `type: ignore` here says that the line must be an error: mypy reports one that is not needed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
from collections.abc import Mapping
from datetime import datetime, timezone

import boto3
from typing_extensions import assert_type

import kplpy
from kplpy import (
    Attempt,
    BufferFullError,
    Config,
    ConfigError,
    FlushTimeoutError,
    ForkedError,
    Health,
    InvalidRecordError,
    KplpyError,
    Producer,
    ProducerClosedError,
    RecordExpiredError,
    RecordFailedError,
    RecordFuture,
    RecordResult,
    RecordSpooledError,
    RejectedError,
    SetupError,
    SpoolError,
    SpoolFullError,
    StreamOptions,
    ThrottledError,
    UserRecord,
    deaggregate,
    deaggregate_all,
    serializers,
)
from kplpy.dead_letters import DeadLetterFile, DeadLetterStream
from kplpy.integrations.aws_lambda import flush_after
from kplpy.integrations.logging import KinesisHandler
from kplpy.reading import Batch, ReadRecord, StreamReader


def ten_lines() -> None:
    with Producer(region_name="eu-west-1") as producer:
        future = producer.put_record("orders", b'{"id": 7}', "customer-42")
        result = future.result()
        assert_type(result.shard_id, str)
        assert_type(result.sequence_number, str)


class Hashed:
    """An integral type, as numpy's are."""

    def __index__(self) -> int:
        return 7


def putting(producer: Producer) -> None:
    assert_type(producer.put_record("orders", b"x"), RecordFuture)
    producer.put_record("orders", bytearray(b"x"), "key")
    producer.put_record("orders", memoryview(b"x"), partition_key="key", explicit_hash_key="0")
    producer.put_record("orders", b"x", "key", explicit_hash_key=7)
    producer.put_record("orders", b"x", "key", explicit_hash_key=Hashed())
    futures = producer.put_records("orders", [(b"x", "customer-1"), (b"y", "customer-2")])
    assert_type(futures, list[RecordFuture])
    producer.put_records("orders", [(b"x", "customer-1", "0"), (b"y", "customer-1", None)])
    producer.put_records("orders", [UserRecord(b"x", "customer-1"), UserRecord(b"y", explicit_hash_key="7")])
    producer.put_records("orders", ((b"x", "k") for _ in range(3)))
    producer.put_record("orders", b"x", headers={"content-type": "application/json", "flag": None})
    producer.put_records("orders", [(b"x", "k", None, {"a": "b"}), UserRecord(b"x", headers={"a": None})])
    producer.put_record("orders", b"x", headers={"a": b"b"})  # type: ignore[dict-item]
    producer.put_record("orders", b"x", headers=[("a", "b")])  # type: ignore[arg-type]
    Producer(tracing="opentelemetry")
    Producer(tracing="zipkin")  # type: ignore[call-overload]
    producer.connect("orders")
    producer.connect("orders", timeout=0.5)
    producer.connect("orders", timeout=None)  # type: ignore[arg-type]
    producer.flush()
    producer.flush(timeout=5)
    producer.flush("orders", 0.5)
    assert_type(producer.outstanding_records, int)
    assert_type(producer.outstanding_bytes, int)
    producer.close()

    # The serializers decide which data and keys are right, so type checkers take any.
    producer.put_record("orders", {"id": 7}, 42)
    producer.put_record(b"orders", b"x")  # type: ignore[arg-type]
    producer.put_record("orders", b"x", "key", "0")  # type: ignore[call-arg]
    producer.put_record("orders", b"x", "key", explicit_hash_key=0.5)  # type: ignore[arg-type]


def waiting(producer: Producer) -> None:
    future = producer.put_record("orders", b"x", "key")
    assert_type(future.result(timeout=3), RecordResult)
    assert_type(future.done(), bool)
    assert_type(future.stream, str)
    future.add_done_callback(lambda f: assert_type(f.result(), RecordResult))
    concurrent.futures.wait([future], timeout=1)
    # as_completed works, but typeshed wants _state, _condition and _waiters to be plain attributes
    done = next(concurrent.futures.as_completed([future]))
    done.result()


def counting(producer: Producer) -> None:
    metrics = producer.metrics(window=10)
    assert_type(metrics["orders"].user_records_put, int)
    assert_type(metrics.find("UserRecordsPut", stream="orders").average, float)
    assert_type(metrics.find("TimeToAnswer").percentile(99), float | None)


def ready(producer: Producer) -> bool:
    health = producer.health()
    assert_type(health, Health)
    assert_type(health.last_error, str | None)
    health.throttled = False  # type: ignore[misc]
    return health.is_open and health.oldest_age_ms < 5_000


async def in_an_event_loop() -> None:
    async with Producer(Config(region_name="eu-west-1")) as producer:
        await producer.aconnect("orders", timeout=5)
        assert_type(await producer.put_record("orders", b"x", "key"), RecordResult)
        future = await producer.aput_record("orders", b"x", "key", headers={"a": "b"})
        assert_type(future, RecordFuture)
        assert_type(await future, RecordResult)
        assert_type(await producer.aput_records("orders", [(b"x", "k")]), list[RecordFuture])
        await producer.aput_records("orders", ["text"])  # type: ignore[list-item]
        assert_type(await asyncio.wrap_future(future), RecordResult)
        await producer.aflush(timeout=5)
        await producer.aclose()


def settings() -> None:
    config = Config(record_max_buffered_time_ms=50, record_ttl_ms=None, on_buffer_full="raise")
    Config(session=boto3.Session(), endpoint_url="http://localhost:4567")
    Config(on_failure=on_failure)
    assert_type(Config.from_properties("kpl.properties"), Config)
    Producer(config)
    Config(on_buffer_full="drop")  # type: ignore[arg-type]
    Config(region="eu-west-1")  # type: ignore[call-arg]
    Producer(region_name="eu-west-1", record_ttl_ms=None, on_failure=on_failure, metrics_sink="emf")
    Producer(config=config)
    Producer(region="eu-west-1")  # type: ignore[call-overload]
    Producer(record_ttl_ms="30")  # type: ignore[call-overload]
    Producer(on_buffer_full="drop")  # type: ignore[call-overload]
    Producer(config, rate_limit=50)  # type: ignore[call-overload]
    Config.from_properties("kpl.properties", rate_limit=50)
    Config.from_properties("kpl.properties", rate_limit="50")  # type: ignore[arg-type]
    config.record_ttl_ms = 5  # type: ignore[misc]


def serializing() -> None:
    Producer(value_serializer=kplpy.serializers.json, key_serializer=str)
    Producer(value_serializer=lambda order: order.SerializeToString())
    Producer(streams={"orders": {"value_serializer": serializers.string, "key_serializer": None}})
    Producer(value_serializer=json.dumps)  # type: ignore[arg-type]
    Producer(key_serializer=str.encode)  # type: ignore[arg-type]
    assert_type(serializers.json([1, None]), bytes)
    serializers.string(b"x")  # type: ignore[arg-type]


def streams() -> None:
    Producer(streams={"orders": {"ordered": True, "record_ttl_ms": None}, "clicks": StreamOptions(rate_limit=50)})
    Producer(streams={"orders": {"ordered": "yes"}})  # type: ignore[typeddict-item]
    Producer(streams={"orders": {"max_connections": 3}})  # type: ignore[typeddict-unknown-key]
    StreamOptions(order=True)  # type: ignore[typeddict-unknown-key]
    of_one = Config(streams={"orders": {"ordered": True}}).for_stream("orders")
    assert_type(of_one, Config)


def ready_made(producer: Producer) -> None:
    Config(on_failure=DeadLetterFile("failed.jsonl"))
    Config(on_failure=DeadLetterStream("failed", producer))
    logging.getLogger().addHandler(KinesisHandler("logs", region_name="eu-west-1"))
    KinesisHandler("logs", producer=producer, partition_key=lambda record: record.name)
    KinesisHandler("logs", headers={"level": "info"})
    KinesisHandler("logs", headers=lambda record: {"level": record.levelname, "stack": record.stack_info})
    KinesisHandler("logs", headers=7)  # type: ignore[arg-type]
    KinesisHandler("logs", partition_key=7)  # type: ignore[arg-type]
    KinesisHandler("logs", rate_limit="50")  # type: ignore[arg-type]

    @flush_after(producer, margin=0.2, on_timeout="log")
    def handler(event: dict[str, str], context: object) -> int:
        return len(event)

    assert_type(handler({"key": "value"}, None), int)
    handler("text", None)  # type: ignore[arg-type]
    flush_after(producer, on_timeout="ignore")  # type: ignore[arg-type]


def on_failure(error: RecordFailedError) -> None:
    assert_type(error.stream, str)
    assert_type(error.attempts, tuple[Attempt, ...])
    assert_type(error.possible_duplicate, bool)
    if error.record is not None:
        assert_type(error.record.data, bytes)


def errors(producer: Producer) -> str:
    try:
        result = producer.put_record("orders", b"x").result()
    except (RecordExpiredError, ThrottledError, RejectedError, SetupError, ForkedError) as error:
        return error.attempts[-1].error_code or "no code"
    except (RecordSpooledError, SpoolFullError, SpoolError):
        return "spool"
    except (BufferFullError, ProducerClosedError, FlushTimeoutError, ConfigError, InvalidRecordError, KplpyError):
        return ""
    assert_type(result, RecordResult)
    assert_type(result.possible_duplicate, bool)
    return ", ".join(f"{a.duration:.3f} s, {a.error_message}" for a in result.attempts)


async def stored(producer: Producer) -> None:
    future = producer.put_record("orders", b"x")
    assert_type(future.stored(), None)
    assert_type(future.stored(timeout=1), None)
    assert_type(await future.astored(), None)
    assert_type(producer.recovered, int)


def reading() -> None:
    kinesis = boto3.client("kinesis")
    iterator = kinesis.get_shard_iterator(
        StreamName="orders", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    for record in kinesis.get_records(ShardIterator=iterator)["Records"]:
        for user_record in deaggregate(record):
            assert_type((user_record.headers or {}).get("content-type"), str | None)
            assert_type(user_record.data, bytes)
            assert_type(user_record.partition_key, str | None)
            assert_type(user_record.approximate_arrival_timestamp, datetime | None)
    deaggregate({"kinesis": {"data": "eA=="}}, starting_hash_key=0, ending_hash_key=2**128 - 1)
    kplpy.deaggregate(b"x")
    deaggregate("text")  # type: ignore[arg-type]
    for each in deaggregate_all(kinesis.get_records(ShardIterator=iterator)):
        assert_type(each, UserRecord)
    records = deaggregate_all([b"x", {"Data": b"y"}], max_records=5, on_error=lambda error, record: None)
    assert_type(next(records).data, bytes)
    assert_type(records.sequence_number, str | None)
    assert_type(records.record_id, str | None)
    deaggregate_all({"Records": []}, max_uncompressed=None)
    deaggregate_all(7)  # type: ignore[arg-type]


def reading_a_stream() -> None:
    with StreamReader("orders", start="TRIM_HORIZON", follow=False) as reader:
        for record in reader:
            assert_type(record, ReadRecord)
            assert_type(record.shard_id, str)
            assert_type(record.headers, Mapping[str, str | None] | None)
        checkpoint = reader.checkpoint()
        json.dumps(checkpoint)
        for batch in reader.batches(poll=0.5):
            assert_type(batch, Batch | None)
    StreamReader("orders", start=checkpoint, client=boto3.client("kinesis"))
    StreamReader("orders", start=datetime.now(timezone.utc), session=boto3.Session(), verify=False)
    StreamReader("orders", consumer_name="app", register_consumer=True, on_error=lambda error, record: None)
    StreamReader("orders", start="OLDEST")  # type: ignore[arg-type]
    StreamReader("orders", interval="1")  # type: ignore[arg-type]


async def reading_in_an_event_loop() -> None:
    async with StreamReader("orders") as reader:
        async for record in reader:
            assert_type(record, ReadRecord)
