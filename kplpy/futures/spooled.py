"""How a future knows that its record is on disk: its Origin is replaced when the spool has written the record."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from concurrent.futures import TimeoutError
from typing import TYPE_CHECKING

from kplpy.errors import SpoolError
from kplpy.futures import record_future
from kplpy.futures.asyncio_bridge import arrivals_of
from kplpy.futures.record_future import Origin, RecordFuture

if TYPE_CHECKING:
    from kplpy.spool.part import Part


class StoredSignal:
    """Wakes the threads and tasks that wait until records are on disk. One for each producer with a spool."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._tasks: dict[asyncio.Future[None], RecordFuture] = {}

    def notify(self) -> None:
        """Wake those whose records are no longer waiting to be written. On kplpy's threads."""
        with self._condition:
            self._condition.notify_all()
            ended = [waiting for waiting, future in self._tasks.items() if not _is_waiting(future)]
            for waiting in ended:
                del self._tasks[waiting]
        for waiting in ended:
            arrivals_of(waiting.get_loop()).add(waiting)

    def wait(self, future: RecordFuture, timeout: float | None) -> None:
        """Block until the record is written. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while _is_waiting(future):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"the record was not stored within {timeout} s")
                self._condition.wait(left)

    async def wait_async(self, future: RecordFuture) -> None:
        """Do what wait() does, without blocking the event loop."""
        waiting = asyncio.get_running_loop().create_future()
        with self._condition:
            if not _is_waiting(future):
                return
            self._tasks[waiting] = future
        try:
            await waiting
        finally:
            with self._condition:
                self._tasks.pop(waiting, None)


def _is_waiting(future: RecordFuture) -> bool:
    return future._origin.__class__ is SpoolOrigin and not future.done()


class SpoolOrigin(Origin):
    """The Origin of a stream's records that wait to be written to the spool."""

    __slots__ = ("_signal",)

    def __init__(self, stream: str, signal: StoredSignal) -> None:
        super().__init__(stream)
        self._signal = signal

    def wait_stored(self, future: RecordFuture, timeout: float | None) -> None:
        self._signal.wait(future, timeout)
        _check_stored(future)

    async def wait_stored_async(self, future: RecordFuture) -> None:
        await self._signal.wait_async(future)
        _check_stored(future)


def _check_stored(future: RecordFuture) -> None:
    origin = future._origin
    if origin.__class__ is not SpoolOrigin:
        origin.wait_stored(future, 0)  # at once
        return
    error = future.exception()  # the record was not accepted, or is the parent's in a forked child
    raise error if error is not None else SpoolError("the record was sent, and never stored")


class StoredRow(Origin):
    """The Origin of the records of one row of the spool, from the moment when the row is on disk.

    part, row_id: where the row is.
    answered: a byte for each record of the row: 1 once it has an outcome.
    first: the number of the first record in the pipeline.
    places: the index in `answered` of each record in the pipeline; None: they are all of the row's.
    pinned: while the records are on disk only, the futures that somebody waits for. None while they are in memory.
    """

    __slots__ = ("answered", "first", "part", "pinned", "places", "row_id")

    def __init__(self, stream: str, part: Part, row_id: int, answered: bytearray) -> None:
        super().__init__(stream)
        self.part = part
        self.row_id = row_id
        self.answered = answered
        self.first = 0
        self.places: list[int] | None = None
        self.pinned: list[RecordFuture] | None = None

    def wait_stored(self, future: RecordFuture, timeout: float | None) -> None:
        pass

    async def wait_stored_async(self, future: RecordFuture) -> None:
        pass

    def waited_for(self, future: RecordFuture) -> None:
        if self.pinned is not None:
            self.pinned.append(future)

    def park(self, futures: Iterable[RecordFuture]) -> None:
        """Keep only the futures that somebody waits for, because the records leave memory."""
        with record_future.LOCK:
            self.pinned = [each for each in futures if each._waits is not None]

    def unpark(self) -> None:
        """Keep no futures, because the records are in memory again."""
        with record_future.LOCK:
            self.pinned = None


class UnstoredOrigin(Origin):
    """The Origin of records that could not be written, and are sent from memory."""

    __slots__ = ("_error",)

    def __init__(self, stream: str, error: SpoolError) -> None:
        super().__init__(stream)
        self._error = error

    def wait_stored(self, future: RecordFuture, timeout: float | None) -> None:
        raise SpoolError(str(self._error)) from self._error

    async def wait_stored_async(self, future: RecordFuture) -> None:
        self.wait_stored(future, None)
