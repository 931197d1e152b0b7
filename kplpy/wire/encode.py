"""Writes aggregated records, by hand: byte for byte what protobuf would serialise, in a fraction of the time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from kplpy.wire.sizes import MAGIC


class Aggregatable(Protocol):
    """What encode_aggregate() reads of a record."""

    @property
    def data(self) -> bytes: ...
    @property
    def partition_key(self) -> str: ...
    @property
    def explicit_hash_key(self) -> str | None: ...


def _varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


class _Tagged(dict[int, bytes]):
    """n → a field's tag and the varint n, which is its value or its length.

    Remembers the short ones, at most 16,384; beside 16 KiB of data the work for a long one does not show.
    """

    def __init__(self, tag: bytes) -> None:
        self._tag = tag

    def __missing__(self, n: int) -> bytes:
        piece = self._tag + _varint(n)
        if n < 0x4000:
            self[n] = piece
        return piece


_key_lengths = _Tagged(b"\x0a")
_hash_key_lengths = _Tagged(b"\x12")
_key_indexes = _Tagged(b"\x08")
_hash_key_indexes = _Tagged(b"\x10")
_lengths = _Tagged(b"\x1a")  # a record is field 3, and so is the data in it


def encode_aggregate(records: Iterable[Aggregatable]) -> bytes:
    """One Kinesis record's data that holds all of `records`, in their order.

    Partition keys must be encodable as UTF-8 (UnicodeEncodeError), explicit hash keys are taken as they are.
    Its length is what kplpy.wire.sizes says.
    """
    # 450 records of 100 B, Python 3.11: 0.32 µs a record (0.14 of it MD5); filling a protobuf message takes 0.53.
    # With a key of its own for each record: 0.48 against 0.80.
    lengths = _lengths
    key_fields: dict[str, bytes] = {}  # key → the field that refers to its place in the table
    hash_key_fields: dict[str, bytes] = {}
    tables: list[bytes] = []
    hash_tables: list[bytes] = []
    pieces: list[bytes] = []
    for record in records:
        key = record.partition_key
        head = key_fields.get(key)
        if head is None:
            head = key_fields[key] = _key_indexes[len(key_fields)]
            utf8 = key.encode()
            tables += (_key_lengths[len(utf8)], utf8)
        hash_key = record.explicit_hash_key
        if hash_key is not None:
            field = hash_key_fields.get(hash_key)
            if field is None:
                field = hash_key_fields[hash_key] = _hash_key_indexes[len(hash_key_fields)]
                utf8 = hash_key.encode()
                hash_tables += (_hash_key_lengths[len(utf8)], utf8)
            head += field
        data = record.data
        size = len(data)
        length = lengths[size]
        pieces += (lengths[len(head) + len(length) + size], head, length, data)

    tables += hash_tables
    tables += pieces
    message = b"".join(tables)
    return b"".join((MAGIC, message, hashlib.md5(message, usedforsecurity=False).digest()))
