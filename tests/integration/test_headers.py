"""Headers over HTTP: every way to put them, reshards, throttling, order, the command line and dead letters."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from aws_kinesis_agg.deaggregator import iter_deaggregate_records

from kplpy import InvalidRecordError, Producer, RejectedError, UserRecord, deaggregate
from kplpy.dead_letters import DeadLetterFile, DeadLetterStream
from kplpy.integrations.logging import KinesisHandler
from kplpy.local import Fault, LocalKinesis
from kplpy.wire.envelope import MAGIC
from tests.integration.cli_process import run
from tests.integration.reading import read_all
from tests.local_stream import PATIENCE, local, producing

HEADERS = {"content-type": "application/json", "é": "🙂", "flag": None}


def headers_of(kinesis: LocalKinesis, stream: str = "orders") -> dict[bytes, Any]:
    """Return the headers of each record's data. Each data is there once."""
    records = read_all(kinesis, stream)
    found = {each.data: each.headers for each in records}
    assert len(found) == len(records)
    return found


@pytest.mark.parametrize("request_format", ["json", "cbor"])
@pytest.mark.parametrize("aggregation", [True, False])
def test_every_way_to_put_headers(request_format: str, aggregation: bool) -> None:
    with (
        local(shards=2) as kinesis,
        producing(kinesis, request_format=request_format, aggregation_enabled=aggregation) as producer,
    ):
        producer.put_record("orders", b"1", "a", headers=HEADERS)
        producer.put_record("orders", b"2", headers=HEADERS)
        producer.put_record("orders", b"3", "a")
        producer.put_records(
            "orders", [(b"4", "b", None, HEADERS), UserRecord(b"5", "c", headers=HEADERS), (b"6", "c")]
        )

        async def put() -> None:
            await (await producer.aput_record("orders", b"7", "d", headers=HEADERS))
            await asyncio.gather(*await producer.aput_records("orders", [(b"8", "e", "7", HEADERS), (b"9", None)]))

        asyncio.run(put())
        producer.flush(timeout=PATIENCE)
        assert headers_of(kinesis) == {b"%d" % n: None if n in (3, 6, 9) else HEADERS for n in range(1, 10)}
        # aws-kinesis-agg reads data and keys in aggregates with tags
        aggregates = [each for each in kinesis.ledger("orders") if each.data.startswith(MAGIC)]
        boto = [
            {"Data": each.data, "PartitionKey": "a", "SequenceNumber": "1", "ApproximateArrivalTimestamp": 0}
            for each in aggregates
        ]
        theirs = [each["kinesis"] for each in iter_deaggregate_records(boto, "Boto3")]
        mine = [each for record in aggregates for each in deaggregate(record.data)]
        assert [(base64.b64decode(each["data"]), each["partitionKey"]) for each in theirs] == [
            (each.data, each.partition_key) for each in mine
        ]


def test_a_lone_record_is_an_aggregate_of_one_if_it_has_headers_or_if_that_is_set() -> None:
    with local() as kinesis:
        for wraps, headers in ((False, None), (False, HEADERS), (True, None)):
            with producing(kinesis, aggregate_single_records=wraps) as producer:
                producer.put_record("orders", b"x", "key", headers=headers).result(PATIENCE)
        plain, tagged, wrapped = kinesis.ledger("orders")
        assert (plain.data, plain.partition_key) == (b"x", "key")
        for record in (tagged, wrapped):
            assert record.partition_key == "a"
            (found,) = deaggregate(record.data)
            assert (found.data, found.partition_key) == (b"x", "key")


def test_headers_through_throttling_and_a_reshard() -> None:
    with local(shards=1, limits=True) as kinesis, producing(kinesis, ordered=True, rate_limit=300) as producer:
        kinesis.faults.add(Fault(entry_code="ProvisionedThroughputExceededException"), operation="PutRecords", times=3)
        futures = [producer.put_record("orders", b"%d" % n, f"key-{n % 7}", headers={"n": str(n)}) for n in range(1000)]
        kinesis.handle(
            "SplitShard",
            {"StreamName": "orders", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": str(1 << 127)},
        )
        futures += [
            producer.put_record("orders", b"%d" % n, f"key-{n % 7}", headers={"n": str(n)}) for n in range(1000, 1200)
        ]
        for future in futures:
            future.result(PATIENCE)
        orders: defaultdict[str, list[int]] = defaultdict(list)
        for record in kinesis.ledger("orders"):
            low, high = record.shard_range
            for each in deaggregate(record.data, starting_hash_key=low, ending_hash_key=high):
                assert each.headers == {"n": each.data.decode()}
                if int(each.data) not in orders[each.partition_key or ""]:
                    orders[each.partition_key or ""].append(int(each.data))
        assert {number for numbers in orders.values() for number in numbers} == set(range(1200))
        assert all(numbers == sorted(numbers) for numbers in orders.values())


def test_a_service_managed_stream_refuses_headers_and_nothing_else() -> None:
    with local(stream=None) as kinesis, producing(kinesis) as producer:
        kinesis.handle("CreateStream", {"StreamName": "orders", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}})
        arn = kinesis.handle("DescribeStreamSummary", {"StreamName": "orders"})["StreamDescriptionSummary"]["StreamARN"]
        auto = {"StreamARN": arn, "RecordDistributionStrategy": "AUTO"}
        kinesis.handle("UpdateStreamRecordDistributionStrategy", auto)
        tagged = producer.put_record("orders", b"1", "k", headers=HEADERS)
        producer.put_record("orders", b"2", "k").result(PATIENCE)
        error = tagged.exception(PATIENCE)
        assert isinstance(error, RejectedError)
        assert str(error).startswith(
            "a record of stream 'orders' has headers that cannot be sent (the stream is service-managed"
        )
        assert error.record == UserRecord(b"1", "k", headers=HEADERS)
        assert headers_of(kinesis) == {b"2": None}


def test_log_records_have_headers() -> None:
    logger = logging.getLogger("shop.headers")
    logger.propagate = False
    given: list[Any] = [{"app": "shop"}, lambda record: {"level": record.levelname, "line": None}, None]
    with local() as kinesis, producing(kinesis) as producer:
        for number, headers in enumerate(given):
            logger.handlers = [KinesisHandler("orders", producer=producer, headers=headers)]
            logger.warning("%d", number)
            logger.handlers[0].close()
        logger.handlers.clear()
        assert headers_of(kinesis) == {b"0": {"app": "shop"}, b"1": {"level": "WARNING", "line": None}, b"2": None}
    for bad in (7, {"": "x"}, {"a": 7}):
        with pytest.raises(InvalidRecordError, match="header"):
            KinesisHandler("orders", headers=bad)  # type: ignore[arg-type]


# --- failed records ---


def failing(kinesis: LocalKinesis, **knobs: Any) -> Producer:
    kinesis.faults.add(Fault(entry_code="ProvisionedThroughputExceededException"), stream="orders")
    return producing(kinesis, fail_if_throttled=True, **knobs)


def test_dead_letters_keep_headers(tmp_path: Path) -> None:
    with local(streams={"orders": 1, "failed": 1}) as kinesis:
        for on_failure in (
            DeadLetterFile(tmp_path / "failed"),
            DeadLetterStream("failed"),
            DeadLetterStream("failed", envelope=True),
        ):
            with failing(kinesis, on_failure=on_failure) as producer:
                producer.put_record("orders", b"x", "k", headers=HEADERS)
        plain, envelope = read_all(kinesis, "failed")
        assert (plain.data, plain.headers) == (b"x", HEADERS)
        assert envelope.headers is None
        written = json.loads((tmp_path / "failed").read_bytes())
        assert written["headers"] == json.loads(envelope.data)["headers"] == HEADERS


def test_the_command_puts_and_prints_headers(tmp_path: Path) -> None:
    with local() as kinesis:
        at = ("--endpoint-url", kinesis.endpoint_url)
        put = ("put", "orders", *at, "--key", "k", "--header", "a=b=c", "--header", "flag", "--header", "empty=")
        assert run(tmp_path, *put, given=b"1\n").returncode == 0
        with producing(kinesis) as producer:
            producer.put_record("orders", b"2", "k").result(PATIENCE)
        tail = ("tail", "orders", *at, "--from-start", "--no-follow", "--quiet")
        assert run(tmp_path, *tail, "--headers").stdout == b'{"a": "b=c", "flag": null, "empty": ""}\t1\n{}\t2\n'
        as_json = run(tmp_path, *tail, "--json").stdout
        found = [json.loads(line) for line in as_json.splitlines()]
        assert [each.get("headers") for each in found] == [{"a": "b=c", "flag": None, "empty": ""}, None]
        (tmp_path / "records").write_bytes(as_json)
        again = run(tmp_path, "put", "orders", *at, "--from-failed", str(tmp_path / "records"))
        assert again.returncode == 0, again.stderr
        assert [each.headers for each in read_all(kinesis, "orders")] == [
            {"a": "b=c", "flag": None, "empty": ""},
            None,
        ] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--header", "=x"), "a header's name must be a str that is not empty, got ''"),
        (("--header", "a=1", "--header", "a=2"), "header 'a' is given twice"),
        (("--header", "a=1", "--from-failed", "-"), "--from-failed takes records with their keys and headers"),
    ],
)
def test_bad_headers_on_the_command_line(tmp_path: Path, given: tuple[str, ...], message: str) -> None:
    done = run(tmp_path, "put", "orders", *given, given=b"x\n")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.decode().replace("│", " ").split())
