"""StreamReader against the local Kinesis: every record once, whatever happens to the stream, reader and service."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.config import Config

from kplpy import Producer, UnreadableBatchError, deaggregate_all
from kplpy.local import Fault, Limits, LocalKinesis
from kplpy.reading import Batch, ConsumerInUseError, ReadRecord, StreamReader
from tests.integration.reading import wait_until
from tests.local_stream import PATIENCE, local, producing

QUARTER = 1 << 126
FAST = Limits(
    shard_reads_per_second=None,
    shard_read_bytes_per_second=None,
    shard_records_per_second=None,
    shard_bytes_per_second=None,
    subscribe_per_second=None,
    subscription_seconds=0.5,
    subscription_takeover_seconds=0.05,
)
FAN_OUT: dict[str, Any] = {"consumer_name": "app", "register_consumer": True}
POLLING: dict[str, Any] = {}
UNREADABLE = b"\xcbkpb\x09\x00\x00\x00\x00\x00\x00"
THROTTLED = Fault(code="ProvisionedThroughputExceededException")
WAYS = [pytest.param(POLLING, id="polling"), pytest.param(FAN_OUT, id="fan-out")]


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with local(shards=2, limits=FAST) as running:
        yield running


@pytest.fixture
def producer(kinesis: LocalKinesis) -> Iterator[Producer]:
    with producing(kinesis) as made:
        yield made


@pytest.fixture(autouse=True)
def clients() -> Iterator[None]:
    """One client for each local Kinesis, because making one takes 0.1 s."""
    yield
    for each in CLIENTS.values():
        each.close()
    CLIENTS.clear()


CLIENTS: dict[str, Any] = {}


def reader_of(kinesis: LocalKinesis, **arguments: Any) -> StreamReader:
    url = kinesis.endpoint_url
    if url not in CLIENTS:
        # Like the reader's own client, without botocore's retries, which can take seconds in an older botocore.
        CLIENTS[url] = kinesis.client(config=Config(max_pool_connections=50, retries={"total_max_attempts": 1}))
    return StreamReader("orders", **{"interval": 0.2, "client": CLIENTS[url], **arguments})


def put(producer: Producer, numbers: range) -> None:
    """Put numbers as records of 20 keys, so that most share an aggregate."""
    for each in numbers:
        producer.put_record("orders", b"%d" % each, f"key-{each % 20}")
    producer.flush(timeout=PATIENCE)


def split(kinesis: LocalKinesis, number: int, boundary: int) -> None:
    shard = f"shardId-{number:012}"
    kinesis.handle("SplitShard", {"StreamName": "orders", "ShardToSplit": shard, "NewStartingHashKey": str(boundary)})


def merge(kinesis: LocalKinesis, left: int, right: int) -> None:
    names = [f"shardId-{each:012}" for each in (left, right)]
    kinesis.handle("MergeShards", {"StreamName": "orders", "ShardToMerge": names[0], "AdjacentShardToMerge": names[1]})


def numbers_of(records: list[ReadRecord]) -> list[int]:
    return [int(each.data) for each in records]


def assert_in_order(numbers: list[int]) -> None:
    """Each key's numbers rise: children come after their parents."""
    for key in range(20):
        of_key = [each for each in numbers if each % 20 == key]
        assert of_key == sorted(of_key)


def next_second() -> None:
    time.sleep(1.02 - time.time() % 1)


@contextmanager
def through(
    kinesis: LocalKinesis, checkpoint: Any, **arguments: Any
) -> Iterator[tuple[StreamReader, Iterator[ReadRecord]]]:
    with reader_of(kinesis, start=checkpoint, **arguments) as reader:
        yield reader, iter(reader)


@pytest.mark.parametrize(
    ("ways", "seed"), [([POLLING], 1), ([FAN_OUT], 2), ([POLLING, FAN_OUT], 3)], ids=["polling", "fan-out", "both"]
)
def test_every_record_once_over_any_sequence_of_stops(
    kinesis: LocalKinesis, producer: Producer, ways: list[dict[str, Any]], seed: int
) -> None:
    """Checkpoints at random user records, while records are put and the stream is split and merged."""
    draw = random.Random(seed)
    changes = [
        lambda: split(kinesis, 0, QUARTER),
        lambda: merge(kinesis, 3, 1),
        lambda: split(kinesis, 4, 3 * QUARTER),
    ]
    total = 1500
    seen: list[int] = []
    checkpoint: Any = "TRIM_HORIZON"
    put(producer, range(300))
    for start in range(300, total, 300):
        for _ in range(2):
            with through(kinesis, checkpoint, idle_timeout=0.2, **draw.choice(ways)) as (reader, records):
                seen += numbers_of(list(itertools.islice(records, draw.randrange(1, 250))))
                checkpoint = json.loads(json.dumps(reader.checkpoint()))
        if changes:
            changes.pop(0)()
        put(producer, range(start, start + 300))
    for _ in range(30):
        if len(seen) >= total:
            break
        with through(kinesis, checkpoint, idle_timeout=0.2, **draw.choice(ways)) as (reader, records):
            seen += numbers_of(list(itertools.islice(records, draw.randrange(100, 400))))
            checkpoint = json.loads(json.dumps(reader.checkpoint()))
    with through(kinesis, checkpoint, follow=False, **ways[0]) as (_, records):
        seen += numbers_of(list(records))
    assert Counter(seen) == Counter(range(total))
    assert_in_order(seen)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_put_after_open_is_missed(kinesis: LocalKinesis, producer: Producer, way: dict[str, Any]) -> None:
    put(producer, range(-20, 0))
    next_second()  # the time of open() is known in whole seconds
    with reader_of(kinesis, **way) as reader:
        checkpoint = json.loads(json.dumps(reader.checkpoint()))
        put(producer, range(20))
        records = iter(reader)
        seen = numbers_of([next(records) for _ in range(20)])
        after = json.loads(json.dumps(reader.checkpoint()))
    put(producer, range(20, 40))
    for start, expected in ((checkpoint, range(40)), (after, range(20, 40))):
        with reader_of(kinesis, start=start, idle_timeout=0.3, **way) as reader:
            assert sorted(numbers_of(list(reader))) == list(expected)
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize("way", WAYS)
def test_a_time_in_between(kinesis: LocalKinesis, producer: Producer, way: dict[str, Any]) -> None:
    put(producer, range(20))
    next_second()
    moment = datetime.now(timezone.utc).replace(microsecond=0)  # older versions of botocore send whole seconds
    put(producer, range(20, 40))
    split(kinesis, 0, QUARTER)
    put(producer, range(40, 60))
    with reader_of(kinesis, start=moment, follow=False, **way) as reader:
        assert sorted(numbers_of(list(reader))) == list(range(20, 60))
    with reader_of(kinesis, start=moment - timedelta(hours=1), follow=False, **way) as reader:
        assert_in_order(seen := numbers_of(list(reader)))
        assert sorted(seen) == list(range(60))


def test_without_follow_each_iteration_reads_what_is_new(kinesis: LocalKinesis, producer: Producer) -> None:
    with reader_of(kinesis, start="TRIM_HORIZON", follow=False) as reader:
        assert list(reader) == []
        put(producer, range(20))
        first = next(iter(reader))
        assert first.shard_id.startswith("shardId-")
        assert first.sub_sequence_number == 0
        assert sorted(numbers_of([first, *reader])) == list(range(20))
        assert reader.caught_up
        put(producer, range(20, 30))
        assert sorted(numbers_of(list(reader))) == list(range(20, 30))


def test_the_idle_timeout_begins_when_the_records_are_processed(kinesis: LocalKinesis, producer: Producer) -> None:
    put(producer, range(20))
    with reader_of(kinesis, start="TRIM_HORIZON", idle_timeout=1) as reader:
        records = iter(reader)
        seen = [next(records) for _ in range(20)]
        time.sleep(1.1)
        put(producer, range(20, 40))
        assert sorted(numbers_of([*seen, *records])) == list(range(40))


def test_batches_say_when_there_is_nothing(kinesis: LocalKinesis, producer: Producer) -> None:
    with reader_of(kinesis) as reader:
        batches = reader.batches(poll=0.1)
        while next(batches) is not None:
            pass
        put(producer, range(10))
        found: list[Batch] = []
        while sum(len(each.records) for each in found) < 10:
            batch = next(batches)
            if batch is not None:
                found.append(batch)
                assert {each.shard_id for each in batch.records} <= {batch.shard_id}
        assert sum(each.kinesis_records for each in found) == len(kinesis.ledger("orders"))
        assert sum(each.size_bytes for each in found) > 10
        with reader_of(kinesis, start=reader.checkpoint(), follow=False) as other:
            assert list(other) == []


def test_expired_iterators_and_failures_lose_nothing(kinesis: LocalKinesis, producer: Producer) -> None:
    with reader_of(kinesis) as reader:  # at LATEST, in a shard without records
        kinesis.faults.fail("ExpiredIteratorException", operation="GetRecords", times=2)
        kinesis.faults.fail("InternalFailure", status=500, operation="GetRecords")
        kinesis.faults.cut(accepted=True, operation="GetRecords")
        kinesis.faults.add(Fault(transport="empty"), operation="GetRecords")
        put(producer, range(20))
        records = iter(reader)
        seen = [next(records) for _ in range(20)]
        kinesis.faults.fail("ExpiredIteratorException", operation="GetRecords", times=2)
        put(producer, range(20, 40))
        seen += [next(records) for _ in range(20)]
    assert sorted(numbers_of(seen)) == list(range(40))


def test_an_error_that_stays_is_raised(kinesis: LocalKinesis, producer: Producer) -> None:
    put(producer, range(20))
    with reader_of(kinesis, start="TRIM_HORIZON", follow=False) as reader:
        kinesis.faults.fail("AccessDeniedException", operation="GetRecords")
        seen: list[int] = []
        with pytest.raises(Exception, match="AccessDeniedException"):
            seen.extend(int(each.data) for each in reader)
        seen += numbers_of(list(reader))  # the access was granted again
        assert sorted(seen) == list(range(20))


def test_two_readers_share_a_shard() -> None:
    """The shard allows five reads a second. Refused readers back off, and both read everything."""
    with local(limits=Limits(shard_records_per_second=None)) as kinesis, producing(kinesis) as producer:
        put(producer, range(20))
        reads = 0

        def count(operation: str, params: object, now: float) -> None:
            nonlocal reads
            reads += operation == "GetRecords"

        kinesis.faults.plan = count
        found: list[list[int]] = [[], []]

        def read(place: int) -> None:
            with reader_of(kinesis, start="TRIM_HORIZON", idle_timeout=1.0) as reader:
                found[place] += numbers_of(list(reader))

        threads = [threading.Thread(target=read, args=(each,)) for each in range(2)]
        began = time.monotonic()
        for each in threads:
            each.start()
        put(producer, range(20, 60))
        for each in threads:
            each.join(PATIENCE)
        assert [sorted(each) for each in found] == [list(range(60))] * 2
        # Refused reads back off, so the requests of both stay near the limit.
        assert reads <= 8 * (time.monotonic() - began) + 5


def test_a_record_that_cannot_be_read(kinesis: LocalKinesis) -> None:
    put_plain(kinesis, b"1", UNREADABLE, b"2", UNREADABLE, b"3")
    skipped: list[str] = []
    with reader_of(
        kinesis, start="TRIM_HORIZON", follow=False, on_error=lambda error, record: skipped.append(str(error))
    ) as reader:
        assert numbers_of(list(reader)) == [1, 2, 3]
    assert len(skipped) == 2
    with reader_of(kinesis, start="TRIM_HORIZON", follow=False) as reader:
        seen: list[int] = []
        checkpoints = []
        for _ in range(2):
            with pytest.raises(UnreadableBatchError):
                seen.extend(int(each.data) for each in reader)
            checkpoints.append(reader.checkpoint())
        seen += numbers_of(list(reader))
    assert seen == [1, 2, 3]
    for checkpoint in checkpoints:  # each is before the record that was raised
        with reader_of(kinesis, start=checkpoint, follow=False) as reader, pytest.raises(UnreadableBatchError):
            next(iter(reader))


def put_plain(kinesis: LocalKinesis, *data: bytes) -> None:
    for each in data:
        kinesis.handle("PutRecord", {"StreamName": "orders", "Data": each, "PartitionKey": "k"})


def test_on_error_comes_after_the_records_before(kinesis: LocalKinesis) -> None:
    put_plain(kinesis, b"1", b"2", UNREADABLE, b"3", UNREADABLE)
    seen: list[object] = []
    checkpoints: list[Any] = []

    def skip(error: ValueError, record: object) -> None:
        seen.append("error")
        checkpoints.append(reader.checkpoint())
        assert not reader.caught_up

    with reader_of(kinesis, start="TRIM_HORIZON", follow=False, on_error=skip) as reader:
        seen.extend(int(each.data) for each in reader)
        assert seen == [1, 2, "error", 3, "error"]
        assert reader.caught_up
    for checkpoint in checkpoints:
        with reader_of(kinesis, start=checkpoint, follow=False) as reader, pytest.raises(UnreadableBatchError):
            next(iter(reader))


@pytest.mark.parametrize("by_batches", [False, True])
def test_an_on_error_that_raises_loses_nothing(kinesis: LocalKinesis, by_batches: bool) -> None:
    put_plain(kinesis, b"1", b"2", UNREADABLE, b"3")

    def stop(error: ValueError, record: object) -> None:
        raise LookupError("stop")

    def read(reader: StreamReader) -> None:
        if not by_batches:
            seen.extend(int(record.data) for record in reader)
            return
        for batch in reader.batches(poll=0.1):
            seen.extend(int(record.data) for record in (batch.records if batch is not None else ()))

    seen: list[int] = []
    with reader_of(kinesis, start="TRIM_HORIZON", follow=False, on_error=stop) as reader:
        with pytest.raises(LookupError):
            read(reader)
        assert seen == [1, 2]
        saved = reader.checkpoint()
        read(reader)
        assert seen == [1, 2, 3]
    with reader_of(kinesis, start=saved, follow=False, on_error=lambda error, record: None) as reader:
        assert numbers_of(list(reader)) == [3]


class Interrupt(BaseException):
    """What the test's signal handler raises, as Ctrl-C raises KeyboardInterrupt."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised in a response's finalizer
@pytest.mark.parametrize("by_batches", [False, True])
def test_an_interrupt_at_any_point_loses_nothing(kinesis: LocalKinesis, producer: Producer, by_batches: bool) -> None:
    """A signal interrupts the iteration again and again; each time it goes on, or another reader does."""
    total = 20_000
    put(producer, range(total))
    draw = random.Random(7)
    armed = over = False
    interrupts = 0

    def interrupt(number: int, frame: object) -> None:
        nonlocal armed, interrupts
        if armed:
            armed = False
            interrupts += 1
            raise Interrupt

    def send() -> None:
        while not over:
            time.sleep(draw.uniform(0.0005, 0.008))
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sending = threading.Thread(target=send)
    records: list[ReadRecord] = []
    batches: list[Batch | None] = []
    checkpoint: Any = "TRIM_HORIZON"
    try:
        sending.start()
        for _ in range(1000):
            with reader_of(kinesis, start=checkpoint, follow=False) as reader:
                reader.open()
                for _ in range(20):
                    # An append is one call, so an interrupt is before a record was handed out, or after it was noted.
                    try:
                        armed = True
                        if by_batches:
                            for batch in reader.batches(poll=0.1):
                                batches.append(batch)
                        else:
                            for record in reader:
                                records.append(record)
                        armed = False
                        over = True
                        break
                    except Interrupt:
                        pass
                checkpoint = json.loads(json.dumps(reader.checkpoint()))
            if over:
                break
    finally:
        armed, over = False, True
        sending.join()
        signal.signal(signal.SIGUSR1, before)
    for batch in batches:
        records += batch.records if batch is not None else []
    assert interrupts > 5
    assert Counter(numbers_of(records)) == Counter(range(total))
    assert_in_order(numbers_of(records))


def test_an_interrupt_while_on_error_runs_has_it_called_again(kinesis: LocalKinesis) -> None:
    put_plain(kinesis, b"1", UNREADABLE, b"2")
    calls: list[str] = []

    def interrupted(error: ValueError, record: object) -> None:
        calls.append(str(error))
        if len(calls) == 1:
            raise Interrupt

    with reader_of(kinesis, start="TRIM_HORIZON", follow=False, on_error=interrupted) as reader:
        seen: list[int] = []
        with pytest.raises(Interrupt):
            seen.extend(int(each.data) for each in reader)
        seen.extend(int(each.data) for each in reader)
    assert seen == [1, 2]
    assert len(calls) == 2


# --- the end by idle_timeout ---


@pytest.mark.parametrize(
    ("way", "operation", "fault"),
    [
        pytest.param(POLLING, "GetRecords", THROTTLED, id="throttled"),
        pytest.param(POLLING, None, Fault(transport="refused"), id="no server"),
        pytest.param(FAN_OUT, "SubscribeToShard", THROTTLED, id="fan-out"),
    ],
)
def test_reads_that_fail_are_no_idle_time(
    kinesis: LocalKinesis, way: dict[str, Any], operation: str | None, fault: Fault
) -> None:
    """Records are put while every read fails, for longer than the timeout."""
    timeout = 0.8

    def change_back() -> None:
        caught_up.append(reader.caught_up)
        kinesis.faults.clear()

    caught_up: list[bool] = []
    with reader_of(kinesis, idle_timeout=timeout, **way) as reader:
        put_plain(kinesis, b"0")
        records = iter(reader)
        assert next(records).data == b"0"
        kinesis.faults.outage(fault, operation=operation)
        putting = threading.Timer(0.7, put_plain, args=(kinesis, *(b"%d" % each for each in range(1, 20))))
        ending = threading.Timer(timeout + 2.0, change_back)
        putting.start()
        ending.start()
        assert numbers_of(list(records)) == list(range(1, 20))
        ending.join()
        assert caught_up == [False]
        assert reader.caught_up


def test_an_idle_timeout_below_the_interval_misses_nothing(kinesis: LocalKinesis) -> None:
    with reader_of(kinesis, idle_timeout=0.3, interval=1.0) as reader:
        putting = threading.Timer(0.15, put_plain, args=(kinesis, b"1"))
        putting.start()
        assert numbers_of(list(reader)) == [1]


def test_the_error_of_a_step_that_was_cancelled_reaches_the_next(kinesis: LocalKinesis) -> None:
    async def main(reader: StreamReader) -> None:
        waiting = asyncio.ensure_future(reader.__aiter__().__anext__())
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.to_thread(put_plain, kinesis, UNREADABLE, b"1")
        await asyncio.sleep(1.0)  # the cancelled step comes to the record meanwhile
        assert not reader.caught_up
        with pytest.raises(UnreadableBatchError):
            await reader.__aiter__().__anext__()
        record = await reader.__aiter__().__anext__()
        assert record.data == b"1"

    with reader_of(kinesis) as reader:
        asyncio.run(main(reader))


def test_a_slow_consumer_holds_back_the_reader() -> None:
    with local(shards=8, limits=False) as kinesis, producing(kinesis, aggregation_enabled=False) as producer:
        for each in range(100):
            producer.put_record("orders", b"%d" % each, str(each))
        producer.flush(timeout=PATIENCE)
        asked: list[int] = []

        def count(operation: str, params: Any, now: float) -> None:
            if operation == "GetRecords":
                asked.append(params["Limit"])

        kinesis.faults.plan = count
        with reader_of(kinesis, start="TRIM_HORIZON", follow=False, max_buffered_records=16) as reader:
            records = iter(reader)
            first = next(records)
            time.sleep(0.3)
            assert sum(asked) <= 16
            assert sorted(numbers_of([first, *records])) == list(range(100))
        assert set(asked) == {2}


def test_iteration_in_an_event_loop_leaves_other_tasks_alone(kinesis: LocalKinesis, producer: Producer) -> None:
    async def main() -> tuple[list[int], float, dict[str, Any]]:
        longest = 0.0
        seen: list[int] = []

        async def tick() -> None:
            nonlocal longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - before)

        async def read(reader: StreamReader, count: int) -> None:
            async for record in reader:
                seen.append(int(record.data))
                if len(seen) == count:
                    return

        ticking = asyncio.create_task(tick())
        async with reader_of(kinesis, start="TRIM_HORIZON", idle_timeout=0.5) as reader:
            # A task that is cancelled while it waits loses nothing.
            waiting = asyncio.create_task(read(reader, 1000))
            await asyncio.sleep(0.4)
            waiting.cancel()
            putting = asyncio.create_task(asyncio.to_thread(put, producer, range(500)))
            await read(reader, 100)
            await putting
            await read(reader, 1000)
            checkpoint = reader.checkpoint()
        ticking.cancel()
        return seen, longest, checkpoint

    seen, longest, checkpoint = asyncio.run(main())
    assert sorted(seen) == list(range(500))
    assert longest < 5.0
    with reader_of(kinesis, start=checkpoint, follow=False) as reader:
        assert list(reader) == []


def test_close_ends_an_iteration_on_another_thread(kinesis: LocalKinesis, producer: Producer) -> None:
    put(producer, range(1))
    reader = reader_of(kinesis, start="TRIM_HORIZON")
    reader.open()
    began, ended = threading.Event(), threading.Event()

    def iterate() -> None:
        for _ in reader:
            began.set()
        ended.set()

    thread = threading.Thread(target=iterate)
    thread.start()
    assert began.wait(PATIENCE)
    reader.close()
    thread.join(PATIENCE)
    assert ended.is_set()


# --- enhanced fan-out ---


def test_subscriptions_are_renewed_and_have_a_place_without_records(kinesis: LocalKinesis, producer: Producer) -> None:
    """A subscription lives for half a second here, instead of five minutes."""
    subscriptions: list[str] = []

    def note(operation: str, params: Any, now: float) -> None:
        if operation == "SubscribeToShard":
            subscriptions.append(params["ShardId"])

    kinesis.faults.plan = note
    with reader_of(kinesis, **FAN_OUT) as reader:
        records = iter(reader)
        seen: list[ReadRecord] = []
        for start in range(0, 60, 20):
            put(producer, range(start, start + 20))
            seen += [next(records) for _ in range(20)]
            subscribed = len(subscriptions)
            wait_until(lambda before=subscribed: _renewed(reader, subscriptions, before))  # type: ignore[misc]
        assert sorted(numbers_of(seen)) == list(range(60))
        assert all("sequence_number" in each for each in reader.checkpoint()["shards"].values())


def _renewed(reader: StreamReader, subscriptions: list[str], before: int) -> bool:
    """Let the reader run. Return True once both shards have a further subscription."""
    next(reader.batches(poll=0.1))
    return len(subscriptions) >= before + 2


def test_another_reader_of_the_same_consumer_is_an_error(kinesis: LocalKinesis) -> None:
    with reader_of(kinesis, **FAN_OUT) as first:
        time.sleep(0.1)
        with reader_of(kinesis, **FAN_OUT) as second:
            with pytest.raises(ConsumerInUseError, match="another reader took over shardId-00000000000"):
                list(first)
            first.close()
            assert second.open() == 2


def test_a_consumer_that_does_not_exist(kinesis: LocalKinesis) -> None:
    client = kinesis.client()
    reader = reader_of(kinesis, consumer_name="nobody", client=client)
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="Consumer nobody"):
        reader.open()
    reader.close()
    client.close()


def test_a_consumer_by_its_arn(kinesis: LocalKinesis, producer: Producer) -> None:
    stream_arn = kinesis.handle("DescribeStreamSummary", {"StreamName": "orders"})["StreamDescriptionSummary"][
        "StreamARN"
    ]
    consumer = kinesis.handle("RegisterStreamConsumer", {"StreamARN": stream_arn, "ConsumerName": "app"})["Consumer"]
    put(producer, range(20))
    with reader_of(kinesis, start="TRIM_HORIZON", follow=False, consumer_arn=consumer["ConsumerARN"]) as reader:
        assert sorted(numbers_of(list(reader))) == list(range(20))


# --- events ---


def test_events_of_lambda_and_firehose_made_of_what_is_in_the_stream(kinesis: LocalKinesis, producer: Producer) -> None:
    put(producer, range(200))
    ledger = kinesis.ledger("orders")
    event = {
        "Records": [
            {
                "kinesis": {
                    "partitionKey": each.partition_key,
                    "sequenceNumber": each.sequence_number,
                    "data": base64.b64encode(each.data).decode(),
                    "approximateArrivalTimestamp": each.time,
                },
                "eventID": f"{each.shard_id}:{each.sequence_number}",
                "eventSource": "aws:kinesis",
            }
            for each in ledger
        ]
    }
    firehose = {
        "records": [
            {
                "recordId": each.sequence_number,
                "data": base64.b64encode(each.data).decode(),
                "approximateArrivalTimestamp": int(each.time * 1000),
            }
            for each in ledger
        ]
    }
    with reader_of(kinesis, start="TRIM_HORIZON", follow=False) as reader:
        read = {(each.sequence_number, each.sub_sequence_number): each.data for each in reader}
    assert {(each.sequence_number, each.sub_sequence_number): each.data for each in deaggregate_all(event)} == read
    records = deaggregate_all(firehose)
    assert {(records.record_id, each.sub_sequence_number): each.data for each in records} == read


def test_a_reader_makes_its_own_client_as_a_producer_does() -> None:
    with local(https=True) as kinesis, producing(kinesis) as producer:
        put(producer, range(20))
        there: dict[str, Any] = {
            "session": kinesis.session(),
            "endpoint_url": kinesis.endpoint_url,
            "verify": kinesis.ca_bundle,
        }
        with StreamReader("orders", start="TRIM_HORIZON", follow=False, **there) as reader:
            assert sorted(numbers_of(list(reader))) == list(range(20))
        with StreamReader("orders", start="TRIM_HORIZON", follow=False, **there, **FAN_OUT) as reader:
            assert sorted(numbers_of(list(reader))) == list(range(20))
