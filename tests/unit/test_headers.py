"""The headers of a put: which are refused, with which message, what they count for, and what comes back."""

from __future__ import annotations

import asyncio
import pickle
from collections import UserDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from kplpy import InvalidRecordError, Producer, RecordFailedError, RecordFuture, UserRecord
from kplpy.futures.record_future import Origin
from kplpy.hash_keys import HashKeys
from kplpy.headers import MAX_HEADERS
from kplpy.validation import Checks
from kplpy.wire.encode import Entry, Packing
from kplpy.wire.tags import encode_tags
from tests.stub_service import PATIENCE, StubService

MIB = 1 << 20


def put_record(producer: Producer, headers: Any, data: bytes = b"x", key: Any = "k") -> RecordFuture:
    return producer.put_record("orders", data, key, headers=headers)


def put_tuple(producer: Producer, headers: Any, data: bytes = b"x", key: Any = "k") -> RecordFuture:
    return producer.put_records("orders", [(data, key, None, headers)])[0]


def put_user_record(producer: Producer, headers: Any, data: bytes = b"x", key: Any = "k") -> RecordFuture:
    return producer.put_records("orders", [UserRecord(data, key, headers=headers)])[0]


def aput_record(producer: Producer, headers: Any, data: bytes = b"x", key: Any = "k") -> RecordFuture:
    return asyncio.run(producer.aput_record("orders", data, key, headers=headers))


def aput_records(producer: Producer, headers: Any, data: bytes = b"x", key: Any = "k") -> RecordFuture:
    return asyncio.run(producer.aput_records("orders", [(data, key, None, headers)]))[0]


WAYS: list[Callable[..., RecordFuture]] = [put_record, put_tuple, put_user_record, aput_record, aput_records]
ways = pytest.mark.parametrize("put", WAYS)


@ways
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([("a", "b")], "headers must be a mapping of str to str or None, or None without headers; got list"),
        ("a=b", "headers must be a mapping of str to str or None, or None without headers; got str"),
        (7, "headers must be a mapping of str to str or None, or None without headers; got int"),
        ({1: "b"}, "a header's name must be a str that is not empty, got 1"),
        ({b"a": "b"}, "a header's name must be a str that is not empty, got b'a'"),
        ({"": "b"}, "a header's name must be a str that is not empty, got ''"),
        ({None: "b"}, "a header's name must be a str that is not empty, got None"),
        ({"good": "x", "a": b"secret"}, "header 'a': the value must be a str or None, got bytes"),
        ({"a": 7}, "header 'a': the value must be a str or None, got int"),
        ({"a": "\ud800 secret"}, "header 'a': name and value must be encodable as UTF-8 (surrogates not allowed)"),
        ({"\udfff": "b"}, "header '\\udfff': name and value must be encodable as UTF-8 (surrogates not allowed)"),
        (
            {f"h{number}": None for number in range(MAX_HEADERS + 1)},
            f"a record has at most {MAX_HEADERS} headers, got {MAX_HEADERS + 1}",
        ),
    ],
)
def test_bad_headers_are_refused(put: Any, producer: Producer, headers: Any, message: str) -> None:
    with pytest.raises(InvalidRecordError) as raised:
        put(producer, headers)
    assert str(raised.value).removeprefix("item 0: ") == message
    assert "secret" not in str(raised.value)
    assert producer.outstanding_records == producer.outstanding_bytes == 0


@ways
@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize(
    "headers",
    [
        {"a": "b"},
        {"é 🙂": "", "nothing": None},
        MappingProxyType({"a": "b"}),
        UserDict({"a": "b"}),
        {f"h{number}": "v" for number in range(MAX_HEADERS)},
    ],
)
def test_good_headers_are_sent(put: Any, producer: Producer, service: StubService, headers: Any, key: Any) -> None:
    future = put(producer, headers, key=key)
    assert future.keyless is (key is None)
    future.result(PATIENCE)
    (found,) = service.sent()
    assert (found.data, found.headers) == (b"x", dict(headers))


@ways
@pytest.mark.parametrize("headers", [None, {}])
def test_without_headers_a_record_is_as_before(
    put: Any, producer: Producer, service: StubService, headers: Any
) -> None:
    future = put(producer, headers)
    assert type(future) is RecordFuture
    assert future.headers is None
    future.result(PATIENCE)
    assert [(each.data, each.headers) for each in service.sent()] == [(b"x", None)]


def test_headers_are_copied(producer: Producer, service: StubService) -> None:
    headers = {"a": "b"}
    future = producer.put_record("orders", b"x", "k", headers=headers)
    headers["a"] = "c"
    future.result(PATIENCE)
    assert [each.headers for each in service.sent()] == [{"a": "b"}]


def test_the_buffer_is_charged_for_headers(service: StubService) -> None:
    service.hold()
    with Producer(close_timeout_ms=0) as producer:
        producer.put_record("orders", b"x", "k")
        plain = producer.outstanding_bytes
        producer.put_record("orders", b"x", "k", headers={"name": "v" * 1000})
        # a tag: 3 bytes before it, 2 + 4 of name, 3 + 1000 of value
        assert producer.outstanding_bytes == 2 * plain + 1012
        service.let_go()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("key", ["k", "é" * 256, None])
@pytest.mark.parametrize("explicit", [None, "0", str(2**128 - 1)])
@pytest.mark.parametrize("headers", [None, {"a": "b" * 200, "c": None}])
@pytest.mark.parametrize("limit", [2000, 20_000])
def test_the_size_limit_is_that_of_an_aggregate_of_one(
    first: bool, wraps: bool, key: str | None, explicit: str | None, headers: dict[str, str | None] | None, limit: int
) -> None:
    """The largest record that is accepted has exactly so many bytes as a Kinesis record, its key included."""
    if (key is None and explicit is not None) or not (wraps or headers):
        return
    checks = Checks(limit, HashKeys(), wraps, first)

    def accepts(size: int) -> bool:
        try:
            if headers is None:
                checks.record(Origin("orders"), bytes(size), key, explicit)
            else:
                checks.record_with_headers(Origin("orders"), bytes(size), key, explicit, headers)
        except InvalidRecordError:
            return False
        return True

    largest = max(size for size in range(limit - 1800, limit + 1) if size >= 0 and accepts(size))
    # The core gives a keyless record a key of 32 digits, and an explicit hash key of up to 39.
    key, explicit = ("0" * 32, str(2**128 - 1)) if key is None else (key, explicit)
    packing = Packing()
    packing.add([Entry(bytes(largest), key, explicit, encode_tags(headers or {}))], MIB)
    assert packing.size + (len(key.encode()) if first else 1) == limit


# --- what comes back ---


@ways
@pytest.mark.parametrize("key", ["k", None])
def test_a_failed_record_keeps_its_headers(put: Any, service: StubService, key: Any) -> None:
    service.hold()
    with Producer(close_timeout_ms=0) as producer:
        future = put(producer, {"a": "b", "c": None}, key=key)
    error = future.exception(PATIENCE)
    service.let_go()
    assert isinstance(error, RecordFailedError)
    assert error.record == UserRecord(b"x", key, headers={"a": "b", "c": None})
    copy = pickle.loads(pickle.dumps(error))
    assert copy.record == error.record


def test_a_delivered_record_is_dropped_with_its_headers(producer: Producer) -> None:
    future = producer.put_record("orders", b"x" * 100, "k", headers={"a": "b" * 1000})
    future.result(PATIENCE)
    assert (future.data, future.headers) == (b"", None)


def test_the_repr_shows_names_and_no_values() -> None:
    shown = repr(UserRecord(b"x", "k", headers={"authorization": "secret", "flag": None}))
    assert shown == "UserRecord(<1 bytes>, partition_key='k', headers=<'authorization', 'flag'>)"
