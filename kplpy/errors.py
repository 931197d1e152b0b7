"""Everything that kplpy raises. One base, few leaves, the data as attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kplpy.records import Attempt, UserRecord


class KplpyError(Exception):
    """The base of every error that kplpy raises."""


class ConfigError(KplpyError, ValueError):
    """A Config field, or a combination of fields, breaks its rule."""


class InvalidRecordError(KplpyError, ValueError):
    """A record breaks a rule of the service; raised at the call, nothing was queued."""


class BufferFullError(KplpyError):
    """There is no room for the record: it was not accepted, and may be put again later.

    The message says what ran out, records or bytes, and whose share that is: all streams', the stream's three quarters
    beside others, or the half of one of several shards; or that others wait for room already.
    """


class FlushTimeoutError(KplpyError, TimeoutError):
    """flush() ran out of time. The producer goes on with what is left.

    `remaining`: records accepted before the flush that have no answer yet.
    """

    def __init__(self, message: str, remaining: int = 0) -> None:
        super().__init__(message, remaining)
        self.remaining = remaining

    def __str__(self) -> str:
        return str(self.args[0])


class ProducerClosedError(KplpyError):
    """put_record after close()."""


class AggregateTooLargeError(KplpyError, ValueError):
    """deaggregate() met an aggregated record of more than `max_records` user records, and took nothing out of it."""

    def __init__(self, message: str, max_records: int = 0) -> None:
        super().__init__(message, max_records)
        self.max_records = max_records

    def __str__(self) -> str:
        return str(self.args[0])


class NotPicklableError(KplpyError, TypeError):
    """The object belongs to its process. The text says what to send to another one instead."""


class RecordFailedError(KplpyError):
    """An accepted record was given up.

    `stream`: its stream. `record`: the UserRecord as it was put. `attempts`: what was tried, oldest first.
    `possible_duplicate`: an earlier attempt may have been written all the same.
    `cause`: the exception behind the last attempt, or behind what kept the record from one (also `__cause__`).
    """

    def __init__(
        self,
        message: str,
        stream: str = "",
        record: UserRecord | None = None,
        attempts: tuple[Attempt, ...] = (),
        possible_duplicate: bool = False,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.stream = stream
        self.record = record
        self.attempts = attempts
        self.possible_duplicate = possible_duplicate
        self.cause = cause
        self.__cause__ = cause

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions travel between processes (Celery, process pools); a cause that cannot be pickled would stop
        # them, so only its text goes along.
        cause = None if self.cause is None else KplpyError(f"{type(self.cause).__name__}: {self.cause}")
        return (
            type(self),
            (self.args[0], self.stream, self.record, self.attempts, self.possible_duplicate, cause),
        )


class RecordExpiredError(RecordFailedError):
    """The record was not delivered within record_ttl_ms (or user_record_timeout_ms).

    Of connect(): nothing was reached within its timeout.
    """


class ThrottledError(RecordFailedError):
    """The shard was over its limit and fail_if_throttled is set."""


class RejectedError(RecordFailedError):
    """The record was refused for good: invalid, access denied, no such stream, or too large.

    Too large for the stream (its MaxRecordSizeInKiB; then it was not sent), or for a proxy or gateway before the
    service (HTTP 413).
    """


class SetupError(RecordFailedError):
    """Nothing can be sent: no region or credentials, a broken configuration, an endpoint that is not Kinesis.

    The text says what to do. No service refused the record.
    """


class ForkedError(RecordFailedError):
    """The process forked: the parent still delivers this record, the child cannot know its answer."""
