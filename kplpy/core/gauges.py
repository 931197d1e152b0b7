"""The present state of a stream and of a producer, for metrics and health. The core does not read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShardUse:
    """How much of an open shard's limit is in use. 1.0 is the service's limit of one shard.

    scale: the highest rate at which kplpy sends to the shard now.
    taken: what the shard took within the last second, in records or bytes, whichever is the larger share.
    """

    scale: float
    taken: float


@dataclass(frozen=True, slots=True)
class StreamGauges:
    """The present state of a stream.

    accepted: records accepted since the pipeline was made.
    outstanding: records that are accepted and not yet settled.
    oldest: arrival time of the oldest record without an outcome, on the core's clock. Infinite if there is none.
    shards: the use of each open shard, by shard id.
    """

    accepted: int
    outstanding: int
    oldest: float
    shards: dict[str, ShardUse]


@dataclass(frozen=True, slots=True)
class Gauges:
    """The present state of a producer.

    streams: by the name or ARN that the application puts with.
    records, bytes: what the buffer holds.
    """

    streams: dict[str, StreamGauges]
    records: int
    bytes: int
