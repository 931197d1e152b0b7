"""Threads that read shards, one read a shard at a time."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass

from kplpy.reading.source import Page, ShardReading, Source


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
