"""How a future knows that its record is on disk: its Origin is replaced when the spool has written the record."""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError

from kplpy.concurrency import WaitingThreads, new_rlock
from kplpy.errors import SpoolError
from kplpy.futures.asyncio_bridge import arrivals_of
from kplpy.futures.record_future import Origin, RecordFuture


class StoredSignal:
    """Wakes the threads and tasks that wait until records are on disk. One for each producer with a spool."""

    def __init__(self) -> None:
        self._threads = WaitingThreads()
        self._lock = new_rlock()  # guards _tasks
        self._tasks: dict[asyncio.Future[None], RecordFuture] = {}

    def notify(self) -> None:
        """Wake those whose records are no longer waiting to be written. On kplpy's threads."""
        self._threads.wake_all()
        with self._lock:
            ended = [waiting for waiting, future in self._tasks.items() if not _is_waiting(future)]
            for waiting in ended:
                del self._tasks[waiting]
        for waiting in ended:
            arrivals_of(waiting.get_loop()).add(waiting)

    def wait(self, future: RecordFuture, timeout: float | None) -> None:
        """Block until the record is written. Raises TimeoutError."""
        if not self._threads.wait_until(lambda: not _is_waiting(future), timeout):
            raise TimeoutError(f"the record was not stored within {timeout} s")

    async def wait_async(self, future: RecordFuture) -> None:
        """Do what wait() does, without blocking the event loop."""
        if not _is_waiting(future):
            return
        waiting = asyncio.get_running_loop().create_future()
        with self._lock:
            if not _is_waiting(future):
                return
            self._tasks[waiting] = future
        try:
            await waiting
        finally:
            with self._lock:
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
