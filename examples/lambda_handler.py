"""Puts records on a stream from AWS Lambda.

Deploy this file with kplpy beside it. The environment variable STREAM names the stream.

- `handler` is for single events (API Gateway, EventBridge). `flush_after` delivers the record before Lambda freezes
  the environment. When the time runs out the invocation fails, and Lambda retries the event where the source does so.
- `sqs_handler` is for batches from SQS. It names the messages whose records were not delivered, and SQS sends only
  those again. Set ReportBatchItemFailures in the event source mapping's FunctionResponseTypes.

A message is sent again too when its record is delivered after the time ran out, so consumers may see duplicates.
"""

from __future__ import annotations

import os
from typing import Any

from kplpy import BufferFullError, FlushTimeoutError, InvalidRecordError, Producer, RecordFuture
from kplpy.integrations.aws_lambda import flush_after

STREAM = os.environ.get("STREAM", "orders")
MARGIN_SECONDS = 1.0
"""Time that `sqs_handler` keeps for its answer and for `flush_after`."""

# In the init phase: connections and shards are kept between invocations, and the first invocation waits for neither.
producer = Producer()
producer.connect(STREAM, timeout=5)


@flush_after(producer)
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Put the body of one event."""
    producer.put_record(STREAM, event["body"].encode(), event["id"])
    return {"statusCode": 202}


@flush_after(producer, on_timeout="log")  # the answer already names what is late
def sqs_handler(event: dict[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Put each message of a batch, and return the ids of those that were not delivered."""
    futures: dict[str, RecordFuture | None] = {}
    for message in event["Records"]:
        try:
            future = producer.put_record(STREAM, message["body"].encode(), message["messageId"])
        except (BufferFullError, InvalidRecordError):
            future = None
        futures[message["messageId"]] = future
    try:
        producer.flush(STREAM, timeout=max(0.0, context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS))
    except FlushTimeoutError:
        pass
    failed = [name for name, future in futures.items() if not is_delivered(future)]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}


def is_delivered(future: RecordFuture | None) -> bool:
    """Return True if the record is in the stream. Never waits."""
    return future is not None and future.done() and future.exception() is None
