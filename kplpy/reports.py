"""The reports of a producer: its health, and its heaviest partition keys."""

from __future__ import annotations

from dataclasses import dataclass


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
