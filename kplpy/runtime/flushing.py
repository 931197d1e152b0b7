"""Waiting until nothing older is outstanding."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kplpy.errors import FlushTimeoutError
from kplpy.runtime.engine import Engine
from kplpy.runtime.stream import Flush, Stream


class Flushing:
    """One flush over several streams: sends what they hold, calls `notify` once, when all of it is answered."""

    def __init__(self, engine: Engine, streams: list[Stream], notify: Callable[[], object]) -> None:
        self._notify = notify
        self._lock = threading.Lock()
        self._pending = 1  # this constructor
        self._flushes: list[tuple[Stream, Flush]] = []
        for stream in streams:
            flush = engine.begin_flush(stream, self._one_done)
            if flush is not None:
                with self._lock:
                    self._pending += 1
                self._flushes.append((stream, flush))
        self._one_done()

    def _one_done(self) -> None:
        with self._lock:
            self._pending -= 1
            all_done = self._pending == 0
        if all_done:
            self._notify()

    def remaining(self) -> int:
        """How many records are not answered."""
        count = 0
        for stream, flush in self._flushes:
            with stream.lock:
                count += stream.pipeline.unflushed(flush.mark)
        return count

    def forget(self) -> None:
        """Nobody waits any longer."""
        for stream, flush in self._flushes:
            with stream.lock:
                if flush in stream.flushes:
                    stream.flushes.remove(flush)

    def finish(self, timeout: float | None) -> None:
        """Raises FlushTimeoutError when records are left."""
        self.forget()
        remaining = self.remaining()
        if remaining:
            raise FlushTimeoutError(f"{remaining} records were not answered within {timeout} s", remaining)
