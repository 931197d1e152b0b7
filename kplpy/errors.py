"""All errors that kplpy raises, below one base class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kplpy.records import Attempt, UserRecord


class KplpyError(Exception):
    """The base of every error that kplpy raises."""


class ConfigError(KplpyError, ValueError):
    """A Config field, or a combination of fields, breaks its rule."""


class InvalidRecordError(KplpyError, ValueError):
    """A record breaks a rule of the service. Raised by the put, which accepted nothing."""


class BufferFullError(KplpyError):
    """The buffer has no space for the record.

    The record was not accepted and can be put again later.

    The message says what is used up, records or bytes, and which share of the buffer: that of all streams, a stream's
    three quarters beside other streams, or the half for one of several shards. Or it says that other puts already wait.
    """


class SpoolError(KplpyError):
    """The spool cannot be written or read. The message names the file, and the cause is chained.

    Raised by a put with spool_on_error="raise", which accepted nothing, and by stored() of a record that is sent from
    memory.
    """


class SpoolFullError(BufferFullError):
    """The spool holds spool_max_bytes, and spool_on_full is "raise". The record was not accepted."""


class FlushTimeoutError(KplpyError, TimeoutError):
    """flush() ran out of time. The producer goes on with the records that are left.

    remaining: records accepted before the flush that have no outcome yet.
    """

    def __init__(self, message: str, remaining: int = 0) -> None:
        super().__init__(message, remaining)
        self.remaining = remaining

    def __str__(self) -> str:
        return str(self.args[0])


class ProducerClosedError(KplpyError):
    """A put after close(). The record was not accepted."""


class AggregateTooLargeError(KplpyError, ValueError):
    """deaggregate() found an aggregate of more than `max_records` user records.

    It returned none of them.
    """

    def __init__(self, message: str, max_records: int = 0) -> None:
        super().__init__(message, max_records)
        self.max_records = max_records

    def __str__(self) -> str:
        return str(self.args[0])


class BatchTooLargeError(KplpyError, ValueError):
    """deaggregate() found a compressed batch of more than `max_uncompressed` bytes. It returned none of its records."""

    def __init__(self, message: str, max_uncompressed: int = 0) -> None:
        super().__init__(message, max_uncompressed)
        self.max_uncompressed = max_uncompressed

    def __str__(self) -> str:
        return str(self.args[0])


class UnreadableBatchError(KplpyError, ValueError):
    """deaggregate() found a compressed batch that this kplpy cannot read.

    Its version or codec is unknown, or its codec's library is not installed.
    """


class NotPicklableError(KplpyError, TypeError):
    """The object cannot be sent to another process. The message says what to send instead."""


class RecordFailedError(KplpyError):
    """An accepted record failed.

    stream: its name or ARN.
    record: the UserRecord as it was put.
    attempts: all attempts, oldest first. Empty if the record was never sent.
    possible_duplicate: an attempt may have been written all the same.
    cause: the exception of the last attempt, or the one that kept the record from being sent. Also `__cause__`.
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
        # Exceptions are sent between processes (Celery, process pools). A cause that cannot be pickled would prevent
        # that, so the copy has only its text.
        cause = None if self.cause is None else KplpyError(f"{type(self.cause).__name__}: {self.cause}")
        return (
            type(self),
            (self.args[0], self.stream, self.record, self.attempts, self.possible_duplicate, cause),
        )


class RecordSpooledError(RecordFailedError):
    """The producer was closed before it delivered the record, which is in the spool.

    The next producer with this spool sends it. on_failure is not called for it.
    """


class RecordExpiredError(RecordFailedError):
    """The record was not delivered within record_ttl_ms (or user_record_timeout_ms).

    Raised by connect() if the service did not respond within its timeout.
    """


class ThrottledError(RecordFailedError):
    """The shard was over its limit, and fail_if_throttled is set."""


class RejectedError(RecordFailedError):
    """The record was refused for good.

    It is invalid or too large, access is denied, or there is no such stream. A record that is too large for the stream
    (its MaxRecordSizeInKiB) is not sent. Neither is one with headers for a service-managed stream. One that is too
    large for a proxy or gateway before the service gets HTTP 413.
    """


class SetupError(RecordFailedError):
    """Nothing can be sent, because the set-up cannot work.

    There is no region, there are no credentials, the configuration is broken, or the endpoint is not Kinesis. The
    message says what to do. The record was not refused by the service.
    """


class ForkedError(RecordFailedError):
    """The process was forked. The parent delivers this record, and the child cannot know its outcome."""
