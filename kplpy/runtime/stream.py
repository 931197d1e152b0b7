"""One stream of a producer: where its records are staged, and its pipeline behind a lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat, starmap

from kplpy.core.hot_keys import KeyCounts
from kplpy.core.notice import Notice
from kplpy.core.outcome import Completion
from kplpy.core.pipeline import Pipeline
from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.core.results.events import Events
from kplpy.futures.record_future import Origin, RecordFuture

NEVER = float("inf")
KEPT_RESOLVED = 100_000
"""Answered records that a stream may keep behind one that has no answer yet: some 25 MB."""


class Stream:
    """Application threads append to `staging`; kplpy's own threads take records out and run the pipeline.

    `lock` guards the pipeline and every field below it. Only kplpy's own threads take the lock, or a thread that does
    their work at the interpreter's exit. The fields above are read and written without it.

    A put appends to `staging` and then looks at `wake_at` and `wake_requested`. A drain writes these two and then looks
    at `staging`. So one of the two sees the other, and no record is left behind.
    """

    def __init__(
        self,
        name: str,
        arn: str | None,
        pipeline: Pipeline,
        wake_scheduler: Callable[[], object],
        key_counts: KeyCounts | None = None,
    ) -> None:
        self._wake_scheduler = wake_scheduler  # wakes the scheduler
        self.name = name
        self.arn = arn
        self.origin = Origin(arn or name)
        self.known_arn = arn  # of one that is put by name: None until the service says it
        self.merged_into: Stream | None = None  # is put by ARN, and takes what is put by name, too
        self.staging: deque[RecordFuture] = deque()
        self.staged_bytes = 0  # bytes staged on credit since the last drain; approximate with several putting threads
        self.wake_at = NEVER  # a put that is due earlier wakes the scheduler
        self.visit_at = NEVER  # when the scheduler visits
        self.wake_requested = False  # the scheduler visits at once
        self.drain_requested = False  # the buffer is full: send what waits for company
        self.ready = False  # a sender visits
        self.senders: set[int] = set()  # threads that send, or list shards, for this stream
        # The room's, guarded by its lock.
        self.credit = 0  # bytes that may be staged until the next drain without a look at the room
        self.credit_records = 0  # the same in records: several threads count `staged_bytes` too low
        self.held_records = 0  # charged to the room
        self.held_bytes = 0
        self.charged_records = 0  # of the staged records: those that are charged already
        self.charged_bytes = 0
        self.charged_by_place: dict[int, tuple[int, int]] = {}  # of these: records and bytes by shard, see place_of

        self.lock = threading.Lock()
        self.pipeline = pipeline
        self.key_counts = key_counts  # fed when records are drained; None: nobody asked for it
        self.flushes: list[Flush] = []
        self.broken: BaseException | None = None  # what raised, and may have left the pipeline half changed
        # Records that may have no outcome yet, by drain: what recovery fails.
        self._drained: deque[list[RecordFuture]] = deque()
        self._first_unresolved = 0  # of the oldest drain's records: those before have an outcome
        self._kept_records = 0  # records in `_drained`

    @contextmanager
    def locked_pipeline(self) -> Iterator[Pipeline]:
        """Hold the lock around the pipeline. Whatever raises marks the stream as broken before the lock is free."""
        with self.lock:
            try:
                yield self.pipeline
            except BaseException as error:
                self.mark_broken(error)
                raise

    def mark_broken(self, error: BaseException) -> None:
        """Have the scheduler replace the pipeline, and fail what has no answer."""
        if self.broken is None:
            self.broken = error
        self.request_wake()

    def take_staged(self) -> list[RecordFuture]:
        """Under the lock: take the staged records out, and remember them until they are answered.

        Remembering costs 0.03 µs a record (benchmarks.stages).
        """
        self._drop_resolved()
        if self._kept_records > 4 * self.pipeline.outstanding + KEPT_RESOLVED:
            unresolved = self.unresolved()
            self._drained, self._first_unresolved, self._kept_records = deque([unresolved]), 0, len(unresolved)
        records: list[RecordFuture] = []
        self._drained.append(records)
        staging, count = self.staging, len(self.staging)
        self._kept_records += count
        # One call, which an exception cannot cut in two: a record is always in one of the two.
        records.extend(starmap(staging.popleft, repeat((), count)))
        return records

    def _drop_resolved(self) -> None:
        """Drop the oldest drains up to the first record without an outcome; go on from there the next time."""
        drained, first = self._drained, self._first_unresolved
        while drained:
            records = drained[0]
            count = len(records)
            while first < count and records[first]._outcome is not None:
                first += 1
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
        """All drained records are answered."""
        self._drained, self._first_unresolved, self._kept_records = deque(), 0, 0

    def take_results(self) -> Results:
        """Under the lock: take what the pipeline decided, for the calling thread to deliver."""
        pipeline = self.pipeline
        notices, pipeline.notices = pipeline.notices, []
        return Results(pipeline, pipeline.take_completions(), notices, pipeline.take_events())

    def outstanding(self) -> int:
        """Records that are staged, or drained and not settled. Read without the lock."""
        drained = max(self.held_records - self.charged_records, self.pipeline.outstanding)
        return drained + len(self.staging)

    def request_wake(self) -> None:
        """Have the scheduler visit at once."""
        self.wake_requested = True
        self._wake_scheduler()

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        """Records and bytes that one shard holds of a stream with several; nothing for the only shard."""
        if len(self.pipeline.map.open) < 2:
            return 0, 0
        records, size = self.pipeline.held_by_shard_of(hash_key)
        staged, staged_bytes = self.charged_by_place.get(self.place_of(hash_key), (0, 0))
        return records + staged, size + staged_bytes

    def most_held_by_a_shard(self) -> tuple[int, int]:
        """The most records, and the most bytes, that one shard holds of a stream with several."""
        if len(self.pipeline.map.open) < 2:
            return 0, 0
        return self.pipeline.most_held_by_a_shard()

    def place_of(self, hash_key: int) -> int:
        """Which of the stream's shards takes it, by a number that may change with the map."""
        shard_map = self.pipeline.map
        return shard_map.index_of(hash_key) if len(shard_map.open) > 1 and hash_key != NO_HASH_KEY else 0

    def settle(self, results: Results, items: list[PendingRecord]) -> None:
        """Under the lock: these are answered and their callbacks have run; flushes that waited for them end."""
        if results.pipeline is not self.pipeline or self.broken is not None:
            return  # the pipeline is replaced, which ends its flushes
        self.pipeline.settled(items)
        if not self.pipeline.outstanding:
            self.forget_drained()
        if self.flushes:
            self.end_flushes()

    def end_flushes(self) -> None:
        """Under the lock: count what each flush still waits for, and end those that wait for nothing."""
        for flush in self.flushes:
            flush.remaining = self.pipeline.unflushed(flush.mark)
        ended = [flush for flush in self.flushes if not flush.remaining]
        self.flushes = [flush for flush in self.flushes if flush.remaining and not flush.is_cancelled]
        for flush in ended:
            flush.end()


class Results:
    """What a pipeline decided at one moment: records to answer, things to log, events to count."""

    __slots__ = ("completions", "events", "notices", "pipeline")

    def __init__(
        self, pipeline: Pipeline, completions: list[Completion], notices: list[Notice], events: Events
    ) -> None:
        self.pipeline = pipeline
        self.completions = completions
        self.notices = notices
        self.events = events

    def items(self) -> list[PendingRecord]:
        items: list[PendingRecord] = []
        for completion in self.completions:  # some thousands at a time
            items += completion.items
        return items


class Flush:
    """One stream's part of a flush: ends when nothing older than `mark` is outstanding.

    `notify` is called then, on one of kplpy's threads; it must not block. `remaining`: records that it waits for;
    None until the scheduler has begun it. `found`: how many these were at the beginning.
    """

    __slots__ = ("ended", "is_cancelled", "mark", "notify", "remaining", "total")

    def __init__(self, notify: Callable[[], object]) -> None:
        self.notify = notify
        self.mark = 0
        self.total = 0
        self.remaining: int | None = None
        self.ended = False
        self.is_cancelled = False  # nobody waits any longer

    def end(self) -> None:
        self.remaining = 0
        self.ended = True
        self.notify()
