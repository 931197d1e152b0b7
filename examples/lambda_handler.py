"""Puts records on a stream from AWS Lambda.

Deploy this file with kplpy beside it. The environment variable STREAM names the stream.

- `handler` is for single events (API Gateway, EventBridge). `flush_after` delivers the record before Lambda freezes
  the environment. When the time runs out, the invocation fails. Lambda then retries the event if its source allows it.
- `sqs_handler` is for batches from SQS. It returns the ids of messages whose records were not delivered, and SQS sends
  only these messages again. Set ReportBatchItemFailures in the event source mapping's FunctionResponseTypes.

A record may be delivered after the time ran out. Its message is then sent again, so consumers may see duplicates.
"""

from __future__ import annotations

import os
from typing import Any

from kplpy import BufferFullError, FlushTimeoutError, InvalidRecordError, Producer, RecordFuture
from kplpy.integrations.aws_lambda import flush_after

STREAM = os.environ.get("STREAM", "orders")
MARGIN_SECONDS = 1.0
"""Time that `sqs_handler` reserves for its response and for `flush_after`."""

# Made in the init phase: invocations share connections and the shard map, and the first invocation waits for neither.
producer = Producer()
producer.connect(STREAM, timeout=5)


@flush_after(producer)
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Put the body of one event."""
    producer.put_record(STREAM, event["body"].encode(), event["id"])
    return {"statusCode": 202}


@flush_after(producer, on_timeout="log")  # the response names the late messages
def sqs_handler(event: dict[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Put each message of a batch, and return the ids of the messages that were not delivered."""
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
