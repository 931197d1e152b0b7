"""What a producer has done so far, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """Counts of one stream since the producer was made.

    kinesis_bytes_put: data and partition keys of the Kinesis records that were accepted, as the service counts them.
    entries_throttled: Kinesis records refused with ProvisionedThroughputExceededException; entries_failed: refused
    with another error. wrong_shard: aggregates sent again because consumers would have dropped them where they landed.
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
