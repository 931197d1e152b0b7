"""KinesisHandler: log records as records of a stream."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kplpy.errors import FlushTimeoutError, KplpyError
from kplpy.logs import log
from kplpy.producer import Producer
from kplpy.rate_limited_log import RateLimitedLog
from kplpy.runtime.threads import runs_kplpy_work
from kplpy.stream_names import parse_stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from kplpy.config.fields import ConfigFields

__all__ = ["KinesisHandler"]

logger = logging.getLogger(__name__)

# What sending makes be logged; each such line sent would make the next.
_OUR_OWN = ("kplpy", "botocore", "boto3", "urllib3", "s3transfer")

PartitionKey = str | Callable[[logging.LogRecord], str | None] | None


class KinesisHandler(logging.Handler):
    """A logging.Handler that puts each log record, formatted and in UTF-8, on `stream`, a name or an ARN.

    producer: who puts it; None: one of its own, made of `config` (fields of kplpy.Config, such as region_name), which
    close() closes. partition_key: a text for all, a function of the LogRecord, or None: spread over the shards.
    terminator: appended to each. flush_timeout: seconds that flush() waits at the most.

    Logging never waits: what there is no room for, or is too large, is dropped, counted in `dropped`, and told once
    an interval on the logger "kplpy.integrations.logging". What kplpy, botocore, boto3, s3transfer and urllib3 log, and
    whatever is logged on kplpy's own threads (in callbacks, too), is not sent, or it would go on for ever; of that,
    kplpy's warnings go to stderr where no other handler would show them.
    """

    def __init__(
        self,
        stream: str,
        *,
        producer: Producer | None = None,
        partition_key: PartitionKey = None,
        level: int | str = logging.NOTSET,
        terminator: str = "",
        flush_timeout: float = 5.0,
        **config: Unpack[ConfigFields],
    ) -> None:
        super().__init__(level)
        parse_stream(stream)
        if not (partition_key is None or isinstance(partition_key, str) or callable(partition_key)):
            raise TypeError(f"partition_key must be a str, a function or None, got {partition_key!r:.80}")
        if producer is not None and config:
            raise TypeError(f"give a producer or fields of its Config, not both: {', '.join(sorted(config))}")
        self.stream = stream
        self.partition_key = partition_key
        self.terminator = terminator
        self.flush_timeout = flush_timeout
        self.dropped = 0
        """How many log records were not sent for want of room, or could not be."""
        self._is_own = producer is None
        self._producer = Producer(**config) if producer is None else producer
        self._drops = _drops()
        self._ended = False

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and send; returns whether it was taken. Without the handler's lock, which only formatting needs: a
        thread that puts may wait for one that logs."""
        if _is_our_own(record):
            self._show(record)
            return False
        kept: Any = self.filter(record)
        if isinstance(kept, logging.LogRecord):  # since Python 3.12 a filter may replace it
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
            data = (text + self.terminator).encode("utf-8", "backslashreplace")
            with self._producer._never_waiting():
                self._producer.put_record(self.stream, data, key)
        except KplpyError as error:
            self._drop(error)
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Send what was logged, and wait for it, for flush_timeout at the most. On kplpy's own threads, and while
        logging is being configured, it does not wait."""
        if runs_kplpy_work() or _configuring():
            return
        try:
            self._producer.flush(self.stream, timeout=self.flush_timeout)
        except FlushTimeoutError as error:
            log(logger, "log_not_flushed", {"stream": self.stream, "reason": str(error)})

    def close(self) -> None:
        """Deliver what was logged: of a producer of its own within its close_timeout_ms, else as flush() does.

        dictConfig closes the handlers there were, and delivery then goes on in the background.
        """
        if not self._is_own:
            self.flush()
        elif _configuring():
            threading.Thread(target=self._producer.close, name="kplpy-close", daemon=True).start()
        else:
            self._producer.close()
        self._ended = True
        self._drops.close()
        super().close()

    def _drop(self, error: KplpyError) -> None:
        self.dropped += 1
        if self._ended:
            return  # who logs after the end is not told about it
        if self._drops.forked:
            self._drops = _drops()
        self._drops.say(f"{type(error).__name__}: {error}")

    def _show(self, record: logging.LogRecord) -> None:
        """A warning of kplpy's own that no other handler would show."""
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


def _is_our_own(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _OUR_OWN or runs_kplpy_work()


def _configuring() -> bool:
    """Does this thread hold the lock that every other needs to log? Then none of them could send."""
    lock: Any = getattr(logging, "_lock", None)
    return lock is not None and bool(lock._is_owned())


def _drops() -> RateLimitedLog:
    return RateLimitedLog(logger, "log_records_dropped")
