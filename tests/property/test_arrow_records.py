"""Compiled code reads Arrow arrays as the Python way does, for all types, nulls, slices and wrong values."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kplpy import accelerator
from kplpy.accelerator import twins
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.futures.record_future import Origin, RecordFuture
from kplpy.futures.resolve import resolve
from kplpy.futures.tally import count_delivered
from kplpy.hash_keys import HashKeys
from kplpy.integrations import arrow_values
from kplpy.validation import Checks, Rows, RowValues

pytestmark = pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")

ORIGIN = Origin("orders")
LARGEST = 1200  # bytes of a record: larger data is refused

BINARY = [pa.binary(), pa.large_binary()]
TEXT = [pa.string(), pa.large_string()]
OTHER = [pa.dictionary(pa.int8(), pa.string()), pa.string_view() if hasattr(pa, "string_view") else pa.string()]

datas = st.one_of(st.binary(max_size=30), st.sampled_from([b"", b"x" * 176, b"x" * 177, b"x" * LARGEST]))
data_or_none = st.one_of(datas, datas, datas, st.none())
keys = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), st.sampled_from("ab"))
strange_keys = st.one_of(keys, st.none(), st.sampled_from(["", "k" * 256, "k" * 257, "ü" * 256, "𐍈" * 256, "𐍈" * 257]))
KEY_BYTES = st.one_of(strange_keys.map(lambda key: key and key.encode()), st.sampled_from([b"\xff", b"k\x80", b"\0"]))


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.Array, pa.Array | None]:
    """Return arrays of data and keys, which may begin and end within larger ones. Most are valid."""
    count = draw(st.integers(0, 12))

    def array(kinds: list[pa.DataType], values: st.SearchStrategy[Any]) -> pa.Array:
        before, after = draw(st.integers(0, 9)), draw(st.integers(0, 3))
        size = before + count + after
        found = pa.array(draw(st.lists(values, min_size=size, max_size=size)), draw(st.sampled_from(kinds)))
        return found.slice(before, count)

    data = array(BINARY, draw(st.sampled_from([datas, datas, data_or_none])))
    chosen = draw(st.integers(0, 4))
    if chosen == 0:
        return data, draw(st.sampled_from([None, pa.nulls(count)]))
    if chosen == 1:
        return data, array(BINARY, KEY_BYTES)
    return data, array(TEXT + OTHER, draw(st.sampled_from([keys, keys | st.none(), strange_keys])))


def look(record: RecordFuture) -> tuple[Any, ...]:
    parts = (record.data, record.partition_key, record.explicit_hash_key, record.hash_key, record.tags)
    return (type(record), *parts, record.keyless, record.tries, record.maybe_written, record.stream, record.done())


@given(columns())
@example((pa.array([b"a", None]), pa.array(["k", "k"])))
@example((pa.array(["x"]), pa.array([b"\xff"])))
def test_arrays_make_the_records_that_their_values_make(arrays: tuple[pa.Array, pa.Array | None]) -> None:
    data, partition_keys = arrays

    def values() -> RowValues:
        of_keys = [None] * len(data) if partition_keys is None else arrow_values.texts(partition_keys)
        return RowValues(arrow_values.payloads(data), of_keys)

    checks = Checks(LARGEST, HashKeys())
    records, size, errors = checks.rows(ORIGIN, Rows(values, arrays))
    expected, expected_size, expected_errors = checks.rows(ORIGIN, Rows(values))
    assert [*map(look, records)] == [*map(look, expected)]
    assert size == expected_size
    assert {row: str(error) for row, error in errors.items()} == {row: str(e) for row, e in expected_errors.items()}


@given(st.lists(st.binary(max_size=4), max_size=9))
def test_valid_rows_are_read_by_compiled_code(data: list[bytes]) -> None:
    def values() -> RowValues:
        raise AssertionError("the rows were converted to Python objects")

    arrays = pa.array(data, pa.binary()), pa.array(["k"] * len(data), pa.string())
    records, _, _ = Checks(LARGEST, HashKeys()).rows(ORIGIN, Rows(values, arrays))
    assert [record.data for record in records] == data


def test_offsets_that_leave_the_data_are_left_to_python() -> None:
    for offsets in ((0, 9, 3), (2, 1, 3), (0, -1, 3)):
        damaged = pa.Array.from_buffers(
            pa.binary(), 2, [None, pa.py_buffer(struct.pack("3i", *offsets)), pa.py_buffer(b"abc")]
        )
        assert accelerator.native.arrow_records(ORIGIN, damaged, None, 100, "0") is None


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        accelerator.native.arrow_records(ORIGIN, pa.array([b"a"]), pa.array(["k", "k"]), 100, "0")


outcomes_of = st.tuples(st.sampled_from(["delivered", "delivered", "failed", "pending"]), st.booleans())


@given(st.lists(outcomes_of, max_size=9), st.integers(0, 9))
def test_outcomes_are_counted_alike(outcomes: list[tuple[str, bool]], first: int) -> None:
    delivered = Delivered("shardId-0", "1", SendAttempt(1.0, 1.0, 2.0))
    failed = Failed(Reason.EXPIRED, "expired")
    of_state: dict[str, Delivered | Failed | None] = {"delivered": delivered, "failed": failed, "pending": None}
    futures = []
    for state, maybe_written in outcomes:
        future = Checks(LARGEST, HashKeys()).record(ORIGIN, b"", "k")
        outcome = of_state[state]
        if outcome is not None:
            resolve([future], outcome)
        future.maybe_written = maybe_written
        futures.append(future)
    assert count_delivered(futures, first, Delivered) == twins["count_delivered"](futures, first, Delivered)
