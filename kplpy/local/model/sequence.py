"""Sequence numbers, shard ids and the opaque tokens, in the shapes the service gives them.

A sequence number is 186 bits, printed in decimal (56 digits): the second its shard was opened, the stream's running
count, the second it was given, the shard's index. So numbers rise strictly within a shard, and a child's are all
above its parents', as long as a child's opening second is above theirs (Shard sees to that).
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
"""Shard iterators and NextTokens are good for five minutes."""

_MARK, _OPENED, _NIBBLE, _COUNT, _GIVEN, _INDEX = 184, 148, 144, 80, 36, 4
LAST_COUNT = (1 << 63) - 1
_SHARD_ID = re.compile(r"(?:[A-Za-z0-9_.]*-)?(\d{1,12})")


def sequence_base(index: int, opened: int) -> int:
    """What all numbers of a shard have in common. `opened`: whole epoch seconds."""
    return (2 << _MARK) | (opened << _OPENED) | ((index & 15) << _NIBBLE) | (index << _INDEX) | 2


def sequence_number(base: int, count: int, now: float) -> int:
    """The number of the stream's `count`th record, given at `now`."""
    return base + (count << _COUNT) + (int(now) << _GIVEN)


def sequence_floor(base: int, count: int) -> int:
    """The smallest number that the `count`th or a later record of the shard can have."""
    return base - (base & ((1 << _COUNT) - 1)) + (count << _COUNT)


def sequence_count(number: int) -> int:
    """The running count inside a number: the order in which the stream took its records."""
    return (number >> _COUNT) & ((1 << 64) - 1)


def sequence_shard(number: int) -> int:
    """The shard index inside a number."""
    return (number >> _INDEX) & ((1 << 32) - 1)


def sequence_valid(number: int) -> bool:
    """Whether this can be one of our numbers."""
    return number >> _MARK == 2 and number & 15 == 2


def shard_id(index: int) -> str:
    return f"shardId-{index:012d}"


def shard_index(text: str) -> int | None:
    """The index in a shard id; like the service, only the digits after the dash count. None: not a shard id."""
    match = _SHARD_ID.fullmatch(text)
    return int(match[1]) if match else None


@lru_cache(1 << 16)
def hash_key(partition_key: str) -> int:
    """Where a partition key lies in the hash range: its MD5, read big-endian."""
    return int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest(), "big")


def pack_token(kind: str, *parts: object) -> str:
    """An opaque token. No part may contain a slash, except the last."""
    text = "/".join([kind, *map(str, parts)]).encode()
    return binascii.b2a_base64(zlib.crc32(text).to_bytes(4, "big") + text, newline=False).decode()


def unpack_token(kind: str, token: str, parts: int) -> list[str] | None:
    """The parts of a token made by pack_token; None when it is none of ours."""
    try:
        raw = binascii.a2b_base64(token.encode("ascii"))  # what is not base64 fails by its checksum
        text = raw[4:].decode()
    except ValueError:  # binascii.Error and UnicodeError are both ValueErrors
        return None
    if zlib.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
        return None
    found = text.split("/", parts)
    return found[1:] if found[0] == kind and len(found) == parts + 1 else None


def in_range(value: str, what: str = "ExplicitHashKey") -> int:
    """A hash key from its decimal text; outside 0 … 2^128-1: InvalidArgumentException."""
    number = int(value)
    if number >= HASH_KEYS:
        raise ServiceError(
            "InvalidArgumentException",
            f"Invalid {what}. {what} must be in the range: [0, 2^128-1]. Specified value was {value}",
        )
    return number
