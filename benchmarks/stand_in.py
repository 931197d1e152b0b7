"""An imitation of the service in the process. It responds at once, so that only the producer's work is measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks import scan
from kplpy import Config
from kplpy.aws.kinesis.request_json import put_records_body
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange

SHARDS = 16
TRANSPORT = "kplpy.aws.kinesis.transport.KinesisTransport"
"""The class that Delivery replaces."""


def unlimited(**options: Any) -> Config:
    """Return a Config without limits, bounds and time to live, except those in `options`."""
    defaults: dict[str, Any] = {
        "endpoint_url": "http://stand-in",
        "rate_limit": 1_000_000,
        "record_ttl_ms": None,
        "max_buffered_records": 2_000_000,
        "max_buffered_bytes": 1 << 32,
    }
    return Config(**defaults | options)


class Delivery:
    """Replaces the transport: encodes requests as the transport does, and accepts all entries."""

    shards = SHARDS

    def __init__(self, config: Config) -> None:
        del config

    was_used = True

    def connect(self) -> RequestError | None:
        return None

    def describe(self, name: str, arn: str | None) -> Summary:
        return Summary("USER_PARTITION_KEY", SHARDS)

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        start = [scan.first_hash_key(shard, self.shards) for shard in range(self.shards + 1)]
        return [ShardRange(scan.shard_id(shard), start[shard], start[shard + 1] - 1) for shard in range(self.shards)]

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        started = time.monotonic()
        put_records_body(name, arn, request.batches)
        landed = [batch.queue.shard.shard_id if batch.queue.shard else "none" for batch in request.batches]
        entries = [{"SequenceNumber": "1", "ShardId": shard_id} for shard_id in landed]
        return Exchange(started, time.monotonic(), time.time(), entries)

    def is_regional(self) -> bool:
        return False

    def hurry(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass
