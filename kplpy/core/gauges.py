"""The present state of a stream and of a producer, for metrics and health. The core does not read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SpoolEvent = Literal["synced", "failed", "bypassed", "dropped", "damaged"]
"""What is counted of a spool: the seconds of a sync, writes that failed, and records of the other three."""


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
class SpoolGauges:
    """The present state of a producer's spool.

    records, bytes: without an outcome, and their bytes on disk.
    waiting: those of the records that are on disk only.
    oldest: when the oldest of the records was put, on the core's clock. Infinite if there is none.
    """

    records: int
    bytes: int
    waiting: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Gauges:
    """The present state of a producer.

    streams: by the name or ARN that the application puts with.
    records, bytes: what the buffer holds.
    spool: None without a spool.
    """

    streams: dict[str, StreamGauges]
    records: int
    bytes: int
    spool: SpoolGauges | None = None

    @property
    def outstanding(self) -> int:
        """The records without an outcome, in the buffer or on disk only."""
        return self.records + (self.spool.waiting if self.spool is not None else 0)
