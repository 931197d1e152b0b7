"""Backpressure: puts of many threads, to several streams and shards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kplpy import BufferFullError, Producer, RecordFuture
from kplpy.dead_letters import DeadLetterStream
from tests.buffer_helpers import HIGH, LOW, counted, empty, fill, until
from tests.inside import waiters_of
from tests.stub_service import PATIENCE, StubService, install


def test_threads_are_served_in_the_order_in_which_they_came(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        service.await_waiting(1)
        putting = []
        for number in range(8):
            putting.append(pool.submit(producer.put_record, "orders", b"%d" % number, "key"))
            until(lambda number=number: waiters_of(producer) == number + 1)  # type: ignore[misc]
        service.let_go()
        for each in putting:
            each.result(PATIENCE).result(PATIENCE)
        empty(producer)
    assert [each.data for each in service.sent()] == [b"first", *(b"%d" % n for n in range(8))]


def test_a_dead_stream_leaves_space_for_the_others(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=100, record_max_buffered_time_ms=0, max_connections=4) as producer:
        living = producer.put_record("living", b"first", "key")
        counted(producer, 1)
        assert len(fill(producer, "dead")) == 75
        service.hold("dead")
        living.result(PATIENCE)
        for number in range(300):
            producer.put_record("living", b"%d" % number, str(number)).result(PATIENCE)
        assert producer.outstanding_records == 75
        service.let_go()
        empty(producer)


@pytest.mark.parametrize(("of_another", "share"), [(False, 75), (True, 100)])
def test_a_producer_that_puts_dead_letters_keeps_space_for_them(
    service: StubService, of_another: bool, share: int
) -> None:
    service.hold()
    with Producer() as another:
        letters = DeadLetterStream("letters", another if of_another else None)
        with Producer(max_buffered_records=100, on_failure=letters) as producer:
            assert len(fill(producer)) == share
            service.let_go()
            empty(producer)


def test_a_newcomer_waits_until_a_stream_with_the_whole_buffer_gets_an_outcome(
    service: StubService, pool: ThreadPoolExecutor
) -> None:
    service.hold()
    with Producer(max_buffered_records=100, aggregation_enabled=False, collection_max_count=1) as producer:
        assert len(fill(producer, "slow")) == 100
        counted(producer, 100)
        putting = pool.submit(producer.put_record, "other", b"x", "key")
        until(lambda: waiters_of(producer) == 1)
        service.respond_to_one()
        putting.result(PATIENCE)
        counted(producer, 100)
        assert fill(producer, "slow") == []  # as long as it has three quarters or more
        service.let_go()
        empty(producer)


def test_a_hot_shard_leaves_space_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    service = install(monkeypatch, shards=2)
    # not aggregated, because records in an open aggregate count for their shard only once it closes
    with Producer(max_buffered_records=100, aggregation_enabled=False, on_buffer_full="raise") as producer:
        producer.put_record("orders", b"x", "key").result(PATIENCE)  # the shards are known from here on
        service.hold()
        for _ in range(50):
            producer.put_record("orders", b"x", explicit_hash_key=LOW)
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"x", explicit_hash_key=LOW)
        producer.put_record("other", b"x", explicit_hash_key=LOW)
        counted(producer, 51)
        for _ in range(25):
            producer.put_record("orders", b"x", explicit_hash_key=HIGH)
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"x", explicit_hash_key=HIGH)
        producer.put_record("other", b"x", explicit_hash_key=LOW)
        service.let_go()
        empty(producer)


def test_a_shard_may_fill_a_stream_of_one(service: StubService) -> None:
    with Producer(max_buffered_records=100, aggregation_enabled=False, on_buffer_full="raise") as producer:
        producer.put_record("orders", b"x", "key").result(PATIENCE)
        service.hold()
        assert len(fill(producer)) == 100
        service.let_go()
        empty(producer)


def test_many_threads_and_a_small_buffer(service: StubService, pool: ThreadPoolExecutor) -> None:
    with Producer(max_buffered_records=7, max_buffered_bytes=20_000, record_max_buffered_time_ms=1) as producer:

        def put(thread: int) -> list[RecordFuture]:
            return [
                producer.put_record(f"stream-{n % 3}", bytes(n % 50 * 100), f"{thread}-{n}", explicit_hash_key=n)
                for n in range(150)
            ]

        futures = [each for putting in [pool.submit(put, n) for n in range(8)] for each in putting.result(2 * PATIENCE)]
        for each in futures:
            each.result(PATIENCE)
        empty(producer)
    assert {each.partition_key for each in service.sent()} == {f"{t}-{n}" for t in range(8) for n in range(150)}
    assert len(service.sent()) == 1200
