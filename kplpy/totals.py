"""The counts of a producer so far."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """Counts of one stream since the producer was made.

    user_records_accepted, user_records_put, user_records_failed: accepted by a put, delivered, and failed.
    kinesis_records_put: Kinesis records that the service accepted.
    kinesis_bytes_put: their data and partition keys, as the service counts them.
    kinesis_records_sent: Kinesis records of all requests.
    put_records_requests, requests_failed: PutRecords requests, and those that failed as a whole.
    entries_throttled: Kinesis records refused with ProvisionedThroughputExceededException.
    entries_failed: Kinesis records refused with another error.
    wrong_shard: aggregates sent again, because consumers would have dropped them on the shard where they landed.
    listings: ListShards calls.
    """

    user_records_accepted: int
    user_records_put: int
    user_records_failed: int
    kinesis_records_put: int
    kinesis_bytes_put: int
    kinesis_records_sent: int
    put_records_requests: int
    requests_failed: int
    entries_throttled: int
    entries_failed: int
    wrong_shard: int
    listings: int

    def __add__(self, other: StreamTotals) -> StreamTotals:
        return StreamTotals(*[getattr(self, each.name) + getattr(other, each.name) for each in fields(self)])
