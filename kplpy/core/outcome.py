"""The outcome of a user record: delivered, or failed for a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from kplpy.accelerator import compiled, native
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.record import PendingRecord, SendAttempt


class Reason(Enum):
    """Why a record failed."""

    EXPIRED = "expired"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    INVALID = "invalid"  # the service refused the record alone in its request
    SET_UP = "set-up"
    UNCLEAR = "unclear"  # the responses to its attempts were malformed
    HEADERS = "headers on a service-managed stream"
    TOO_LARGE = "too large"  # for the stream, or for a proxy or gateway before the service
    CLOSED = "closed"
    SPOOLED = "left in the spool"  # the producer was closed; the next one sends the record
    DROPPED = "dropped from the full spool"
    DAMAGED = "damaged in the spool"
    FORKED = "forked"
    BROKEN = "broken"  # an error within kplpy
    REFUSED = "refused"  # never accepted; the cause is the exception that put_record would have raised


@compiled
class DeliveredState:
    """The fields of Delivered. Compiled code makes many at once, outside the garbage collector."""

    __slots__ = ("final", "sequence_number", "shard_id")


@dataclass
class Delivered(DeliveredState):
    """The records are in the stream.

    shard_id: empty for a delivery stream.
    sequence_number: that of the Kinesis record, or Firehose's RecordId.
    final: the attempt that delivered them.
    """

    __slots__ = ()

    shard_id: str
    sequence_number: str
    final: SendAttempt


@dataclass(slots=True)
class Failed:
    """The records failed. The attempts are in each record's `tries`.

    reason: the kind of failure.
    message: the reason in words.
    cause: the exception behind the failure, if there is one.
    code: the error code behind the failure. Empty if there is none.
    """

    reason: Reason
    message: str
    cause: BaseException | None = None
    code: str = ""


def stays_spooled(outcome: Delivered | Failed) -> bool:
    """Return True for records that a closed producer left in its spool. They are not lost."""
    return isinstance(outcome, Failed) and outcome.reason is Reason.SPOOLED


@dataclass(slots=True)
class Completion:
    """User records that have an outcome.

    size: bytes of their data, partition keys and tags, as the buffer was charged for them.
    predicted: for failed records, the shard they were routed to, or None.
    batches: the delivered batches in order. Empty unless they hold exactly `items`: one batch for all records, or one
    batch per record.
    outcomes: each record's own outcome if each travelled in a Kinesis record of its own. All have the shard and attempt
    of `outcome`.
    """

    items: list[PendingRecord]
    outcome: Delivered | Failed
    size: int
    predicted: str | None = None
    batches: Sequence[Batch] = ()
    outcomes: list[Delivered] | None = None


if native is not None:
    native.register_delivered(Delivered)
