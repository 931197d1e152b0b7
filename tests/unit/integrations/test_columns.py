"""Columns and Layout: which columns make a record, and the rules for their types; the values of Arrow columns."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from kplpy import ConfigError, InvalidRecordError
from kplpy.integrations import arrow_values
from kplpy.integrations.columns import Columns, Layout

TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
BINARIES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int8(), pa.binary())]


def schema(**kinds: pa.DataType) -> pa.Schema:
    return pa.schema({"data": pa.binary(), "partitionKey": pa.string(), **kinds})


def lay_out(columns: Columns | None = None, has_stream: bool = True, **kinds: pa.DataType) -> Layout:
    return Layout(schema(**kinds), columns or Columns(), has_stream)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": ""}, "the column for data must be a str that is not empty, got ''"),
        ({"headers": None}, "the column for headers must be a str that is not empty, got None"),
        ({"data": "x", "stream": "x"}, "data and stream are both column 'x'"),
        ({"json": "most"}, "json must be 'rest', 'all' or None, got 'most'"),
    ],
)
def test_columns_that_are_not_valid_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Columns(**given)


@pytest.mark.parametrize(
    ("columns", "kinds", "message"),
    [
        (Columns(), {"data": pa.int64()}, r"column 'data' \(data\) must be binary or text, and its type is int64"),
        (Columns(), {"partitionKey": pa.int32()}, "partition_key.* must be text, or binary in UTF-8, .* is int32"),
        (Columns(), {"explicitHashKey": pa.float64()}, "explicit_hash_key.* decimal digits, .* is double"),
        (Columns(), {"explicitHashKey": pa.decimal128(20, 2)}, r"explicit_hash_key.* is decimal128\(20, 2\)"),
        (Columns(), {"headers": pa.string()}, "headers.* must be a map of text to text, and its type is string"),
        (Columns(), {"headers": pa.map_(pa.string(), pa.int8())}, "headers.* must be a map of text to text"),
        (Columns(data="d"), {}, "the table has no column 'd' for data: it has 'data', 'partitionKey'"),
        (Columns(), {"a": pa.int8(), "b": pa.int8()}, "no part of a record is made of 'a', 'b': drop these columns"),
        (Columns(data="x", json="rest", stream="data"), {}, "no column is left for the JSON object of json='rest'"),
        (Columns(json="rest"), {"a": pa.duration("s")}, r"column 'a': the type duration\[s\] has no form in JSON"),
        (Columns(json="rest"), {"a": pa.list_(pa.timestamp("ns"))}, r"'a': the type timestamp\[ns\] has no form"),
    ],
)
def test_a_wrong_column_is_named_with_its_type_and_the_rule(
    columns: Columns, kinds: dict[str, pa.DataType], message: str
) -> None:
    with pytest.raises(InvalidRecordError, match=message):
        lay_out(columns, **kinds)


def test_a_table_needs_a_key_and_a_stream_unless_they_are_given_otherwise() -> None:
    with pytest.raises(
        InvalidRecordError, match=r"no column 'partitionKey' .*set it to None for records without a key"
    ):
        Layout(pa.schema({"data": pa.binary()}), Columns(), has_stream=True)
    assert Layout(pa.schema({"data": pa.binary()}), Columns(partition_key=None), True).by_role == {"data": "data"}
    with pytest.raises(InvalidRecordError, match="no column 'stream' for stream"):
        lay_out(has_stream=False)
    assert "stream" in lay_out(has_stream=False, stream=pa.string()).by_role
    assert "stream" not in lay_out(stream=pa.string()).by_role


def test_a_column_twice_is_refused() -> None:
    twice = pa.schema([("data", pa.binary()), ("data", pa.binary()), ("partitionKey", pa.string())])
    with pytest.raises(InvalidRecordError, match="several columns 'data'"):
        Layout(twice, Columns(), True)


def test_json_is_made_of_the_rest_or_of_all_columns() -> None:
    assert lay_out(Columns(json="rest"), a=pa.int8(), stream=pa.string()).json == ["data", "a"]
    assert lay_out(Columns(json="all"), a=pa.int8(), stream=pa.string()).json == ["data", "partitionKey", "a", "stream"]


@pytest.mark.parametrize("kind", [*TEXTS, *BINARIES, pa.binary(3), pa.null()], ids=str)
def test_payloads_and_keys_of_each_type(kind: pa.DataType) -> None:
    values: list[Any] = [None, None] if kind == pa.null() else ["abc", None, "äb"]
    is_text = kind in TEXTS
    column = pa.array(
        [v if is_text or v is None else v.encode() for v in values], pa.binary(3) if kind == pa.binary(3) else None
    )
    column = column if str(kind).startswith("fixed") or kind == pa.null() else _cast(column, kind)
    assert arrow_values.payloads(column) == [v if v is None else v.encode() for v in values]
    assert arrow_values.texts(column) == values


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return column.dictionary_encode().cast(kind)
    return pa.array(column.to_pylist(), kind)


def test_a_key_that_is_not_utf8_stays_bytes() -> None:
    assert arrow_values.texts(pa.array([b"\xff", b"a"])) == [b"\xff", "a"]
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"a"]).buffers())
    assert arrow_values.texts(broken) == [b"\xff", "a"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["7", None]),
        pa.array([b"7", None]),
        pa.array([7, None], pa.uint64()),
        pa.array([Decimal(7), None], pa.decimal128(38, 0)),
    ],
    ids=lambda column: str(column.type),
)
def test_explicit_hash_keys_of_each_type(column: pa.Array) -> None:
    assert [each if each is None else int(each) for each in arrow_values.hash_keys(column)] == [7, None]


def test_headers_with_a_name_twice_are_no_mapping() -> None:
    kind = pa.map_(pa.string(), pa.string())
    column = pa.array([[("a", "1"), ("b", None)], None, [("a", "1"), ("a", "2")], []], kind)
    assert arrow_values.header_maps(column) == [{"a": "1", "b": None}, None, [("a", "1"), ("a", "2")], {}]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([True, None]), [True, None]),
        (pa.array([2**63], pa.uint64()), [2**63]),
        (pa.array([1.5, float("nan"), float("inf"), None]), [1.5, None, None, None]),
        (pa.array(["ä\n", None]).dictionary_encode(), ["ä\n", None]),
        (pa.array([b"\x00\xff"]), ["AP8="]),
        (pa.array([Decimal("1.50")]), ["1.50"]),
        (pa.array([date(2026, 1, 2)]), ["2026-01-02"]),
        (pa.array([time(3, 4, 5)], pa.time32("s")), ["03:04:05"]),
        (pa.array([datetime(2026, 1, 2, 3, 4, 5)], pa.timestamp("us")), ["2026-01-02T03:04:05"]),
        (
            pa.array([datetime(2026, 1, 2, tzinfo=timezone(timedelta(0)))], pa.timestamp("ms", "UTC")),
            ["2026-01-02T00:00:00+00:00"],
        ),
        (
            pa.array([1_000_000_001, 1_000_000_000, -1, None], pa.timestamp("ns")),
            ["1970-01-01T00:00:01.000000001", "1970-01-01T00:00:01", "1969-12-31T23:59:59.999999999", None],
        ),
        (pa.array([[1.0, float("nan"), None], None]), [[1.0, None, None], None]),
        (pa.array([{"a": b"x", "b": [1]}, None]), [{"a": "eA==", "b": [1]}, None]),
        (pa.array([[("k", Decimal("1.5"))]], pa.map_(pa.string(), pa.decimal128(3, 1))), [{"k": "1.5"}]),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_each_type_has_a_form_in_json(column: pa.Array, expected: list[Any]) -> None:
    arrow_values.check_json("x", column.type)
    rows = arrow_values.json_rows(pa.record_batch({"x": column}))
    assert [json.loads(row) for row in rows] == [{"x": each} for each in expected]
