"""put_records and aput_records: of lists, of iterators, of iterators without end; while there is room and while not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import pytest

from kplpy import (
    BufferFullError,
    InvalidRecordError,
    KplpyError,
    Producer,
    ProducerClosedError,
    RecordFuture,
    validation,
)
from tests.stub_service import PATIENCE, StubService, install

PART = validation.PART_RECORDS


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> StubService:
    return install(monkeypatch)


def put_in_a_loop(producer: Producer, stream: str, items: Any) -> list[RecordFuture]:
    return asyncio.run(asyncio.wait_for(producer.aput_records(stream, items), PATIENCE))


Put = Callable[[Producer, str, Any], list[RecordFuture]]
both = pytest.mark.parametrize("put", [Producer.put_records, put_in_a_loop], ids=["put_records", "aput_records"])


class Source:
    """An iterator that counts what was read of it."""

    def __init__(self, size: int | None = None, data: bytes = b"x") -> None:
        self.read = 0
        self._size = size
        self._data = data

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        return self

    def __next__(self) -> tuple[bytes, str]:
        if self.read == self._size:
            raise StopIteration
        self.read += 1
        return self._data, str(self.read)


@both
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("size", [0, 1, PART, 3 * PART + 7])
def test_the_futures_come_in_the_order_of_the_items(service: StubService, put: Put, kind: Any, size: int) -> None:
    with Producer() as producer:
        futures = put(producer, "orders", kind([(b"x", str(number)) for number in range(size)]))
        assert [future.partition_key for future in futures] == [str(number) for number in range(size)]
        producer.flush(timeout=PATIENCE)
        assert all(future.exception(0) is None for future in futures)
    assert len(service.sent()) == size


@both
@pytest.mark.parametrize("size", [10, 3 * PART])
def test_all_of_a_list_is_checked_before_any_is_accepted(service: StubService, put: Put, size: int) -> None:
    with Producer() as producer:
        with pytest.raises(InvalidRecordError, match=f"^item {size}: data must be"):
            put(producer, "orders", [*[(b"x", "k")] * size, ("text", "k")])
        assert producer.metrics()["orders"].user_records_accepted == producer.outstanding_records == 0


@both
def test_an_iterator_is_checked_by_the_part(service: StubService, put: Put) -> None:
    with Producer() as producer:
        items = iter([*[(b"x", "k")] * (2 * PART + 3), ("text", "k"), *[(b"x", "k")] * PART])
        with pytest.raises(InvalidRecordError, match=f"^item {2 * PART + 3}: data must be"):
            put(producer, "orders", items)
        producer.flush(timeout=PATIENCE)
        assert producer.metrics()["orders"].user_records_put == 2 * PART


@both
def test_what_the_iterator_raises_leaves_the_parts_before_accepted(service: StubService, put: Put) -> None:
    def broken() -> Iterator[tuple[bytes, str]]:
        for _ in range(PART + 1):
            yield b"x", "k"
        raise OSError("the source is gone")

    with Producer() as producer:
        with pytest.raises(OSError, match="the source is gone"):
            put(producer, "orders", broken())
        producer.flush(timeout=PATIENCE)
        assert producer.metrics()["orders"].user_records_put == PART


@both
def test_no_more_is_read_of_an_endless_iterator_than_there_is_room_for(service: StubService, put: Put) -> None:
    """The rest of the part fails when room does not come; whoever has the iterator may go on with it."""
    service.hold()
    with Producer(max_buffered_records=3000, max_block_ms=50, on_buffer_full="block") as producer:
        source = Source()
        futures = put(producer, "orders", source)
        assert len(futures) == source.read <= 3000 + PART
        accepted = [future for future in futures if not future.done()]
        refused = futures[len(accepted) :]
        assert 0 < len(refused) <= PART
        assert all(isinstance(future.exception(0), BufferFullError) for future in refused)
        assert producer.outstanding_records == len(accepted)
        service.let_go()
        assert all(future.exception(PATIENCE) is None for future in accepted)


@both
def test_large_items_are_read_a_few_at_a_time(service: StubService, put: Put) -> None:
    service.hold()
    with Producer(max_buffered_bytes=4 << 20, max_block_ms=50, on_buffer_full="block") as producer:
        source = Source(data=bytes(600_000))
        futures = put(producer, "orders", source)
        assert len(futures) == source.read <= 4 * (1 << 20) / 600_000 + 2
        service.let_go()


def test_a_blocked_iterator_goes_on_when_there_is_room(service: StubService) -> None:
    service.hold()
    with Producer(max_buffered_records=2000, record_max_buffered_time_ms=1) as producer:
        source = Source(10_000)
        futures: list[RecordFuture] = []
        putting = threading.Thread(target=lambda: futures.extend(producer.put_records("orders", source)))
        putting.start()
        service.await_waiting(1)
        assert source.read <= 2000 + PART
        service.let_go()
        putting.join(PATIENCE)
        assert len(futures) == source.read == 10_000
        assert all(future.exception(PATIENCE) is None for future in futures)


@both
def test_an_iterator_without_end_is_ended_with_what_to_do(
    service: StubService, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 2 * PART + 9
    monkeypatch.setattr(validation, "MAX_FROM_ITERATOR", limit)
    with Producer() as producer:
        source = Source()
        with pytest.raises(KplpyError, match=rf"{limit:,} records were taken .*Call put_record for each item"):
            put(producer, "orders", source)
        assert source.read == limit + 1
        producer.flush(timeout=PATIENCE)
        assert producer.metrics()["orders"].user_records_put == limit
        assert len(put(producer, "orders", Source(limit))) == limit
        assert len(put(producer, "orders", [(b"x", "k")] * (limit + 1))) == limit + 1, "a list has its memory already"


@both
def test_a_close_meanwhile_ends_an_endless_iterator(service: StubService, put: Put) -> None:
    producer = Producer()

    def closing() -> Iterator[tuple[bytes, str]]:
        for number in count():
            if number == 3 * PART:
                producer.close()
            yield b"x", "k"

    with pytest.raises(ProducerClosedError):
        put(producer, "orders", closing())
    assert len(service.sent()) == 3 * PART


def in_a_loop(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), PATIENCE)

    asyncio.run(bounded())


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_aput_records_waits_for_room_without_blocking_the_loop(service: StubService, kind: Any) -> None:
    service.hold()

    async def main() -> None:
        async with Producer(max_buffered_records=1000, record_max_buffered_time_ms=1) as producer:
            putting = asyncio.ensure_future(producer.aput_records("orders", kind([(b"x", "k")] * 5000)))
            while producer.outstanding_records < 700:  # the loop goes on meanwhile, or this would not
                await asyncio.sleep(0.001)
            assert not putting.done()
            service.let_go()
            futures = await putting
            assert len(futures) == 5000
            await asyncio.gather(*futures)
            assert all(future.exception(0) is None for future in futures)

    in_a_loop(main)


def test_aput_records_without_room_fails_the_futures_of_the_rest(service: StubService) -> None:
    service.hold()

    async def main() -> None:
        async with Producer(max_buffered_records=1000, max_block_ms=30) as producer:
            futures = await producer.aput_records("orders", [(b"x", "k")] * 3000)
            assert len(futures) == 3000
            failed = [future for future in futures if future.done()]
            assert futures[-len(failed) :] == failed
            assert all(isinstance(future.exception(0), BufferFullError) for future in failed)
            assert producer.outstanding_records == 3000 - len(failed)
            service.let_go()

    in_a_loop(main)


def test_aput_records_cancelled_while_it_waits_leaves_accepted_what_it_had(service: StubService) -> None:
    service.hold()

    async def main() -> None:
        async with Producer(max_buffered_records=1000, record_max_buffered_time_ms=1) as producer:
            putting = asyncio.ensure_future(producer.aput_records("orders", [(b"x", "k")] * 3000))
            while producer.outstanding_records < 700:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
            putting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putting
            accepted = producer.outstanding_records
            service.let_go()
            await producer.aflush(timeout=PATIENCE)
            assert len(service.sent()) == accepted

    in_a_loop(main)


def test_an_endless_aput_records_lets_the_loop_go_on(service: StubService) -> None:
    async def main() -> None:
        async with Producer() as producer:
            putting = asyncio.ensure_future(producer.aput_records("orders", Source()))
            while producer.outstanding_records + producer.metrics()["orders"].user_records_put < 3 * PART:
                await asyncio.sleep(0)
            putting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putting

    in_a_loop(main)
