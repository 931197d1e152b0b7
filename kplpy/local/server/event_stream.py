"""Event streams in AWS's framing: application/vnd.amazon.eventstream.

A message has a prelude (its length and that of its headers), the prelude's CRC-32, headers, a payload, and the CRC-32
of all before it. See https://smithy.io/2.0/aws/amazon-eventstream.html. All numbers are big-endian.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from kplpy.local.model.consumers import Subscription
from kplpy.local.model.errors import ServiceError
from kplpy.local.server import codec

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7  # the type of a header's value
POLL = 0.02
"""Seconds between two looks for records. The model has no way to wake anybody."""


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message of an event stream."""
    head = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", _STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


async def messages(
    subscription: Subscription, kind: str, clock: Callable[[], float], stopped: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yield the messages of a SubscribeToShard response until the subscription or the server ends.

    kind: the content type of the payloads, codec.JSON or codec.CBOR.
    """
    yield _event("initial-response", kind, {})
    while not subscription.ended and not stopped.is_set():
        try:
            for event in subscription.events(clock()):
                yield _event("SubscribeToShardEvent", kind, event)
        except ServiceError as error:
            headers = {":message-type": "exception", ":exception-type": error.code, ":content-type": kind}
            yield message(headers, codec.encode_structure(kind, {"message": error.message}))
            return
        try:
            await asyncio.wait_for(stopped.wait(), POLL)
        except asyncio.TimeoutError:
            pass


def _event(name: str, kind: str, content: dict[str, Any]) -> bytes:
    headers = {":message-type": "event", ":event-type": name, ":content-type": kind}
    return message(headers, codec.encode_structure(kind, content))
