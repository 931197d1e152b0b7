"""One stream of a producer: the staging queue for its records, and its pipeline behind a lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from kplpy.concurrency import has_gil, new_lock
from kplpy.core.hot_keys import KeyCounts
from kplpy.core.notice import Notice
from kplpy.core.outcome import Completion, stays_spooled
from kplpy.core.pipeline import Pipeline
from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.core.results.events import Events
from kplpy.futures.record_future import Origin, RecordFuture
from kplpy.futures.resolve import first_pending
from kplpy.runtime.put_target import RECORD_OVERHEAD, STAGED_BYTES, STAGED_RECORDS, PutTarget, move_staged, new_staging
from kplpy.validation import Checks

NEVER = float("inf")
KEPT_RESOLVED = 100_000
"""Records with an outcome that a stream may keep behind one without: some 25 MB."""


class DrainedRecords(Protocol):
    """What a stream needs of its spool (see StreamSpool). Guarded by the stream's lock."""

    due: float
    queue: list[list[RecordFuture]]
    queued_records: int
    queued_bytes: int
    backlog_records: int

    @property
    def waiting(self) -> int: ...

    def drained(self, records: list[RecordFuture], size: int) -> None: ...

    def oldest(self) -> float: ...

    def begin_flush(self) -> int: ...

    def waiting_below(self, mark: int) -> int: ...


class Stream(PutTarget):
    """Application threads append to `staging`; kplpy's threads take records out and run the pipeline.

    `lock` guards the pipeline and every field below it. kplpy's threads take the lock, and application threads that do
    kplpy's work (`lend_thread`). The fields above `lock` are read and written without it.

    No wake-up is lost: a put appends to `staging` and then reads `wake_at` and `wake_requested`. A drain writes these
    two and then reads `staging`. So one of the two sees the other.

    Times are those of time.monotonic().
    """

    def __init__(
        self,
        name: str,
        arn: str | None,
        pipeline: Pipeline,
        checks: Checks,
        wake_scheduler: Callable[[], object],
        key_counts: KeyCounts | None = None,
    ) -> None:
        self._wake_scheduler = wake_scheduler
        self.name = name
        self.arn = arn
        self.origin = Origin(arn or name)
        self.linger = pipeline.policy.linger
        self.checks = checks
        self.plain_size = checks.plain_size
        self.overhead, self.batch_records, self.batch_bytes = RECORD_OVERHEAD, STAGED_RECORDS, STAGED_BYTES
        self.on_due = Stream.request_wake
        self.check = checks.serialized_record  # looked up once, because each put calls it
        self.known_arn = arn  # None: put by name, and the service has not reported the ARN
        self.merged_into: Stream | None = None  # the Stream put by ARN that takes this one's new records, too
        self.staging = new_staging()
        self.staged_bytes = 0
        self.wake_at = NEVER
        self.visit_at = NEVER  # when the scheduler visits next
        self.wake_requested = False
        self.drain_requested = False  # the buffer is full: send incomplete batches
        self.ready = False  # there may be something to send: a sender visits
        self.senders: set[int] = set()  # idents of threads in a request or control-plane call of this stream
        # The buffer's counts, guarded by Buffer.lock.
        self.credit = self.credit_records = 0
        self.held_records = 0  # charged to the buffer
        self.held_bytes = 0
        self.counts_staged = not has_gil()  # threads that put at the same moment lose updates of `staged_bytes`
        self.counted_bytes = 0  # what `staged_bytes` should have been when the records were counted
        self.charged_records = 0  # staged records that are charged already
        self.charged_bytes = 0
        self.charged_by_place: dict[int, tuple[int, int]] = {}  # the same by shard, see place_of: records and bytes

        self.lock = new_lock()
        self.pipeline = pipeline
        self.spool: DrainedRecords | None = None  # where drained records go first; None: to the pipeline
        self.key_counts = key_counts  # counted when records are drained; None: not configured
        self.requested_flushes: deque[Flush] = deque()  # added by any thread; the scheduler begins them
        self.flushes: list[Flush] = []
        self.broken: BaseException | None = None  # the error that may have left the pipeline half changed
        # The drained records that may have no outcome, by drain. Recovery fails them.
        self._drained: deque[list[RecordFuture]] = deque()
        self._first_unresolved = 0  # index in the oldest drain; records before it have an outcome
        self._kept_records = 0  # records in `_drained`

    @contextmanager
    def locked_pipeline(self) -> Iterator[Pipeline]:
        """Hold the lock around work on the pipeline. An exception marks the stream as broken first."""
        with self.lock:
            try:
                yield self.pipeline
            except BaseException as error:
                self.mark_broken(error)
                raise

    def mark_broken(self, error: BaseException) -> None:
        """Have the scheduler replace the pipeline, and fail the drained records without an outcome."""
        if self.broken is None:
            self.broken = error
        self.request_wake()

    def take_staged(self) -> list[RecordFuture]:
        """Take the staged records out. The stream, or its spool, has them from now on. Called under the lock."""
        records: list[RecordFuture] = []
        if self.spool is None:
            self._keep(records, len(self.staging))
        else:
            self.spool.queue.append(records)
        move_staged(self.staging, records)
        return records

    def keep(self, records: list[RecordFuture]) -> None:
        """Keep records of the spool, which go to the pipeline, until they have an outcome. Called under the lock."""
        self._keep(records, len(records))

    def _keep(self, records: list[RecordFuture], count: int) -> None:
        """Keep a drain. count: the records that it has, or will get.

        Keeping them costs 0.03 µs a record (benchmarks.stages).
        """
        self._drop_resolved()
        if self._kept_records > 4 * self.pipeline.outstanding + KEPT_RESOLVED:
            unresolved = self.unresolved()
            self._drained, self._first_unresolved, self._kept_records = deque([unresolved]), 0, len(unresolved)
        self._drained.append(records)
        self._kept_records += count

    def _drop_resolved(self) -> None:
        """Drop the oldest drains up to the first record without an outcome. The next call goes on from there."""
        drained, first = self._drained, self._first_unresolved
        while drained:
            records = drained[0]
            count = len(records)
            first = first_pending(records, first)
            if first < count:
                break
            drained.popleft()
            first = 0
            self._kept_records -= count
        self._first_unresolved = first

    def unresolved(self) -> list[RecordFuture]:
        """Return the drained records that have no outcome, in the order of their drains."""
        return [record for records in self._drained for record in records if record._outcome is None]

    def forget_drained(self) -> None:
        """Drop all drained records, because each has an outcome."""
        self._drained, self._first_unresolved, self._kept_records = deque(), 0, 0

    def take_results(self) -> Results:
        """Take what the pipeline decided, for the calling thread to deliver. Called under the lock."""
        pipeline = self.pipeline
        notices, pipeline.notices = pipeline.notices, []
        return Results(pipeline, pipeline.take_completions(), notices, pipeline.take_events())

    def outstanding(self) -> int:
        """Return how many records are staged, or drained and not settled. Reads without the lock."""
        drained = max(self.held_records - self.charged_records, self.pipeline.outstanding)
        return drained + len(self.staging) + (0 if self.spool is None else self.spool.backlog_records)

    def request_wake(self) -> None:
        """Have the scheduler visit the stream at once."""
        try:
            self.wake_requested = True
            self._wake_scheduler()
        except BaseException:  # Ctrl-C: the next put must request the wake again
            self.wake_requested = False
            raise

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        """Return the records and bytes of the hash key's shard; zero if the stream has one shard, or a spool.

        With a spool, the records of a hot shard leave memory.
        """
        if self.spool is not None or len(self.pipeline.map.open) < 2:
            return 0, 0
        records, size = self.pipeline.held_by_shard_of(hash_key)
        staged, staged_bytes = self.charged_by_place.get(self.place_of(hash_key), (0, 0))
        return records + staged, size + staged_bytes

    def most_held_by_a_shard(self) -> tuple[int, int]:
        """Return the most records, and the most bytes, of any shard; zero if the stream has one shard, or a spool."""
        if self.spool is not None or len(self.pipeline.map.open) < 2:
            return 0, 0
        return self.pipeline.most_held_by_a_shard()

    def place_of(self, hash_key: int) -> int:
        """Return the index of the hash key's shard. It may change with the shard map."""
        shard_map = self.pipeline.map
        return shard_map.index_of(hash_key) if len(shard_map.open) > 1 and hash_key != NO_HASH_KEY else 0

    def settle(self, results: Results, items: list[PendingRecord]) -> None:
        """Count off records whose callbacks have run, and end flushes. Called under the lock."""
        if results.pipeline is not self.pipeline or self.broken is not None:
            return  # recovery replaces the pipeline, and ends its flushes
        self.pipeline.settled(items)
        if not self.pipeline.outstanding:
            self.forget_drained()
        if self.flushes:
            self.end_flushes()

    def request_flush(self, flush: Flush) -> None:
        """Have the scheduler begin the flush at once. Any thread may call it."""
        self.requested_flushes.append(flush)
        self.request_wake()

    def begin_flushes(self, count: int, now: float) -> None:
        """Have the first `count` requested flushes wait for all records drained so far. Called under the lock.

        They were requested before the last drain. A flush stays requested until it has begun, so that an error in
        between only delays it.
        """
        for _ in range(count):
            flush = self.requested_flushes[0]
            flush.mark = self.pipeline.flush(now)
            flush.total = self.pipeline.unflushed(flush.mark)
            if self.spool is not None:
                flush.spool_mark = self.spool.begin_flush()
                flush.total += self.spool.waiting
            if flush not in self.flushes:
                self.flushes.append(flush)
            self.requested_flushes.popleft()
            self.end_flushes()

    def end_flushes(self) -> None:
        """Count what each flush still waits for, and end those that wait for nothing. Called under the lock.

        A flush is kept until its caller was notified, so that an error in between only delays that.
        """
        spool = self.spool
        for flush in self.flushes:
            flush.remaining = self.pipeline.unflushed(flush.mark)
            if spool is not None:
                flush.remaining += spool.waiting_below(flush.spool_mark)
        for flush in self.flushes:
            if not flush.remaining:
                flush.end()
        self.flushes = [flush for flush in self.flushes if flush.remaining and not flush.is_cancelled]

    def abandon_flushes(self) -> None:
        """End the flushes of a closed producer, whose records have an outcome. Called under the lock."""
        while self.requested_flushes:
            self.flushes.append(self.requested_flushes.popleft())
        for flush in self.flushes:
            flush.end()
        self.flushes = []


class Results:
    """What a pipeline decided at one moment. Owned by the thread that took it.

    completions: records with their outcomes. notices: things to log. events: things to count.
    """

    __slots__ = ("completions", "events", "notices", "pipeline")

    def __init__(
        self, pipeline: Pipeline, completions: list[Completion], notices: list[Notice], events: Events
    ) -> None:
        self.pipeline = pipeline
        self.completions = completions
        self.notices = notices
        self.events = events

    def items(self) -> list[PendingRecord]:
        """Return the records of all completions."""
        items: list[PendingRecord] = []
        for completion in self.completions:  # a loop, because there may be some thousands
            items += completion.items
        return items

    def lost(self) -> int:
        """Return how many records do not stay in the spool."""
        return sum(len(each.items) for each in self.completions if not stays_spooled(each.outcome))


class Flush:
    """One stream's part of a flush. kplpy's threads change it under the stream's lock; the flushing thread reads it.

    It ends when no record older than `mark` is outstanding.

    notify: called at the end, on one of kplpy's threads; must not block.
    remaining: the records that it waits for; None until the scheduler has begun the flush.
    total: the records that it waited for at the beginning.
    """

    __slots__ = ("ended", "is_cancelled", "mark", "notify", "remaining", "spool_mark", "total")

    def __init__(self, notify: Callable[[], object]) -> None:
        self.notify = notify
        self.mark = 0
        self.spool_mark = 0  # as StreamSpool.waiting_below takes it
        self.total = 0
        self.remaining: int | None = None
        self.ended = False
        self.is_cancelled = False  # no caller waits any longer

    def end(self) -> None:
        """End the flush, and notify the caller."""
        self.remaining = 0
        self.ended = True
        self.notify()
