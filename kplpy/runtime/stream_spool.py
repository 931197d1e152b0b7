"""One stream's records on their way through the spool, and the batches and rows that they travel in."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple
from weakref import ref

from kplpy.core.record import payload_size
from kplpy.errors import SpoolError
from kplpy.futures import record_future
from kplpy.futures.record_future import Origin, RecordFuture
from kplpy.runtime.buffer import RECORD_OVERHEAD
from kplpy.runtime.stream import Stream
from kplpy.runtime.threads import NEVER
from kplpy.spool.part import Part

WRITE_BYTES = 1 << 20
"""Charged bytes that are written at once, without waiting for others."""
SLOW = 1.0
"""Records leave memory if those before them have been in the pipeline for so many seconds, or in an outage.

Otherwise the producer itself is the bottleneck, and puts wait for buffer space, as without a spool.
"""
LAST_ID = (1 << 63) - 1
"""The highest id that a row can have."""


class StoredRow(Origin):
    """The Origin of the records of one row of the spool, from the moment when the row is on disk.

    part, row_id: where the row is.
    answered: a byte for each record of the row: 1 once it has an outcome.
    first: the number of the first record in the pipeline.
    places: the index in `answered` of each record in the pipeline; None: they are all of the row's.
    pinned: while the records are on disk only, the futures that somebody waits for. None while they are in memory.
    """

    __slots__ = ("answered", "first", "part", "pinned", "places", "row_id")

    def __init__(self, stream: str, part: Part, row_id: int, answered: bytearray) -> None:
        super().__init__(stream)
        self.part = part
        self.row_id = row_id
        self.answered = answered
        self.first = 0
        self.places: list[int] | None = None
        self.pinned: list[RecordFuture] | None = None

    def wait_stored(self, future: RecordFuture, timeout: float | None) -> None:
        pass

    async def wait_stored_async(self, future: RecordFuture) -> None:
        pass

    def waited_for(self, future: RecordFuture) -> None:
        if self.pinned is not None:
            self.pinned.append(future)

    def park(self, futures: Iterable[RecordFuture]) -> None:
        """Keep only the futures that somebody waits for, because the records leave memory."""
        with record_future.LOCK:
            self.pinned = [each for each in futures if each._waits is not None]

    def unpark(self) -> None:
        """Keep no futures, because the records are in memory again."""
        with record_future.LOCK:
            self.pinned = None


class Unread:
    """Rows of one stream that are on disk only: those of one part with an id above `after`, up to `last`."""

    __slots__ = ("after", "last", "oldest", "part", "records", "recovered")

    def __init__(self, part: Part, after: int, records: int, oldest: float, recovered: bool) -> None:
        self.part = part
        self.after = after
        self.last = LAST_ID  # rows above it are in memory, in batches that wait for the rows before
        self.records = records
        self.oldest = oldest
        self.recovered = recovered


class Parked(NamedTuple):
    """A row that is on disk only, with those of its futures that somebody holds, by their place in it."""

    row: StoredRow
    futures: dict[int, ref[RecordFuture]]


class StreamSpool:
    """One stream's records on their way through the spool.

    Guarded by the stream's lock: the queue and its counts, `backlog` and `accepted`. The spool thread alone changes
    the backlog.

    wake_by: has the spool thread look for work by a time. hurry: has it write what is queued now.
    due: when the queue is written, by time.monotonic().
    backlog: the rows that are on disk only, oldest first.
    accepted: records that went to a pipeline, for flushes.
    """

    def __init__(
        self, stream: Stream, sync: float, wake_by: Callable[[float], object], hurry: Callable[[], object]
    ) -> None:
        self._sync = sync
        self._wake_by = wake_by
        self._hurry = hurry
        self.stream = stream
        self.due = NEVER
        self.queue: list[list[RecordFuture]] = []
        self.queued_records = self.queued_bytes = 0  # those being written, too
        self.unwritten_bytes = 0  # without those being written
        self.backlog: deque[Unread] = deque()
        self.backlog_records = 0
        self.accepted = 0
        self._accepted_at: deque[tuple[int, float]] = deque()  # `accepted` after each batch, and when that was
        self.parked: dict[tuple[Part, int], Parked] = {}

    @property
    def waiting(self) -> int:
        """The records that no pipeline has yet."""
        return self.queued_records + self.backlog_records

    def note_accepted(self, records: int, now: float) -> None:
        """Count records that went to the pipeline. Under the stream's lock."""
        self._forget_settled()  # here, too, because is_slow is only asked when memory is short
        self.accepted += records
        self._accepted_at.append((self.accepted, now))

    def is_slow(self, now: float) -> bool:
        """Return True if the pipeline does not get its records delivered in time. Under the stream's lock."""
        self._forget_settled()
        accepted_at = self._accepted_at
        return self.stream.pipeline.in_outage or (bool(accepted_at) and now > accepted_at[0][1] + SLOW)

    def _forget_settled(self) -> None:
        """Drop the times of batches whose records have outcomes. Batches are taken as settled in their order."""
        settled = self.accepted - self.stream.pipeline.outstanding
        while self._accepted_at and self._accepted_at[0][0] <= settled:
            self._accepted_at.popleft()

    def oldest(self) -> float:
        """Return when the oldest record that waits was put, by time.monotonic(); infinity if none waits."""
        if self.backlog:
            return self.backlog[0].oldest - time.time() + time.monotonic()
        return next((records[0].arrival for records in self.queue if records), NEVER)

    def drained(self, records: list[RecordFuture], size: int) -> None:
        """Note records that a drain has appended to the queue. size: charged bytes. Under the stream's lock."""
        self.queued_records += len(records)
        self.queued_bytes += size
        self.unwritten_bytes += size
        if self.due == NEVER:
            self.due = records[0].arrival + self._sync
            self._wake_by(self.due)
        if self.unwritten_bytes >= WRITE_BYTES:
            self._wake_by(-NEVER)

    def take_queue(self) -> list[RecordFuture]:
        """Take out the records that are not written. They stay counted until they are handed over."""
        taken, self.queue = self.queue, []
        self.due, self.unwritten_bytes = NEVER, 0
        return [record for records in taken for record in records]

    def begin_flush(self) -> int:
        """Write what is queued at once. Return the flush's mark. Under the stream's lock."""
        if self.queue:
            self._hurry()
        return self.accepted + self.waiting

    def waiting_below(self, mark: int) -> int:
        """Return how many of the records that wait belong to a flush. mark: accepted + waiting when it began."""
        return max(0, mark - self.accepted)


class Batch:
    """Records of one row, from the queue to the pipeline.

    row: None until they are on disk.
    is_counted_off: True once they are not counted as queued.
    """

    __slots__ = ("error", "is_counted_off", "records", "row", "size", "spool")

    def __init__(self, spool: StreamSpool, records: list[RecordFuture]) -> None:
        self.spool = spool
        self.records = records
        self.size = payload_size(records)
        self.row: StoredRow | None = None
        self.error: SpoolError | None = None
        self.is_counted_off = False

    def count_off(self) -> None:
        """Count the records off the queue: they go to the pipeline, or are on disk only. Under the stream's lock."""
        self.is_counted_off = True
        self.spool.queued_records -= len(self.records)
        self.spool.queued_bytes -= self.charge

    @property
    def is_ready(self) -> bool:
        """True once the records are on disk, or will not be."""
        return self.row is not None or self.error is not None

    @property
    def charge(self) -> int:
        """The bytes that the records are charged to the buffer."""
        return self.size + len(self.records) * RECORD_OVERHEAD
