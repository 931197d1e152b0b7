"""DeadLetterStream: puts failed records on another stream."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol, SupportsIndex

from kplpy.dead_letters.entry import entry_of, line_of
from kplpy.errors import KplpyError, RecordFailedError
from kplpy.escaping import brief_repr
from kplpy.futures.record_future import RecordFuture
from kplpy.headers import Headers
from kplpy.stream_names import is_delivery_stream, parse_stream

OnFailure = Callable[[RecordFailedError], object]


class Puts(Protocol):
    """The method of a producer that DeadLetterStream calls."""

    def _put_serialized(
        self,
        stream: str,
        data: bytes,
        partition_key: str | None = None,
        *,
        explicit_hash_key: str | SupportsIndex | None = None,
        headers: Headers | None = None,
    ) -> RecordFuture: ...


class _DeadLetterKey(str):
    """The partition key of a dead letter.

    Its type marks the record as a dead letter, should it fail.
    """

    __slots__ = ()


class _FollowedKey(_DeadLetterKey):
    """The partition key of a dead letter whose future has a callback.

    If the dead letter fails, the callback passes the record to `otherwise`.
    """

    __slots__ = ()


class DeadLetterStream:
    """An `on_failure` that puts each failed record on `stream`, a name or an ARN, also of a delivery stream.

    producer: the producer that puts the record. None means the producer whose record failed.
    envelope: False puts the record as it was, with its headers. True puts the JSON object that DeadLetterFile writes,
        which has the record's stream and why it failed. It is larger: a record near the stream's limit will not fit.
        On a delivery stream, True ends the object with a newline, and False drops the record's explicit hash key and
        headers, because Firehose records have none.
    otherwise: called with the error if the dead letter cannot be put, for example a DeadLetterFile. None means that the
        record is then lost, and the loss is logged.

    A dead letter does not wait for buffer space. If the buffer is full, or if the dead letter fails too, the record
    goes to `otherwise`. A dead letter never becomes another dead letter, so streams that fail together make no loop.
    """

    def __init__(
        self,
        stream: str,
        producer: Puts | None = None,
        *,
        envelope: bool = False,
        otherwise: OnFailure | None = None,
    ) -> None:
        parse_stream(stream)
        if producer is not None and not hasattr(producer, "_put_serialized"):
            raise TypeError(f"producer must be a kplpy Producer or None, got {brief_repr(producer)}")
        if otherwise is not None and not callable(otherwise):
            raise TypeError(f"otherwise must be callable or None, got {brief_repr(otherwise)}")
        self.stream = stream
        self.producer = producer
        self.envelope = envelope
        self.otherwise = otherwise

    def of_producer(self, producer: Puts) -> DeadLetterStream:
        """Return this `on_failure` for the records of `producer`. A Producer's constructor calls it."""
        if self.producer is not None:
            return self
        return DeadLetterStream(self.stream, producer, envelope=self.envelope, otherwise=self.otherwise)

    def __call__(self, error: RecordFailedError) -> None:
        """Put the error's record on the stream. Raises KplpyError if the record is lost."""
        producer, record = self.producer, error.record
        if producer is None:
            raise KplpyError(
                "this DeadLetterStream has no producer: pass one, or use it as the on_failure of a producer"
            )
        if record is None:
            raise KplpyError(f"the error carries no record: {error}")
        if isinstance(record.partition_key, _FollowedKey):
            return
        if isinstance(record.partition_key, _DeadLetterKey):
            self._use_otherwise(error, f"a dead letter failed too: {error}")
            return
        key = record.partition_key or secrets.token_hex(16)
        marked = _DeadLetterKey(key) if self.otherwise is None else _FollowedKey(key)
        data, headers, hash_key = record.data, record.headers, record.explicit_hash_key
        to_firehose = is_delivery_stream(self.stream)
        if to_firehose:
            headers = hash_key = None
        if self.envelope:
            line = line_of(entry_of(error))
            data, headers = line if to_firehose else line[:-1], None
        try:
            future = producer._put_serialized(self.stream, data, marked, explicit_hash_key=hash_key, headers=headers)
        except KplpyError as refused:
            self._use_otherwise(error, f"{error}; not put on {self.stream!r} either: {refused}")
            return
        otherwise = self.otherwise
        if otherwise is not None:
            future.add_done_callback(lambda put: otherwise(error) if put.exception() else None)

    def _use_otherwise(self, error: RecordFailedError, reason: str) -> None:
        if self.otherwise is None:
            raise KplpyError(f"a record is lost: {reason}")
        self.otherwise(error)

    def __repr__(self) -> str:
        return f"DeadLetterStream({self.stream!r})"
