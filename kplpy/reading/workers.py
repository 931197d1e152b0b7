"""Threads of a reader: those that read shards, and the one that has the reader's state."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from kplpy.concurrency import new_lock
from kplpy.reading.source import Page, ShardReading, Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What a thread made of a read: a page, None if only the beginning was requested, or an error."""

    reading: ShardReading
    page: Page | None = None
    error: Exception | None = None


class Workers:
    """Threads that read what start() is given. All are daemon threads: a request must not keep a program from its end.

    outstanding: reads whose result was not taken. The reader bounds it, and so the pages that wait in memory.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._todo: queue.SimpleQueue[tuple[ShardReading, bool] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._threads = 0
        self.outstanding = 0
        self._closed = False

    def start(self, reading: ShardReading, threads: int, begin_at_latest: bool = False) -> None:
        """Have a thread read. threads: how many there may be. begin_at_latest: only begin, behind the latest record."""
        if self._threads < threads:
            self._threads += 1
            threading.Thread(target=self._work, name="kplpy-reader", daemon=True).start()
        self.outstanding += 1
        reading.is_in_flight = True
        reading.begun_at = time.monotonic()
        self._todo.put((reading, begin_at_latest))

    def result(self, timeout: float) -> Result | None:
        """Return the next result. None after `timeout` seconds, or at close()."""
        try:
            result = self._done.get(timeout=max(timeout, 0.001))
        except queue.Empty:
            return None
        if result is not None:
            self.outstanding -= 1
            result.reading.is_in_flight = False
        return result

    def close(self) -> None:
        """End the threads, each after its request, and the wait in result(). Other threads may call it."""
        self._closed = True
        for _ in range(self._threads):
            self._todo.put(None)
        while True:
            try:
                result = self._done.get_nowait()
            except queue.Empty:
                break
            if result is not None:
                self._source.release(result.reading)
        self._done.put(None)

    def _work(self) -> None:
        while (task := self._todo.get()) is not None:
            reading, begin_at_latest = task
            try:
                if begin_at_latest:
                    self._source.begin(reading, at_latest=True)
                    result = Result(reading)
                else:
                    result = Result(reading, self._source.read(reading))
            except Exception as error:  # the reader handles it
                result = Result(reading, error=error)
            self._done.put(result)
            if self._closed:  # after the put: either this thread or close() sees the other
                self._source.release(reading)


class CallingThread:
    """A daemon thread that makes one call at a time, in order. Its methods are for any thread."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._lock = new_lock()
        self._closed = False
        threading.Thread(target=self._work, name="kplpy-reader", daemon=True).start()

    def call(self, call: Callable[[], T]) -> T | None:
        """Make a call and return its result. After close() there is no call, and the result is None.

        If an exception such as KeyboardInterrupt ends the wait, the call still goes on.
        """
        future: Future[T | None] = Future()
        # A signal's exception can leave a Future's lock locked. So the thread gets the future only after this thread
        # last had the lock, and the wait is a queue's.
        done: queue.SimpleQueue[Future[T | None]] = queue.SimpleQueue()
        future.add_done_callback(done.put)
        self._start(call, future)
        return done.get().result()

    async def call_from_task(self, call: Callable[[], T]) -> T | None:
        """Make a call and return its result, as call() does. A cancelled task does not end the call."""
        future: Future[T | None] = Future()
        waiting = asyncio.wrap_future(future)
        self._start(call, future)
        return await waiting

    def _start(self, call: Callable[[], T], future: Future[T | None]) -> None:
        with self._lock:
            if not self._closed:
                self._todo.put((future, call))
                return
        future.set_result(None)

    def close(self) -> None:
        """End the thread after the calls that were started."""
        with self._lock:
            self._closed = True
            self._todo.put(None)

    def _work(self) -> None:
        while (task := self._todo.get()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # for the one who waits
                    future.set_exception(error)
