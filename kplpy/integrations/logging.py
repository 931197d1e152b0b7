"""KinesisHandler: puts log records on a stream."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kplpy.errors import FlushTimeoutError, InvalidRecordError, KplpyError
from kplpy.escaping import brief_repr
from kplpy.headers import Headers, encode_headers
from kplpy.logs import log
from kplpy.process.threads import start_thread
from kplpy.producer import Producer
from kplpy.rate_limited_log import RateLimitedLog
from kplpy.runtime.threads import runs_kplpy_work
from kplpy.stream_names import is_delivery_stream, parse_stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from kplpy.config.fields import ConfigFields

__all__ = ["KinesisHandler"]

logger = logging.getLogger(__name__)

# The loggers of kplpy and of what it uses to send. If their lines were sent, each would cause the next.
_EXCLUDED = ("kplpy", "botocore", "boto3", "urllib3", "s3transfer")

PartitionKey = str | Callable[[logging.LogRecord], str | None] | None
RecordHeaders = Headers | Callable[[logging.LogRecord], Headers | None] | None


class KinesisHandler(logging.Handler):
    """A logging.Handler that puts each log record, formatted and in UTF-8, on a stream.

    stream: name or ARN, also of a delivery stream.
    producer: puts the records. None: the handler makes one from `config` and closes it in close().
    config: fields of kplpy.Config, such as region_name. Not together with `producer`.
    partition_key: a text, a function of the LogRecord, or None, which spreads the records over the shards.
    headers: the records' headers, as put_record takes them, or a function of the LogRecord that returns them. Not for a
        delivery stream.
    terminator: appended to each text. Firehose adds nothing between records, so use a newline for a delivery stream.
    flush_timeout: seconds that flush() waits at most.

    Logging never waits. If the buffer is full or a record is too large, the record is dropped and counted in `dropped`.
    The logger "kplpy.integrations.logging" reports drops, at most once in 30 s.

    What kplpy, botocore, boto3, s3transfer and urllib3 log is not sent, nor what is logged on kplpy's own threads, for
    example in callbacks. Otherwise each line would cause the next. kplpy's warnings go to stderr if no other handler
    would show them.

    Raises TypeError for arguments that are not valid, InvalidRecordError for a bad stream or headers,
    ConfigError for bad config.
    """

    def __init__(
        self,
        stream: str,
        *,
        producer: Producer | None = None,
        partition_key: PartitionKey = None,
        headers: RecordHeaders = None,
        level: int | str = logging.NOTSET,
        terminator: str = "",
        flush_timeout: float = 5.0,
        **config: Unpack[ConfigFields],
    ) -> None:
        super().__init__(level)
        parse_stream(stream)
        if not (partition_key is None or isinstance(partition_key, str) or callable(partition_key)):
            raise TypeError(f"partition_key must be a str, a function or None, got {brief_repr(partition_key)}")
        if headers is not None and not callable(headers):
            encode_headers(headers)
        if headers and is_delivery_stream(stream):
            raise InvalidRecordError("Firehose records have no headers: make the handler without headers")
        if producer is not None and config:
            raise TypeError(f"give a producer or fields of its Config, not both: {', '.join(sorted(config))}")
        self.stream = stream
        self.partition_key = partition_key
        self.headers = headers
        self.terminator = terminator
        self.flush_timeout = flush_timeout
        self.dropped = 0
        """Log records that were not sent, because the buffer was full or they were refused."""
        self._is_own = producer is None
        self._producer = Producer(**config) if producer is None else producer
        self._drops = _drops()
        self._is_closed = False

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and send the record. Returns False for one that is not sent.

        Does not hold the handler's lock, which only formatting needs, because a thread that puts may wait for a thread
        that logs.
        """
        if _is_excluded(record):
            self._show(record)
            return False
        kept: Any = self.filter(record)
        if isinstance(kept, logging.LogRecord):  # since Python 3.12 a filter may replace the record
            record = kept
        if kept:
            self.emit(record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Put the record, or drop it."""
        try:
            self.acquire()
            try:
                text = self.format(record)
            finally:
                self.release()
            key = self.partition_key(record) if callable(self.partition_key) else self.partition_key
            headers = self.headers(record) if callable(self.headers) else self.headers
            data = (text + self.terminator).encode("utf-8", "backslashreplace")
            self._producer._put_serialized(self.stream, data, key, headers=headers)
        except KplpyError as error:
            self._drop(error)
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Send what was logged and wait for the outcomes, at most flush_timeout seconds.

        Does nothing on kplpy's own threads and while logging is being configured.
        """
        if runs_kplpy_work() or _holds_logging_lock():
            return
        try:
            self._producer.flush(self.stream, timeout=self.flush_timeout)
        except FlushTimeoutError as error:
            log(logger, "log_not_flushed", {"stream": self.stream, "reason": str(error)})

    def close(self) -> None:
        """Close the handler's own producer, which delivers within close_timeout_ms; else do as flush() does.

        When dictConfig closes the handler, delivery goes on in the background.
        """
        if not self._is_own:
            self.flush()
        elif _holds_logging_lock():
            start_thread(threading.Thread(target=self._producer.close, name="kplpy-close", daemon=True))
        else:
            self._producer.close()
        self._is_closed = True
        self._drops.close()
        super().close()

    def _drop(self, error: KplpyError) -> None:
        self.dropped += 1
        if self._is_closed:
            return  # drops after close() are not reported
        if self._drops.forked:
            self._drops = _drops()
        self._drops.say(f"{type(error).__name__}: {error}")

    def _show(self, record: logging.LogRecord) -> None:
        """Write a warning of kplpy to stderr if no other handler would show it."""
        fallback = logging.lastResort
        if fallback is None or record.levelno < fallback.level or record.name.partition(".")[0] != "kplpy":
            return
        handlers: list[logging.Handler] = []
        at: logging.Logger | None = logging.getLogger(record.name)
        while at is not None:
            handlers += at.handlers
            at = at.parent if at.propagate else None
        if handlers[:1] == [self] and all(isinstance(each, KinesisHandler) for each in handlers):
            fallback.handle(record)

    def __repr__(self) -> str:
        return f"<KinesisHandler {self.stream} ({logging.getLevelName(self.level)})>"


def _is_excluded(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _EXCLUDED or runs_kplpy_work()


def _holds_logging_lock() -> bool:
    """Return True if this thread holds logging's own lock, as dictConfig does.

    Other threads then cannot log, so they could not send either. logging._lock is private; without it, False.
    """
    lock: Any = getattr(logging, "_lock", None)
    return lock is not None and bool(lock._is_owned())


def _drops() -> RateLimitedLog:
    return RateLimitedLog(logger, "log_records_dropped")
