"""Rows of the spool: every batch of records comes back, and no bytes crash the decoder."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kplpy.core.record import NO_HASH_KEY, PLACEHOLDER, PendingRecord
from kplpy.spool.rows import DamagedRowError, StoredRecord, decode, encode


class Tagged(PendingRecord):
    __slots__ = ("tags",)


class Keyless(Tagged):
    __slots__ = ()
    keyless = True


RECORDS = st.lists(
    st.tuples(
        st.binary(max_size=40),
        st.none() | st.text(min_size=1, max_size=256),
        st.none() | st.integers(0, (1 << 128) - 1).map(str),
        st.just(b"") | st.binary(max_size=20),
    ),
    max_size=20,
)


def pending(record: StoredRecord) -> PendingRecord:
    data, key, hash_key, tags = record
    made = Keyless() if key is None else Tagged()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = (
        data,
        key or PLACEHOLDER,
        hash_key,
        NO_HASH_KEY,
    )
    made.tags = tags
    return made


@given(RECORDS)
def test_records_come_back(records: list[StoredRecord]) -> None:
    # A keyless record has no explicit hash key: the core chooses it.
    expected = [(data, key, hash_key if key else None, tags) for data, key, hash_key, tags in records]
    assert decode(encode([pending(each) for each in records])) == expected


@given(
    RECORDS, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 9)
)
def test_changed_bytes_are_refused_or_decoded(
    records: list[StoredRecord], changes: list[tuple[int, int]], cut: int
) -> None:
    row = bytearray(encode([pending(each) for each in records]))
    for place, byte in changes:
        row[place % len(row)] = byte
    try:
        decode(bytes(row[: len(row) - cut]))
    except DamagedRowError:
        pass


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_decoded(row: bytes) -> None:
    try:
        decode(row)
    except DamagedRowError:
        pass
