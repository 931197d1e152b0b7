"""Waits until no record accepted before the flush is outstanding."""

from __future__ import annotations

from collections.abc import Callable

from kplpy.errors import FlushTimeoutError
from kplpy.runtime.engine import Engine
from kplpy.runtime.stream import Flush, Stream
from kplpy.runtime.threads import lend_thread


class FlushWait:
    """One flush over several streams. Made and read by an application thread; ended by kplpy's threads.

    It has the streams send what they hold.

    notify: called when all of these records have an outcome, on a thread of kplpy's or the calling thread.
    """

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
        """True if no record is left to wait for."""
        return all(flush.ended for _, flush in self._flushes)

    @property
    def total(self) -> int:
        """The number of records that were outstanding at the beginning. Read it after the flush has ended."""
        return sum(flush.total for _, flush in self._flushes)

    def remaining(self) -> int:
        """Return how many of the records have no outcome.

        For a stream whose flush the scheduler has not begun, all outstanding records count.
        """
        return sum(
            _outstanding(stream) if flush.remaining is None else flush.remaining for stream, flush in self._flushes
        )

    def cancel(self) -> None:
        """Stop waiting."""
        for _, flush in self._flushes:
            flush.is_cancelled = True

    def finish(self, timeout: float | None) -> None:
        """Stop waiting. Raises FlushTimeoutError if records are left. timeout: seconds, for the message."""
        self.cancel()
        remaining = 0 if self.ended else self.remaining()
        if remaining:
            raise FlushTimeoutError(f"{remaining} records had no outcome within {timeout} s", remaining)


def _outstanding(stream: Stream) -> int:
    with lend_thread(), stream.lock:  # while a record is drained, it is in no count
        return stream.outstanding()


def count_accepted(streams: list[Stream]) -> int:
    """Return how many records the streams have accepted so far, staged ones included."""
    accepted = 0
    for stream in streams:
        with lend_thread(), stream.lock:
            accepted += stream.pipeline.totals.user_records_accepted + len(stream.staging)
    return accepted
