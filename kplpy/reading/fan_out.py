"""Enhanced fan-out: reads shards with SubscribeToShard, at 2 MiB a second and shard for each registered consumer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kplpy.errors import KplpyError
from kplpy.reading.position import Position
from kplpy.reading.shards import asked, children_of
from kplpy.reading.source import Page, ShardReading, error_code

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

SILENCE = 40.0
"""Seconds without an event after which a connection counts as broken. The service sends events without records, too."""
_ACTIVE_WITHIN = 60.0


class ConsumerInUseError(KplpyError):
    """Another reader took over a subscription of the reader's registered consumer.

    A consumer is for one reader at a time. Give each reader a consumer, or let it poll.
    """


class FanOut:
    """A Source that calls SubscribeToShard, and again whenever a subscription ends after its five minutes.

    consumer_arn: ARN of a registered consumer. One thread a shard waits for events.
    """

    pushes = True

    def __init__(self, client: KinesisClient, stream: Mapping[str, Any], consumer_arn: str) -> None:
        self._client = client
        self._stream = stream
        self._consumer_arn = consumer_arn
        self._closed = False

    def threads_for(self, shards: int) -> int:
        return shards

    def begin(self, reading: ShardReading, at_latest: bool = False) -> None:
        start: Any = {"Type": "LATEST"} if at_latest else reading.position.arguments("SequenceNumber")
        response = self._client.subscribe_to_shard(
            ConsumerARN=self._consumer_arn, ShardId=reading.shard.id, StartingPosition=start
        )
        stream = response["EventStream"]
        reading.place = (stream, iter(stream))

    def read(self, reading: ShardReading) -> Page:
        if reading.place is None:
            self.begin(reading)
        _, events = reading.place
        try:
            event: Mapping[str, Any] | None = next(events, None)
        except Exception as error:
            self.release(reading)
            if error_code(error) == "ResourceInUseException":
                raise ConsumerInUseError(
                    f"another reader took over {reading.shard.id} of consumer {self._consumer_arn}; give each reader a "
                    "consumer of its own"
                ) from error
            raise
        if event is None or self._closed:
            self.release(reading)
            return Page(is_caught_up=reading.is_caught_up)
        return self._page(reading, event["SubscribeToShardEvent"])

    def release(self, reading: ShardReading) -> None:
        place, reading.place = reading.place, None
        if place is not None:
            place[0].close()

    def close(self) -> None:
        """Have each thread end its subscription after the next event."""
        self._closed = True

    def _page(self, reading: ShardReading, event: Mapping[str, Any]) -> Page:
        records = event.get("Records") or ()
        number = event.get("ContinuationSequenceNumber") or (records[-1]["SequenceNumber"] if records else None)
        after = None if number is None else Position(sequence_number=number)
        if not records and reading.position.sub_sequence_number is not None:
            after = None  # the rest of an aggregate is still to come
        is_caught_up = not event.get("MillisBehindLatest")
        if not event.get("ChildShards"):
            return Page(records, after, is_caught_up=is_caught_up)
        self.release(reading)
        children, listing = children_of(self._client, self._stream, reading.shard, event)
        return Page(records, after, at_end=True, children=children, listing=listing, is_caught_up=True)


def find_consumer(client: KinesisClient, stream: Mapping[str, Any], name: str, register: bool) -> str:
    """Return the ARN of a registered consumer that is ACTIVE. register: register it if it does not exist."""
    summary = asked(lambda: client.describe_stream_summary(**stream))
    arn = summary["StreamDescriptionSummary"]["StreamARN"]
    deadline = time.monotonic() + _ACTIVE_WITHIN
    while True:
        try:
            found: Any = asked(lambda: client.describe_stream_consumer(StreamARN=arn, ConsumerName=name))
            consumer = found["ConsumerDescription"]
        except Exception as error:
            if not register or error_code(error) != "ResourceNotFoundException":
                raise
            created: Any = asked(lambda: client.register_stream_consumer(StreamARN=arn, ConsumerName=name))
            consumer = created["Consumer"]
        if consumer["ConsumerStatus"] == "ACTIVE":
            return str(consumer["ConsumerARN"])
        if time.monotonic() > deadline:
            status = consumer["ConsumerStatus"]
            raise KplpyError(f"consumer {name!r} is {status} and not ACTIVE after {_ACTIVE_WITHIN:g} s")
        time.sleep(0.5)
