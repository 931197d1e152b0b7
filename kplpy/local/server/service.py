"""The APIs over HTTP without sockets: takes headers and body, returns status, headers and body."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from kplpy.local.model.consumers import Subscription
from kplpy.local.model.errors import ServiceError, invalid_argument
from kplpy.local.model.faults import Transport
from kplpy.local.model.ledger import firehose_records
from kplpy.local.model.model import Exchange, Model
from kplpy.local.model.queue_records import WAIT_SECONDS, WAITING
from kplpy.local.server import cloudwatch, codec, event_stream

KINESIS, FIREHOSE = "Kinesis_20131202", "Firehose_20150804"
SERVICES = {KINESIS: "", FIREHOSE: "Firehose."}
"""What precedes the operation in X-Amz-Target, and the model's prefix of the service's operations."""
MAX_BODY = 64 << 20
"""The largest accepted body in bytes, well above the largest valid request: 10 MiB of data in base64."""

READ_RECORDS = 10_000
READ_BYTES = 10 << 20


@dataclass(slots=True)
class Reply:
    """An HTTP response, with the delay and the transport fault of model.Exchange.

    events: after SubscribeToShard, what follows the headers; the body is empty. kind: the content type of its events.
    again: makes the reply again, while a queue has no record; until: when to stop that, by the service's clock
    """

    status: int
    headers: dict[str, str]
    body: bytes
    delay: float = 0.0
    transport: Transport | None = None
    events: Subscription | None = None
    kind: str = ""
    again: Callable[[], Reply] | None = None
    until: float = 0.0


class Service:
    """Answers HTTP requests from a Model, at the time of `clock` (epoch seconds).

    Signatures are not checked.
    """

    def __init__(self, model: Model, clock: Callable[[], float] = time.time) -> None:
        self.model = model
        self.clock = clock
        self._ids = itertools.count(1)
        self._id_start = str(uuid4())[:23]

    def reply(
        self, method: str, target: str, content_type: str, body: bytes, path: str = "/", encoding: str = ""
    ) -> Reply:
        """Return the reply to one request.

        target: the X-Amz-Target header
        encoding: the Content-Encoding header
        """
        if cloudwatch.is_call(path, target, content_type):
            return self._reply_of_cloudwatch(path, target, encoding, body)
        kind = codec.CBOR if content_type.startswith(codec.CBOR) else codec.JSON
        headers = {"Content-Type": kind, "x-amzn-RequestId": self._request_id()}
        version, _, operation = target.partition(".")
        try:
            if method != "POST" or version not in SERVICES:
                versions = " or ".join(f"{each}.<operation>" for each in SERVICES)
                raise ServiceError("UnknownOperationException", f"POST with X-Amz-Target: {versions}")
            operation = SERVICES[version] + operation
            params = codec.decode(kind, operation, body)
            exchange = self.model.exchange(operation, params, self.clock())
        except ServiceError as error:
            return _failed(error, kind, headers)
        answer = exchange.answer or {}
        if exchange.error is not None:
            reply = _failed(exchange.error, kind, headers)
        elif isinstance(answer.get("EventStream"), Subscription):
            headers["Content-Type"] = event_stream.CONTENT_TYPE
            reply = Reply(200, headers, b"", events=answer["EventStream"], kind=kind)
        else:
            reply = Reply(200, headers, codec.encode(kind, answer))
        if operation in WAITING and answer.get("QueueRecords") == [] and exchange.transport is None:
            reply.again = partial(self._receive_again, operation, params, kind, headers)
            reply.until = self.clock() + (params.get("WaitTimeSeconds") or WAIT_SECONDS)
        self._apply_fault(reply, exchange)
        return reply

    def _reply_of_cloudwatch(self, path: str, target: str, encoding: str, body: bytes) -> Reply:
        request_id = self._request_id()
        ids = {"x-amzn-RequestId": request_id}
        exchange = None
        try:
            call = cloudwatch.decode(path, target, encoding, body, MAX_BODY)
            exchange = self.model.exchange(f"CloudWatch.{call.operation}", call.params, self.clock())
            if exchange.error is not None:
                raise exchange.error
            headers, content = cloudwatch.encode(call, exchange.answer or {}, request_id)
            reply = Reply(200, {**headers, **ids}, content)
        except ServiceError as error:
            headers, content = cloudwatch.encode_error(cloudwatch.protocol(path, target), error, request_id)
            reply = Reply(error.status, {**headers, **ids}, content)
        if exchange is not None:
            self._apply_fault(reply, exchange)
        return reply

    def _request_id(self) -> str:
        return f"{self._id_start}-{next(self._ids):012x}"

    def _apply_fault(self, reply: Reply, exchange: Exchange) -> None:
        reply.delay, reply.transport = exchange.delay, exchange.transport
        if reply.transport == "empty":
            reply.body = b""
            reply.events = None
        elif reply.transport == "garbage":
            reply.events = None
            reply.body = b"\x00\xff<html>not an answer"

    def _receive_again(self, operation: str, params: dict[str, Any], kind: str, headers: dict[str, str]) -> Reply:
        try:
            answer = self.model.change_queue(operation, params, self.clock())
        except ServiceError as error:
            return _failed(error, kind, headers)
        again = None if answer["QueueRecords"] else partial(self._receive_again, operation, params, kind, headers)
        return Reply(200, headers, codec.encode(kind, answer), again=again)

    async def wait(self, reply: Reply, stopped: asyncio.Event, is_connected: Callable[[], bool]) -> Reply:
        """Return the reply when it has records of a queue, when its time is over, or when the server stops."""
        until = reply.until
        while reply.again is not None and self.clock() < until and is_connected() and not stopped.is_set():
            try:
                await asyncio.wait_for(stopped.wait(), event_stream.POLL)
            except asyncio.TimeoutError:
                reply = reply.again()
        return reply

    def read_delivery_stream(self, name: str, after: str, limit: str) -> Reply:
        """Return the reply to GET /firehose/<name>, which Firehose itself does not have.

        The body is JSON: the delivery stream's Incarnation, the Count of records accepted so far, and the Records that
        are held after the record with the number `after`, at most `limit` and 10 MiB of data.
        """
        headers = {"Content-Type": "application/json"}
        try:
            if not (after.isdecimal() and limit.isdecimal() and len(after) < 20 and 1 <= int(limit) <= READ_RECORDS):
                raise invalid_argument(f"after must be a whole number, limit one from 1 to {READ_RECORDS}")
            stream = self.model.firehose.find(name, max(self.clock(), self.model.now))
        except ServiceError as error:
            return _failed(error, codec.JSON, headers)
        records: list[dict[str, object]] = []
        size = 0
        for each in itertools.islice(firehose_records(stream, int(after)), int(limit)):
            size += len(each.data)
            if records and size > READ_BYTES:
                break
            members = {"Number": each.number, "RecordId": each.record_id, "Data": each.data}
            records.append({**members, "ApproximateArrivalTimestamp": round(each.time, 3)})
        answer = {"Incarnation": stream.incarnation, "Count": stream.count, "Records": records}
        return Reply(200, headers, codec.encode(codec.JSON, answer))


def _failed(error: ServiceError, kind: str, headers: dict[str, str]) -> Reply:
    headers["x-amzn-ErrorType"] = error.code
    body = codec.encode(kind, {"__type": error.code, "message": error.message})
    return Reply(error.status, headers, body)
