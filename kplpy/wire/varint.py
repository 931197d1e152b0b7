"""protobuf's variable-length integers: 7 bits in each byte, least significant first."""

from __future__ import annotations


def varint(n: int) -> bytes:
    """Return a number of 0 or more, encoded."""
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at index `at`, and the index behind it. Raises IndexError if it is cut off."""
    number = shift = 0
    while data[at] >= 0x80:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | data[at] << shift, at + 1
