"""The exact size of an aggregated record, part by part, before anything is encoded.

size = ENVELOPE
     + table_entry_size() of each different partition key and of each different explicit hash key
     + record_size() of each user record

An index is a string's place in its table, in the order of first appearance, from 0.
"""

from __future__ import annotations

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_SIZE = 16
ENVELOPE = len(MAGIC) + DIGEST_SIZE
"""Bytes of an aggregated record around its protobuf message: the magic and the MD5."""


def varint_size(n: int) -> int:
    """Bytes that protobuf needs for the unsigned integer `n` (≥ 0)."""
    return 1 if n < 0x80 else (n.bit_length() + 6) // 7


def table_entry_size(utf8_length: int) -> int:
    """Bytes of one key or hash key in its table, given the length of its UTF-8 form in bytes."""
    if utf8_length < 0x80:
        return utf8_length + 2
    return 1 + varint_size(utf8_length) + utf8_length


def record_size(key_index: int, hash_key_index: int | None, data_length: int) -> int:
    """Bytes of one user record within the message, its tag and length included.

    `hash_key_index` is None for a record without an explicit hash key.
    """
    # Called once a record: one-byte indexes, by far the most, skip the general arithmetic.
    size = data_length + (4 if key_index < 0x80 else 3 + varint_size(key_index))
    if hash_key_index is not None:
        size += 2 if hash_key_index < 0x80 else 1 + varint_size(hash_key_index)
    if data_length >= 0x80:
        size += (data_length.bit_length() - 1) // 7
    return size + (2 if size < 0x80 else 1 + (size.bit_length() + 6) // 7)
