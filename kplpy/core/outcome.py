"""What became of a user record: delivered, or failed for a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from kplpy.core.batching.shard_queue import Batch
from kplpy.core.record import PendingRecord, SendAttempt


class Reason(Enum):
    """Why a record was given up."""

    EXPIRED = "expired"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    SET_UP = "set-up"
    UNCLEAR = "unclear"  # the answers to its attempts cannot be understood
    TOO_LARGE = "too large"  # for the stream, or for what lies before the service
    CLOSED = "closed"
    FORKED = "forked"
    BROKEN = "broken"  # an error within kplpy itself
    REFUSED = "refused"  # not accepted: the cause is what put_record would have raised


@dataclass(slots=True)
class Delivered:
    """The records are in the stream."""

    shard_id: str
    sequence_number: str
    final: SendAttempt


@dataclass(slots=True)
class Failed:
    """The records were given up; each one's tries say what happened before.

    code: the error code behind it, empty where there is none.
    """

    reason: Reason
    message: str
    cause: BaseException | None = None
    code: str = ""


@dataclass(slots=True)
class Completion:
    """User records that have an outcome.

    size: bytes of their data and partition keys, as the buffer was charged for them.
    predicted: for failed records, the shard they were routed to, or None.
    batches: the delivered batches in order. Empty unless they hold exactly `items`: one batch for all records, or one
    batch per record.
    outcomes: each record's own outcome where the records travelled alone; all name the shard and attempt of `outcome`.
    """

    items: list[PendingRecord]
    outcome: Delivered | Failed
    size: int
    predicted: str | None = None
    batches: Sequence[Batch] = ()
    outcomes: list[Delivered] | None = None
