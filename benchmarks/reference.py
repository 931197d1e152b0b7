"""A simple and obviously correct producer that the guard compares kplpy with. Do not make it faster.

Like kplpy it packs records by shard, encodes full aggregates and resolves futures. It has one thread, and no deadlines,
limits, retries or bounds.
"""

from __future__ import annotations

import base64
import json
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from hashlib import md5

MAGIC = b"\xf3\x89\x9a\xc2"
MAX_SIZE = 51_200
REQUEST_RECORDS = 100


@dataclass
class Record:
    data: bytes
    key: str
    hash_key: int
    future: Future[str] = field(default_factory=Future)


@dataclass
class Aggregate:
    records: list[Record] = field(default_factory=list)
    size: int = 0


class ReferenceProducer:
    """The producer. `send` takes a PutRecords body and returns the shard of each entry."""

    def __init__(self, starts: list[int], send: Callable[[bytes], list[str]]) -> None:
        self._starts = starts  # the first hash key of each shard
        self._send = send
        self._open = [Aggregate() for _ in starts]
        self._closed: list[Aggregate] = []

    def put_record(self, stream: str, data: bytes, key: str) -> Future[str]:
        record = Record(data, key, int.from_bytes(md5(key.encode()).digest(), "big"))
        shard = bisect_right(self._starts, record.hash_key) - 1
        aggregate = self._open[shard]
        aggregate.records.append(record)
        aggregate.size += len(data) + len(key) + 12
        if aggregate.size >= MAX_SIZE:
            self._open[shard] = Aggregate()
            self._closed.append(aggregate)
            if len(self._closed) == REQUEST_RECORDS:
                self._send_closed(stream)
        return record.future

    def flush(self, stream: str) -> None:
        self._closed += [each for each in self._open if each.records]
        self._open = [Aggregate() for _ in self._starts]
        if self._closed:
            self._send_closed(stream)

    def _send_closed(self, stream: str) -> None:
        sent, self._closed = self._closed, []
        entries = [
            {
                "Data": base64.b64encode(encode(each.records)).decode(),
                "PartitionKey": "a",
                "ExplicitHashKey": str(each.records[0].hash_key),
            }
            for each in sent
        ]
        shards = self._send(json.dumps({"StreamName": stream, "Records": entries}).encode())
        for aggregate, shard in zip(sent, shards, strict=True):
            for record in aggregate.records:
                record.future.set_result(shard)


def encode(records: list[Record]) -> bytes:
    """Encode the KPL's aggregated format: a table of keys, records that refer to it, and an MD5 at the end."""
    places: dict[str, int] = {}
    for record in records:
        places.setdefault(record.key, len(places))
    message = b"".join(_field(1, key.encode()) for key in places)
    for record in records:
        message_of_record = b"\x08" + varint(places[record.key]) + _field(3, record.data)
        message += _field(3, message_of_record)
    return MAGIC + message + md5(message).digest()


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
