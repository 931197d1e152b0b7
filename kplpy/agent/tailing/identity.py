"""What makes a file the same file: device and inode, and hashes of its beginning and of the bytes before an offset."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

HEAD_BYTES = 1024
"""Most bytes of the beginning that are hashed."""
TAIL_BYTES = 64
"""Most bytes before an offset that are hashed."""

Key = tuple[int, int]
"""Device and inode."""

_ROTATION_ENDING = re.compile(r"[.\-_~]?(?:\d[\d.\-_T:]*|old|bak|prev|orig|copy|~)", re.IGNORECASE)

_ROTATION_ENDINGS = re.compile(r"(?:[.\-_~](?:\d[\d.\-_T:]*|old|bak|prev|orig|copy))+$", re.IGNORECASE)


def digest(data: bytes) -> bytes:
    """Return the hash by which contents are compared, 16 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a file: how many, their hash, and that of the first 64 of them."""

    length: int
    hash: bytes
    first: bytes

    def matches(self, descriptor: int) -> bool:
        """Return True if the open file begins with the same bytes."""
        data = os.pread(descriptor, self.length, 0)
        return len(data) == self.length and digest(data) == self.hash

    def matches_first(self, descriptor: int) -> bool:
        """Return True if the open file begins with the same 64 bytes."""
        data = os.pread(descriptor, min(TAIL_BYTES, self.length), 0)
        return digest(data) == self.first


def head_of(data: bytes) -> Head:
    """Return the head of a file that begins with `data`."""
    data = data[:HEAD_BYTES]
    return Head(len(data), digest(data), digest(data[:TAIL_BYTES]))


@dataclass(frozen=True, slots=True)
class Mark:
    """An offset, and the hash of the bytes before it."""

    offset: int
    hash: bytes

    def matches(self, descriptor: int) -> bool:
        """Return True if the open file has the same bytes before the offset."""
        data = bytes_before(descriptor, self.offset)
        return len(data) == min(TAIL_BYTES, self.offset) and digest(data) == self.hash


def bytes_before(descriptor: int, offset: int) -> bytes:
    """Return at most 64 bytes of the open file that end at the offset."""
    length = min(TAIL_BYTES, offset)
    return os.pread(descriptor, length, offset - length) if length else b""


def is_rotated_name(old: str, new: str) -> bool:
    """Return True if rotation may give the file `old` the name `new`: app.log, app.log.1, app-2026.log.

    Both are names, without their directories. Equal names are none that rotation gives.
    """
    if new.startswith(old):
        return _ROTATION_ENDING.fullmatch(new[len(old) :]) is not None
    stem, extension = os.path.splitext(old)
    if not (extension and new.startswith(stem) and new.endswith(extension)):
        return False
    middle = new[len(stem) : -len(extension)]
    return middle[:1] in (".", "-", "_") and _ROTATION_ENDING.fullmatch(middle) is not None


def without_rotation(name: str) -> str:
    """Return the name before rotation gave it an ending: app.log for app.log.1."""
    return _ROTATION_ENDINGS.sub("", name) or name


def is_below(old: str, new: str) -> bool:
    """Return True if the path `new` is in the directory of the path `old`, or below."""
    directory = os.path.dirname(old)
    return new.startswith(directory.rstrip("/") + "/")
