"""The arguments of puts to a delivery stream."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy import Config, InvalidRecordError, UserRecord
from kplpy.core.record import payload_size
from kplpy.delivery_validation import DeliveryChecks, delivery_checks_of
from kplpy.futures.record_future import Origin
from kplpy.hash_keys import HashKeys
from kplpy.headers import Headers, TracedHeaders
from kplpy.validation import PutItem

ORIGIN = Origin("arn:aws:firehose:eu-west-1:123456789012:deliverystream/logs")


def checks(**fields: Any) -> DeliveryChecks:
    return delivery_checks_of(Config(**fields), HashKeys())


def test_a_record_has_at_most_1000_kib_of_data_whatever_its_key() -> None:
    record = checks().record(ORIGIN, b"x" * 1_024_000, "k" * 256)
    assert (len(record.data), record.partition_key) == (1_024_000, "k" * 256)
    with pytest.raises(InvalidRecordError, match=r"at most 1024000 bytes of data .*; got 1024001$"):
        checks().record(ORIGIN, b"x" * 1_024_001)


@pytest.mark.parametrize(("limit", "expected"), [(100, 100), (10 << 20, 1_024_000)])
def test_max_user_record_size_can_only_lower_the_limit(limit: int, expected: int) -> None:
    assert len(checks(max_user_record_size=limit).record(ORIGIN, bytes(expected)).data) == expected
    with pytest.raises(InvalidRecordError, match=f"at most {expected} bytes"):
        checks(max_user_record_size=limit).record(ORIGIN, bytes(expected + 1))


def test_bytes_like_data_is_copied_and_may_be_empty() -> None:
    assert checks().record(ORIGIN, bytearray(b"abc")).data == b"abc"
    assert checks().record(ORIGIN, b"").data == b""


@pytest.mark.parametrize("key", ["k", "schlüssel", "k" * 256])
def test_a_partition_key_is_kept(key: str) -> None:
    record = checks().record(ORIGIN, b"x", key)
    assert record.partition_key == key
    assert not record.keyless


def test_a_record_without_a_key_is_charged_for_its_data_only() -> None:
    record = checks().record(ORIGIN, b"abc")
    assert record.keyless
    assert payload_size([record]) == 3


@pytest.mark.parametrize("key", ["", "k" * 257, 7, b"k", "\ud800"])
def test_a_bad_partition_key_is_refused_as_for_a_stream(key: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"^partition_key must"):
        checks().record(ORIGIN, b"x", key)


@pytest.mark.parametrize("data", ["text", None, 7])
def test_bad_data_is_refused(data: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"^data must be a bytes-like object"):
        checks().record(ORIGIN, data)


@pytest.mark.parametrize("value", [0, "1", "x"])
def test_an_explicit_hash_key_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"without explicit_hash_key$"):
        checks().record(ORIGIN, b"x", "k", value)


def test_headers_are_refused_except_the_context_of_a_span() -> None:
    made = checks()
    with pytest.raises(InvalidRecordError, match="without headers"):
        made.record_with_headers(ORIGIN, b"x", None, None, {"a": "b"})
    with pytest.raises(InvalidRecordError, match="without headers"):
        made.record_with_headers(ORIGIN, b"x", None, None, TracedHeaders({"traceparent": "t"}, {"a": "b"}))
    none: list[Headers | None] = [None, {}, TracedHeaders({"traceparent": "t"}, None)]
    for headers in none:
        assert made.record_with_headers(ORIGIN, b"x", None, None, headers).headers is None


def test_items_of_all_forms_in_order() -> None:
    items: list[PutItem] = [
        (b"a", "k"),
        (b"b", None),
        (b"c", "k", None),
        (b"d", None, None, {}),
        UserRecord(b"e"),
        UserRecord(b"f", "k"),
    ]
    records, size = checks().records(ORIGIN, items)
    assert [each.data for each in records] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [each.keyless for each in records] == [False, True, False, True, True, False]
    assert size == payload_size(records) == 9


def test_a_bad_item_is_named() -> None:
    with pytest.raises(InvalidRecordError, match=r"^item 11: a record of a delivery stream is at most 1024000 bytes"):
        checks().records(ORIGIN, [(b"a", None), (bytes(1_024_001), None)], first=10)


def test_serializers_run_first() -> None:
    made = checks(value_serializer=str.encode, key_serializer=str)
    data: Any = "abc"
    key: Any = 7
    record = made.serialized_record(ORIGIN, data, key)
    assert (record.data, record.partition_key) == (b"abc", "7")


@pytest.mark.parametrize("key", [None, "k"])
def test_a_record_of_the_spool_comes_back(key: str | None) -> None:
    before = checks().record(ORIGIN, b"abc", key)
    after = checks().restored(ORIGIN, b"abc", key, None, b"", 7.0)
    assert type(after) is type(before)
    assert (after.data, after.partition_key, after.hash_key) == (before.data, before.partition_key, before.hash_key)
    assert after.arrival == 7.0
