"""Sequence numbers, shard ids and opaque tokens, in the service's formats.

A sequence number has 186 bits and is printed in decimal (56 digits). It holds the second in which the shard was opened,
the stream's running count, the second in which the number was given, and the shard's index. So numbers rise strictly
within a shard. All numbers of a child are above those of its parents, because its opening second is (see Shard).
"""

from __future__ import annotations

import binascii
import re
import zlib
from functools import lru_cache
from hashlib import md5

from kplpy.local.model.errors import ServiceError

HASH_KEYS = 1 << 128
TOKEN_SECONDS = 300.0
"""Shard iterators and NextTokens are valid for five minutes."""

_MARK, _OPENED, _NIBBLE, _COUNT, _GIVEN, _INDEX = 184, 148, 144, 80, 36, 4
LAST_COUNT = (1 << 63) - 1
_SHARD_ID = re.compile(r"(?:[A-Za-z0-9_.]*-)?(\d{1,12})")


def sequence_base(index: int, opened: int) -> int:
    """Return the part that all numbers of a shard share. `opened`: whole epoch seconds."""
    return (2 << _MARK) | (opened << _OPENED) | ((index & 15) << _NIBBLE) | (index << _INDEX) | 2


def sequence_number(base: int, count: int, now: float) -> int:
    """Return the number of the stream's `count`th record, given at `now`."""
    return base + (count << _COUNT) + (int(now) << _GIVEN)


def sequence_floor(base: int, count: int) -> int:
    """Return the smallest number that the stream's `count`th or a later record can have in the shard."""
    return base - (base & ((1 << _COUNT) - 1)) + (count << _COUNT)


def sequence_count(number: int) -> int:
    """Return the running count in a number: the order in which the stream accepted its records."""
    return (number >> _COUNT) & ((1 << 64) - 1)


def sequence_shard(number: int) -> int:
    """Return the shard index in a number."""
    return (number >> _INDEX) & ((1 << 32) - 1)


def sequence_valid(number: int) -> bool:
    """Return True if the number can be one that sequence_number() made."""
    return number >> _MARK == 2 and number & 15 == 2


def shard_id(index: int) -> str:
    return f"shardId-{index:012d}"


def shard_index(text: str) -> int | None:
    """Return the index in a shard id; None for any other text.

    As in the service, only the digits after "-" count.
    """
    match = _SHARD_ID.fullmatch(text)
    return int(match[1]) if match else None


@lru_cache(1 << 16)
def hash_key(partition_key: str) -> int:
    """Return a partition key's hash key: its MD5 as a big-endian number."""
    return int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest(), "big")


def pack_token(kind: str, *parts: object) -> str:
    """Return an opaque token. Only the last part may contain a slash."""
    text = "/".join([kind, *map(str, parts)]).encode()
    return binascii.b2a_base64(zlib.crc32(text).to_bytes(4, "big") + text, newline=False).decode()


def unpack_token(kind: str, token: str, parts: int) -> list[str] | None:
    """Return the parts of a token, None if pack_token() did not make it for this `kind`."""
    try:
        raw = binascii.a2b_base64(token.encode("ascii"))  # ignores invalid characters; the checksum fails then
        text = raw[4:].decode()
    except ValueError:  # binascii.Error and UnicodeError are both ValueErrors
        return None
    if zlib.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
        return None
    found = text.split("/", parts)
    return found[1:] if found[0] == kind and len(found) == parts + 1 else None


def in_range(value: str, what: str = "ExplicitHashKey") -> int:
    """Return the hash key in a decimal text; InvalidArgumentException outside 0 … 2^128-1."""
    number = int(value)
    if number >= HASH_KEYS:
        raise ServiceError(
            "InvalidArgumentException",
            f"Invalid {what}. {what} must be in the range: [0, 2^128-1]. Specified value was {value}",
        )
    return number
