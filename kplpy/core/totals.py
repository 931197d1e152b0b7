"""What a stream's pipeline has done so far, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Totals:
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
