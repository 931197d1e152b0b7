"""Puts records on a stream from Django, with one producer for the module.

    pip install django
    # urls.py:  path("events/", include("shop.django_events"))

The producer is made at import, even if a server forks its workers afterwards (gunicorn --preload). Each worker process
starts its own threads with its first put.

- `put_event` is a view. It answers 202 when the event is accepted, and 503 with Retry-After when the buffer is full.
- `put_on_commit` puts a record when the surrounding database transaction is committed. It puts nothing when the
  transaction is rolled back. A failed put cannot undo the commit, so failed records go to a dead-letter file.

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
# "raise", so that a request does not wait for buffer space. The client gets 503 and retries.
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
    """Put a record when the transaction is committed. Outside of a transaction put it at once."""

    def put() -> None:
        try:
            producer.put_record(STREAM, data, partition_key)
        except BufferFullError as error:
            logger.error("a record goes to the dead letters: %s", error)
            dead_letters(RecordFailedError(str(error), STREAM, UserRecord(data, partition_key), cause=error))

    transaction.on_commit(put)


urlpatterns = [path("", put_event)]
