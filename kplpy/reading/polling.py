"""Polling: reads shards with GetRecords, within the limits that all readers of a shard share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kplpy.reading.position import Position
from kplpy.reading.shards import children_of
from kplpy.reading.source import READ_SPACING, NotYetError, Page, ShardReading, error_code, size_of

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

_READ_BYTES = 2 << 20  # a second and shard, for all its readers together
_MAX_RECORDS = 10_000  # in one response
_THREADS = 8


class Polling:
    """A Source that calls GetRecords.

    idle: seconds between two reads of a shard without new records.
    max_buffered: the most Kinesis records in the responses of all threads together.
    """

    pushes = False

    def __init__(self, client: KinesisClient, stream: Mapping[str, Any], idle: float, max_buffered: int) -> None:
        self._client = client
        self._stream = stream
        self._idle = max(idle, READ_SPACING)
        self._max_buffered = max_buffered
        self._limit = _MAX_RECORDS

    def threads_for(self, shards: int) -> int:
        threads = min(_THREADS, shards, self._max_buffered)
        self._limit = min(_MAX_RECORDS, self._max_buffered // max(threads, 1))
        return threads

    def begin(self, reading: ShardReading, at_latest: bool = False) -> None:
        arguments = {"Type": "LATEST"} if at_latest else reading.position.arguments("StartingSequenceNumber")
        arguments["ShardIteratorType"] = arguments.pop("Type")
        response = self._client.get_shard_iterator(**self._stream, ShardId=reading.shard.id, **arguments)
        reading.place = response["ShardIterator"]

    def read(self, reading: ShardReading) -> Page:
        if reading.place is None:
            self.begin(reading)
        try:
            response: Mapping[str, Any] = self._client.get_records(ShardIterator=reading.place, Limit=self._limit)
        except Exception as error:
            if error_code(error) == "ExpiredIteratorException":
                reading.place = None
            raise
        return self._page(reading, response)

    def release(self, reading: ShardReading) -> None:
        """Do nothing: an iterator expires."""

    def close(self) -> None:
        """Do nothing: a request ends by itself."""

    def _page(self, reading: ShardReading, response: Mapping[str, Any]) -> Page:
        records = response.get("Records")
        if records is None:
            raise NotYetError("a response of GetRecords without Records")
        after = Position(sequence_number=records[-1]["SequenceNumber"]) if records else None
        reading.place = response.get("NextShardIterator")
        if reading.place is None:
            children, listing = children_of(self._client, self._stream, reading.shard, response)
            reading.check_children(children)
            return Page(records, after, at_end=True, children=children, listing=listing, is_caught_up=True)
        is_caught_up = not response.get("MillisBehindLatest")
        wait = self._idle if is_caught_up and not records else max(READ_SPACING, size_of(records) / _READ_BYTES)
        return Page(records, after, is_caught_up=is_caught_up, wait=wait)
