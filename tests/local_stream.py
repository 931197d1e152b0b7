"""A local Kinesis, a producer for it, and the contents of its streams."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kplpy import Producer, UserRecord, deaggregate
from kplpy.local import LocalKinesis

PATIENCE = 60.0
"""Seconds that a test waits for an event before it fails."""


@contextmanager
def local(**options: Any) -> Iterator[LocalKinesis]:
    """Run a local Kinesis. By default it has no limits and one stream, "orders", with one shard."""
    with LocalKinesis(**{"limits": False, "stream": "orders", **options}) as kinesis:
        yield kinesis


def producing(kinesis: LocalKinesis, **knobs: Any) -> Producer:
    """Make a producer for it, with a short linger."""
    return Producer(
        **{
            "endpoint_url": kinesis.endpoint_url,
            "verify": kinesis.ca_bundle,
            "region_name": kinesis.region_name,
            "record_max_buffered_time_ms": 20,
            **knobs,
        }
    )


@contextmanager
def others_put(producer: Producer, stream: str, threads: int) -> Iterator[None]:
    """Have other threads put without pause until the block ends."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            producer.put_record(stream, b"later", "k")

    others = [threading.Thread(target=go_on) for _ in range(threads)]
    for each in others:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in others:
            each.join()


def user_records(kinesis: LocalKinesis, stream: str = "orders") -> list[UserRecord]:
    """Return all user records of the stream, in its order."""
    return [
        UserRecord(each.data, each.partition_key or record.partition_key, each.explicit_hash_key)
        for record in kinesis.ledger(stream)
        for each in deaggregate(record.data)
    ]


def contents(kinesis: LocalKinesis, stream: str = "orders") -> Counter[bytes]:
    """Return how often each record's data is in the stream."""
    return Counter(each.data for each in user_records(kinesis, stream))
