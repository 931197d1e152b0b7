"""Joins a request body from the data of its Kinesis records and the bytes around them."""

from __future__ import annotations

from kplpy.accelerator import compiled
from kplpy.aws.base64_pieces import base64_pieces
from kplpy.wire.encode import Packing

Entry = tuple[Packing | bytes, bytes, bytes]
"""The data of one Kinesis record, and the bytes of the body before and after it. A Packing stands for its data()."""


@compiled
def assemble(start: bytes, entries: list[Entry], end: bytes, in_base64: bool) -> bytes:
    """Return `start`, the entries in order, and `end`. in_base64: the data is encoded."""
    parts = [start]
    for content, before, after in entries:
        parts.append(before)
        data, digest = content.parts() if isinstance(content, Packing) else (content, b"")
        if in_base64:
            parts += base64_pieces(data, digest)
        else:
            parts += (data, digest)
        parts.append(after)
    parts.append(end)
    return b"".join(parts)
