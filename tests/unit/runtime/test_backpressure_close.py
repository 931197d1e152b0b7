"""Backpressure: close while puts wait for space."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from kplpy import Producer, ProducerClosedError
from tests.buffer_helpers import empty, fill, until
from tests.inside import waiters_of
from tests.stub_service import PATIENCE, StubService


def test_close_wakes_the_threads_that_wait_for_space(service: StubService, pool: ThreadPoolExecutor) -> None:
    service.hold()
    producer = Producer(max_buffered_records=2, record_max_buffered_time_ms=0)
    futures = fill(producer)
    putting = [pool.submit(producer.put_record, "orders", b"late", "key") for _ in range(4)]
    putting_many = pool.submit(producer.put_records, "orders", [(b"late", "key")] * 3)
    until(lambda: waiters_of(producer) == 5)
    closing = pool.submit(producer.close)
    for each in putting:
        with pytest.raises(ProducerClosedError, match="closed while the record waited for buffer space"):
            each.result(PATIENCE)
    for refused in putting_many.result(PATIENCE):
        with pytest.raises(ProducerClosedError):
            refused.result(0)
    assert not closing.done()  # accepted records are still delivered
    service.let_go()
    closing.result(PATIENCE)
    for accepted in futures:
        accepted.result(0)
    empty(producer)
    assert b"late" not in {each.data for each in service.sent()}


def test_close_wakes_an_aput_that_waits_for_space(service: StubService) -> None:
    service.hold()

    async def main(producer: Producer) -> None:
        putting = asyncio.ensure_future(producer.aput_record("orders", b"late", "key"))
        while waiters_of(producer) == 0:
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(producer.aclose())
        with pytest.raises(ProducerClosedError, match="closed while the record waited for buffer space"):
            await putting
        service.let_go()
        await closing

    producer = Producer(max_buffered_records=1, record_max_buffered_time_ms=0)
    producer.put_record("orders", b"x", "key")
    asyncio.run(asyncio.wait_for(main(producer), PATIENCE))
    empty(producer)
    assert [each.data for each in service.sent()] == [b"x"]


def test_close_gives_up_after_its_timeout_and_the_buffer_is_empty(service: StubService) -> None:
    service.hold()
    producer = Producer(close_timeout_ms=50, record_max_buffered_time_ms=0)
    futures = producer.put_records("orders", [(b"x", str(n)) for n in range(10)])
    service.await_waiting(1)
    producer.close()
    for each in futures:
        error = each.exception(0)
        assert error is not None
        assert "closed" in str(error)
    assert (producer.outstanding_records, producer.outstanding_bytes) == (0, 0)
    service.let_go()
