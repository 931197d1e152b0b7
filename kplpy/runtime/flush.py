"""Waiting until nothing older is outstanding."""

from __future__ import annotations

from collections.abc import Callable

from kplpy.errors import FlushTimeoutError
from kplpy.runtime.engine import Engine
from kplpy.runtime.stream import Flush, Stream


class FlushWait:
    """One flush over several streams: sends what they hold, calls `notify` when all of it is answered."""

    def __init__(self, engine: Engine, streams: list[Stream], notify: Callable[[], object]) -> None:
        self._notify = notify
        self._flushes = [(stream, Flush(self._one_ended)) for stream in streams]
        engine.begin_flush(self._flushes)
        if not self._flushes:
            notify()

    def _one_ended(self) -> None:
        if self.ended:
            self._notify()

    @property
    def ended(self) -> bool:
        return all(flush.ended for _, flush in self._flushes)

    @property
    def total(self) -> int:
        """Records that were outstanding when it began. Meant for a flush that has ended."""
        return sum(flush.total for _, flush in self._flushes)

    def remaining(self) -> int:
        """How many records are not answered; of all records, where the scheduler has not begun the flush yet."""
        return sum(
            stream.outstanding() if flush.remaining is None else flush.remaining for stream, flush in self._flushes
        )

    def cancel(self) -> None:
        """Nobody waits any longer."""
        for _, flush in self._flushes:
            flush.is_cancelled = True

    def finish(self, timeout: float | None) -> None:
        """Nobody waits any longer. Raises FlushTimeoutError when records are left."""
        self.cancel()
        remaining = self.remaining()
        if remaining:
            raise FlushTimeoutError(f"{remaining} records were not answered within {timeout} s", remaining)
