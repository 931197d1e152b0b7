"""Drains staged records into the pipeline, and wakes the scheduler or a sender when the pipeline has work."""

from __future__ import annotations

from kplpy.core.record import payload_size
from kplpy.futures.record_future import RecordFuture
from kplpy.runtime.buffer import RECORD_OVERHEAD, Buffer
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import NEVER, WorkerThreads

CARE_INTERVAL = 0.25
"""Seconds between the scheduler's visits to a stream that waits for a sender.

Expiry and lost requests must not wait until a sender is free.
"""


class Planner:
    """Called on the scheduler thread and sender threads: `drain` and `plan` under the stream's lock."""

    def __init__(self, buffer: Buffer, threads: WorkerThreads) -> None:
        self._buffer = buffer
        self._threads = threads

    def drain(self, stream: Stream, now: float) -> None:
        """Take the staged records out, charge them to the buffer, and hand them to the spool or the pipeline."""
        if not stream.staging or stream.broken is not None:  # a broken pipeline is replaced first
            return
        with self._buffer.lock:
            records = stream.take_staged()
            size = payload_size(records) + len(records) * RECORD_OVERHEAD
            self._buffer.charge_drained(stream, len(records), size)
            spool = stream.spool
            # charged_by_place counts the records by shard until the pipeline does.
            accepted = spool is None and bool(stream.charged_by_place)
            if accepted:
                self.accept(stream, records, now)
            stream.charged_by_place = {}
            self._buffer.renew(stream)
        if spool is not None:
            spool.drained(records, size)
        elif not accepted:
            self.accept(stream, records, now)

    def accept(self, stream: Stream, records: list[RecordFuture], now: float) -> None:
        """Hand records to the pipeline."""
        if stream.key_counts is not None:
            stream.key_counts.add(records, now)
        stream.pipeline.accept(records, now)  # this gives keys to records without one

    def plan(self, stream: Stream, now: float) -> None:
        """Set when the stream needs its next visit, and wake the scheduler or a sender for it."""
        pipeline = stream.pipeline
        if stream.drain_requested or self._buffer.has_waiters:
            stream.drain_requested = False
            pipeline.buffer_full(now)
        wake_at = pipeline.next_wakeup(now)
        if wake_at <= now:
            stream.wake_at = -NEVER  # puts need not wake the scheduler, because a sender comes
            if not stream.ready:
                stream.ready = True
                self.wake_sender(stream)
            wake_at = now + CARE_INTERVAL
        else:
            stream.ready = False
            stream.wake_at = wake_at
        if stream.staging:
            # Staged since the drain. A put before wake_at was written may not have woken the scheduler.
            wake_at = min(wake_at, now + stream.linger)
            stream.wake_at = min(stream.wake_at, wake_at)
        if stream.spool is not None and stream.spool.due < NEVER:
            stream.wake_at = -NEVER  # puts need not wake the scheduler, because the spool thread drains, too
        stream.visit_at = wake_at
        self._threads.wake_by(wake_at)

    def wake_sender(self, stream: Stream) -> None:
        """Have a sender look at the stream."""
        if not self._threads.wake_sender():
            stream.wake_requested = True
            self._threads.wake()
