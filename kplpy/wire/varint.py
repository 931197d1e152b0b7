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


def read_varint(data: bytes, at: int, longest: int = 10) -> tuple[int, int]:
    """Return the number that begins at index `at`, and the index behind it.

    Raises IndexError if it is cut off, or has more than `longest` bytes. protobuf's have at most 10.
    """
    if data[at] < 0x80:
        return data[at], at + 1
    number = 0
    for place in range(longest):
        byte = data[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise IndexError("a varint is too long")
