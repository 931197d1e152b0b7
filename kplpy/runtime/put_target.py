"""What puts read and write of a producer and a stream without a lock, and the staging queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from itertools import repeat, starmap
from typing import Any

from kplpy.accelerator import compiled
from kplpy.core.record import payload_size
from kplpy.futures.record_future import Origin, RecordFuture
from kplpy.process.fork import Page

RECORD_OVERHEAD = 400
"""Bytes charged for each record besides its data and key: the future, its numbers, its places in queues."""
STAGED_RECORDS = 512
STAGED_BYTES = 256 << 10
"""With so many staged records or bytes a put wakes the scheduler.

Draining 512 records at a time costs a twentieth less CPU than 256; with 64 streams, a tenth less.
"""

Staging = deque[RecordFuture]


@compiled
class PutEntry:
    """The part of a producer that put_record reads, on application threads, without a lock.

    _closed: the producer is closed, or being closed.
    _puts_in_full: put_record does what most producers do not use.
    _streams: the Streams by the names and ARNs that were put to.
    _usable_page: [0] is 1 while the producer may be used, see fork.py.
    """

    __slots__ = ("_closed", "_puts_in_full", "_streams", "_usable_page")

    _closed: bool
    _puts_in_full: bool
    _streams: Mapping[str, Any]
    _usable_page: Page


@compiled
class PutTarget:
    """The part of a stream that puts read and write, on application threads, without the stream's lock.

    batch_records, batch_bytes: STAGED_RECORDS and STAGED_BYTES.
    credit: bytes that may be staged until the next drain without asking the buffer.
    credit_records: the same in records, because `staged_bytes` may be too low without a GIL (see count_staged).
    linger: seconds.
    on_due: called with the stream if the put's record is due before the scheduler's next visit.
    origin: of the records' futures.
    overhead: RECORD_OVERHEAD.
    plain_size: data of so many bytes is within the limits with any key. -1: each put must be looked at.
    staged_bytes: on credit since the last drain; approximate without a GIL.
    staging: the records that are put, and not drained yet.
    wake_at: a put whose record is due earlier wakes the scheduler.
    wake_requested: the scheduler visits at once.
    """

    __slots__ = (  # an attribute of Stream's __dict__ takes a put longer to read, because Stream has many
        "batch_bytes",
        "batch_records",
        "credit",
        "credit_records",
        "linger",
        "on_due",
        "origin",
        "overhead",
        "plain_size",
        "staged_bytes",
        "staging",
        "wake_at",
        "wake_requested",
    )

    batch_records: int
    batch_bytes: int
    credit: int
    credit_records: int
    linger: float
    on_due: Callable[[Any], object]
    origin: Origin
    overhead: int
    plain_size: int
    staged_bytes: int
    staging: Staging
    wake_at: float
    wake_requested: bool


@compiled
def new_staging() -> Staging:
    """Return an empty staging queue."""
    return deque()


@compiled
def move_staged(staging: Staging, records: list[RecordFuture]) -> None:
    """Move all staged records to the end of `records`.

    It is one call, which no exception can interrupt half-way. So each record is in `staging` or in `records`.
    """
    records.extend(starmap(staging.popleft, repeat((), len(staging))))


def count_staged(staging: Staging) -> int:
    """Return the bytes charged for the staged records. Called under Buffer.lock, while threads put.

    Each record is read on its own: without a GIL an iterator raises RuntimeError, and so does deque.copy().

    Raises IndexError if a closing thread takes records out meanwhile.
    """
    staged = list(map(staging.__getitem__, range(len(staging))))
    return payload_size(staged) + len(staged) * RECORD_OVERHEAD
