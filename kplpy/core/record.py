"""A user record from its acceptance to its outcome, and the attempts to send it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

# Of an endless retry the first attempt and the latest ones are kept, so that an outage does not grow the record.
KEPT_ATTEMPTS = 12

NO_HASH_KEY = -1
PLACEHOLDER = "0" * 32


@dataclass(slots=True)
class SendAttempt:
    """One attempt, shared by every record that was in it. `wall` is Unix time; the others are the core's clock."""

    wall: float
    started: float
    ended: float
    code: str | None = None
    message: str | None = None


class PendingRecord:
    """One accepted user record. `number` orders the records of a stream; `arrival` is when it was put.

    A keyless one was put without a partition key. It comes with NO_HASH_KEY and PLACEHOLDER for a key; the core
    chooses its shard, and with it the hash key, the partition key and an explicit hash key (see sticky.py).
    """

    keyless = False  # of the class, as it costs nothing there

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


class Trimmed(tuple[SendAttempt, ...]):
    """Tries of which those after the first were left out. `waits`: how long the record waited before each of these:
    count, sum, minimum and maximum in seconds. `ended`: the last one's end."""

    waits: tuple[int, float, float, float]
    ended: float


def add_attempt(item: PendingRecord, attempt: SendAttempt) -> None:
    tries = item.tries
    if len(tries) < KEPT_ATTEMPTS:
        item.tries = (*tries, attempt)
        return
    gone = tries[1]
    count, total, low, high = tries.waits if isinstance(tries, Trimmed) else (0, 0.0, float("inf"), 0.0)
    wait = max(0.0, gone.started - (tries.ended if isinstance(tries, Trimmed) else tries[0].ended))
    trimmed = Trimmed((tries[0], *tries[2:], attempt))
    trimmed.waits = (count + 1, total + wait, min(low, wait), max(high, wait))
    trimmed.ended = gone.ended
    item.tries = trimmed


def add_attempts(items: Iterable[PendingRecord], attempt: SendAttempt) -> None:
    """To each. Records that went through the same share one tuple: in an outage they are tens of thousands."""
    before: tuple[SendAttempt, ...] | None = None
    after: tuple[SendAttempt, ...] = ()
    for item in items:
        if item.tries is before:
            item.tries = after
        else:
            before = item.tries
            add_attempt(item, attempt)
            after = item.tries


def payload_size(items: Iterable[PendingRecord]) -> int:
    """What the records' data and partition keys are charged in room."""
    return sum([len(item.data) + len(item.partition_key) for item in items])  # a list is faster than a generator
