"""A record's headers as the tags of the aggregate's format: field 4 of its Record message (docs/format.md)."""

from __future__ import annotations

from collections.abc import Mapping

from kplpy.wire.varint import read_varint, varint

_TAG, _KEY, _VALUE = b"\x22", b"\x0a", b"\x12"  # field number and wire type, as protobuf writes them


def encode_tags(headers: Mapping[str, str | None]) -> bytes:
    """Return the headers in their order, as the last fields of a Record. A header of None is a tag without a value.

    Raises UnicodeEncodeError for a name or value that UTF-8 cannot hold.
    """
    tags = bytearray()
    for name, value in headers.items():
        tag = _KEY + _string(name)
        if value is not None:
            tag += _VALUE + _string(value)
        tags += _TAG + varint(len(tag)) + tag
    return bytes(tags)


def decode_tags(tags: bytes) -> dict[str, str | None]:
    """Return the headers of what encode_tags wrote."""
    headers: dict[str, str | None] = {}
    at = 0
    while at < len(tags):
        size, at = read_varint(tags, at + 1)
        end = at + size
        name, at = _read_string(tags, at)
        headers[name] = None
        if at < end:
            headers[name], at = _read_string(tags, at)
    return headers


def _string(text: str) -> bytes:
    utf8 = text.encode()
    return varint(len(utf8)) + utf8


def _read_string(tags: bytes, at: int) -> tuple[str, int]:
    size, start = read_varint(tags, at + 1)
    return tags[start : start + size].decode(), start + size
