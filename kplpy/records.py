"""What goes in and what comes out: user records, results and attempts."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Protocol


@dataclass(frozen=True, slots=True)
class UserRecord:
    """One record as the application sees it, before aggregation or after deaggregate().

    data: the payload. partition_key: 1–256 characters, or None where kplpy chooses. explicit_hash_key: decimal,
    0 … 2**128-1. The other fields are set on records that were read from a stream; sub_sequence_number is the
    position within the aggregated Kinesis record, 0 for one that travelled alone.
    """

    data: bytes = field(repr=False)
    partition_key: str | None = None
    explicit_hash_key: str | None = None
    sequence_number: str | None = None
    sub_sequence_number: int | None = None
    approximate_arrival_timestamp: datetime | None = None

    def __repr__(self) -> str:
        """The data's size, never the data."""
        told = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self)[1:]]
        known = [each for each in told if not each.endswith("=None")]
        return f"UserRecord(<{len(self.data)} bytes>{''.join(', ' + each for each in known)})"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to send a record.

    started_at: Unix time in seconds. duration: seconds from sending to the answer. delay: seconds that the record
    waited before it, from its arrival or from the end of the attempt before. error_code and error_message are None
    when it succeeded.
    """

    started_at: float
    duration: float
    success: bool
    error_code: str | None
    error_message: str | None
    delay: float


class _Readable(Protocol):
    def _read(self, field: str) -> object: ...


class _OfAFuture:
    """What a result's fields are read from; not a field itself."""

    __slots__ = ("_future",)
    _future: _Readable


@dataclass(frozen=True, slots=True)
class RecordResult(_OfAFuture):
    """Where a delivered record is.

    sequence_number: that of the Kinesis record, shared by the user records of one aggregate.
    attempts: oldest first; the last one succeeded. Of very many, the first and the latest are kept.
    possible_duplicate: an earlier attempt may have been written too (see docs/design.md).
    """

    shard_id: str
    sequence_number: str
    attempts: tuple[Attempt, ...]
    possible_duplicate: bool

    def __repr__(self) -> str:
        """The attempts as their number, and why those failed that did."""
        codes = [each.error_code for each in self.attempts if each.error_code]
        attempts = f"{len(self.attempts)} (failed: {', '.join(codes)})" if codes else str(len(self.attempts))
        return (
            f"RecordResult(shard_id={self.shard_id!r}, sequence_number={self.sequence_number!r}, "
            f"attempts={attempts}, possible_duplicate={self.possible_duplicate})"
        )

    if not TYPE_CHECKING:  # which would take any name for an attribute

        def __getattr__(self, name):
            if name not in RecordResult.__dataclass_fields__ or not hasattr(self, "_future"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = self._future._read(name)
            object.__setattr__(self, name, value)
            return value


# Makes the fields of a new result be read from the future when they are asked for, as few are: 0.2 µs, filled in 0.9.
set_source = _OfAFuture.__dict__["_future"].__set__
