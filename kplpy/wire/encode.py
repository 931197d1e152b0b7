"""Writes aggregated records, by hand: byte for byte what protobuf would serialise, in a fraction of the time."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from typing import Protocol

from kplpy.wire.envelope import ENVELOPE, MAGIC


class Aggregatable(Protocol):
    """What is read of a record."""

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


class _Shapes(dict[int, tuple[bytes, bytes, int]]):
    """n → what is written before a record with n bytes of data, what before the data in it, and all that it takes.

    `head`: bytes of the record's other fields. Remembered for data of less than 4 KiB: looking up one thing and not
    four makes packing a record of 100 B 0.07 µs cheaper, of 0.45.
    """

    def __init__(self, head: int) -> None:
        self._head = head

    def __missing__(self, n: int) -> tuple[bytes, bytes, int]:
        length = _lengths[n]
        within = self._head + len(length) + n
        whole = _lengths[within]
        shape = (whole, length, len(whole) + within)
        if n < 0x1000:
            self[n] = shape
        return shape


# By their head, which is two references at the most, each a tag and a varint of 32 bits.
_shapes = [_Shapes(head) for head in range(13)]


class Packing:
    """An aggregated record in the making. `size`: of data() as it is now, exactly; `data_size`, `key_size`: of the
    records' data and partition keys; `smallest`, `largest`: of the data of one.

    The pieces of the wire format are put together as the records come, while these are in the processor's cache: 450
    records of 100 B with a key each cost 0.4 µs a record less than with an encoder that goes through them again.
    """

    __slots__ = (
        "_hash_key_fields",
        "_hash_tables",
        "_key_fields",
        "_pieces",
        "_tables",
        "data_size",
        "key_size",
        "largest",
        "size",
        "smallest",
    )

    def __init__(self) -> None:
        # key → the field that refers to its place in the table
        self._key_fields: dict[str, bytes] = {}
        self._hash_key_fields: dict[str, bytes] = {}
        self._tables: list[bytes] = []
        self._hash_tables: list[bytes] = []
        self._pieces: list[bytes] = []
        self.size = ENVELOPE
        self.data_size = self.key_size = self.largest = 0
        self.smallest = sys.maxsize

    def add(self, records: Sequence[Aggregatable], max_size: int) -> int:
        """Add records in their order until one would make it larger than `max_size`; returns how many were added.

        Partition keys must be encodable as UTF-8 (UnicodeEncodeError), explicit hash keys are taken as they are.
        """
        size, data_size, key_size = self.size, self.data_size, self.key_size
        smallest, largest = self.smallest, self.largest
        key_fields, tables, pieces, shapes = self._key_fields, self._tables, self._pieces, _shapes
        added = 0
        entry = utf8 = hash_entry = hash_field = b""
        for record in records:
            key, data, hash_key = record.partition_key, record.data, record.explicit_hash_key
            grown = size
            field = key_fields.get(key)
            new = field is None
            if field is None:
                field = _key_indexes[len(key_fields)]
                utf8 = key.encode()
                entry = _key_lengths[len(utf8)]
                grown += len(entry) + len(utf8)
            head = field
            if hash_key is not None:
                hash_entry, hash_field = self._of_hash_key(hash_key)
                head += hash_field
                grown += len(hash_entry)
            n = len(data)
            whole, length, taken = shapes[len(head)][n]
            grown += taken
            if grown > max_size:
                break
            if new:
                key_fields[key] = field
                tables += (entry, utf8)
            if hash_key is not None and hash_entry:
                self._hash_key_fields[hash_key] = hash_field
                self._hash_tables.append(hash_entry)
            pieces += (whole, head, length, data)
            data_size += n
            key_size += len(key)
            # For metrics, which would have to look at all the records again.
            if n < smallest:
                smallest = n
            if n > largest:
                largest = n
            size = grown
            added += 1
        self.size, self.data_size, self.key_size = size, data_size, key_size
        self.smallest, self.largest = smallest, largest
        return added

    def _of_hash_key(self, hash_key: str) -> tuple[bytes, bytes]:
        """Its entry in the table, empty if it is there already, and the field that refers to it."""
        field = self._hash_key_fields.get(hash_key)
        if field is not None:
            return b"", field
        utf8 = hash_key.encode()
        return _hash_key_lengths[len(utf8)] + utf8, _hash_key_indexes[len(self._hash_key_fields)]

    def data(self) -> bytes:
        """The Kinesis record's data. Changes nothing, and can be had again."""
        return b"".join(self.parts())

    def parts(self) -> tuple[bytes, bytes]:
        """The same, but for its end, and the end: whoever copies it anyway is spared a copy."""
        start = b"".join((MAGIC, *self._tables, *self._hash_tables, *self._pieces))
        return start, hashlib.md5(memoryview(start)[len(MAGIC) :], usedforsecurity=False).digest()


def encode_aggregate(records: Iterable[Aggregatable]) -> bytes:
    """One Kinesis record's data that holds all of `records`, in their order."""
    packing = Packing()
    packing.add(list(records), sys.maxsize)
    return packing.data()
