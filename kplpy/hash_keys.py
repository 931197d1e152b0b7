"""Computes hash keys: the 128-bit numbers that decide the shard."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import SupportsIndex

from kplpy.concurrency import has_gil
from kplpy.errors import InvalidRecordError
from kplpy.escaping import brief_repr

# CPython's MD5 takes 0.2 µs for a key. hashlib's goes through OpenSSL, whose set-up alone takes 0.3 µs more.
try:
    from _md5 import md5  # type: ignore[import-not-found]  # typeshed does not list it
except ImportError:
    from hashlib import md5

MAX_HASH_KEY = (1 << 128) - 1
MAX_KEY_CHARACTERS = 256  # the service's limit, in Unicode characters

_CACHE_LIMIT = 16384


class _Cache(dict[str, int]):
    """Hash keys by partition key. A key that is not there gives None."""

    __slots__ = ()

    def __missing__(self, _: str) -> None:
        return None


class HashKeys:
    """The MD5 of partition keys, with a cache of 16,384 keys (about 4 MB when full).

    A full cache is emptied after 65,536 keys that it does not have. Keys that are used once, such as UUIDs, are thus
    mostly not stored.
    """

    def __init__(self) -> None:
        self._cache: dict[str, int] = {} if has_gil() else _Cache()
        self._missed = 0
        # Bound once, because each put calls it. Without a GIL, get() takes the dict's lock, and [] does not.
        self.cached: Callable[[str], int | None] = self._cache.get if has_gil() else self._cache.__getitem__

    def compute(self, partition_key: str) -> int:
        """Return the hash key of a partition key that `cached` does not have. InvalidRecordError for a bad key."""
        hash_key = hash_of(partition_key)
        if len(self._cache) < _CACHE_LIMIT:
            self._cache[partition_key] = hash_key
        else:
            self._missed += 1
            if self._missed >= 4 * _CACHE_LIMIT:
                self._missed = 0
                self._cache.clear()
        return hash_key


def hash_of(partition_key: str) -> int:
    """Return the MD5 of the UTF-8 key, big-endian, as the service computes it. InvalidRecordError for a bad key."""
    if not isinstance(partition_key, str):
        raise InvalidRecordError(
            f"partition_key must be a str, got {type(partition_key).__name__}: {brief_repr(partition_key)}; put "
            f"{'key.decode()' if isinstance(partition_key, bytes) else 'str(key)'}, or set key_serializer to a "
            f"function that returns a str"
        )
    if not 1 <= len(partition_key) <= MAX_KEY_CHARACTERS:
        raise InvalidRecordError(
            f"partition_key must have 1 to {MAX_KEY_CHARACTERS} characters, got {len(partition_key)}: "
            f"{brief_repr(partition_key)}"
        )
    try:
        utf8 = partition_key.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecordError(f"partition_key must be encodable as UTF-8, got {partition_key!r}: {error}") from None
    return int.from_bytes(md5(utf8, usedforsecurity=False).digest(), "big")


def parse_explicit_hash_key(value: str | SupportsIndex) -> int:
    """Return an explicit hash key as a number. InvalidRecordError unless it is a decimal integer 0 … 2**128 - 1.

    A number may have any integral type, that is one with `__index__`, such as numpy's.
    """
    rule = "explicit_hash_key must be a decimal integer from 0 to 2**128 - 1"
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 64:
        number = int(value)
    elif isinstance(value, (str, bool)):
        raise InvalidRecordError(f"{rule}, got {brief_repr(value)}")
    else:
        try:
            number = int(index(value))  # a plain int: the str() of a subclass of int must not be sent
        except TypeError:
            raise InvalidRecordError(f"{rule}, got {brief_repr(value)}") from None
    if not 0 <= number <= MAX_HASH_KEY:
        # Python refuses to print very long numbers.
        got = repr(value) if number.bit_length() < 1000 else f"a number of {number.bit_length()} bits"
        raise InvalidRecordError(f"{rule}, got {got:.80}")
    return number
