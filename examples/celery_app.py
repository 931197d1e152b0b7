"""Puts records on a stream from Celery tasks, with one producer for the module.

    pip install celery
    celery --app celery_app worker

The producer is made at import, before Celery forks its workers. Each worker process starts its own threads with its
first put. In a warm shutdown each worker delivers its buffered records.

- `put_click` returns at once. A worker that is killed loses its buffered clicks.
- `put_order` ends when the order is in the stream. With acks_late the broker keeps the task until then. Celery tries a
  task again if its order was not delivered.

The environment variable STREAM names the stream, BROKER_URL the broker.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

from kplpy import BufferFullError, Producer, RecordFailedError

STREAM = os.environ.get("STREAM", "orders")

app = Celery("shop", broker=os.environ.get("BROKER_URL", "redis://localhost"))
producer = Producer()


@app.task(ignore_result=True)
def put_click(click: dict[str, Any]) -> None:
    """Put a click without waiting for its delivery."""
    producer.put_record(STREAM, json.dumps(click).encode(), click["customer"])


@app.task(acks_late=True, autoretry_for=(BufferFullError, RecordFailedError), retry_backoff=True, max_retries=10)
def put_order(order: dict[str, Any]) -> str:
    """Put an order, wait for its delivery, and return its sequence number."""
    future = producer.put_record(STREAM, json.dumps(order).encode(), order["customer"])
    return future.result().sequence_number  # the wait is bounded by record_ttl_ms, 30 s
