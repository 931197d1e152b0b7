"""Backpressure: a put without credit is charged on its own, or waits for buffer space if it may."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from kplpy.concurrency import ThreadMark, WakeSignal
from kplpy.config.options import Config
from kplpy.core.record import payload_of
from kplpy.errors import BufferFullError, ProducerClosedError
from kplpy.futures.asyncio_bridge import arrivals_of
from kplpy.futures.record_future import RecordFuture, holds_future_lock
from kplpy.runtime.buffer import Buffer, Shortage
from kplpy.runtime.engine import Engine
from kplpy.runtime.put_target import RECORD_OVERHEAD
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import is_starting_threads, runs_kplpy_work
from kplpy.runtime.wait_queue import Waiter

RECORDS_PER_TURN = 500
"""Records that a task stages before it lets the event loop run other tasks."""

_SHORTAGE_TEXTS = {
    "buffer": "all streams together have {taken} {bound} outstanding, of {whole}",
    "stream": "this stream has {taken} {bound} outstanding, of {limit} while other streams have records "
    "(three quarters of {whole})",
    "shard": "its shard has {taken} {bound} outstanding, of {limit} for one of several shards (half of {whole})",
    "turn": "{taken} other records already wait for buffer space ({whole})",
}
"""The reason in a BufferFullError, by Shortage.share."""


class Backpressure:
    """Stages records for which a stream has no credit. Called on application threads and in event loops.

    is_closed: returns True if the producer is closed.
    """

    def __init__(self, config: Config, engine: Engine, buffer: Buffer, is_closed: Callable[[], bool]) -> None:
        self._config = config
        self._max_block = config.max_block_ms / 1000
        self._engine = engine
        self._buffer = buffer
        self._is_closed = is_closed
        self._mark = ThreadMark()  # see never_blocking
        self._waiting_threads: set[int] = set()  # of the marked threads: those that wait for buffer space

    def stage(self, stream: Stream, record: RecordFuture) -> None:
        """Stage the record as put_record does. Raises as stage_or_wait does."""
        if not self._stage_on_credit(stream, record):
            self.stage_or_wait(stream, record)

    def stage_or_wait(self, stream: Stream, record: RecordFuture, always_waits: bool = False) -> bool:
        """Stage the record, and block until the buffer has space if that is allowed. Return True if it waited.

        always_waits: a wait is allowed whatever on_buffer_full is, also in an event loop's thread.

        Raises BufferFullError if the buffer has no space, and ProducerClosedError if the producer is closed meanwhile.
        """
        may_block = self._may_block(always_waits)
        waiter = None
        with self.never_blocking():
            size = charge_of(record)
            if not self._buffer.admit(stream, record, record.hash_key, size):
                if may_block:
                    waiter = self._wait(stream, record, size)
                else:
                    self._admit_or_raise(stream, record, size)
        if waiter is not None:
            self._check_granted(waiter)
            return True
        self._engine.wake_if_due(stream, record.arrival)
        return False

    def _admit_or_raise(self, stream: Stream, record: RecordFuture, size: int) -> None:
        shortage = self._buffer.shortage(stream, record.hash_key, size)
        if shortage is None and self._buffer.admit(stream, record, record.hash_key, size):
            return
        self._engine.request_drain()
        raise self._buffer_full_error(stream, size, shortage)

    def _wait(self, stream: Stream, record: RecordFuture, size: int) -> ThreadWaiter:
        waiter = ThreadWaiter(stream, record, size, WakeSignal())
        try:
            if not self._buffer.wait_for(waiter) and not waiter.closed:
                self._engine.request_drain()
                self._waiting_threads.add(threading.get_ident())
                waiter.wake_signal.wait_until(lambda: waiter.granted or waiter.closed, self._max_block)
        except BaseException:  # Ctrl-C while waiting: take the record back, unless it was drained already
            self._buffer.withdraw(waiter)
            raise
        finally:
            self._waiting_threads.discard(threading.get_ident())
        self._buffer.stop_waiting(waiter)
        return waiter

    def stage_all(self, stream: Stream, records: Sequence[RecordFuture], always_waits: bool = False) -> bool:
        """Stage the records one after the other. Return True if all were staged.

        always_waits: see stage_or_wait.

        If the buffer has no space, or the producer is closed, the futures of the remaining records fail.
        """
        waited = False
        for number, record in enumerate(records):
            if waited:
                record.arrival = time.monotonic()  # the time to live begins when the record is accepted
            try:
                if not self._stage_on_credit(stream, record):
                    waited = self.stage_or_wait(stream, record, always_waits) or waited
            except (BufferFullError, ProducerClosedError) as error:
                self._engine.fail_unaccepted(records[number:], error)
                return False
        return True

    async def stage_all_async(self, stream: Stream, records: Sequence[RecordFuture]) -> bool:
        """Do what stage_all does, without blocking the event loop."""
        waited = False
        for number, record in enumerate(records):
            if waited:
                record.arrival = time.monotonic()
            if number % RECORDS_PER_TURN == RECORDS_PER_TURN - 1:
                await asyncio.sleep(0)
            try:
                waiter = None if self._stage_on_credit(stream, record) else self.stage_or_enqueue(stream, record)
                if waiter is not None:
                    waited = True
                    try:
                        await waiter.woken
                    except BaseException:
                        self.withdraw(waiter)
                        raise
                    self.finish_wait(waiter)
            except (BufferFullError, ProducerClosedError) as error:
                self._engine.fail_unaccepted(records[number:], error)
                return False
        return True

    def _stage_on_credit(self, stream: Stream, record: RecordFuture) -> bool:
        """Stage the record if the stream's credit allows it, as put_record does."""
        charge, count = charge_of(record), len(stream.staging)
        if stream.staged_bytes + charge > stream.credit or count > stream.credit_records:
            return False
        stream.staged_bytes += charge
        stream.staging.append(record)
        self._engine.wake_if_due(stream, record.arrival)
        return True

    def stage_or_enqueue(self, stream: Stream, record: RecordFuture) -> TaskWaiter | None:
        """Stage the record and return None, or queue it and return its waiter. Called in an event loop.

        The caller awaits the waiter's `woken`, then calls `finish_wait`, or `withdraw` if it was cancelled. A wait is
        allowed whatever on_buffer_full is.

        There is no coroutine for this, because tens of thousands of tasks may wait. Each object more makes Python's
        garbage collector stop the loop for longer.
        """
        size = charge_of(record)
        with self.never_blocking():
            if self._buffer.admit(stream, record, record.hash_key, size):
                self._engine.wake_if_due(stream, record.arrival)
                return None
            waiter = TaskWaiter(stream, record, size, asyncio.get_running_loop())
            first = not self._buffer.has_waiters
            granted = self._buffer.wait_for(waiter)
        if granted:
            return None
        if waiter.closed:
            self._check_granted(waiter)
        if first:  # later waiters need not: while any record waits, incomplete batches are sent anyway
            self._engine.request_drain()
        waiter.arrivals.patience(self._max_block).begin(waiter.woken)
        return waiter

    def finish_wait(self, waiter: TaskWaiter) -> None:
        """End the wait of a task that was woken. Raises as stage_or_wait does."""
        waiter.arrivals.patience(self._max_block).end(waiter.woken)
        with self.never_blocking():
            self._buffer.stop_waiting(waiter)
        self._check_granted(waiter)

    def withdraw(self, waiter: TaskWaiter) -> None:
        """Take the record back, unless it was drained already: the task was cancelled, or the loop was closed."""
        waiter.arrivals.patience(self._max_block).end(waiter.woken)
        with self.never_blocking():
            self._buffer.withdraw(waiter)

    def never_blocking(self) -> AbstractContextManager[Any]:
        """Mark the thread: its puts raise BufferFullError at once if the buffer has no space.

        Threads are marked while they wait for buffer space, and while they hold a lock that other threads wait for.
        """
        return self._mark.hold()

    def is_interrupted(self) -> bool:
        """Return True if a signal handler or a `__del__` interrupted a marked section of the calling thread.

        A thread that only waits for buffer space counts as not interrupted.
        """
        return (
            (self._mark.is_set and threading.get_ident() not in self._waiting_threads)
            or holds_future_lock()
            or is_starting_threads()
        )

    def must_not_wait(self) -> bool:
        """Return True in a callback, and where a signal handler or a `__del__` interrupted kplpy's own work."""
        return runs_kplpy_work() or self.is_interrupted()

    def _check_granted(self, waiter: Waiter) -> None:
        """Raise the error of a wait that ended without buffer space."""
        if waiter.granted:
            return
        if self._is_closed() or waiter.closed:
            raise ProducerClosedError("the producer was closed while the record waited for buffer space")
        with self.never_blocking():
            shortage = self._buffer.shortage(waiter.stream, waiter.hash_key, waiter.size)
        raise self._buffer_full_error(waiter.stream, waiter.size, shortage)

    def _may_block(self, always_waits: bool) -> bool:
        """Return True if the calling thread may wait for buffer space."""
        if self._config.on_buffer_full == "raise" and not always_waits:
            return False
        if runs_kplpy_work() or holds_future_lock() or is_starting_threads():
            return False  # this thread releases buffer space, or holds a lock that such a thread waits for
        if self._mark.is_set:
            return False  # a signal handler or a __del__ interrupted a put of this thread, which must go on first
        return always_waits or self._config.on_buffer_full == "block" or asyncio._get_running_loop() is None

    def _buffer_full_error(self, stream: Stream, size: int, shortage: Shortage | None) -> BufferFullError:
        why = "the buffer was full a moment ago"
        if shortage is not None:
            share, bound, taken, limit = shortage
            whole = f"max_buffered_{bound}={getattr(self._config, f'max_buffered_{bound}')}"
            why = _SHORTAGE_TEXTS[share].format(taken=taken, bound=bound, limit=limit, whole=whole)
        return BufferFullError(
            f"no buffer space for a record of {size} bytes of stream {stream.origin.stream!r}: {why}"
        )


class ThreadWaiter(Waiter):
    """A record whose putting thread blocks."""

    __slots__ = ("wake_signal",)

    def __init__(self, stream: Stream, record: RecordFuture, size: int, wake_signal: WakeSignal) -> None:
        super().__init__(stream, record, size)
        self.wake_signal = wake_signal

    def wake(self) -> None:
        self.wake_signal.wake()


class TaskWaiter(Waiter):
    """A record whose task awaits `woken` in an event loop."""

    __slots__ = ("arrivals", "woken")

    def __init__(self, stream: Stream, record: RecordFuture, size: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(stream, record, size)
        self.arrivals = arrivals_of(loop)
        self.woken: asyncio.Future[None] = loop.create_future()

    @property
    def is_gone(self) -> bool:
        return self.arrivals.closed

    def wake(self) -> None:
        self.arrivals.add(self.woken)


def charge_of(record: RecordFuture) -> int:
    """Return the bytes that the record is charged to the buffer."""
    return payload_of(record) + RECORD_OVERHEAD
