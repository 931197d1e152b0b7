"""Where a put goes when room is short: it is counted exactly, and waits where it may until there is some."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kplpy.awaiting import arrivals_of
from kplpy.config import Config
from kplpy.errors import BufferFullError, ProducerClosedError
from kplpy.future import RecordFuture
from kplpy.runtime.admission import RECORD_OVERHEAD, Room, Shortage
from kplpy.runtime.bell import Bell
from kplpy.runtime.crew import on_own_thread
from kplpy.runtime.engine import Engine
from kplpy.runtime.line import Waiter
from kplpy.runtime.stream import Stream

TURN = 500
"""Records that a task stages before the event loop has a turn."""
DRAINED_AT = 256
"""As many staged records are drained at once, though others are on their way."""

_WHY = {
    "room": "all streams together have {taken} {bound} outstanding, of {whole}",
    "stream": "this stream has {taken} {bound} outstanding, of {limit} while others have records "
    "(three quarters of {whole})",
    "shard": "its shard has {taken} {bound} outstanding, of {limit} for one of several (half of {whole})",
    "turn": "{taken} others wait for room already ({whole})",
}
"""By a Shortage's `share`."""


class WaitingRoom:
    """Stages records for which there may be no room. `closed`: is the producer?"""

    def __init__(self, config: Config, engine: Engine, room: Room, closed: Callable[[], bool]) -> None:
        self._config = config
        self._max_block = config.max_block_ms / 1000
        self._engine = engine
        self._room = room
        self._closed = closed
        self._threads: set[int] = set()  # that wait, or must not

    def enter(self, stream: Stream, record: RecordFuture) -> bool:
        """Stage the record when there is room; block for it where that is allowed. Returns whether it had to wait.

        Raises BufferFullError when there is no room, ProducerClosedError when the producer is closed meanwhile.
        """
        size = charged(record)
        if self._admit(stream, record, size):
            return False
        if not self._may_block():
            shortage = self._room.shortage(stream, record.hash_key, size)
            if shortage is None and self._admit(stream, record, size):
                return False
            self._engine.press()
            raise self._full(stream, size, shortage)
        bell = Bell()
        waiter = ThreadWaiter(stream, record.hash_key, size, bell)
        self._threads.add(threading.get_ident())
        try:
            if not self._room.wait_for(waiter):
                self._engine.press()
                bell.wait(self._max_block)
        except BaseException:  # Ctrl-C while waiting: the record was not accepted
            self._room.withdraw(waiter)
            raise
        finally:
            self._threads.discard(threading.get_ident())
        self._take_granted(stream, record, waiter)
        return True

    def enter_all(self, stream: Stream, records: Sequence[RecordFuture]) -> bool:
        """Stage these in turn. When room runs out, or the producer is closed, the futures of the rest fail: False."""
        waited = False
        for number, record in enumerate(records):
            if waited:
                record.arrival = time.monotonic()  # its time to live counts from its acceptance
            try:
                waited = self.enter(stream, record) or waited
            except (BufferFullError, ProducerClosedError) as error:
                self._engine.refuse(records[number:], error)
                return False
        return True

    async def line_up_all(self, stream: Stream, records: Sequence[RecordFuture]) -> bool:
        """As enter_all, but it waits without blocking the event loop."""
        waited = False
        for number, record in enumerate(records):
            if waited:
                record.arrival = time.monotonic()
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            try:
                waiter = self.line_up(stream, record)
                if waiter is not None:
                    waited = True
                    try:
                        await waiter.woken
                    except BaseException:
                        self.withdraw(waiter)
                        raise
                    self.go_on(waiter, record)
            except (BufferFullError, ProducerClosedError) as error:
                self._engine.refuse(records[number:], error)
                return False
        return True

    def line_up(self, stream: Stream, record: RecordFuture) -> TaskWaiter | None:
        """As enter, but where there is no room it always may wait, and not here.

        None: the record is staged. Else await `woken` of what is returned, and then `go_on` or `withdraw`. (All that in
        no coroutine of its own, for tens of thousands may wait: each object more has Python's garbage collector stop
        the loop for longer.)
        """
        size = charged(record)
        if self._admit(stream, record, size):
            return None
        waiter = TaskWaiter(stream, record.hash_key, size, asyncio.get_running_loop())
        first = not self._room.short
        if self._room.wait_for(waiter):
            self.go_on(waiter, record)
            return None
        if first:  # else what waits for company is sent anyway
            self._engine.press()
        waiter.arrivals.patience(self._max_block).begin(waiter.woken)
        return waiter

    def go_on(self, waiter: TaskWaiter, record: RecordFuture) -> None:
        """It was woken. Raises as enter does."""
        waiter.arrivals.patience(self._max_block).end(waiter.woken)
        self._take_granted(waiter.stream, record, waiter)

    def withdraw(self, waiter: TaskWaiter) -> None:
        """The task was cancelled, or the loop closed: the record was not accepted."""
        waiter.arrivals.patience(self._max_block).end(waiter.woken)
        self._room.withdraw(waiter)

    @contextmanager
    def closed_to_me(self) -> Iterator[None]:
        """Meanwhile a put of this thread that finds no room raises BufferFullError at once."""
        thread = threading.get_ident()
        if thread in self._threads:
            yield
            return
        self._threads.add(thread)
        try:
            yield
        finally:
            self._threads.discard(thread)

    def _admit(self, stream: Stream, record: RecordFuture, size: int) -> bool:
        """Stage the record, if there is room: what may be staged uncounted, a portion, or what is found by counting."""
        counted = stream.staged_bytes + size > max(self._room.stage_limit, stream.portion)
        if counted:
            if stream.staging:
                self._engine.drain(stream)
            if not self._room.try_take(stream, record.hash_key, size):
                return False
        stream.staged_bytes += size
        stream.staging.append(record)
        if counted:
            self._room.reserve(stream)
        self._engine.staged(stream, record.arrival)
        if (counted and not stream.portion) or len(stream.staging) >= DRAINED_AT:
            self._engine.drain(stream)
        return True

    def _take_granted(self, stream: Stream, record: RecordFuture, waiter: Waiter) -> None:
        granted = self._room.leave(waiter)
        try:
            if self._closed() or waiter.closed:
                raise ProducerClosedError("the producer was closed while the record waited for room")
            if not granted:
                raise self._full(stream, waiter.size, self._room.shortage(stream, waiter.hash_key, waiter.size))
            record.arrival = time.monotonic()
            self._room.stage(waiter, record)
        finally:
            self._room.staged(waiter)
        self._engine.staged(stream, record.arrival)
        # Of those who were granted room together the last one drains for all.
        if not stream.kept_records or len(stream.staging) >= DRAINED_AT:
            self._engine.drain(stream)

    def _may_block(self) -> bool:
        if self._config.on_buffer_full == "raise":
            return False
        if on_own_thread() or self._engine.interrupted():
            return False  # the one that would make room, or is in its way, must not wait for it
        if threading.get_ident() in self._threads:
            return False  # it said so, or a signal handler interrupted its waiting, which comes first
        return self._config.on_buffer_full == "block" or asyncio._get_running_loop() is None

    def _full(self, stream: Stream, size: int, shortage: Shortage | None) -> BufferFullError:
        why = "there was none a moment ago"
        if shortage is not None:
            share, bound, taken, limit = shortage
            whole = f"max_buffered_{bound}={getattr(self._config, f'max_buffered_{bound}')}"
            why = _WHY[share].format(taken=taken, bound=bound, limit=limit, whole=whole)
        return BufferFullError(
            f"no room for a record of stream {stream.origin.stream!r}, which takes {size} bytes: {why}"
        )


class ThreadWaiter(Waiter):
    """A thread that blocks."""

    __slots__ = ("_bell",)

    def __init__(self, stream: Stream, hash_key: int, size: int, bell: Bell) -> None:
        super().__init__(stream, hash_key, size)
        self._bell = bell

    def wake(self) -> None:
        self._bell.ring()


class TaskWaiter(Waiter):
    """A task of an event loop, which awaits `woken`."""

    __slots__ = ("arrivals", "woken")

    def __init__(self, stream: Stream, hash_key: int, size: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(stream, hash_key, size)
        self.arrivals = arrivals_of(loop)
        self.woken: asyncio.Future[None] = loop.create_future()

    def wake(self) -> None:
        if self.arrivals.closed:
            raise RuntimeError("the loop is closed")  # the room goes to the next
        self.arrivals.add(self.woken)


def charged(record: RecordFuture) -> int:
    """What the record is charged in room."""
    return len(record.data) + len(record.partition_key) + RECORD_OVERHEAD
