"""Takes orders over HTTP and puts them on a stream, with FastAPI.

    pip install fastapi uvicorn
    uvicorn --factory fastapi_app:create_app
    curl -d '{"customer": "c-42", "item": "book"}' -H 'Content-Type: application/json' localhost:8000/orders

- The producer connects at start-up. A missing stream or missing credentials end the start-up with a clear error.
- POST /orders answers 201 when the order is in the stream, and 502 when the record failed.
- POST /orders answers 503 with Retry-After when the producer's buffer is full. The order is then not accepted.
- GET /ready is for a load balancer. It answers 503 while records wait longer than five seconds for Kinesis.

The environment variable STREAM names the stream.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from kplpy import BufferFullError, InvalidRecordError, Producer, RecordExpiredError, RecordFailedError

STREAM = os.environ.get("STREAM", "orders")
RETRY_AFTER_SECONDS = 1
OLDEST_AGE_MS = 5_000
"""The application is not ready when its oldest undelivered record is older. Normally the age stays below 500."""

logger = logging.getLogger(__name__)


class Order(BaseModel):
    """The body of POST /orders. Orders of one customer go to one shard."""

    customer: str = Field(min_length=1, max_length=256)
    item: str


def create_app(producer: Producer | None = None) -> FastAPI:
    """Return the application. When the server stops, it closes the producer, which delivers the buffered records."""
    producer = producer or Producer()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with producer:
            try:
                await producer.aconnect(STREAM, timeout=5)
            except RecordExpiredError as error:  # start without a response; /ready reports it
                logger.warning("Kinesis does not respond: %s", error)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=201)
    async def put_order(order: Order) -> dict[str, str]:
        try:
            # In an event loop put_record never waits for buffer space. It raises BufferFullError at once.
            future = producer.put_record(STREAM, order.model_dump_json().encode(), order.customer)
            result = await future
        except InvalidRecordError as error:  # such as an order larger than a record may be
            raise HTTPException(422, str(error)) from error
        except RecordFailedError as error:
            raise HTTPException(502, f"the order was not delivered: {error}") from error
        return {"shard": result.shard_id, "sequence_number": result.sequence_number}

    @app.exception_handler(BufferFullError)
    async def buffer_full(_: Request, error: BufferFullError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, Any]:
        health = producer.health()
        is_ready = health.is_open and health.oldest_age_ms < OLDEST_AGE_MS
        response.status_code = 200 if is_ready else 503
        return {
            "ready": is_ready,
            "outstanding_records": health.outstanding_records,
            "oldest_age_ms": round(health.oldest_age_ms),
            "last_error": health.last_error,
        }

    return app
