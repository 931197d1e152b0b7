"""What a producer tells of its records when it is asked."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Health:
    """How a producer stands at this moment, over all of its streams.

    is_open: False once the producer is closed, or being closed.
    outstanding_records, outstanding_bytes: what is accepted and has no answer, as the producer's own properties.
    oldest_age_ms: milliseconds since the oldest of these records was put; 0.0 without any.
    last_error: "stream: reason" of the latest request, listing of shards or connect() that failed, or record that was
    given up; None: there was none. It stays when all is well again: see last_error_age_ms.
    last_error_age_ms: milliseconds since then; None without an error.
    throttled: a shard refused records for its limits within the last 10 seconds.
    """

    is_open: bool
    outstanding_records: int
    outstanding_bytes: int
    oldest_age_ms: float
    last_error: str | None
    last_error_age_ms: float | None
    throttled: bool


@dataclass(frozen=True, slots=True)
class HotKey:
    """A partition key with its weight: records, or bytes (data and UTF-8 key).

    It weighs at most `weight`, and at least `weight - error`.
    """

    partition_key: str
    weight: int
    error: int


@dataclass(frozen=True, slots=True)
class HotKeys:
    """The heaviest partition keys of the records that a stream accepted in the last five to ten minutes.

    `records` and `bytes` are those of all keys in that time, `seconds` how long it was. A key that had more than
    `records_bound` records is in the full report, and likewise for bytes; the bounds are at most the
    hot_partition_keys-th part of the whole. `by_records` and `by_bytes` begin with the heaviest.
    """

    seconds: float
    records: int
    bytes: int
    records_bound: int
    bytes_bound: int
    by_records: tuple[HotKey, ...]
    by_bytes: tuple[HotKey, ...]


@dataclass(slots=True)
class StreamTotals:
    """Counts of one stream since the producer was made.

    kinesis_bytes_put: data and partition keys of the Kinesis records that the service took, as the service counts them.
    entries_throttled: Kinesis records refused with ProvisionedThroughputExceededException.
    entries_failed: Kinesis records refused with another error.
    wrong_shard: aggregates sent again, because consumers would have dropped them on the shard where they landed.
    """

    user_records_accepted: int = 0
    user_records_put: int = 0
    user_records_failed: int = 0
    kinesis_records_put: int = 0
    kinesis_bytes_put: int = 0
    kinesis_records_sent: int = 0
    put_records_requests: int = 0
    requests_failed: int = 0
    entries_throttled: int = 0
    entries_failed: int = 0
    wrong_shard: int = 0
    listings: int = 0

    def __add__(self, other: StreamTotals) -> StreamTotals:
        return StreamTotals(*[getattr(self, each.name) + getattr(other, each.name) for each in fields(self)])
