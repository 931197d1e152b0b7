"""Fetcher: starts the reads of all shards, and hands out their user records in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kplpy.logs import log
from kplpy.reading.frontier import Frontier
from kplpy.reading.position import Position, ReadRecord
from kplpy.reading.source import Page, ShardReading, Source, is_expected, is_temporary
from kplpy.reading.workers import Result, Workers
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


class Fetcher:
    """Reads the shards of a frontier. One thread at a time iterates; positions() and is_caught_up are for any thread.

    At most one page of each shard is in memory, and as many pages as the source has threads. A shard is read again when
    all records of its page were handed out.
    """

    def __init__(self, stream: str, source: Source, frontier: Frontier, options: Options) -> None:
        self._stream = stream
        self._source = source
        self._frontier = frontier
        self._options = options
        self._workers = Workers(source)
        self._lock = threading.Lock()  # of what positions() and is_caught_up read; held for moments
        self._readings: dict[str, ShardReading] = {}
        self._due: dict[str, float] = {}  # by shard: when it is read next, unless it is being read
        self._page: _OpenPage | None = None
        self._chunk: list[ReadRecord] = []  # user records of the page
        self._at = 0  # how many of the chunk were handed out
        self._last_record_at = 0.0
        self._closed = False
        self._begin_shards()

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
        for reading in list(self._readings.values()):
            if not reading.is_in_flight:
                self._source.release(reading)

    # --- handing out ---

    def begin_iteration(self) -> None:
        """Restart the idle timeout. Without `follow`, read again what was read to its latest record."""
        self._last_record_at = time.monotonic()
        for name, reading in self._readings.items():
            if reading.is_done:
                reading.is_done = reading.is_caught_up = False
                self._due[name] = 0.0

    def fill(self, poll: float | None) -> bool:
        """Make the next records available for hand_out() or take_batch(). Return False at the end.

        poll: return True after so many seconds, also without records, and for each chunk without records. None: wait.
        """
        deadline = None if poll is None else time.monotonic() + poll
        while not self._closed:
            if self._at < len(self._chunk):
                return True
            self._commit_chunk()
            if self._page is not None:
                if self._page.is_used_up:
                    self._complete_page(self._page)
                else:
                    self._make_chunk(self._page)
                    if poll is not None:
                        return True
            elif self._is_over():
                return False
            elif not self._await_page(deadline):
                return True
        return False

    def hand_out(self) -> Iterator[ReadRecord]:
        """Yield the records that fill() made available. One that was yielded counts as read."""
        while self._at < len(self._chunk):
            record = self._chunk[self._at]
            self._at += 1
            yield record

    def take_batch(self) -> Batch | None:
        """Return the records that fill() made available, which count as read. None if it has waited in vain."""
        page, records = self._page, self._chunk[self._at :]
        if page is None:
            return None
        self._at = len(self._chunk)
        return Batch(page.reading.shard.id, records, *page.chunk_counts())

    @property
    def is_caught_up(self) -> bool:
        """Return True if the last read of every shard left no records behind, and all its records were handed out."""
        with self._lock:
            return (
                self._at >= len(self._chunk)
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
        """Make user records of the page's next Kinesis records. Raises the error of one that cannot be read."""
        chunk: list[ReadRecord] = []
        shard = page.reading.shard
        position = self._frontier.positions[shard.id]
        while not page.is_used_up and len(chunk) < _CHUNK:
            record = page.next_record()
            try:
                found = deaggregate(
                    record,
                    starting_hash_key=shard.first_hash_key,
                    ending_hash_key=shard.last_hash_key,
                    **self._options.limits,
                )
            except ValueError as error:
                if self._options.on_error is not None:
                    self._options.on_error(error, record)
                elif chunk:
                    page.put_back()
                    break
                else:
                    raise
            else:
                chunk += [_read_record(each, shard.id) for each in found if not position.is_after(each)]
        with self._lock:
            self._chunk, self._at = chunk, 0

    def _complete_page(self, page: _OpenPage) -> None:
        """Take up the end of a page: its position, the children of a closed shard, and the time of the next read."""
        reading, result = page.reading, page.page
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
        return timeout is not None and time.monotonic() - self._last_record_at >= timeout and self.is_caught_up

    def _await_page(self, deadline: float | None) -> bool:
        """Start the reads that are due and wait for a page. Return False if the deadline has passed without one."""
        threads = self._threads()
        now = time.monotonic()
        until = now + _LONGEST_WAIT if deadline is None else min(deadline, now + _LONGEST_WAIT)
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
        return self._page is not None or deadline is None or time.monotonic() < deadline

    def _take(self, result: Result) -> None:
        reading = result.reading
        if result.error is not None:
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

    Its Kinesis records up to `_made` are in the chunk, or before it. Those up to `_committed` are before it.
    """

    def __init__(self, reading: ShardReading, page: Page) -> None:
        self.reading = reading
        self.page = page
        self._made = 0
        self._committed = 0

    @property
    def is_used_up(self) -> bool:
        return self._made == len(self.page.records)

    def next_record(self) -> Mapping[str, Any]:
        self._made += 1
        return self.page.records[self._made - 1]

    def put_back(self) -> None:
        self._made -= 1

    def commit(self) -> None:
        self._committed = self._made

    def after_chunk(self, before: Position) -> Position:
        """Return the position after the chunk. before: the position before it."""
        if self._made == self._committed:
            return before
        return Position(sequence_number=self.page.records[self._made - 1]["SequenceNumber"])

    def chunk_counts(self) -> tuple[int, int]:
        """Return the number of the chunk's Kinesis records and their bytes."""
        records: Sequence[Mapping[str, Any]] = self.page.records[self._committed : self._made]
        return len(records), sum(len(each["Data"]) + len(each.get("PartitionKey") or "") for each in records)


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
