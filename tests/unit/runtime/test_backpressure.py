"""Backpressure: what a put does while the buffer is full."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kplpy import BufferFullError, Producer, RecordFuture
from kplpy.runtime.buffer import Shortage
from kplpy.runtime.put_target import RECORD_OVERHEAD
from kplpy.runtime.stream import Stream
from tests.buffer_helpers import HIGH, LOW, counted, empty, fill, until
from tests.inside import buffer_of, waiters_of
from tests.stub_service import PATIENCE, StubService, install


def test_a_put_whose_space_is_released_while_it_is_refused_takes_it(
    service: StubService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response came after the record was refused, and before the shortage was looked up."""
    service.hold()
    with Producer(max_buffered_records=2, record_max_buffered_time_ms=0, on_buffer_full="raise") as producer:
        fill(producer)
        shortage = buffer_of(producer).shortage

        def late(stream: Stream, hash_key: int, size: int) -> Shortage | None:
            service.let_go()
            until(lambda: buffer_of(producer).records == 0)
            return shortage(stream, hash_key, size)

        monkeypatch.setattr(buffer_of(producer), "shortage", late)
        producer.put_record("orders", b"late", "key").result(PATIENCE)
        empty(producer)


def test_a_put_waits_until_the_buffer_has_space(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_records=3, record_max_buffered_time_ms=0) as producer:
        futures = fill(producer)
        assert len(futures) == 3
        putting = pool.submit(producer.put_record, "orders", b"late", "key")
        until(lambda: waiters_of(producer) == 1)
        assert not putting.done()
        assert producer.outstanding_records == 3
        service.let_go()
        putting.result(PATIENCE).result(PATIENCE)
        empty(producer)
    assert sorted(each.data for each in service.sent()) == [b"late", *[b"x" * 100] * 3]


def test_bytes_run_out_too(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_bytes=4096, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", bytes(3000 - RECORD_OVERHEAD), "1234")
        assert producer.outstanding_bytes == 3004
        putting = pool.submit(producer.put_record, "orders", bytes(1000), "1234")
        until(lambda: waiters_of(producer) == 1)
        assert producer.outstanding_bytes == 3004
        service.let_go()
        putting.result(PATIENCE)
        empty(producer)


def test_a_record_larger_than_the_buffer_is_accepted_when_it_is_empty(service: StubService) -> None:
    with Producer(max_buffered_bytes=1024) as producer:
        producer.put_record("orders", bytes(1 << 19), "key").result(PATIENCE)
        empty(producer)


def test_a_put_waits_no_longer_than_max_block_ms(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=2, max_block_ms=20) as producer:
        fill(producer)
        before = time.monotonic()
        with pytest.raises(BufferFullError) as raised:
            producer.put_record("orders", b"late", "key")
        assert time.monotonic() - before >= 0.02
        message = str(raised.value)
        assert message == (
            "no buffer space for a record of 407 bytes of stream 'orders': "
            "all streams together have 2 records outstanding, of max_buffered_records=2"
        )
        assert waiters_of(producer) == 0
        assert producer.outstanding_records == 2
        service.let_go()
        empty(producer)
        producer.put_record("orders", b"again", "key").result(PATIENCE)
    assert b"late" not in {each.data for each in service.sent()}


def test_a_refused_put_names_the_share_that_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    service = install(monkeypatch, shards=2)
    with Producer(max_buffered_bytes=20_000, aggregation_enabled=False, on_buffer_full="raise") as producer:
        producer.put_record("orders", b"x", "key").result(PATIENCE)  # the shards are known from here on
        service.hold()

        def fails(size: int, hash_key: int) -> str:
            with pytest.raises(BufferFullError) as raised:
                producer.put_record("orders", bytes(size), "k", explicit_hash_key=hash_key)
            return str(raised.value)

        producer.put_record("orders", bytes(10_000), "k", explicit_hash_key=LOW)
        assert fails(100, LOW) == (
            "no buffer space for a record of 501 bytes of stream 'orders': its shard has 10001 bytes outstanding, of "
            "10000 for one of several shards (half of max_buffered_bytes=20000)"
        )
        assert fails(9_500, HIGH) == (
            "no buffer space for a record of 9901 bytes of stream 'orders': all streams together have 10401 bytes "
            "outstanding, of max_buffered_bytes=20000"
        )
        producer.put_record("other", b"", "k", explicit_hash_key=HIGH)
        counted(producer, 2)
        assert fails(5_000, HIGH) == (
            "no buffer space for a record of 5401 bytes of stream 'orders': this stream has 10401 bytes outstanding, "
            "of 15000 while other streams have records (three quarters of max_buffered_bytes=20000)"
        )
        service.let_go()
        empty(producer)


def test_max_block_ms_zero_does_not_wait(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=2, max_block_ms=0) as producer:
        fill(producer)
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"late", "key")
        with pytest.raises(BufferFullError):
            asyncio.run(producer.aput_record("orders", b"late", "key"))
        service.let_go()
        empty(producer)


def test_incomplete_batches_are_sent_at_once_when_the_buffer_is_full(service: StubService) -> None:
    """Otherwise no space would be released before the linger is over."""
    with Producer(max_buffered_records=4, record_max_buffered_time_ms=10 * 60_000, record_ttl_ms=None) as producer:
        for number in range(20):
            producer.put_record("orders", b"x", str(number))
        empty(producer)


def test_raise_mode(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=2, on_buffer_full="raise") as producer:
        futures = [producer.put_record("orders", b"x", "key") for _ in range(2)]
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"late", "key")
        assert producer.outstanding_records == 2
        service.let_go()
        for each in futures:
            each.result(PATIENCE)
        empty(producer)
        producer.put_record("orders", b"again", "key").result(PATIENCE)


def test_in_a_running_loop_a_put_raises_at_once(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        with pytest.raises(BufferFullError):
            producer.put_record("orders", b"late", "key")
        refused = producer.put_records("orders", [(b"late", "key")] * 3)
        for each in refused:
            assert isinstance(each.exception(0), BufferFullError)

    with Producer(max_buffered_records=2) as producer:
        fill(producer)
        asyncio.run(main(producer))
        assert producer.outstanding_records == 2
        service.let_go()
        empty(producer)


def test_on_buffer_full_block_blocks_in_a_running_loop_too(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()

    async def main(producer: Producer) -> RecordFuture:
        return producer.put_record("orders", b"late", "key")

    with Producer(max_buffered_records=2, on_buffer_full="block") as producer:
        for _ in range(2):
            producer.put_record("orders", b"x", "key")
        putting = pool.submit(asyncio.run, main(producer))
        until(lambda: waiters_of(producer) == 1)
        service.let_go()
        putting.result(PATIENCE).result(PATIENCE)
        empty(producer)


@pytest.mark.parametrize("mode", [None, "block", "raise"])
def test_a_put_from_a_callback_never_blocks(service: StubService, mode: Any) -> None:
    """The callback runs on the thread that releases buffer space."""
    service.hold()
    with Producer(max_buffered_records=4, record_max_buffered_time_ms=0, on_buffer_full=mode) as producer:
        outcomes: list[object] = []
        called = threading.Event()

        def put_more(_: RecordFuture) -> None:
            try:
                for number in range(100):
                    outcomes.append(producer.put_record("other", b"more", str(number)))
            except BufferFullError as error:
                outcomes.append(error)
            called.set()

        future = producer.put_record("orders", b"x", "key")
        future.add_done_callback(put_more)
        service.await_waiting(1)
        service.respond_to_one()
        assert called.wait(PATIENCE)
        assert isinstance(outcomes[-1], BufferFullError)
        accepted = [each for each in outcomes if isinstance(each, RecordFuture)]
        assert 1 <= len(accepted) <= 4
        service.let_go()
        for each in accepted:
            each.result(PATIENCE)
        empty(producer)


def test_a_put_in_a_callback_finds_the_space_of_its_own_record(service: StubService) -> None:
    """A record's buffer space is released before its callbacks run."""
    service.hold()  # no response before the callback is added
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        chain: list[RecordFuture] = []
        done = threading.Event()

        def next_one(_: RecordFuture) -> None:
            if len(chain) == 50:
                done.set()
                return
            future = producer.put_record("orders", b"%d" % len(chain), "key")
            chain.append(future)
            future.add_done_callback(next_one)
            service.respond_to_one()

        next_one(None)  # type: ignore[arg-type]
        assert done.wait(PATIENCE)
        empty(producer)
    assert [each.data for each in service.sent()] == [b"%d" % n for n in range(50)]


def test_put_records_with_space_for_some(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=5, on_buffer_full="raise") as producer:
        futures = producer.put_records("one", [(b"%d" % n, "key") for n in range(10)])
        accepted = [each for each in futures if not each.done()]
        assert accepted == futures[: len(accepted)]
        assert len(accepted) == 5
        for each in futures[5:]:
            with pytest.raises(BufferFullError, match=r"no buffer space for a record of .* of stream 'one'"):
                each.result(0)
        assert producer.outstanding_records == 5
        service.let_go()
        empty(producer)
    assert [each.data for each in service.sent()] == [b"0", b"1", b"2", b"3", b"4"]


def test_put_records_waits_for_space_part_way(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    with Producer(max_buffered_records=4, record_max_buffered_time_ms=0) as producer:
        putting = pool.submit(producer.put_records, "orders", [(b"%d" % n, "key") for n in range(200)])
        until(lambda: waiters_of(producer) == 1)
        service.let_go()
        futures = putting.result(PATIENCE)
        for each in futures:
            each.result(PATIENCE)
        empty(producer)
    assert sorted(int(each.data) for each in service.sent()) == list(range(200))


def test_the_time_of_a_record_that_waited_counts_from_its_acceptance(
    service: StubService, pool: ThreadPoolExecutor
) -> None:
    service.hold()
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0, record_ttl_ms=None) as producer:
        producer.put_record("orders", b"first", "key")
        putting = pool.submit(producer.put_records, "orders", [(b"%d" % n, "key") for n in range(3)])
        until(lambda: waiters_of(producer) == 1)
        blocked_until = time.monotonic()
        service.let_go()
        futures = putting.result(PATIENCE)
        assert [each.arrival >= blocked_until for each in futures] == [True] * 3
        empty(producer)
