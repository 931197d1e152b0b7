"""Counts of a producer's outstanding records, for health, metrics and hot keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from kplpy.core.gauges import Gauges, StreamGauges
from kplpy.core.record import payload_size
from kplpy.reports import HotKeys
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.put_target import RECORD_OVERHEAD
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import NEVER, lend_thread

if TYPE_CHECKING:
    from kplpy.runtime.spooling import Spooling


class Status:
    """Read by any thread; each method says if it takes streams' locks. Covers all streams, with staged records."""

    def __init__(self, streams: Mapping[str, Stream], buffer: Buffer, spooling: Spooling | None) -> None:
        self._streams = streams
        self._buffer = buffer
        self._spooling = spooling

    @property
    def outstanding_records(self) -> int:
        """The records without an outcome. Reads without a lock."""
        return self._buffered_records + (0 if self._spooling is None else self._spooling.backlog_records())

    @property
    def _buffered_records(self) -> int:
        streams = list(self._streams.values())
        return max(0, self._buffer.records + sum(len(stream.staging) - stream.charged_records for stream in streams))

    @property
    def outstanding_bytes(self) -> int:
        """The bytes charged for these records. Reads without a lock."""
        streams = list(self._streams.values())
        size = self._buffer.bytes + sum(_staged_bytes(stream) - stream.charged_bytes for stream in streams)
        return max(0, size)  # its parts are read at different moments, and other threads put

    def hot_keys(self, limit: int | None) -> dict[str, HotKeys]:
        """Return the hot keys by the stream's name or ARN; empty unless keys are counted.

        Takes the streams' locks. Called through Engine.run_on_scheduler.
        """
        reports = {}
        for key, stream in list(self._streams.items()):
            if stream.key_counts is not None:
                with stream.lock:
                    reports[key] = stream.key_counts.report(limit, time.monotonic())
        return reports

    def gauges(self) -> Gauges:
        """Return the gauges of all streams. Takes the streams' locks.

        Called on the thread that samples gauges. It must not wait for buffer space during the call.
        """
        all_stream_gauges: dict[str, StreamGauges] = {}
        with lend_thread():
            for key, stream in list(self._streams.items()):
                if stream.broken is None:
                    stream_gauges = _gauges_of(stream)
                    if (
                        stream.merged_into is None or stream_gauges.outstanding
                    ):  # otherwise the other Stream represents it
                        all_stream_gauges[key] = stream_gauges
        spool = None
        if self._spooling is not None:
            spool = self._spooling.gauges(min((each.oldest for each in all_stream_gauges.values()), default=NEVER))
        return Gauges(all_stream_gauges, self._buffered_records, self.outstanding_bytes, spool)

    def oldest(self, skips: Callable[[Stream], bool]) -> float:
        """Return when the oldest record without an outcome arrived, by time.monotonic(); infinity if there is none.

        Takes the streams' locks, except of those that `skips` returns True for.
        """
        streams = [each for each in list(self._streams.values()) if not skips(each)]
        return min((_gauges_of(each).oldest for each in streams), default=NEVER)

    def unsettled(self) -> int:
        """Return how many records of the pipelines have no outcome, or callbacks that still run.

        Takes the streams' locks. Called through Engine.run_on_scheduler.
        """
        count = 0
        for stream in list(self._streams.values()):
            with stream.lock:
                count += stream.pipeline.outstanding + len(stream.staging)
        return count


def _staged_bytes(stream: Stream) -> int:
    """Return the bytes charged for the staged records, or to be charged. Reads without a lock."""
    try:
        staged = list(stream.staging)
    except RuntimeError:  # without a GIL: other threads put meanwhile, so only an approximation can be had
        return stream.staged_bytes + stream.charged_bytes
    return payload_size(staged) + len(staged) * RECORD_OVERHEAD


def _gauges_of(stream: Stream) -> StreamGauges:
    """Return the pipeline's gauges, with the staged records added."""
    with stream.lock:
        stream_gauges = stream.pipeline.stream_gauges(time.monotonic())
        staged = len(stream.staging)
        oldest = min(stream_gauges.oldest, stream.staging[0].arrival if staged else NEVER)
        if stream.spool is not None:
            staged += stream.spool.waiting
            oldest = min(oldest, stream.spool.oldest())
    return replace(stream_gauges, outstanding=stream_gauges.outstanding + staged, oldest=oldest)
