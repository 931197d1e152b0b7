"""Puts log records on a stream as JSON objects, configured with logging.config.dictConfig.

    python logging_config.py

Warnings also go to standard error, because kplpy's own log records are never put on the stream. Logging never waits.
When the buffer is full, log records are dropped and counted. Buffered log records are delivered at the end of the
process.

The environment variable STREAM names the stream.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
from datetime import datetime, timezone
from typing import Any

STREAM = os.environ.get("STREAM", "logs")

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}
"""Attributes that every LogRecord has. All others come from `extra`."""


class JsonFormatter(logging.Formatter):
    """Formats a log record as one JSON object: time, level, logger, message, `extra`, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in STANDARD}
        entry["time"] = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        entry["level"] = record.levelname
        entry["logger"] = record.name
        entry["message"] = record.getMessage()
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def logger_name(record: logging.LogRecord) -> str:
    """Return the partition key. Log records of one logger go to one shard."""
    return record.name


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": JsonFormatter},
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {
        "kinesis": {
            "class": "kplpy.integrations.logging.KinesisHandler",
            "formatter": "json",
            "stream": STREAM,
            "partition_key": logger_name,
            "terminator": "\n",  # Firehose joins records without a separator
            "record_max_buffered_time_ms": 1000,  # and any other field of kplpy.Config
        },
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain", "level": "WARNING"},
    },
    "root": {"level": "INFO", "handlers": ["kinesis", "stderr"]},
}


if __name__ == "__main__":
    logging.config.dictConfig(LOGGING)
    logger = logging.getLogger("shop")
    logger.info("order %d taken", 7, extra={"customer": "c-42"})
    try:
        logger.info("a pen costs %d", {"book": 12}["pen"])
    except KeyError:
        logger.exception("order %d has no price", 8)
