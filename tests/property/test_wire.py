"""The wire format for any input: sizes are exact, the bytes are protobuf's, and the records come back."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kplpy.records import UserRecord
from kplpy.wire import compressed
from kplpy.wire.deaggregate import deaggregate
from kplpy.wire.encode import Entry, Packing, encode_aggregate
from kplpy.wire.envelope import MAGIC
from kplpy.wire.schema import aggregated_record_class
from kplpy.wire.tags import decode_tags, encode_tags
from tests.wire_records import Put, hash_keys, headers, partition_keys, puts

# numbers around those at which a varint grows by a byte
BOUNDARIES = [n + d for n in (0, 1 << 7, 1 << 14, 1 << 21) for d in (-3, -2, -1, 0, 1, 2)]
TEN_MIB = 10 << 20


def counted_size(records: list[Put]) -> int:
    """Return the size that Packing knows after each record is added by itself."""
    packing = Packing()
    for put in records:
        record = Entry(put.data, put.partition_key, put.explicit_hash_key, encode_tags(put.headers or {}))
        before = packing.size
        assert packing.add([record], before) == 0  # no record fits without growing
        assert packing.size == before
        assert packing.add([record], sys.maxsize) == 1
    return packing.size


def by_protobuf(records: list[Put]) -> bytes:
    message: Any = aggregated_record_class()()
    keys: dict[str, int] = {}
    hash_keys: dict[str, int] = {}
    for record in records:
        entry = message.records.add(data=record.data)
        entry.partition_key_index = keys.setdefault(record.partition_key, len(keys))
        if record.explicit_hash_key is not None:
            entry.explicit_hash_key_index = hash_keys.setdefault(record.explicit_hash_key, len(hash_keys))
        for name, value in (record.headers or {}).items():
            tag = entry.tags.add(key=name.encode())
            if value is not None:
                tag.value = value.encode()
    message.partition_key_table.extend(key.encode() for key in keys)
    message.explicit_hash_key_table.extend(key.encode() for key in hash_keys)
    body: bytes = message.SerializeToString()
    return MAGIC + body + hashlib.md5(body, usedforsecurity=False).digest()


def check(records: list[Put]) -> None:
    encoded = encode_aggregate(records)
    assert len(encoded) == counted_size(records)
    assert encoded == by_protobuf(records)
    assert deaggregate(encoded) == [
        UserRecord(r.data, r.partition_key, r.explicit_hash_key, None, i, None, r.headers)
        for i, r in enumerate(records)
    ]


@given(st.lists(puts(), min_size=1, max_size=40))
def test_any_records(records: list[Put]) -> None:
    check(records)


@given(
    partition_keys(),
    st.none() | hash_keys(),
    st.sampled_from([n for n in BOUNDARIES if n >= 0]) | st.integers(0, TEN_MIB),
)
@example("k", None, TEN_MIB)
@example("é" * 256, str(2**128 - 1), TEN_MIB)
@settings(max_examples=60)
def test_any_length(key: str, hash_key: str | None, length: int) -> None:
    check([Put(bytes(length), key, hash_key), Put(b"", key, None)])


@given(headers())
def test_any_headers_are_read_back_in_their_order(given: dict[str, str | None]) -> None:
    assert list(decode_tags(encode_tags(given)).items()) == list(given.items())


@given(st.sampled_from([n for n in BOUNDARIES if 0 <= n < 70_000]), st.integers(0, 200))
def test_tags_around_varint_boundaries(length: int, size: int) -> None:
    check([Put(bytes(size), "k", None, {"n": "v" * length, "m": None}), Put(b"", "k"), Put(b"", "j", "7", {"n": ""})])


@given(st.lists(st.sampled_from([n for n in BOUNDARIES if 0 <= n < 70_000]), min_size=1, max_size=20))
def test_lengths_around_varint_boundaries(lengths: list[int]) -> None:
    check([Put(bytes(n), "k", None) for n in lengths])


@pytest.mark.parametrize("count", [127, 128, 129, 16_384, 16_385, 16_386])
def test_indexes_around_varint_boundaries(count: int) -> None:
    check([Put(b"x", f"key {i}", str(i)) for i in range(count)] + [Put(b"y", f"key {count - 1}", str(count - 1))])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_a_plain_record(data: bytes) -> None:
    assume(not data.startswith(compressed.MAGIC))  # may be an error: docs/format.md
    assert deaggregate(data) == [UserRecord(data, None, None, None, 0, None)]


@given(st.binary(min_size=1, max_size=200))
@example(b"\x1a\x04\x08\x00\x1a\x00")  # a record, but no key table
@example(b"\x0a\x01k\x1a\x05\x08\x01\x1a\x01x")  # key index 1 in a table of one key
@example(b"\x0a\x01k\x1a\x02\x08\x00")  # no data: a required field is missing
def test_any_message_in_a_valid_envelope_gives_a_list(message: bytes) -> None:
    data = MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()
    for record in deaggregate(data):
        assert isinstance(record.data, bytes)
        assert isinstance(record.partition_key, str) or record.data == data
