"""Rows: every record comes back, and other bytes are refused."""

from __future__ import annotations

import pytest

from kplpy.core.record import NO_HASH_KEY, PLACEHOLDER, PendingRecord
from kplpy.spool.rows import DamagedRowError, decode, encode


class Keyless(PendingRecord):
    __slots__ = ()
    keyless = True


class Tagged(PendingRecord):
    __slots__ = ("tags",)


def record(
    data: bytes, key: str = "k", hash_key: str | None = None, made: PendingRecord | None = None
) -> PendingRecord:
    made = made or PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, key, hash_key, NO_HASH_KEY
    return made


def test_each_kind_of_record_comes_back() -> None:
    tagged = Tagged()
    tagged.tags = b"\x22\x03\x0a\x01n"
    items = [
        record(b"plain", "ключ"),
        record(b"", "k" * 256, str((1 << 128) - 1)),
        record(b"keyless", PLACEHOLDER, made=Keyless()),
        record(b"tagged", "\U0001f511", "0", made=tagged),
    ]
    assert decode(encode(items)) == [
        (b"plain", "ключ", None, b""),
        (b"", "k" * 256, str((1 << 128) - 1), b""),
        (b"keyless", None, None, b""),
        (b"tagged", "\U0001f511", "0", b"\x22\x03\x0a\x01n"),
    ]


@pytest.mark.parametrize("cut", range(31))
def test_a_cut_row_is_damaged(cut: int) -> None:
    row = encode([record(b"some data", "key", "17")])
    assert len(row) == 31
    with pytest.raises(DamagedRowError):
        decode(row[:cut])


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(DamagedRowError, match="version 2"):
        decode(b"\2" + encode([record(b"1")])[1:])
