"""User records, their results and attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Protocol


@dataclass(frozen=True, slots=True)
class UserRecord:
    """One record as the application sees it, before aggregation or after deaggregate().

    data: the payload.
    partition_key: 1 to 256 characters, or None, which lets kplpy choose the shard.
    explicit_hash_key: decimal, 0 … 2**128 - 1, or None.
    headers: the record's headers, str to str or None. None: it has no headers.

    The other fields are set on records that were read from a stream:
    sequence_number: that of the Kinesis record.
    sub_sequence_number: position within the aggregate, 0 for a record that was sent alone.
    approximate_arrival_timestamp: when the service received the Kinesis record.
    """

    data: bytes = field(repr=False)
    partition_key: str | None = None
    explicit_hash_key: str | None = None
    sequence_number: str | None = None
    sub_sequence_number: int | None = None
    approximate_arrival_timestamp: datetime | None = None
    headers: Mapping[str, str | None] | None = field(default=None, hash=False)

    def __repr__(self) -> str:
        """Return the fields as text, with the data's size instead of the data, and the headers' names only."""
        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self)[1:] if each.name != "headers"]
        known = [each for each in shown if not each.endswith("=None")]
        if self.headers is not None:
            known.append(f"headers=<{', '.join(map(repr, self.headers))}>")
        return f"{type(self).__name__}(<{len(self.data)} bytes>{''.join(', ' + each for each in known)})"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send a record.

    started_at: Unix time in seconds.
    duration: seconds from sending to the response.
    success: the service accepted the record.
    error_code, error_message: None if the attempt succeeded.
    delay: seconds that the record waited, from the put or from the end of the attempt before.
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
    """Holds the future that a result reads its fields from, without being a field."""

    __slots__ = ("_future",)
    _future: _Readable


@dataclass(frozen=True, slots=True)
class RecordResult(_OfAFuture):
    """The place of a delivered record in its stream.

    shard_id: the shard that holds the record. Empty for a delivery stream, which has no shards.
    sequence_number: that of the Kinesis record, shared by all user records of an aggregate. Empty for a delivery
        stream.
    attempts: oldest first; the last one succeeded. Of very many, the first and the latest are kept.
    possible_duplicate: an earlier attempt may have been written too (see docs/design.md).
    record_id: Firehose's RecordId, shared by all user records that were joined. Empty for a stream.
    """

    shard_id: str
    sequence_number: str
    attempts: tuple[Attempt, ...]
    possible_duplicate: bool
    record_id: str = ""

    def __repr__(self) -> str:
        """Return the fields as text, with the number of attempts and the error codes of the failed ones."""
        codes = [each.error_code for each in self.attempts if each.error_code]
        attempts = f"{len(self.attempts)} (failed: {', '.join(codes)})" if codes else str(len(self.attempts))
        place = f"shard_id={self.shard_id!r}, sequence_number={self.sequence_number!r}"
        if self.record_id:
            place = f"record_id={self.record_id!r}"
        return f"RecordResult({place}, attempts={attempts}, possible_duplicate={self.possible_duplicate})"

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __getattr__(self, name):
            if name not in RecordResult.__dataclass_fields__ or not hasattr(self, "_future"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = self._future._read(name)
            object.__setattr__(self, name, value)
            return value


# Sets the future of a new result, which reads its fields on first use: 0.2 µs. To fill all fields takes 0.9 µs, and few
# are ever read.
set_source = _OfAFuture.__dict__["_future"].__set__
