"""A user record from its acceptance to its outcome, and the attempts to send it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kplpy.accelerator import compiled
from kplpy.wire.tags import decode_tags

# Only the first attempt and the latest ones are kept, so that a record does not grow during an outage.
KEPT_ATTEMPTS = 12

NO_HASH_KEY = -1
PLACEHOLDER = "0" * 32


@dataclass(slots=True)
class SendAttempt:
    """One attempt to send records. All records of the attempt share this object.

    wall: the start, in Unix time.
    started, ended: on the core's clock, in seconds.
    code, message: the error. None for an attempt that succeeded.
    """

    wall: float
    started: float
    ended: float
    code: str | None = None
    message: str | None = None


@compiled
class PendingRecord:
    """One accepted user record.

    A keyless record was put without a partition key. It arrives with NO_HASH_KEY, and PLACEHOLDER as its key. The core
    chooses its shard, and then its hash key, partition key and explicit hash key (see sticky.py).

    arrival: when the application put the record, on the core's clock.
    data: the payload.
    explicit_hash_key: a decimal number, or None if the partition key decides.
    hash_key: 128 bits, or NO_HASH_KEY.
    maybe_written: an earlier attempt may have been written, so that the record may appear twice.
    number: the record's place in the order of the stream.
    partition_key: as the service gets it.
    tags: the headers, as encode_tags writes them. Empty without headers. A record with headers is always sent in an
    aggregate, also when it is the only one.
    tries: the attempts so far, at most KEPT_ATTEMPTS of them (see Trimmed).
    """

    # Attributes of the class, because an attribute of each record would cost memory. Subclasses have other values.
    keyless = False
    tags: bytes = b""

    __slots__ = (
        "arrival",
        "data",
        "explicit_hash_key",
        "hash_key",
        "maybe_written",
        "number",
        "partition_key",
        "tries",
    )

    data: bytes
    partition_key: str
    explicit_hash_key: str | None
    hash_key: int
    arrival: float
    number: int
    tries: tuple[SendAttempt, ...]
    maybe_written: bool

    @property
    def headers(self) -> dict[str, str | None] | None:
        """The record's headers. None: it has none."""
        return decode_tags(self.tags) if self.tags else None


class Trimmed(tuple[SendAttempt, ...]):
    """A record's attempts without the oldest ones after the first.

    waits: how long the record waited before each attempt that was left out: count, sum, minimum and maximum in seconds.
    ended: when the last attempt that was left out ended.
    """

    waits: tuple[int, float, float, float]
    ended: float


def add_attempt(item: PendingRecord, attempt: SendAttempt) -> None:
    """Append the attempt. Leave out the second oldest attempt where there are more than KEPT_ATTEMPTS."""
    tries = item.tries
    if len(tries) < KEPT_ATTEMPTS:
        item.tries = (*tries, attempt)
        return
    left_out = tries[1]
    count, total, low, high = tries.waits if isinstance(tries, Trimmed) else (0, 0.0, float("inf"), 0.0)
    wait = max(0.0, left_out.started - (tries.ended if isinstance(tries, Trimmed) else tries[0].ended))
    trimmed = Trimmed((tries[0], *tries[2:], attempt))
    trimmed.waits = (count + 1, total + wait, min(low, wait), max(high, wait))
    trimmed.ended = left_out.ended
    item.tries = trimmed


def add_attempts(items: Iterable[PendingRecord], attempt: SendAttempt) -> None:
    """Append the attempt to each record.

    Neighbours with the same history share one tuple. In an outage that saves tens of thousands of tuples.
    """
    before: tuple[SendAttempt, ...] | None = None
    after: tuple[SendAttempt, ...] = ()
    for item in items:
        if item.tries is before:
            item.tries = after
        else:
            before = item.tries
            add_attempt(item, attempt)
            after = item.tries


@compiled
def compute_hash_keys(records: Sequence[PendingRecord]) -> None:
    """Compute the hash keys that were left for later. Only compiled code does that: eight MD5s take as long as one."""


@compiled
def untrack(records: list[PendingRecord]) -> None:
    """Hide the list from the garbage collector. Only compiled code does that.

    Each collection would walk through all outstanding records: 0.1 µs a record. The list must be let go of once its
    records have an outcome, because the collector does not find circles through the list.
    """


def payload_of(item: PendingRecord) -> int:
    """Return the bytes that the buffer is charged for the record: data, partition key and tags."""
    return len(item.data) + len(item.partition_key) + len(item.tags)


@compiled
def payload_size(items: Iterable[PendingRecord]) -> int:
    """Return payload_of() of all the records together."""
    # A list is faster than a generator, and than a call for each record.
    return sum([len(item.data) + len(item.partition_key) + len(item.tags) for item in items])
