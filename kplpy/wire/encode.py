"""Writes aggregated records without protobuf: the same bytes, in a fraction of the time."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from kplpy.wire.envelope import ENVELOPE, MAGIC
from kplpy.wire.tags import encode_tags
from kplpy.wire.varint import varint


class _Record(Protocol):
    @property
    def data(self) -> bytes: ...
    @property
    def partition_key(self) -> str: ...
    @property
    def explicit_hash_key(self) -> str | None: ...


class Aggregatable(_Record, Protocol):
    """The attributes of a record that Packing reads."""

    @property
    def tags(self) -> bytes: ...


class _Tagged(dict[int, bytes]):
    """Maps n to a field's tag followed by the varint n.

    n is the field's value or its length. Caches n below 16,384. For larger n the work is negligible beside 16 KiB of
    data.
    """

    def __init__(self, tag: bytes) -> None:
        self._tag = tag

    def __missing__(self, n: int) -> bytes:
        piece = self._tag + varint(n)
        if n < 0x4000:
            self[n] = piece
        return piece


_key_lengths = _Tagged(b"\x0a")
_hash_key_lengths = _Tagged(b"\x12")
_key_indexes = _Tagged(b"\x08")
_hash_key_indexes = _Tagged(b"\x10")
_lengths = _Tagged(b"\x1a")  # field 3 is both the record in the aggregate and the data in the record


class _Shapes(dict[int, tuple[bytes, bytes, int]]):
    """Maps n, the size of a record's data, to what is written around the data.

    The value has the bytes before the record, the bytes before its data, and the record's whole size.

    head: size of the record's other fields in bytes.
    Caches n below 4 KiB: one lookup instead of four makes packing a record of 100 B 0.07 µs cheaper, of 0.45 µs.
    """

    def __init__(self, head: int) -> None:
        self._head = head

    def __missing__(self, n: int) -> tuple[bytes, bytes, int]:
        data_prefix = _lengths[n]
        body_size = self._head + len(data_prefix) + n
        record_prefix = _lengths[body_size]
        shape = (record_prefix, data_prefix, len(record_prefix) + body_size)
        if n < 0x1000:
            self[n] = shape
        return shape


# Indexed by the size of the head. A head has at most two references, each a tag (1 byte) and a varint of 32 bits (5).
_shapes = [_Shapes(head) for head in range(13)]


class Packing:
    """An aggregated record to which records are being added.

    size: exact size of data() as it is now
    data_size: size of the records' data together
    other_size: length of the records' partition keys in characters, and of their tags in bytes, together
    smallest, largest: size of the smallest and the largest record's data

    add() makes the pieces of the wire format at once, while a record is in the processor's cache. 450 records of 100 B
    with a key each cost 0.4 µs a record less than with an encoder that reads them a second time.
    """

    __slots__ = (
        "_hash_key_fields",
        "_hash_tables",
        "_key_fields",
        "_pieces",
        "_tables",
        "data_size",
        "largest",
        "other_size",
        "size",
        "smallest",
    )

    def __init__(self) -> None:
        # Maps a key to the field that holds its index in the table.
        self._key_fields: dict[str, bytes] = {}
        self._hash_key_fields: dict[str, bytes] = {}
        self._tables: list[bytes] = []
        self._hash_tables: list[bytes] = []
        self._pieces: list[bytes] = []
        self.size = ENVELOPE
        self.data_size = self.other_size = self.largest = 0
        self.smallest = sys.maxsize

    def add(self, records: Sequence[Aggregatable], max_size: int) -> int:
        """Add records in order while size stays within `max_size`; return how many were added.

        Raises UnicodeEncodeError if a partition key cannot be encoded as UTF-8. Explicit hash keys are not checked.
        """
        size, data_size, other_size = self.size, self.data_size, self.other_size
        smallest, largest = self.smallest, self.largest
        key_fields, tables, pieces, shapes = self._key_fields, self._tables, self._pieces, _shapes
        added = 0
        entry = utf8 = hash_entry = hash_field = b""
        for record in records:
            key, data, hash_key = record.partition_key, record.data, record.explicit_hash_key
            new_size = size
            field = key_fields.get(key)
            is_new_key = field is None
            if field is None:
                field = _key_indexes[len(key_fields)]
                utf8 = key.encode()
                entry = _key_lengths[len(utf8)]
                new_size += len(entry) + len(utf8)
            head = field
            if hash_key is not None:
                hash_entry, hash_field = self._hash_key_parts(hash_key)
                head += hash_field
                new_size += len(hash_entry)
            n = len(data)
            record_prefix, data_prefix, record_size = shapes[len(head)][n]
            tags = record.tags
            if tags:
                body_size = record_size - len(record_prefix) + len(tags)
                record_prefix = _lengths[body_size]
                record_size = len(record_prefix) + body_size
            new_size += record_size
            if new_size > max_size:
                break
            if is_new_key:
                key_fields[key] = field
                tables += (entry, utf8)
            if hash_key is not None and hash_entry:
                self._hash_key_fields[hash_key] = hash_field
                self._hash_tables.append(hash_entry)
            pieces += (record_prefix, head, data_prefix, data)
            if tags:
                pieces.append(tags)
                other_size += len(tags)
            data_size += n
            other_size += len(key)
            # Counted here so that metrics need not read all the records again.
            if n < smallest:
                smallest = n
            if n > largest:
                largest = n
            size = new_size
            added += 1
        self.size, self.data_size, self.other_size = size, data_size, other_size
        self.smallest, self.largest = smallest, largest
        return added

    def _hash_key_parts(self, hash_key: str) -> tuple[bytes, bytes]:
        """Return the hash key's table entry and the field with its index.

        The entry is empty if the key is in the table already.
        """
        field = self._hash_key_fields.get(hash_key)
        if field is not None:
            return b"", field
        utf8 = hash_key.encode()
        return _hash_key_lengths[len(utf8)] + utf8, _hash_key_indexes[len(self._hash_key_fields)]

    def data(self) -> bytes:
        """Return the Kinesis record's data. Changes nothing; more records may be added afterwards."""
        return b"".join(self.parts())

    def message(self) -> bytes:
        """Return the protobuf message alone, without the magic and the MD5."""
        return b"".join((*self._tables, *self._hash_tables, *self._pieces))

    def parts(self) -> tuple[bytes, bytes]:
        """Return data() in two parts: the body, and the 16-byte MD5 that ends it.

        The caller joins them into the request body, which saves one copy.
        """
        start = b"".join((MAGIC, *self._tables, *self._hash_tables, *self._pieces))
        return start, hashlib.md5(memoryview(start)[len(MAGIC) :], usedforsecurity=False).digest()


class Encodable(_Record, Protocol):
    """The attributes of a record that encode_aggregate reads, as UserRecord has them."""

    @property
    def headers(self) -> Mapping[str, str | None] | None: ...


class Entry(NamedTuple):
    """One record to pack."""

    data: bytes
    partition_key: str
    explicit_hash_key: str | None
    tags: bytes


def encode_aggregate(records: Iterable[Encodable]) -> bytes:
    """Return the data of one Kinesis record that holds all of `records`, in order."""
    packing = Packing()
    packing.add(
        [Entry(r.data, r.partition_key, r.explicit_hash_key, encode_tags(r.headers or {})) for r in records],
        sys.maxsize,
    )
    return packing.data()
