"""Reading a whole local stream back, and waiting for a condition with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable

from kplpy import UserRecord, deaggregate
from kplpy.local import LocalKinesis


def read_all(kinesis: LocalKinesis, stream: str = "test") -> list[UserRecord]:
    """Every user record of the stream, shard by shard, in the order of the shards' sequence numbers."""
    records: list[UserRecord] = []
    for entry in kinesis.ledger(stream):
        outer = {"Data": entry.data, "PartitionKey": entry.partition_key, "SequenceNumber": entry.sequence_number}
        records += deaggregate(outer)
    return records


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Poll where nothing can be waited for; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)
