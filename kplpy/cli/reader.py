"""Reading a stream as a consumer does: every shard, each after its parents, at a pace the shards allow.

All state is the caller's thread's; a few threads make the requests, one a shard at a time.
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
from kplpy.cli.shards import Shard, children_of, list_shards

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

# The service's limits of one shard, for all its readers together.
_READ_SPACING = 0.2
_READ_BYTES = 2 << 20
_MAX_BACKOFF = 8.0
_THREADS = 8

_THROTTLED = frozenset(("ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"))


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: LATEST, TRIM_HORIZON, or AT_TIMESTAMP with its `timestamp`."""

    kind: str
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What one read of a shard gave. `caught_up`: nothing was left behind it when it was answered."""

    shard_id: str
    records: list[UserRecord]
    kinesis_records: int
    size: int
    caught_up: bool


@dataclass(slots=True)
class _Reading:
    """Where the reading of one shard is."""

    shard: Shard
    start: Start
    iterator: str | None = None
    last: str | None = None  # sequence number of the last record read
    asked_at: datetime | None = None  # a time before which nothing was missed
    failures: int = 0
    caught_up: bool = False


@dataclass(slots=True)
class _Answer:
    reading: _Reading
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Exception | None = None


class StreamReader:
    """Reads the shards of one stream. Iterate over batches(); close() when done.

    follow: go on for ever; without it, each shard is read until it was caught up with once. idle: seconds between two
    reads of a shard that gives nothing. Errors that pass are waited out and told to `notice`; others are raised.
    """

    def __init__(
        self,
        client: KinesisClient,
        place: Mapping[str, Any],
        start: Start,
        *,
        follow: bool = True,
        idle: float = 1.0,
        notice: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._client = client
        self._place = place
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
        """Find the shards and take an iterator of each: what is put from now on is after LATEST. Returns how many."""
        shards = list_shards(self._client, self._place, self._start.kind, self._start.timestamp)
        for each in shards:
            self._add(each, self._start)
        self._admit()
        for reading in self._reading.values():
            while reading.iterator is None:
                try:
                    self._take_iterator(reading)
                except Exception as error:
                    if not _passing(error):
                        raise
                    time.sleep(self._backoff(reading))
        return len(self._reading)

    def batches(self, poll: float = 0.5) -> Iterator[Found | None]:
        """What is read, as it comes; None at least every `poll` seconds. Ends without `follow`, or with the stream."""
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
                self._failed(answer.reading, answer.error)
                yield None
            else:
                yield self._answered(answer.reading, answer.result)

    @property
    def caught_up(self) -> bool:
        """Was nothing left in any shard when it was last read?"""
        return not self._waiting and all(each.caught_up for each in self._reading.values())

    def close(self) -> None:
        """End the threads; one that is in a request ends with it, and they are daemons."""
        for _ in self._threads:
            self._todo.put(None)

    # --- shards ---

    def _add(self, shard: Shard, start: Start) -> None:
        if shard.id not in self._known:
            self._known.add(shard.id)
            self._waiting.append(shard)
            if start.kind != "TRIM_HORIZON" and not any(parent in self._known for parent in shard.parents):
                self._begin(shard, start)

    def _admit(self) -> None:
        """Begin with the shards whose parents are read out, or were never here."""
        unread = {each.id for each in self._waiting} | set(self._reading)
        for shard in list(self._waiting):
            if not unread.intersection(shard.parents):
                self._begin(shard, Start("TRIM_HORIZON"))

    def _begin(self, shard: Shard, start: Start) -> None:
        self._waiting.remove(shard)
        self._reading[shard.id] = _Reading(shard, start)
        self._due[shard.id] = 0.0

    def _end(self, reading: _Reading, children: list[Shard]) -> None:
        """A shard is read out; its children come next."""
        del self._reading[reading.shard.id]
        for each in children:
            self._add(each, Start("TRIM_HORIZON"))
        self._admit()

    # --- requests, on the threads ---

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
            except Exception as error:  # judged by the reader's own thread
                answer.error = error
            self._done.put(answer)

    def _take_iterator(self, reading: _Reading) -> None:
        asked_at = datetime.now(timezone.utc)
        arguments: dict[str, Any] = {"ShardIteratorType": reading.start.kind}
        if reading.last is not None:
            arguments = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": reading.last}
        elif reading.start.kind == "LATEST" and reading.asked_at is not None:
            # Its iterator expired before there was any record: those that came meanwhile are not to be missed.
            arguments = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": reading.asked_at}
        elif reading.start.timestamp is not None:
            arguments["Timestamp"] = reading.start.timestamp
        answer = self._client.get_shard_iterator(**self._place, ShardId=reading.shard.id, **arguments)
        reading.iterator = answer["ShardIterator"]
        reading.asked_at = reading.asked_at or asked_at

    # --- answers ---

    def _answered(self, reading: _Reading, answer: Mapping[str, Any]) -> Found:
        reading.failures = 0
        records: list[UserRecord] = []
        size = 0
        raw = answer.get("Records", [])
        for record in raw:
            size += len(record["Data"]) + len(record.get("PartitionKey") or "")
            # With the shard's range: an aggregate that consumers drop was put again elsewhere.
            records += self._user_records(record, reading.shard)
        if raw:
            reading.last = raw[-1]["SequenceNumber"]
        reading.iterator = answer.get("NextShardIterator")
        at_end = reading.iterator is None
        reading.caught_up = at_end or not answer.get("MillisBehindLatest")
        found = Found(reading.shard.id, records, len(raw), size, reading.caught_up)
        if at_end:
            self._end(reading, children_of(self._client, self._place, reading.shard, answer))
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
        except AggregateTooLargeError as error:  # one such must not end the reading of the stream
            self._notice(f"{shard.id}, sequence number {record['SequenceNumber']}: left out: {error}")
            return []

    def _failed(self, reading: _Reading, error: Exception) -> None:
        code = _code(error)
        if code == "ExpiredIteratorException":
            reading.iterator = None
        elif not _passing(error):
            raise error
        if code not in _THROTTLED and code != "ExpiredIteratorException" and reading.failures == 2:
            self._notice(f"{reading.shard.id}: {' '.join(str(error).split())}; trying again")
        self._due[reading.shard.id] = time.monotonic() + self._backoff(reading)

    @staticmethod
    def _backoff(reading: _Reading) -> float:
        reading.failures += 1
        ceiling = min(_MAX_BACKOFF, _READ_SPACING * 2.0 ** min(reading.failures, 10))
        return _READ_SPACING + random.random() * (ceiling - _READ_SPACING)


def _passing(error: Exception) -> bool:
    """Is it worth asking again? Throttling, a service that fails, a connection that breaks."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return _code(error) in _THROTTLED or status >= 500 or _code(error) == "ThrottlingException"
    return isinstance(error, (boto.HTTPClientError, boto.ConnectionError)) and not isinstance(error, boto.SSLError)


def _code(error: Exception) -> str:
    response: Any = getattr(error, "response", None)  # None for a broken connection
    return str((response or {}).get("Error", {}).get("Code", ""))
