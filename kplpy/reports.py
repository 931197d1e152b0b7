"""The reports of a producer: its health, its heaviest partition keys, and its totals."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a producer at this moment, over all of its streams.

    is_open: False when the producer is closed or is being closed.
    outstanding_records, outstanding_bytes: accepted records without an outcome, as the producer's properties have them.
    oldest_age_ms: milliseconds since the oldest of these records was put; 0.0 without any.
    last_error: "stream: reason" of the latest failure of a request, a ListShards, a connect() or a record; None without
    a failure. It stays after a recovery: see last_error_age_ms.
    last_error_age_ms: milliseconds since that failure; None without one.
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
    """A partition key with its weight: a number of records, or of bytes (data and UTF-8 key).

    The true weight is at most `weight`, and at least `weight - error`.
    """

    partition_key: str
    weight: int
    error: int


@dataclass(frozen=True, slots=True)
class HotKeys:
    """The heaviest partition keys of a stream in the last five to ten minutes.

    seconds: the time that the report covers.
    records, bytes: accepted in that time, over all keys.
    records_bound: each key with more records is in the full report. At most records / hot_partition_keys.
    bytes_bound: likewise for bytes.
    by_records, by_bytes: the heaviest keys, heaviest first.
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

    user_records_accepted, user_records_put, user_records_failed: accepted by a put, delivered, and failed.
    kinesis_records_put: Kinesis records that the service accepted.
    kinesis_bytes_put: their data and partition keys, as the service counts them.
    kinesis_bytes_saved: how many more bytes these would be without compression.
    kinesis_records_sent: Kinesis records of all requests.
    put_records_requests, requests_failed: PutRecords requests, and those that failed as a whole.
    entries_throttled: Kinesis records refused with ProvisionedThroughputExceededException; Firehose records with
        ServiceUnavailableException, or another code of throttling.
    entries_failed: Kinesis records refused with another error.
    wrong_shard: aggregates sent again, because consumers would have dropped them on the shard where they landed.
    listings: ListShards calls.
    """

    user_records_accepted: int = 0
    user_records_put: int = 0
    user_records_failed: int = 0
    kinesis_records_put: int = 0
    kinesis_bytes_put: int = 0
    kinesis_bytes_saved: int = 0
    kinesis_records_sent: int = 0
    put_records_requests: int = 0
    requests_failed: int = 0
    entries_throttled: int = 0
    entries_failed: int = 0
    wrong_shard: int = 0
    listings: int = 0

    def __add__(self, other: StreamTotals) -> StreamTotals:
        return StreamTotals(*[getattr(self, each.name) + getattr(other, each.name) for each in fields(self)])
