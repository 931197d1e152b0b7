"""Failed records put on another stream."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, SupportsIndex

from kplpy.dead_letters.entry import entry_of, line_of
from kplpy.errors import KplpyError, RecordFailedError
from kplpy.futures.record_future import RecordFuture
from kplpy.stream_names import parse_stream

OnFailure = Callable[[RecordFailedError], object]


class Puts(Protocol):
    """What is asked of a producer."""

    def put_record(
        self,
        stream: str,
        data: bytes,
        partition_key: str | None = None,
        *,
        explicit_hash_key: str | SupportsIndex | None = None,
    ) -> RecordFuture: ...

    def _never_waiting(self) -> AbstractContextManager[None]: ...


class _DeadLetterKey(str):
    """The partition key of a dead letter, which tells it from other records wherever it fails."""

    __slots__ = ()


class _FollowedKey(_DeadLetterKey):
    """Of one whose future is looked after: should it fail, `otherwise` gets the record."""

    __slots__ = ()


class DeadLetterStream:
    """An `on_failure` that puts each failed record on `stream`, a name or an ARN.

    producer: who puts it; None: the producer whose record failed. Dead letters must not wait for room, nor for one
    another: without room, or when one fails in its turn, it goes to `otherwise` (a DeadLetterFile, say), or is lost,
    which is logged. No dead letter becomes another dead letter, so streams that fail together make no loop.

    envelope: False puts the record as it was, True as the JSON object that DeadLetterFile writes, with its stream and
    why it failed, which takes more room: a record near the stream's limit will not fit.
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
        if producer is not None and not hasattr(producer, "put_record"):
            raise TypeError(f"producer must be a kplpy Producer or None, got {producer!r:.80}")
        if otherwise is not None and not callable(otherwise):
            raise TypeError(f"otherwise must be callable or None, got {otherwise!r:.80}")
        self.stream = stream
        self.producer = producer
        self.envelope = envelope
        self.otherwise = otherwise

    def of_producer(self, producer: Puts) -> DeadLetterStream:
        """The same for the records of this producer, which calls it when it is made with this `on_failure`."""
        if self.producer is not None:
            return self
        return DeadLetterStream(self.stream, producer, envelope=self.envelope, otherwise=self.otherwise)

    def __call__(self, error: RecordFailedError) -> None:
        """Put the record of the error; KplpyError: it is lost."""
        producer, record = self.producer, error.record
        if producer is None:
            raise KplpyError("a DeadLetterStream without a producer is for a producer's on_failure")
        if record is None:
            raise KplpyError(f"the error carries no record: {error}")
        if isinstance(record.partition_key, _FollowedKey):
            return
        if isinstance(record.partition_key, _DeadLetterKey):
            self._undeliverable(error, f"a dead letter failed in its turn: {error}")
            return
        key = record.partition_key or secrets.token_hex(16)
        marked = _DeadLetterKey(key) if self.otherwise is None else _FollowedKey(key)
        data = line_of(entry_of(error))[:-1] if self.envelope else record.data
        try:
            with producer._never_waiting():
                future = producer.put_record(self.stream, data, marked, explicit_hash_key=record.explicit_hash_key)
        except KplpyError as refused:
            self._undeliverable(error, f"{error}; not put on {self.stream!r} either: {refused}")
            return
        otherwise = self.otherwise
        if otherwise is not None:
            future.add_done_callback(lambda put: otherwise(error) if put.exception() else None)

    def _undeliverable(self, error: RecordFailedError, why: str) -> None:
        if self.otherwise is None:
            raise KplpyError(f"a record is lost: {why}")
        self.otherwise(error)

    def __repr__(self) -> str:
        return f"DeadLetterStream({self.stream!r})"
