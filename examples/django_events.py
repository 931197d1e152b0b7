"""Puts records on a stream from Django, with one producer for the module.

    pip install django
    # urls.py:  path("events/", include("shop.django_events"))

The producer is made at import, also where a server forks its workers afterwards (gunicorn --preload). Each worker
process starts its own threads with its first put.

- `put_event` is a view: 202 when the event is accepted, 503 with Retry-After when the buffer has no room.
- `put_on_commit` puts a record once the surrounding database transaction is committed, and nothing when the
  transaction is rolled back. A commit cannot be undone when the put fails, so failed records go to a dead-letter file.

The environment variable STREAM names the stream, DEAD_LETTERS the file.
"""

from __future__ import annotations

import logging
import os

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from kplpy import BufferFullError, InvalidRecordError, Producer, RecordFailedError, UserRecord
from kplpy.dead_letters import DeadLetterFile

STREAM = os.environ.get("STREAM", "orders")

logger = logging.getLogger(__name__)
dead_letters = DeadLetterFile(os.environ.get("DEAD_LETTERS", "failed.jsonl"))
# "raise": a request is not kept waiting for room in the buffer. The client is asked to come again.
producer = Producer(on_buffer_full="raise", on_failure=dead_letters)


@csrf_exempt  # called by programs, not by forms
@require_POST
def put_event(request: HttpRequest) -> HttpResponse:
    """Put the request's body. The header X-Customer is the partition key."""
    try:
        producer.put_record(STREAM, request.body, request.headers.get("X-Customer"))
    except BufferFullError as error:
        return JsonResponse({"detail": str(error)}, status=503, headers={"Retry-After": "1"})
    except InvalidRecordError as error:
        return JsonResponse({"detail": str(error)}, status=400)
    return JsonResponse({}, status=202)


def put_on_commit(data: bytes, partition_key: str) -> None:
    """Put a record when the transaction is committed; at once outside of a transaction."""

    def put() -> None:
        try:
            producer.put_record(STREAM, data, partition_key)
        except BufferFullError as error:
            logger.error("a record goes to the dead letters: %s", error)
            dead_letters(RecordFailedError(str(error), STREAM, UserRecord(data, partition_key), cause=error))

    transaction.on_commit(put)


urlpatterns = [path("", put_event)]
