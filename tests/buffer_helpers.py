"""What the tests of the buffer and of backpressure fill, drain and wait with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kplpy import BufferFullError, Producer, RecordFuture
from kplpy.futures.record_future import Origin
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.stream import Stream
from kplpy.runtime.wait_queue import Waiter
from tests.inside import buffer_of, streams_of, waiters_of
from tests.integration.reading import wait_until
from tests.stub_service import PATIENCE

LOW, HIGH = 0, (1 << 128) - 1  # hash keys of the first and of the second shard of two


def record(hash_key: int = LOW) -> RecordFuture:
    return RecordFuture(Origin("test"), b"", "key", None, hash_key, 0.0)


def admit(buffer: Buffer, stream: Stream, hash_key: int, size: int) -> bool:
    return buffer.admit(stream, record(hash_key), hash_key, size)


def take(buffer: Buffer, stream: Stream, records: int, size: int) -> None:
    """Stage and drain this many records. size: their bytes in all."""
    stream.staging.extend(record() for _ in range(records))
    stream.staged_bytes += size
    drain(buffer, stream, size)


def drain(buffer: Buffer, stream: Stream, size: int = 0) -> None:
    """Drain the staged records. size: the bytes that were staged on credit."""
    buffer.charge_drained(stream, len(stream.staging), stream.charged_bytes + size)
    stream.staging.clear()
    stream.charged_by_place = {}
    buffer.renew(stream)


class Woken(Waiter):
    """A waiter that counts how often it is woken."""

    __slots__ = ("wakes",)

    def __init__(self, of: Stream, size: int = 0, hash_key: int = LOW) -> None:
        self.wakes = 0
        super().__init__(of, record(hash_key), size)

    def wake(self) -> None:
        self.wakes += 1


def until(reached: Callable[[], bool]) -> None:
    """Wait until the condition holds. A thread does not report that it has begun to wait for buffer space."""
    wait_until(reached, PATIENCE)


def counted(producer: Producer, records: int) -> None:
    """Wait until this many records are drained, because other streams' puts do not see staged records."""
    until(lambda: buffer_of(producer).records == records)


def fill(producer: Producer, name: str = "orders") -> list[RecordFuture]:
    """Put until the buffer has no space for this stream. Return the futures."""
    futures: list[RecordFuture] = []

    async def main() -> None:
        # in an event loop, a put without buffer space raises at once
        while True:
            futures.append(producer.put_record(name, b"x" * 100, f"key-{len(futures)}"))

    with pytest.raises(BufferFullError):
        asyncio.run(main())
    return futures


def empty(producer: Producer) -> None:
    """Wait until every record has an outcome, and check that all counts are zero."""
    producer.flush(timeout=PATIENCE)
    buffer = buffer_of(producer)
    assert (producer.outstanding_records, producer.outstanding_bytes) == (0, 0)
    assert (buffer.records, buffer.bytes) == (0, 0)
    assert waiters_of(producer) == 0
    for each in streams_of(producer).values():
        assert (each.held_records, each.held_bytes, each.staged_bytes) == (0, 0, 0)
        assert not each.staging
        assert [each.pipeline.held_by_shard_of(key) for key in (LOW, HIGH)] == [(0, 0)] * 2
