"""Waiting until nothing older is outstanding."""

from __future__ import annotations

from collections.abc import Callable

from kplpy.errors import FlushTimeoutError
from kplpy.runtime.engine import Engine
from kplpy.runtime.stream import Flush, Stream


class Flushing:
    """One flush over several streams: sends what they hold, calls `notify` when all of it is answered."""

    def __init__(self, engine: Engine, streams: list[Stream], notify: Callable[[], object]) -> None:
        self._notify = notify
        self._flushes: list[tuple[Stream, Flush]] = []
        self._all_begun = False
        for stream in streams:
            flush = engine.begin_flush(stream, self._one_ended)
            if flush is not None:
                self._flushes.append((stream, flush))
        self._all_begun = True
        self._one_ended()

    def _one_ended(self) -> None:
        # Whoever comes last, the constructor or a stream, sees all that the others wrote before.
        if self._all_begun and all(flush.ended for _, flush in self._flushes):
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
