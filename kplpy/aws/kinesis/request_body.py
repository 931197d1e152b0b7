"""Joins a request body from the data of its Kinesis records and the bytes around them."""

from __future__ import annotations

from binascii import b2a_base64

from kplpy.accelerator import compiled
from kplpy.wire.encode import Packing

# Bytes. Base64 of one piece takes about 0.2 ms, with the GIL held. A multiple of 3, so that encoded pieces join.
PIECE = 255 * 1024

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
            _append_base64(parts, data, digest)
        else:
            parts += (data, digest)
        parts.append(after)
    parts.append(end)
    return b"".join(parts)


def _append_base64(parts: list[bytes], data: bytes, digest: bytes) -> None:
    if digest or len(data) > PIECE:
        view, whole = memoryview(data), len(data) - len(data) % 3
        parts += [b2a_base64(view[at : min(at + PIECE, whole)], newline=False) for at in range(0, whole, PIECE)]
        data = data[whole:] + digest
    parts.append(b2a_base64(data, newline=False))
