"""A local Kinesis, a producer for it, and what is in its streams afterwards."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kplpy import Producer, UserRecord, deaggregate
from kplpy.local import LocalKinesis

PATIENCE = 60.0
"""How long a test waits, in seconds, for what must happen before it calls it a failure."""


@contextmanager
def local(**options: Any) -> Iterator[LocalKinesis]:
    """Without limits per second, with a stream "orders" of one shard, unless said otherwise."""
    with LocalKinesis(**{"limits": False, "stream": "orders", **options}) as kinesis:
        yield kinesis


def producing(kinesis: LocalKinesis, **knobs: Any) -> Producer:
    """A producer for it, quick to send."""
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
    """Meanwhile other threads put without end."""
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
    """All that is in the stream, in its order; sequence_number is that of the Kinesis record."""
    return [
        UserRecord(each.data, each.partition_key or record.partition_key, each.explicit_hash_key)
        for record in kinesis.ledger(stream)
        for each in deaggregate(record.data)
    ]


def contents(kinesis: LocalKinesis, stream: str = "orders") -> Counter[bytes]:
    return Counter(each.data for each in user_records(kinesis, stream))
