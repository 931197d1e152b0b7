"""Drains staged records into the pipeline, and wakes the scheduler or a sender when the pipeline has work."""

from __future__ import annotations

from kplpy.core.policy import Policy
from kplpy.core.record import payload_size
from kplpy.futures.record_future import RecordFuture
from kplpy.runtime.buffer import RECORD_OVERHEAD, Buffer
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import NEVER, WorkerThreads

# A stream that waits for a sender is looked after this often all the same (expiry, lost requests), should every
# sender be stuck in a request.
CARE_INTERVAL = 0.25


class Planner:
    """For the scheduler and senders: `drain` and `plan` under the stream's lock, `wake_sender` also without."""

    def __init__(self, policy: Policy, buffer: Buffer, threads: WorkerThreads) -> None:
        self._linger = policy.linger
        self._buffer = buffer
        self._threads = threads

    def drain(self, stream: Stream, now: float) -> None:
        """Take out what is staged, charge it to the room, and hand it to the pipeline."""
        if not stream.staging or stream.broken is not None:  # the pipeline is replaced first
            return
        with self._buffer.lock:
            records = stream.take_staged()
            self._buffer.charge_drained(stream, len(records), payload_size(records) + len(records) * RECORD_OVERHEAD)
            accepted = bool(stream.charged_by_place)  # which counts them for their shards until the pipeline does
            if accepted:
                self._accept(stream, records, now)
                stream.charged_by_place = {}
            self._buffer.renew(stream)
        if not accepted:
            self._accept(stream, records, now)

    def _accept(self, stream: Stream, records: list[RecordFuture], now: float) -> None:
        if stream.key_counts is not None:
            stream.key_counts.add(records, now)
        stream.pipeline.accept(records, now)  # which gives keys to those without

    def plan(self, stream: Stream, now: float) -> None:
        """Say when somebody has to look at it again, and see that somebody does."""
        pipeline = stream.pipeline
        if stream.drain_requested or self._buffer.has_waiters:
            stream.drain_requested = False
            pipeline.make_room(now)
        wake_at = pipeline.next_wakeup(now)
        if wake_at <= now:
            stream.wake_at = -NEVER  # puts need not nudge: a sender comes
            if not stream.ready:
                stream.ready = True
                self.wake_sender(stream)
            wake_at = now + CARE_INTERVAL
        else:
            stream.ready = False
            stream.wake_at = wake_at
        if stream.staging:
            # Staged since the drain, and perhaps just before wake_at was written: not nudged.
            wake_at = min(wake_at, now + self._linger)
            stream.wake_at = min(stream.wake_at, wake_at)
        stream.visit_at = wake_at
        self._threads.wake_by(wake_at)

    def wake_sender(self, stream: Stream) -> None:
        """Have a sender look at the stream."""
        if not self._threads.wake_sender():
            stream.wake_requested = True
            self._threads.wake()
