"""Backpressure: aput_record while the buffer is full."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from kplpy import BufferFullError, Producer
from tests.buffer_helpers import empty, fill
from tests.inside import abandon, waiters_of
from tests.stub_service import PATIENCE, StubService


def test_aput_waits_without_blocking_the_loop(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        putting = asyncio.ensure_future(producer.aput_record("orders", b"late", "key"))
        while waiters_of(producer) == 0:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)  # the loop runs
        assert not putting.done()
        assert producer.outstanding_records == 2
        service.let_go()
        assert (await (await putting)).shard_id == "shard-0"

    with Producer(max_buffered_records=2, record_max_buffered_time_ms=0) as producer:
        fill(producer)
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        empty(producer)


@pytest.mark.parametrize("mode", [None, "raise", "block"])
def test_aput_waits_in_every_mode_and_no_longer_than_max_block_ms(service: StubService, mode: Any) -> None:
    service.hold()
    with Producer(max_buffered_records=1, max_block_ms=20, on_buffer_full=mode) as producer:
        producer.put_record("orders", b"x", "key")
        before = time.monotonic()
        with pytest.raises(BufferFullError, match=r"no buffer space for a record of .* of stream 'orders'"):
            asyncio.run(producer.aput_record("orders", b"late", "key"))
        assert time.monotonic() - before >= 0.02
        assert waiters_of(producer) == 0
        service.let_go()
        empty(producer)
    assert [each.data for each in service.sent()] == [b"x"]


def test_a_cancelled_aput_leaves_the_queue(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        tasks = [asyncio.ensure_future(producer.aput_record("orders", b"%d" % n, "key")) for n in range(3)]
        while waiters_of(producer) < 3:
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert [each.cancelled() for each in tasks] == [True, False, True]
        assert waiters_of(producer) == 1
        service.let_go()
        await (await tasks[1])

    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        empty(producer)
    assert [each.data for each in service.sent()] == [b"first", b"1"]


def test_an_aput_cancelled_just_as_its_record_was_staged(service: StubService) -> None:
    """The record is taken back, or was drained already and is delivered. Its space is released in both cases."""
    service.hold()

    async def main(producer: Producer) -> None:
        task = asyncio.ensure_future(producer.aput_record("orders", b"late", "key"))
        while waiters_of(producer) == 0:
            await asyncio.sleep(0)
        service.let_go()
        while waiters_of(producer):  # without running the loop, which would let the task go on
            time.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await (await producer.aput_record("orders", b"next", "key"))

    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
        empty(producer)
    assert [each.data for each in service.sent() if each.data != b"late"] == [b"first", b"next"]


@pytest.mark.parametrize("seed", range(3))
def test_cancelling_aputs_at_random_loses_no_record_and_no_space(service: StubService, seed: int) -> None:
    chance = random.Random(seed)
    accepted: list[str] = []

    async def put(producer: Producer, number: int) -> None:
        future = await producer.aput_record("orders", bytes(100), str(number))
        accepted.append(future.partition_key)
        await future

    async def main(producer: Producer) -> None:
        tasks = [asyncio.ensure_future(put(producer, number)) for number in range(300)]
        while not all(each.done() for each in tasks):
            for each in chance.sample(tasks, 5):
                if chance.random() < 0.2:
                    each.cancel()
            await asyncio.sleep(chance.choice((0, 0, 0.001)))
        for each in tasks:
            assert each.cancelled() or each.exception() is None

    with Producer(max_buffered_records=10, record_max_buffered_time_ms=1) as producer:
        asyncio.run(asyncio.wait_for(main(producer), 2 * PATIENCE))
        empty(producer)
    keys = [each.partition_key for each in service.sent()]
    assert len(keys) == len(set(keys))
    # every record that aput_record returned was sent; one cancelled before that may have been sent
    assert set(accepted) <= set(keys)
    assert len(accepted) > 20


def test_a_loop_that_was_closed_while_an_aput_waited(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=1, record_max_buffered_time_ms=0) as producer:
        producer.put_record("orders", b"first", "key")
        loop = asyncio.new_event_loop()
        task = loop.create_task(producer.aput_record("orders", b"late", "key"))  # noqa: F841, RUF006 - kept alive
        while waiters_of(producer) == 0:
            loop.run_until_complete(asyncio.sleep(0))
        for each in asyncio.all_tasks(loop):  # they never end, and asyncio would complain about that
            abandon(each)
        loop.close()
        service.let_go()
        producer.flush(timeout=PATIENCE)
        # no task takes the space that was kept, so it goes to the next record
        producer.put_record("orders", b"next", "key").result(PATIENCE)
        empty(producer)
