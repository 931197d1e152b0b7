"""Fetcher: starts the reads of all shards, and hands out their user records in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kplpy.concurrency import new_lock
from kplpy.logs import log
from kplpy.reading.frontier import Frontier
from kplpy.reading.position import Position, ReadRecord
from kplpy.reading.source import Page, ShardReading, Source, is_expected, is_temporary, size_of
from kplpy.reading.workers import CallingThread, Result, Workers
from kplpy.records import UserRecord
from kplpy.wire.deaggregate import deaggregate

logger = logging.getLogger(__name__)

_CHUNK = 1000  # user records that are made at a time, unless one Kinesis record has more
_LONGEST_WAIT = 1.0  # seconds between two looks at the clock


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a StreamReader, which explains them. limits: max_records and max_uncompressed."""

    follow: bool
    idle_timeout: float | None
    limits: Mapping[str, int | None]
    on_error: Callable[[ValueError, Mapping[str, Any]], object] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """User records of one shard, in order, from one response or a part of it.

    shard_id: the shard.
    records: the user records. Empty if all Kinesis records were dropped, or could not be read.
    kinesis_records: the number of Kinesis records that held them.
    size_bytes: bytes of these Kinesis records, data and partition keys.
    """

    shard_id: str
    records: list[ReadRecord]
    kinesis_records: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error that is to be handed out. report: calls on_error with it. None: it is raised."""

    error: Exception
    report: Callable[[], object] | None = None


class Fetcher:
    """Reads the shards of a frontier, on a thread of its own.

    The program's thread has `thread` call begin_iteration() and fill(), and hands out what fill() found after the call.
    So an exception in the program's thread, such as KeyboardInterrupt, never lands inside these: a call that nobody
    waits for goes on, and what it found is handed out next. positions() and is_caught_up are for any thread.

    At most one page of each shard is in memory, and as many pages as the source has threads. A shard is read again when
    all records of its page were handed out.
    """

    def __init__(self, stream: str, source: Source, frontier: Frontier, options: Options) -> None:
        self._stream = stream
        self._source = source
        self._frontier = frontier
        self._options = options
        self._workers = Workers(source)
        self._lock = new_lock()  # of what positions() and is_caught_up read; held for moments
        self._readings: dict[str, ShardReading] = {}
        self._due: dict[str, float] = {}  # by shard: when it is read next, unless it is being read
        self._page: _OpenPage | None = None
        self._chunk: list[ReadRecord] = []  # user records of the page
        self._at = 0  # how many of the chunk were handed out
        self._failure: _Failure | None = None  # handed out after the chunk
        self._last_record_at = 0.0
        self._closed = False
        self._begin_shards()
        self.thread = CallingThread()

    @property
    def shards(self) -> int:
        """The number of shards that are being read."""
        return len(self._readings)

    def begin_at_latest(self) -> None:
        """Begin behind the latest record of every shard, and wait until the service has done so."""
        todo = dict.fromkeys(self._due, 0.0)
        while todo or self._workers.outstanding:
            now = time.monotonic()
            for name in [name for name, at in todo.items() if at <= now]:
                del todo[name]
                self._workers.start(self._readings[name], self._threads(), begin_at_latest=True)
            result = self._workers.result(min(todo.values(), default=now + _LONGEST_WAIT) - now)
            if result is not None and result.error is not None:
                self._check_error(result.reading, result.error)
                todo[result.reading.shard.id] = time.monotonic() + result.reading.backoff()

    def close(self) -> None:
        """End the iteration and the threads."""
        self._closed = True
        self._source.close()
        self._workers.close()
        self.thread.close()
        for reading in list(self._readings.values()):
            if not reading.is_in_flight:
                self._source.release(reading)

    # --- on the thread ---

    def begin_iteration(self) -> None:
        """Restart the idle timeout. Without `follow`, read again what was read to its latest record."""
        self._last_record_at = time.monotonic()
        for name, reading in self._readings.items():
            if reading.is_done:
                reading.is_done = reading.is_caught_up = False
                self._due[name] = 0.0

    def fill(self, poll: float) -> bool:
        """Make the next records, or an error, available to be handed out. Return False at the end.

        poll: return True after so many seconds, also without records, and for each chunk without records.
        """
        if self._failure is None:
            try:
                return self._fill(time.monotonic() + poll)
            except Exception as error:  # the step may have nobody who waits for it
                self._failure = _Failure(error)
        return True

    def _fill(self, deadline: float) -> bool:
        while not self._closed:
            if self._at < len(self._chunk):
                return True
            self._commit_chunk()
            if self._page is not None:
                if not self._page.is_used_up:
                    self._make_chunk(self._page)
                    return True
                self._complete_page(self._page)
            elif self._is_over():
                return False
            elif not self._await_page(deadline):
                return True
        return False

    # --- handing out, on the program's thread ---

    # Between an assignment and the yield or raise after it there is no call and no jump, so no signal is handled there.

    def hand_out(self) -> Iterator[ReadRecord]:
        """Yield the records that fill() made available. One that was yielded counts as read. Raises a read's error."""
        while self._at < len(self._chunk):
            record = self._chunk[self._at]
            self._at += 1
            yield record
        self._hand_out_failure()

    def hand_out_batch(self) -> Iterator[Batch | None]:
        """Yield the records that fill() made available, which then count as read. None if it has waited in vain."""
        self._hand_out_failure()
        page, records = self._page, self._chunk[self._at :]
        batch = None if page is None else Batch(page.reading.shard.id, records, *page.chunk_counts())
        self._at = len(self._chunk)
        yield batch

    def _hand_out_failure(self) -> None:
        """Raise the error that fill() found, or call on_error with it. An interrupted on_error is called again."""
        failure = self._failure
        if failure is None:
            return
        if failure.report is None:
            self._failure = None
            raise failure.error
        try:
            failure.report()
        except Exception:
            self._failure = None
            raise
        self._failure = None

    @property
    def is_caught_up(self) -> bool:
        """Return True if the last read of every shard left no records behind, and all its records were handed out."""
        with self._lock:
            return (
                self._at >= len(self._chunk)
                and self._failure is None
                and (self._page is None or self._page.is_used_up)
                and self._readings.keys() == self._frontier.positions.keys()
                and all(each.is_caught_up for each in self._readings.values())
            )

    def positions(self) -> dict[str, Position]:
        """Return the position in each shard, after the records that were handed out."""
        with self._lock:
            positions = dict(self._frontier.positions)
            page, at = self._page, self._at
            if page is not None and at:
                last = self._chunk[at - 1]
                name = page.reading.shard.id
                positions[name] = (
                    page.after_chunk(positions[name])
                    if at == len(self._chunk)
                    else Position(None, last.sequence_number, last.sub_sequence_number)
                )
            return positions

    # --- pages ---

    def _commit_chunk(self) -> None:
        """Move the position behind the chunk, all of which was handed out."""
        if self._chunk:  # a program that is slow with its records has not waited in vain
            self._last_record_at = time.monotonic()
        with self._lock:
            page = self._page
            if page is not None:
                name = page.reading.shard.id
                self._frontier.advance(name, page.after_chunk(self._frontier.positions[name]))
                page.commit()
            self._chunk, self._at = [], 0

    def _make_chunk(self, page: _OpenPage) -> None:
        """Make user records of the page's next Kinesis records, or an error of the first one."""
        chunk: list[ReadRecord] = []
        failure: _Failure | None = None
        shard = page.reading.shard
        position = self._frontier.positions[shard.id]
        made = page.made
        while made < len(page.records) and len(chunk) < _CHUNK:
            record = page.records[made]
            try:
                found = deaggregate(
                    record,
                    starting_hash_key=shard.first_hash_key,
                    ending_hash_key=shard.last_hash_key,
                    **self._options.limits,
                )
            except ValueError as error:
                if chunk:  # these are handed out before the error
                    break
                on_error = self._options.on_error
                failure = _Failure(error, None if on_error is None else partial(on_error, error, record))
            else:
                chunk += [_read_record(each, shard.id) for each in found if not position.is_after(each)]
            made += 1
            if failure is not None:
                break
        with self._lock:
            page.made = made
            self._chunk, self._at, self._failure = chunk, 0, failure

    def _complete_page(self, page: _OpenPage) -> None:
        """Take up the end of a page: its position, the children of a closed shard, and the time of the next read."""
        reading, result = page.reading, page.result
        name = reading.shard.id
        with self._lock:
            self._page = None
            if result.at_end:
                self._frontier.learn(result.listing)
                self._frontier.finish(name, result.children)
                del self._readings[name]
            elif result.after is not None:
                self._frontier.advance(name, result.after)
                reading.position = result.after
        if result.at_end:
            self._begin_shards()
        elif self._options.follow or not reading.is_caught_up:
            self._due[name] = time.monotonic() + result.wait
        else:
            reading.is_done = True

    def _begin_shards(self) -> None:
        """Begin with the shards whose ancestors are read."""
        with self._lock:
            for shard in self._frontier.begin():
                self._readings[shard.id] = ShardReading(shard, self._frontier.positions[shard.id])
                self._due[shard.id] = 0.0

    def _is_over(self) -> bool:
        if not self._frontier.positions:
            return True
        if not self._options.follow and all(each.is_done for each in self._readings.values()):
            return True
        timeout = self._options.idle_timeout
        return timeout is not None and self._is_idle(self._last_record_at + timeout)

    def _is_idle(self, since: float) -> bool:
        """Return True if `since` has passed, and no shard has a record: a read after it would have found it."""
        if time.monotonic() < since or not self.is_caught_up:
            return False
        if self._source.pushes:
            return all(each.is_in_flight and each.place is not None for each in self._readings.values())
        return all(each.begun_at >= since and not each.is_in_flight for each in self._readings.values())

    def _await_page(self, deadline: float) -> bool:
        """Start the reads that are due and wait for a page. Return False if the deadline has passed without one."""
        threads = self._threads()
        now = time.monotonic()
        until = min(deadline, now + _LONGEST_WAIT)
        for name, at in sorted(self._due.items(), key=lambda each: each[1]):
            if self._workers.outstanding >= threads:
                break
            if at > now:
                until = min(until, at)
                break
            del self._due[name]
            self._workers.start(self._readings[name], threads)
        if self._options.idle_timeout is not None and self._last_record_at + self._options.idle_timeout > now:
            until = min(until, self._last_record_at + self._options.idle_timeout)
        result = self._workers.result(until - now)
        if result is not None:
            self._take(result)
        return self._page is not None or time.monotonic() < deadline

    def _take(self, result: Result) -> None:
        reading = result.reading
        if result.error is not None:
            with self._lock:
                reading.is_caught_up = False  # nobody knows what came since
            self._due[reading.shard.id] = time.monotonic() + reading.backoff()
            if not self._closed:
                self._check_error(reading, result.error)
        elif result.page is not None:
            reading.failures = 0
            with self._lock:
                reading.is_caught_up = result.page.is_caught_up
                self._page = _OpenPage(reading, result.page)

    def _check_error(self, reading: ShardReading, error: Exception) -> None:
        """Raise an error that a retry cannot cure. Log the third failure in succession of a shard."""
        if not is_temporary(error):
            raise error
        if reading.failures == 3 and not is_expected(error):
            text = " ".join(str(error).split())
            log(logger, "read_failing", {"stream": self._stream, "shard": reading.shard.id, "reason": text})

    def _threads(self) -> int:
        return max(1, self._source.threads_for(len(self._readings)))


class _OpenPage:
    """A page whose records are being handed out.

    records: its Kinesis records. Those up to `made` are in the chunk, or before it.
    """

    def __init__(self, reading: ShardReading, result: Page) -> None:
        self.reading = reading
        self.result = result
        self.records = result.records
        self.made = 0
        self._committed = 0  # Kinesis records before the chunk

    @property
    def is_used_up(self) -> bool:
        return self.made == len(self.records)

    def commit(self) -> None:
        self._committed = self.made

    def after_chunk(self, before: Position) -> Position:
        """Return the position after the chunk. before: the position before it."""
        if self.made == self._committed:
            return before
        return Position(sequence_number=self.records[self.made - 1]["SequenceNumber"])

    def chunk_counts(self) -> tuple[int, int]:
        """Return the number of the chunk's Kinesis records and their bytes."""
        records: Sequence[Mapping[str, Any]] = self.records[self._committed : self.made]
        return len(records), size_of(records)


def _read_record(record: UserRecord, shard_id: str) -> ReadRecord:
    return ReadRecord(
        record.data,
        record.partition_key,
        record.explicit_hash_key,
        record.sequence_number,
        record.sub_sequence_number,
        record.approximate_arrival_timestamp,
        record.headers,
        shard_id,
    )
