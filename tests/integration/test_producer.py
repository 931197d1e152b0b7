"""Producer with a local Kinesis: putting, flushing, closing, and what is left afterwards."""

from __future__ import annotations

import gc
import logging
import re
import threading
from collections.abc import Iterator

import pytest

from kplpy import (
    FlushTimeoutError,
    KplpyError,
    Producer,
    ProducerClosedError,
    RecordFailedError,
    RecordFuture,
)
from kplpy.local import LocalKinesis
from tests.integration.reading import read_all, wait_until
from tests.local_stream import others_put

DEAD = "http://127.0.0.1:9"  # the discard port, where nothing listens


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=4, limits=False) as running:
        yield running


def test_nothing_starts_before_the_first_put(kinesis: LocalKinesis) -> None:
    before = set(threading.enumerate())
    producer = Producer(endpoint_url=kinesis.endpoint_url)
    assert set(threading.enumerate()) <= before  # those of an earlier test's producer may end
    assert producer.outstanding_records == producer.outstanding_bytes == 0
    producer.put_record("test", b"x", "k").result(10)
    assert {thread.name for thread in set(threading.enumerate()) - before} >= {"kplpy-scheduler", "kplpy-sender"}
    producer.close()


def test_a_result_says_where_the_record_is(kinesis: LocalKinesis) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        result = producer.put_record("test", b"hello", "key").result(10)
    (entry,) = kinesis.ledger("test")
    assert (result.shard_id, result.sequence_number) == (entry.shard_id, entry.sequence_number)
    assert (entry.data, entry.partition_key) == (b"hello", "key")
    assert not result.possible_duplicate
    (attempt,) = result.attempts
    assert attempt.success
    assert attempt.error_code is None
    assert attempt.delay >= 0.1  # record_max_buffered_time_ms
    assert abs(attempt.started_at - entry.time) < 60


def test_records_of_one_shard_share_a_kinesis_record(kinesis: LocalKinesis) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        futures = [producer.put_record("test", b"%d" % n, "one key") for n in range(100)]
        producer.flush(timeout=10)
        assert len({future.result(0).sequence_number for future in futures}) == 1
        assert producer.metrics()["test"].kinesis_records_put == 1
    assert [record.data for record in read_all(kinesis)] == [b"%d" % n for n in range(100)]


def test_flush_covers_what_was_put_before_it_while_others_go_on(kinesis: LocalKinesis) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url) as producer, others_put(producer, "test", threads=2):
        for _ in range(20):
            mine = [producer.put_record("test", b"mine", f"key {n}") for n in range(50)]
            producer.flush(timeout=30)
            assert all(future.done() for future in mine)


def test_flush_that_runs_out_of_time_says_what_is_left_and_the_producer_goes_on() -> None:
    with Producer(endpoint_url=DEAD, close_timeout_ms=0, region_name="us-east-1") as producer:
        futures = [producer.put_record("test", b"x", "k") for _ in range(3)]
        with pytest.raises(FlushTimeoutError, match="3 records") as caught:
            producer.flush(timeout=0.2)
        assert caught.value.remaining == 3
        assert not any(future.done() for future in futures)


def test_flush_of_nothing_returns_at_once(kinesis: LocalKinesis) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        producer.flush()
        producer.flush("never put to")
        producer.put_record("test", b"x", "k")
        producer.flush()
        producer.flush(timeout=0)


def test_close_delivers_and_then_refuses(kinesis: LocalKinesis) -> None:
    producer = Producer(endpoint_url=kinesis.endpoint_url, record_max_buffered_time_ms=60_000)
    futures = [producer.put_record("test", b"%d" % n, f"key {n}") for n in range(1000)]
    producer.close()
    assert all(future.exception(0) is None for future in futures)
    assert sorted(record.data for record in read_all(kinesis)) == sorted(b"%d" % n for n in range(1000))
    with pytest.raises(ProducerClosedError):
        producer.put_record("test", b"x", "k")
    producer.close()


def test_close_without_an_endpoint_fails_every_record_and_says_how_many(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[RecordFailedError] = []
    producer = Producer(endpoint_url=DEAD, region_name="us-east-1", close_timeout_ms=300, on_failure=failures.append)
    futures = [producer.put_record("test", b"%d" % n, "k") for n in range(10)]
    with caplog.at_level(logging.ERROR):
        producer.close()
    for number, future in enumerate(futures):
        error = future.exception(0)
        assert isinstance(error, RecordFailedError)
        assert error.record is not None
        assert error.record.data == b"%d" % number
    assert len(failures) == 10
    assert "10 records undelivered" in caplog.text
    assert producer.outstanding_records == producer.outstanding_bytes == 0


def test_threads_end_with_the_producer(kinesis: LocalKinesis) -> None:
    before = set(threading.enumerate())
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        producer.put_record("test", b"x", "k")
    wait_until(lambda: not {t for t in set(threading.enumerate()) - before if t.name.startswith("kplpy-s")})


def test_close_from_a_callback_and_twice_at_once(kinesis: LocalKinesis) -> None:
    closed = threading.Event()
    producer = Producer(endpoint_url=kinesis.endpoint_url)
    future = producer.put_record("test", b"x", "k")

    def close(_: object) -> None:
        producer.close()
        closed.set()

    future.add_done_callback(close)
    assert closed.wait(10)
    closers = [threading.Thread(target=producer.close) for _ in range(4)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(10)
        assert not closer.is_alive()


def test_a_callback_may_put_but_not_flush(kinesis: LocalKinesis) -> None:
    put_again: list[RecordFuture] = []
    refused: list[BaseException] = []
    was_called = threading.Event()
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:

        def again(_: object) -> None:
            put_again.append(producer.put_record("test", b"second", "k"))
            try:
                producer.flush(timeout=1)
            except KplpyError as error:
                refused.append(error)
            was_called.set()

        producer.put_record("test", b"first", "k").add_done_callback(again)
        assert was_called.wait(10)
        assert put_again[0].result(10).shard_id
    assert len(refused) == 1
    assert [record.data for record in read_all(kinesis)] == [b"first", b"second"]


def test_nothing_holds_a_payload_after_delivery(kinesis: LocalKinesis) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url) as producer:
        kept = [producer.put_record("test", b"payload %d" % n, f"key {n % 7}") for n in range(500)]
        producer.flush(timeout=10)
        assert producer.outstanding_records == producer.outstanding_bytes == 0
        futures = [each for each in gc.get_objects() if issubclass(type(each), RecordFuture)]  # a proxy may be dead
        assert all(future.data == b"" for future in futures if future in set(kept))
        wait_until(lambda: not _payloads_held(), 10)  # without a GIL, the sender may still be returning from its calls


def _payloads_held() -> int:
    gc.collect()
    return sum(issubclass(type(each), (list, tuple, dict)) and _has_payload(each) for each in gc.get_objects())


def _has_payload(container: object) -> bool:
    """Return True if it holds what the test put. Python 3.14 lists the constants of tests, such as b"payload %d"."""
    values = container.values() if isinstance(container, dict) else container
    return any(type(value) is bytes and re.fullmatch(rb"payload \d+", value) for value in list(values))  # type: ignore[call-overload]


def test_several_streams_by_name_and_by_arn() -> None:
    with LocalKinesis(streams={"a": 1, "b": 2}, limits=False) as kinesis:
        arn = kinesis.handle("DescribeStreamSummary", {"StreamName": "b"})["StreamDescriptionSummary"]["StreamARN"]
        with Producer(endpoint_url=kinesis.endpoint_url) as producer:
            one = producer.put_record("a", b"1", "k")
            two = producer.put_record(arn, b"2", "k")
            producer.flush("a", timeout=10)
            assert one.done()
            assert two.result(10).shard_id
        assert [record.data for record in read_all(kinesis, "a")] == [b"1"]
        assert [record.data for record in read_all(kinesis, "b")] == [b"2"]


def test_repr_says_what_a_person_wants_to_know(kinesis: LocalKinesis) -> None:
    producer = Producer(endpoint_url=kinesis.endpoint_url)
    assert "no streams yet" in repr(producer)
    future = producer.put_record("test", b"secret", "k")
    assert "1 records outstanding" in repr(producer)
    assert "pending" in repr(future)
    future.result(10)
    assert "delivered" in repr(future)
    assert "secret" not in repr(future)
    producer.close()
    assert "closed" in repr(producer)


def test_dead_letters_put_while_closing_are_delivered() -> None:
    """on_failure puts on another stream. The records fail because they expire during close()."""
    with LocalKinesis(streams={"letters": 1}, limits=False) as kinesis:

        def bury(error: RecordFailedError) -> None:
            assert error.record is not None
            producer.put_record("letters", error.record.data, "letter")

        producer = Producer(endpoint_url=kinesis.endpoint_url, on_failure=bury, record_ttl_ms=3000)
        producer.put_record("letters", b"first", "k").result(10)
        lost = [producer.put_record("missing", b"%d" % n, "k") for n in range(5)]
        producer.close()
        assert all(isinstance(future.exception(0), RecordFailedError) for future in lost)
        assert sorted(record.data for record in read_all(kinesis, "letters")) == [
            b"0",
            b"1",
            b"2",
            b"3",
            b"4",
            b"first",
        ]
