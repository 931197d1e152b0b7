"""Reads a stream as a consumer does: every shard, each after its parents, within the shards' read limits.

All state belongs to the caller's thread. A few threads make the requests, one request a shard at a time.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from kplpy import AggregateTooLargeError, UserRecord, deaggregate
from kplpy.cli.connection import error_code
from kplpy.cli.shards import Shard, children_of, list_shards

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

# The service's limits of one shard for all its readers together, as seconds between two reads and bytes a second.
_READ_SPACING = 0.2
_READ_BYTES = 2 << 20
_MAX_BACKOFF = 8.0
_THREADS = 8

_THROTTLED = frozenset(("ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"))


@dataclass(frozen=True, slots=True)
class Start:
    """The starting position: LATEST, TRIM_HORIZON, or AT_TIMESTAMP with its `timestamp`."""

    kind: str
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one GetRecords request.

    records: the user records of its Kinesis records.
    kinesis_records: number of Kinesis records.
    size: bytes of data and partition keys.
    caught_up: True if no records were left after these at the time of the response.
    """

    shard_id: str
    records: list[UserRecord]
    kinesis_records: int
    size: int
    caught_up: bool


@dataclass(slots=True)
class _Reading:
    """The state of reading one shard."""

    shard: Shard
    start: Start
    iterator: str | None = None
    last: str | None = None  # sequence number of the last record read
    first_requested_at: datetime | None = None  # when its first iterator was requested
    failures: int = 0  # since the last response
    caught_up: bool = False


@dataclass(slots=True)
class _Answer:
    reading: _Reading
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Exception | None = None


class StreamReader:
    """Reads the shards of one stream. Call open(), iterate over batches(), then close().

    stream: the stream's name or ARN as an argument of an API call.
    follow: True reads without end; False reads each shard until its latest record was reached once.
    idle: seconds between two reads of a shard without new records.
    notice: called with a text on the caller's thread when something is skipped or fails repeatedly.

    Temporary errors are retried after a backoff. Other errors are raised.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream: Mapping[str, Any],
        start: Start,
        *,
        follow: bool = True,
        idle: float = 1.0,
        notice: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._client = client
        self._stream = stream
        self._start = start
        self._follow = follow
        self._idle = max(idle, _READ_SPACING)
        self._notice = notice
        self._reading: dict[str, _Reading] = {}
        self._known: set[str] = set()  # started, or waiting for their parents
        self._waiting: list[Shard] = []
        self._due: dict[str, float] = {}
        self._todo: queue.SimpleQueue[_Reading | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def open(self) -> int:
        """List the shards and get an iterator for each; return their number. Records put later are after LATEST."""
        shards = list_shards(self._client, self._stream, self._start.kind, self._start.timestamp)
        for each in shards:
            self._add(each, self._start)
        self._begin_ready_shards()
        for reading in self._reading.values():
            while reading.iterator is None:
                try:
                    self._take_iterator(reading)
                except Exception as error:
                    if not _is_temporary(error):
                        raise
                    time.sleep(self._backoff(reading))
        return len(self._reading)

    def batches(self, poll: float = 0.5) -> Iterator[Found | None]:
        """Yield the result of each read, and None at least every `poll` seconds.

        Ends when every shard is read to its end; without `follow`, when every shard was caught up with.
        """
        while self._reading or self._waiting:
            now = time.monotonic()
            for name in [name for name, at in self._due.items() if at <= now]:
                del self._due[name]
                self._submit(self._reading[name])
            until = min(min(self._due.values(), default=now + poll), now + poll)
            try:
                answer = self._done.get(timeout=max(until - now, 0.001))
            except queue.Empty:
                yield None
                continue
            if answer.error is not None:
                self._on_error(answer.reading, answer.error)
                yield None
            else:
                yield self._on_response(answer.reading, answer.result)

    @property
    def caught_up(self) -> bool:
        """Return True if the last read of every shard left no records behind."""
        return not self._waiting and all(each.caught_up for each in self._reading.values())

    def close(self) -> None:
        """End the threads. A thread inside a request ends after it. All are daemon threads."""
        for _ in self._threads:
            self._todo.put(None)

    # --- shards ---

    def _add(self, shard: Shard, start: Start) -> None:
        if shard.id not in self._known:
            self._known.add(shard.id)
            self._waiting.append(shard)
            if start.kind != "TRIM_HORIZON" and not any(parent in self._known for parent in shard.parents):
                self._begin(shard, start)

    def _begin_ready_shards(self) -> None:
        """Begin reading the waiting shards whose parents were read to their end, or are unknown."""
        unread = {each.id for each in self._waiting} | set(self._reading)
        for shard in list(self._waiting):
            if not unread.intersection(shard.parents):
                self._begin(shard, Start("TRIM_HORIZON"))

    def _begin(self, shard: Shard, start: Start) -> None:
        self._waiting.remove(shard)
        self._reading[shard.id] = _Reading(shard, start)
        self._due[shard.id] = 0.0

    def _end(self, reading: _Reading, children: list[Shard]) -> None:
        """Remove a shard that was read to its end, and begin with its children."""
        del self._reading[reading.shard.id]
        for each in children:
            self._add(each, Start("TRIM_HORIZON"))
        self._begin_ready_shards()

    # --- requests, on the reader's threads ---

    def _submit(self, reading: _Reading) -> None:
        if len(self._threads) < min(_THREADS, len(self._reading)):
            thread = threading.Thread(target=self._work, name="kplpy-reader", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._todo.put(reading)

    def _work(self) -> None:
        while (reading := self._todo.get()) is not None:
            answer = _Answer(reading)
            try:
                if reading.iterator is None:
                    self._take_iterator(reading)
                answer.result = self._client.get_records(ShardIterator=reading.iterator or "", Limit=10_000)
            except Exception as error:  # handled on the caller's thread
                answer.error = error
            self._done.put(answer)

    def _take_iterator(self, reading: _Reading) -> None:
        requested_at = datetime.now(timezone.utc)
        arguments: dict[str, Any] = {"ShardIteratorType": reading.start.kind}
        if reading.last is not None:
            arguments = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": reading.last}
        elif reading.start.kind == "LATEST" and reading.first_requested_at is not None:
            # The iterator expired before any record was read. A second LATEST would miss records put since the first.
            arguments = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": reading.first_requested_at}
        elif reading.start.timestamp is not None:
            arguments["Timestamp"] = reading.start.timestamp
        response = self._client.get_shard_iterator(**self._stream, ShardId=reading.shard.id, **arguments)
        reading.iterator = response["ShardIterator"]
        reading.first_requested_at = reading.first_requested_at or requested_at

    # --- responses, on the caller's thread ---

    def _on_response(self, reading: _Reading, response: Mapping[str, Any]) -> Found:
        reading.failures = 0
        records: list[UserRecord] = []
        size = 0
        raw = response.get("Records", [])
        for record in raw:
            size += len(record["Data"]) + len(record.get("PartitionKey") or "")
            # The shard's range lets deaggregate drop user records as the KCL does. The producer puts those again.
            records += self._user_records(record, reading.shard)
        if raw:
            reading.last = raw[-1]["SequenceNumber"]
        reading.iterator = response.get("NextShardIterator")
        at_end = reading.iterator is None
        reading.caught_up = at_end or not response.get("MillisBehindLatest")
        found = Found(reading.shard.id, records, len(raw), size, reading.caught_up)
        if at_end:
            self._end(reading, children_of(self._client, self._stream, reading.shard, response))
        elif reading.caught_up and not self._follow:
            self._end(reading, [])
        else:
            spacing = max(_READ_SPACING, size / _READ_BYTES)
            if not raw and reading.caught_up:
                spacing = self._idle
            self._due[reading.shard.id] = time.monotonic() + spacing
        return found

    def _user_records(self, record: Mapping[str, Any], shard: Shard) -> list[UserRecord]:
        try:
            return deaggregate(record, starting_hash_key=shard.first_hash_key, ending_hash_key=shard.last_hash_key)
        except AggregateTooLargeError as error:  # one bad aggregate must not end the reading
            self._notice(f"{shard.id}, sequence number {record['SequenceNumber']}: skipped: {error}")
            return []

    def _on_error(self, reading: _Reading, error: Exception) -> None:
        code = error_code(error)
        if code == "ExpiredIteratorException":
            reading.iterator = None
        elif not _is_temporary(error):
            raise error
        if code not in _THROTTLED and code != "ExpiredIteratorException" and reading.failures == 2:
            self._notice(f"{reading.shard.id}: {' '.join(str(error).split())}; retrying")
        self._due[reading.shard.id] = time.monotonic() + self._backoff(reading)

    @staticmethod
    def _backoff(reading: _Reading) -> float:
        reading.failures += 1
        ceiling = min(_MAX_BACKOFF, _READ_SPACING * 2.0 ** min(reading.failures, 10))
        return _READ_SPACING + random.random() * (ceiling - _READ_SPACING)


def _is_temporary(error: Exception) -> bool:
    """Return True if a retry can help: after throttling, a failure of the service, or a broken connection."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return error_code(error) in _THROTTLED or status >= 500 or error_code(error) == "ThrottlingException"
    return isinstance(error, (boto.HTTPClientError, boto.ConnectionError)) and not isinstance(error, boto.SSLError)
