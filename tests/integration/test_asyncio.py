"""The producer in event loops: awaits, backpressure, cancellation and several loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from kplpy import (
    BufferFullError,
    FlushTimeoutError,
    Producer,
    ProducerClosedError,
    RecordFailedError,
    RecordFuture,
    RecordResult,
)
from kplpy.local import Fault
from tests.inside import streams_of, waiters_of
from tests.integration.reading import wait_until
from tests.local_stream import PATIENCE, contents, local, producing


def test_async_with_and_await() -> None:
    async def main(producer: Producer) -> None:
        async with producer:
            result = await producer.put_record("orders", b"0", "k")
            assert isinstance(result, RecordResult)
            future = await producer.aput_record("orders", b"1", "k")
            assert (await future).shard_id == result.shard_id
            results = await asyncio.gather(*(producer.put_record("orders", b"%d" % n, "k") for n in range(2, 500)))
            assert len(results) == 498
            last = producer.put_record("orders", b"500", "k")
        assert last.done()  # leaving the block delivers the records
        with pytest.raises(ProducerClosedError):
            producer.put_record("orders", b"late", "k")
        with pytest.raises(ProducerClosedError):
            await producer.aput_record("orders", b"late", "k")

    with local(shards=2) as kinesis:
        asyncio.run(asyncio.wait_for(main(producing(kinesis)), PATIENCE))
        assert contents(kinesis) == Counter(b"%d" % n for n in range(501))


def test_a_producer_needs_no_loop_and_works_in_many() -> None:
    with local() as kinesis, producing(kinesis) as producer:

        async def put(number: int) -> None:
            future = await producer.aput_record("orders", b"%d" % number, "k")
            await future
            await producer.aflush(timeout=PATIENCE)

        for number in range(3):  # one after the other
            asyncio.run(put(number))
        with ThreadPoolExecutor(4) as threads:  # and at the same time
            for each in [threads.submit(asyncio.run, put(number)) for number in range(3, 15)]:
                each.result(PATIENCE)
        assert contents(kinesis) == Counter(b"%d" % n for n in range(15))


def test_a_future_of_one_loop_awaited_in_the_next() -> None:
    with local() as kinesis, producing(kinesis) as producer:

        async def put() -> object:
            return await producer.aput_record("orders", b"x", "k")

        async def wait(future: object) -> RecordResult:
            return await future  # type: ignore[misc, no-any-return]

        future = asyncio.run(put())
        assert asyncio.run(wait(future)).sequence_number == kinesis.ledger("orders")[0].sequence_number


def test_awaiting_puts_more_than_the_buffer_holds() -> None:
    """A thousand tasks share a buffer of fifty records. No record is refused or lost, and the loop keeps running."""

    async def main(producer: Producer) -> int:
        turns = 0
        done = False

        async def turn() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        async def put(number: int) -> None:
            future = await producer.aput_record("orders", b"%d" % number, str(number))
            await future

        turning = asyncio.ensure_future(turn())
        await asyncio.gather(*map(put, range(1000)))
        done = True
        await turning
        return turns

    with local(shards=4) as kinesis, producing(kinesis, max_buffered_records=50) as producer:
        assert asyncio.run(asyncio.wait_for(main(producer), PATIENCE)) > 10
        assert (producer.outstanding_records, producer.outstanding_bytes) == (0, 0)
        assert contents(kinesis) == Counter(b"%d" % n for n in range(1000))


def test_the_loop_turns_while_it_flushes_and_closes() -> None:
    async def main(producer: Producer) -> None:
        for closing in (False, True):
            producer.put_record("orders", b"x", "k")
            acting = asyncio.ensure_future(producer.aclose() if closing else producer.aflush(timeout=PATIENCE))
            turns = 0
            while not acting.done():
                turns += 1
                await asyncio.sleep(0.001)
            await acting
            assert turns > 2

    with local() as kinesis, producing(kinesis) as producer:
        producer.put_record("orders", b"warm", "k").result(PATIENCE)
        kinesis.faults.delay(0.2, times=2)
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        assert contents(kinesis) == Counter({b"x": 2, b"warm": 1})


def test_aflush_times_out_and_says_how_many_are_left() -> None:
    async def main(producer: Producer) -> None:
        with pytest.raises(FlushTimeoutError) as raised:
            await producer.aflush(timeout=0.02)
        assert raised.value.remaining == 5
        with pytest.raises(FlushTimeoutError):
            await producer.aflush("orders", timeout=0)
        await producer.aflush("another", timeout=0)

    with local() as kinesis, producing(kinesis) as producer:
        kinesis.faults.delay(1.0)
        producer.put_records("orders", [(b"x", "k")] * 5)
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        producer.flush(timeout=PATIENCE)
        assert contents(kinesis)[b"x"] == 5


def test_a_cancelled_aflush_leaves_the_records_alone() -> None:
    async def main(producer: Producer) -> None:
        future = producer.put_record("orders", b"x", "k")
        flushing = asyncio.ensure_future(producer.aflush())
        await asyncio.sleep(0)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing
        assert not future.done()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(producer.aflush(), 0.01)
        assert (await future).possible_duplicate is False

    with local() as kinesis, producing(kinesis) as producer:
        kinesis.faults.delay(0.5)
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        wait_until(lambda: not streams_of(producer)["orders"].flushes)  # a record is settled after its outcome
        assert contents(kinesis) == Counter([b"x"])


def test_a_cancelled_await_neither_loses_nor_duplicates_records() -> None:
    async def main(producer: Producer) -> list[str]:
        futures = [producer.put_record("orders", b"%d" % n, str(n)) for n in range(50)]
        waiting = [asyncio.ensure_future(each) for each in futures]
        await asyncio.sleep(0)
        for each in waiting[::2]:
            each.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in results] == [n % 2 == 0 for n in range(50)]
        return [(await each).sequence_number for each in futures]

    with local() as kinesis, producing(kinesis) as producer:
        producer.put_record("orders", b"warm", "k").result(PATIENCE)
        kinesis.faults.delay(0.2)
        assert len(asyncio.run(asyncio.wait_for(main(producer), PATIENCE))) == 50
        assert contents(kinesis) == Counter([b"warm", *(b"%d" % n for n in range(50))])


def test_failures_reach_the_await() -> None:
    async def main(producer: Producer) -> None:
        with pytest.raises(RecordFailedError, match="was throttled"):
            await producer.put_record("orders", b"x", "k")
        future = await producer.aput_record("orders", b"y", "k")
        with pytest.raises(RecordFailedError, match="was throttled"):
            await future

    with local() as kinesis, producing(kinesis, fail_if_throttled=True) as producer:
        kinesis.faults.add(Fault(entry_code="ProvisionedThroughputExceededException"), times=2)
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))


def test_put_record_in_a_loop_never_blocks_it() -> None:
    accepted: list[RecordFuture] = []

    async def main(producer: Producer) -> None:
        def fill() -> None:
            for number in range(1000):
                accepted.append(producer.put_record("orders", b"%d" % number, "k"))

        with pytest.raises(BufferFullError):
            fill()
        assert 15 <= len(accepted) < 1000
        await asyncio.gather(*accepted)

    with local() as kinesis, producing(kinesis, max_buffered_records=20) as producer:
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        assert contents(kinesis) == Counter(b"%d" % n for n in range(len(accepted)))


def test_threads_and_loops_share_the_buffer() -> None:
    with local(shards=2) as kinesis, producing(kinesis, max_buffered_records=30) as producer:

        def blocking(thread: int) -> None:
            for number in range(200):
                producer.put_record("orders", b"t%d-%d" % (thread, number), str(number))

        async def awaiting(loop: int) -> None:
            async def put(number: int) -> None:
                await (await producer.aput_record("orders", b"l%d-%d" % (loop, number), str(number)))

            await asyncio.wait_for(asyncio.gather(*map(put, range(200))), PATIENCE)

        with ThreadPoolExecutor(6) as threads:
            running = [threads.submit(blocking, n) for n in range(3)]
            running += [threads.submit(asyncio.run, awaiting(n)) for n in range(3)]
            for each in running:
                each.result(PATIENCE)
        producer.flush(timeout=PATIENCE)
        wanted = Counter(b"%s%d-%d" % (kind, n, m) for kind in (b"t", b"l") for n in range(3) for m in range(200))
        assert contents(kinesis) == wanted
        assert (producer.outstanding_records, producer.outstanding_bytes) == (0, 0)


def test_a_loop_that_ends_early_loses_no_records() -> None:
    """A program forgets its tasks. asyncio.run cancels them; a bare loop just stops."""
    before = set(threading.enumerate())
    with local() as kinesis, producing(kinesis, max_buffered_records=2) as producer:
        producer.put_record("orders", b"warm", "k").result(PATIENCE)
        kinesis.faults.delay(0.3)

        async def leave() -> None:
            for number in range(5):
                task = asyncio.ensure_future(producer.aput_record("orders", b"%d" % number, "k"))
                task.add_done_callback(lambda each: each.cancelled() or each.exception())
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        asyncio.run(leave())
        started = time.monotonic()
        producer.put_record("orders", b"next", "k").result(PATIENCE)
        producer.flush(timeout=PATIENCE)
        assert time.monotonic() - started < PATIENCE
        assert contents(kinesis)[b"next"] == 1
        assert producer.outstanding_records == 0
        assert waiters_of(producer) == 0
    assert not [each for each in set(threading.enumerate()) - before if each.name == "kplpy-close"]
