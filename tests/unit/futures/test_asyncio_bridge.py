"""One timer for all tasks that wait in an event loop."""

from __future__ import annotations

import asyncio

import pytest

from kplpy import KplpyError, Producer
from kplpy.futures.asyncio_bridge import Patience, arrivals_of
from tests.inside import timer_of, waits_of
from tests.stub_service import PATIENCE as STUB_PATIENCE
from tests.stub_service import install

TIMEOUT = 30.0


def test_one_timer_serves_all_tasks() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        patience = Patience(loop, 0.03)
        timers: set[asyncio.TimerHandle | None] = set()
        ended: list[int] = []
        waits: list[tuple[asyncio.Future[None], float]] = []
        for number in range(5):
            waiting: asyncio.Future[None] = loop.create_future()
            waiting.add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]
            patience.begin(waiting)
            timers.add(timer_of(patience))
            waits.append((waiting, loop.time()))
        assert len(timers) == 1
        gone, cancelled = waits[1][0], waits[2][0]
        patience.end(gone)
        cancelled.cancel()
        for number in (0, 3, 4):
            await waits[number][0]
            assert loop.time() >= waits[number][1] + 0.03 - 0.001  # the loop's clock has a coarse resolution
        await asyncio.sleep(0)  # one turn of the loop for the callbacks
        assert ended == [2, 0, 3, 4]
        assert not gone.done()
        patience.end(gone)  # it is forgotten already: no effect
        assert not waits_of(patience)
        assert timer_of(patience) is None

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_without_tasks_there_is_no_timer() -> None:
    async def main() -> None:
        patience = arrivals_of(asyncio.get_running_loop()).patience(600.0)
        assert arrivals_of(asyncio.get_running_loop()).patience(600.0) is patience
        waits: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
        for each in waits:
            patience.begin(each)
        timer = timer_of(patience)
        assert timer is not None
        patience.end(waits[0])
        assert not timer.cancelled()
        patience.end(waits[1])
        assert timer.cancelled()
        assert timer_of(patience) is None

    asyncio.run(main())


def test_without_asyncios_event_loop_the_error_names_an_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a coroutine as trio does: by send(), without an event loop of asyncio."""
    service = install(monkeypatch)
    service.hold()
    producer = Producer(record_max_buffered_time_ms=1)
    future = producer.put_record("orders", b"x", "k")

    async def wait() -> None:
        await future

    for coroutine, instead in [
        (wait(), "future.result, abandon_on_cancel=True"),
        (producer.aput_record("orders", b"x", "k"), "producer.put_record, stream, data, partition_key"),
        (producer.aput_records("orders", [(b"x", "k")]), "producer.put_records, stream, items"),
        (producer.aconnect("orders"), "producer.connect, stream, timeout"),
        (producer.aflush(), "producer.flush, stream, timeout"),
        (producer.aclose(), "producer.close"),
    ]:
        with pytest.raises(KplpyError) as raised:
            coroutine.send(None)
        assert "needs a running asyncio event loop" in str(raised.value)
        assert str(raised.value).endswith(f"await trio.to_thread.run_sync({instead})")
    assert producer.outstanding_records == 1
    service.let_go()
    future.result(STUB_PATIENCE)
    with pytest.raises(StopIteration):  # the future is done: no wait
        wait().send(None)
    producer.close()
