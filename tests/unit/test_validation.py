"""Arguments of put_record, put_records, aput_record and flush: which are refused, with which message, and which not."""

from __future__ import annotations

import array
import asyncio
import ctypes
import gc
import mmap
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kplpy import InvalidRecordError, KplpyError, Producer, ProducerClosedError, RecordFuture, UserRecord
from tests.stub_service import PATIENCE, StubService

FOUR_BYTES = "🙂"
MIB = 1 << 20
ITEM_RULE = (
    "an item must be (data, partition_key), (data, partition_key, explicit_hash_key), (data, partition_key, "
    "explicit_hash_key, headers) or a UserRecord"
)
ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"


# The three ways to put one record.
def put_record(producer: Producer, *args: Any, **kwargs: Any) -> RecordFuture:
    return producer.put_record(*args, **kwargs)


def put_records(producer: Producer, stream: Any, data: Any, key: Any = None, *, explicit_hash_key: Any = None) -> Any:
    return producer.put_records(stream, [(data, key, explicit_hash_key)])[0]


def put_user_record(
    producer: Producer, stream: Any, data: Any, key: Any = None, *, explicit_hash_key: Any = None
) -> Any:
    return producer.put_records(stream, [UserRecord(data, key, explicit_hash_key)])[0]


def aput_record(producer: Producer, *args: Any, **kwargs: Any) -> RecordFuture:
    return asyncio.run(producer.aput_record(*args, **kwargs))


WAYS: list[Callable[..., RecordFuture]] = [put_record, put_records, put_user_record, aput_record]
ways = pytest.mark.parametrize("put", WAYS)


def released() -> memoryview:
    view = memoryview(bytearray(b"gone"))
    view.release()
    return view


def closed_mmap() -> mmap.mmap:
    mapped = mmap.mmap(-1, 16)
    mapped.close()
    return mapped


# --- refused arguments ---

BAD_STREAMS: list[tuple[Any, str]] = [
    (
        "",
        "stream must be a stream's ARN or its name (1 to 128 of a-z A-Z 0-9 _ . -), or a delivery stream's ARN, got ''",
    ),
    (
        " orders",
        (
            "stream must be a stream's ARN or its name (1 to 128 of a-z A-Z 0-9 _ . -), or a delivery stream's ARN, "
            "got ' orders'"
        ),
    ),
    ("orders\n", "stream must be a stream's ARN or its name"),
    ("a/b", "stream must be a stream's ARN or its name"),
    ("größe", "stream must be a stream's ARN or its name"),
    ("x" * 129, "stream must be a stream's ARN or its name"),
    (f"{ARN}/consumer/c:1", "stream must be a stream's ARN or its name"),
    (ARN.replace("123456789012", "12345"), "stream must be a stream's ARN or its name"),
    (ARN.replace("kinesis", "firehose"), "stream must be a stream's ARN or its name"),
    (ARN.replace("stream/orders", "stream/"), "stream must be a stream's ARN or its name"),
    (b"orders", "stream must be a str, got bytes: b'orders'"),
    (None, "stream must be a str, got NoneType: None"),
    (7, "stream must be a str, got int: 7"),
]
TOO_LARGE = "a record is at most 1048576 bytes, data and UTF-8 partition key (max_user_record_size);"
BAD_DATA: list[tuple[Any, str]] = [
    ("text", "data must be a bytes-like object, got str: 'text'"),
    (None, "data must be a bytes-like object, got NoneType: None"),
    (7, "data must be a bytes-like object, got int: 7"),
    (True, "data must be a bytes-like object, got bool: True"),
    ([1, 2], "data must be a bytes-like object, got list: [1, 2]"),
    ({"id": 7}, "data must be a bytes-like object, got dict: {'id': 7}"),
    ("long" * 100, "data must be a bytes-like object, got str: 'longlong"),
    (
        b"x" * (MIB - 2),
        f"{TOO_LARGE} got 1048577: 1048574 of data and 3 of key",
    ),
    (
        bytearray(2 * MIB),
        f"{TOO_LARGE} got 2097155: 2097152 of data and 3 of key",
    ),
]
BAD_KEYS: list[tuple[Any, str]] = [
    ("", "partition_key must have 1 to 256 characters, got 0: ''"),
    ("x" * 257, "partition_key must have 1 to 256 characters, got 257"),
    (FOUR_BYTES * 257, "partition_key must have 1 to 256 characters, got 257"),
    ("\ud83d", "partition_key must be encodable as UTF-8, got '\\ud83d'"),
    (b"key", "partition_key must be a str, got bytes: b'key'; put key.decode(), or set key_serializer to a function"),
    (
        7,
        "partition_key must be a str, got int: 7; put str(key), or set key_serializer to a function that returns",
    ),
    (("k",), "partition_key must be a str, got tuple"),
    (["k"], "partition_key must be a str, got list"),
]
BAD_HASH_KEYS: list[tuple[Any, str]] = [
    (value, "explicit_hash_key must be a decimal integer from 0 to 2**128 - 1, got ")
    for value in (2**128, str(2**128), -1, "-1", "1.0", 1.0, "", " 1", "0x1", "\u0661", "\u00b2", True, b"1", [1])
]


@ways
@pytest.mark.parametrize(("stream", "message"), BAD_STREAMS)
def test_a_bad_stream(producer: Producer, put: Callable[..., Any], stream: Any, message: str) -> None:
    refused(producer, message, lambda: put(producer, stream, b"data", "key"))
    assert producer.metrics() == {}


@ways
@pytest.mark.parametrize("stream", [["orders"], {"orders": 1}, bytearray(b"orders")], ids=["list", "dict", "bytearray"])
def test_a_stream_that_cannot_be_hashed(producer: Producer, put: Callable[..., Any], stream: Any) -> None:
    message = f"stream must be a str, got {type(stream).__name__}: "
    refused(producer, message, lambda: put(producer, stream, b"data", "key"))


@ways
@pytest.mark.parametrize(("data", "message"), BAD_DATA)
def test_bad_data(producer: Producer, put: Callable[..., Any], data: Any, message: str) -> None:
    refused(producer, message, lambda: put(producer, "orders", data, "key"))


@ways
@pytest.mark.parametrize("make", [released, closed_mmap])
def test_data_that_is_gone(producer: Producer, put: Callable[..., Any], make: Callable[[], Any]) -> None:
    data = make()
    refused(producer, "data must be ", lambda: put(producer, "orders", data, "key"))


@ways
@pytest.mark.parametrize(("key", "message"), BAD_KEYS)
def test_a_bad_partition_key(producer: Producer, put: Callable[..., Any], key: Any, message: str) -> None:
    refused(producer, message, lambda: put(producer, "orders", b"data", key))


@ways
@pytest.mark.parametrize(("hash_key", "message"), BAD_HASH_KEYS)
def test_a_bad_explicit_hash_key(producer: Producer, put: Callable[..., Any], hash_key: Any, message: str) -> None:
    refused(producer, message, lambda: put(producer, "orders", b"data", "key", explicit_hash_key=hash_key))
    refused(producer, message, lambda: put(producer, "orders", b"data", explicit_hash_key=hash_key))


def refused(producer: Producer, message: str, call: Callable[[], object]) -> None:
    """Check that the call raises, and that no record is queued, now or at the end."""
    with pytest.raises(InvalidRecordError) as raised:
        call()
    text = str(raised.value)
    assert text.removeprefix("item 0: ").startswith(message), text
    assert len(text) < 400
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, KplpyError)
    assert raised.value.__cause__ is None
    assert producer.outstanding_records == 0
    assert producer.outstanding_bytes == 0
    assert all(each.user_records_accepted == 0 for each in producer.metrics().values())


def test_hash_key_and_later_arguments_go_by_name(producer: Producer) -> None:
    with pytest.raises(TypeError):
        producer.put_record("orders", b"x", "k", "7")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        producer.put_record("orders")  # type: ignore[call-arg]
    assert producer.outstanding_records == 0


def test_a_refused_record_starts_nothing(producer: Producer) -> None:
    threads = set(threading.enumerate())
    bads: list[dict[str, Any]] = [{"data": None}, {"data": b"x", "partition_key": ""}]
    for bad in bads:
        with pytest.raises(InvalidRecordError):
            producer.put_record("orders", **bad)
    assert set(threading.enumerate()) <= threads
    gone = weakref.ref(Producer())
    with pytest.raises(InvalidRecordError):
        gone().put_record("orders", None)  # type: ignore[union-attr]
    gc.collect()
    assert gone() is None  # no reference keeps the producer until the interpreter's exit


# --- put_records: all or nothing ---


@pytest.mark.parametrize("position", [0, 1, 199])
@pytest.mark.parametrize(
    ("item", "message"),
    [
        (("text", "key"), "data must be a bytes-like object, got str: 'text'"),
        ((b"x", ""), "partition_key must have 1 to 256 characters, got 0"),
        ((b"x", "k", "-1"), "explicit_hash_key must be a decimal integer"),
        (UserRecord(b"x", "k", "-1"), "explicit_hash_key must be a decimal integer"),
        (UserRecord(b"x" * (MIB + 1), "k"), "a record is at most 1048576 bytes"),
        (
            (b"x",),
            ITEM_RULE,
        ),
        ((b"x", "k", "1", None, 2), "an item must be (data, partition_key)"),
        ((b"x", "k", "1", 2), "headers must be a mapping of str to str or None"),
        (UserRecord(b"x", "k", headers={"": "x"}), "a header's name must be a str that is not empty, got ''"),
        (
            b"xk",
            ITEM_RULE,
        ),
        ("xk", "an item must be (data, partition_key)"),
        ({"data": b"x"}, "an item must be (data, partition_key)"),
        (None, f"{ITEM_RULE}, got N"),
    ],
)
def test_one_bad_item_refuses_them_all(
    service: StubService, producer: Producer, item: Any, message: str, position: int
) -> None:
    items: list[Any] = [(b"good", f"key-{n}") for n in range(200)]
    items[position] = item
    with pytest.raises(InvalidRecordError) as raised:
        producer.put_records("orders", items)
    assert str(raised.value).startswith(f"item {position}: {message}")
    assert producer.outstanding_records == 0
    assert sum(each.user_records_accepted for each in producer.metrics().values()) == 0
    # none of the refused records comes later: only the next record arrives
    producer.put_record("orders", b"alone", "key").result(PATIENCE)
    assert [each.data for each in service.sent()] == [b"alone"]


def test_items_that_raise_on_the_way_are_not_accepted(service: StubService, producer: Producer) -> None:
    def items() -> Iterator[tuple[bytes, str]]:
        for _ in range(300):
            yield b"x", "key"
        raise LookupError("the database went away")

    with pytest.raises(LookupError, match="the database went away"):
        producer.put_records("orders", items())
    producer.flush(timeout=PATIENCE)
    assert service.sent() == []


@pytest.mark.parametrize("items", [None, 7, b"xk", "xk", [None]])
def test_items_that_are_none(producer: Producer, items: Any) -> None:
    with pytest.raises((TypeError, InvalidRecordError)) as raised:
        producer.put_records("orders", items)
    assert "iterable" in str(raised.value) or "an item must be" in str(raised.value)
    assert producer.outstanding_records == 0


def test_no_items(producer: Producer) -> None:
    assert producer.put_records("orders", []) == []
    assert producer.put_records("orders", iter(())) == []
    producer.flush(timeout=PATIENCE)


def test_items_in_their_forms_and_order(service: StubService, producer: Producer) -> None:
    def items() -> Iterator[Any]:
        yield b"0", "k0"
        yield b"1", "k1", "0"
        yield b"2", "k2", 5
        yield b"3", "k3", None
        yield [b"4", "k4"]
        yield UserRecord(b"5", "k5")
        yield UserRecord(b"6", "k6", "0007")
        yield bytearray(b"7"), None

    futures = producer.put_records("orders", items())
    for future in futures:
        future.result(PATIENCE)
    assert [each.partition_key for each in futures[:7]] == [f"k{n}" for n in range(7)]
    sent = sorted(service.sent(), key=lambda each: each.data)
    assert [each.data for each in sent] == [b"%d" % n for n in range(8)]
    assert [each.explicit_hash_key for each in sent[:7]] == [None, "0", "5", None, None, None, "7"]
    assert [each.partition_key for each in sent[:7]] == [f"k{n}" for n in range(7)]
    assert len(sent[7].partition_key) == 32


# --- accepted arguments ---


@ways
@pytest.mark.parametrize("stream", ["o", "x" * 128, "a.b_c-D9", ".", ARN, ARN.replace("arn:aws:", "arn:aws-us-gov:")])
def test_good_streams(service: StubService, producer: Producer, put: Callable[..., RecordFuture], stream: str) -> None:
    future = put(producer, stream, b"data", "key")
    assert future.stream == stream
    future.result(PATIENCE)
    assert [each.stream for each in service.sent()] == [stream]
    assert list(producer.metrics()) == [stream]


class Name(str):
    __slots__ = ()


@ways
@pytest.mark.parametrize("key", ["k", "x" * 256, FOUR_BYTES * 256, "\x00", " ", "ü", Name("named")], ids=ascii)
def test_good_keys(service: StubService, producer: Producer, put: Callable[..., RecordFuture], key: str) -> None:
    put(producer, "orders", b"data", key).result(PATIENCE)
    assert [each.partition_key for each in service.sent()] == [key]


@ways
@pytest.mark.parametrize(
    ("given", "on_the_wire"),
    [
        (0, "0"),
        ("0", "0"),
        ("007", "7"),
        ("0" * 20 + str(2**128 - 1), str(2**128 - 1)),
        (2**128 - 1, str(2**128 - 1)),
        (2**127, str(2**127)),
    ],
)
def test_good_hash_keys(
    service: StubService, producer: Producer, put: Callable[..., RecordFuture], given: str | int, on_the_wire: str
) -> None:
    future = put(producer, "orders", b"data", "key", explicit_hash_key=given)
    result = future.result(PATIENCE)
    assert [each.explicit_hash_key for each in service.sent()] == [on_the_wire]
    assert result.shard_id == ("shard-1" if int(on_the_wire) >= 2**127 else "shard-0")


def test_records_without_a_key_are_given_that_of_a_shard(service: StubService, producer: Producer) -> None:
    for _ in range(20):
        producer.put_records("orders", [(b"x", None)] * 50)
        producer.put_record("orders", b"x")
        producer.flush(timeout=PATIENCE)
    sent = service.sent()
    assert len(sent) == 20 * 51
    assert 20 <= len({each.partition_key for each in sent}) <= 40  # mostly one record an aggregate
    for each in sent:
        assert each.shard == ("shard-1" if int(each.explicit_hash_key or "") >= 2**127 else "shard-0")


def mapped() -> mmap.mmap:
    memory = mmap.mmap(-1, 4)
    memory[:] = b"data"
    return memory


class Bytes(bytes):
    pass


BUFFERS: list[Any] = [
    pytest.param(make, id=name)
    for name, make in {
        "bytes": lambda: b"data",
        "bytes-subclass": lambda: Bytes(b"data"),
        "bytearray": lambda: bytearray(b"data"),
        "memoryview": lambda: memoryview(bytearray(b"data")),
        "memoryview-of-bytes": lambda: memoryview(b"data"),
        "part-of-memoryview": lambda: memoryview(b"xdatax")[1:5],
        "strided-memoryview": lambda: memoryview(b"dxaxtxax")[::2],
        "array": lambda: array.array("b", b"data"),
        "array-of-words": lambda: array.array("H", b"data"),
        "ctypes": lambda: (ctypes.c_ubyte * 4)(*b"data"),
        "mmap": mapped,
    }.items()
]


@ways
@pytest.mark.parametrize("make", BUFFERS)
def test_any_bytes_like_data(
    service: StubService, producer: Producer, put: Callable[..., RecordFuture], make: Callable[[], Any]
) -> None:
    put(producer, "orders", make(), "key").result(PATIENCE)
    assert [each.data for each in service.sent()] == [b"data"]
    assert type(service.sent()[0].data) is bytes


@ways
@pytest.mark.parametrize("make", BUFFERS)
def test_data_is_the_caller_s_again_after_the_call(
    service: StubService, producer: Producer, put: Callable[..., RecordFuture], make: Callable[[], Any]
) -> None:
    """The caller may change, resize or close its object after the call. The data of the call is sent."""
    service.hold()
    data = make()
    future = put(producer, "orders", data, "key")
    if isinstance(data, (bytearray, array.array)):
        data[0] = 1
        data.extend(data)  # raises while its buffer is in use
    elif isinstance(data, mmap.mmap):
        data[:] = b"else"
        data.close()  # raises while its buffer is in use
    elif isinstance(data, ctypes.Array):
        data[0] = 1
    elif isinstance(data, memoryview):
        if not data.readonly:
            data[0] = 1
        data.release()
    service.let_go()
    future.result(PATIENCE)
    assert [each.data for each in service.sent()] == [b"data"]


def test_bytes_are_not_copied(service: StubService, producer: Producer) -> None:
    service.hold()
    data = b"x" * 1000
    assert producer.put_record("orders", data, "key").data is data


@ways
def test_empty_data(service: StubService, producer: Producer, put: Callable[..., RecordFuture]) -> None:
    put(producer, "orders", b"", "key").result(PATIENCE)
    assert [each.data for each in service.sent()] == [b""]


@pytest.mark.parametrize("limit", [64, 1000, MIB, 10 * MIB])
@pytest.mark.parametrize("key", ["k", "ü", FOUR_BYTES, FOUR_BYTES * 10 + "ab"])
@ways
def test_the_largest_record_counts_its_key_in_utf8(
    service: StubService, put: Callable[..., RecordFuture], key: str, limit: int
) -> None:
    largest = limit - len(key.encode())
    with Producer(max_user_record_size=limit, record_max_buffered_time_ms=0) as producer:
        with pytest.raises(InvalidRecordError) as raised:
            put(producer, "orders", b"x" * (largest + 1), key)
        message = str(raised.value)
        assert f"at most {limit} bytes" in message
        assert f"got {limit + 1}: {largest + 1} of data and {len(key.encode())} of key" in message
        assert producer.outstanding_records == 0
        put(producer, "orders", b"x" * largest, key).result(PATIENCE)
        assert [len(each.data) for each in service.sent()] == [largest]


@ways
def test_a_random_key_counts_too(service: StubService, put: Callable[..., RecordFuture]) -> None:
    with Producer(max_user_record_size=100, record_max_buffered_time_ms=0) as producer:
        with pytest.raises(InvalidRecordError, match="a record is at most 100 bytes"):
            put(producer, "orders", b"x" * 100)
        put(producer, "orders", b"x" * 50).result(PATIENCE)


# --- flush ---


@pytest.mark.parametrize("stream", [7, b"orders", ["orders"], True])
def test_flush_of_what_is_no_stream(producer: Producer, stream: Any) -> None:
    with pytest.raises(TypeError) as raised:
        producer.flush(stream)
    assert str(raised.value) == f"stream must be a stream's name or ARN, or None for all, got {stream!r}"
    with pytest.raises(TypeError) as raised:
        asyncio.run(producer.aflush(stream))
    assert str(raised.value) == f"stream must be a stream's name or ARN, or None for all, got {stream!r}"


def test_flush_of_a_stream_that_was_never_put_to(producer: Producer) -> None:
    producer.flush("never", timeout=PATIENCE)
    producer.flush(timeout=0)
    assert producer.metrics() == {}


@pytest.mark.parametrize("timeout", ["5", [1], b"5"])
def test_flush_with_a_bad_timeout(service: StubService, producer: Producer, timeout: Any) -> None:
    service.hold()
    producer.put_record("orders", b"x", "key")
    with pytest.raises(TypeError):
        producer.flush(timeout=timeout)


@pytest.mark.parametrize("timeout", ["5", [1], b"5"])
def test_aflush_with_a_bad_timeout(service: StubService, producer: Producer, timeout: Any) -> None:
    service.hold()
    future = producer.put_record("orders", b"x", "key")
    with pytest.raises(TypeError):
        asyncio.run(producer.aflush(timeout=timeout))
    service.let_go()
    future.result(PATIENCE)
    producer.flush(timeout=PATIENCE)


# --- after close ---


@ways
@pytest.mark.parametrize("stream", ["orders", "never-seen"])
def test_no_put_after_close(service: StubService, put: Callable[..., RecordFuture], stream: str) -> None:
    producer = Producer()
    producer.put_record("orders", b"before", "key")
    producer.close()
    assert [each.data for each in service.sent()] == [b"before"]
    with pytest.raises(ProducerClosedError, match=r"^the producer is closed$"):
        put(producer, stream, b"after", "key")
    assert producer.outstanding_records == 0
    producer.flush(timeout=PATIENCE)
    producer.close()
    assert len(service.sent()) == 1


@ways
def test_no_put_on_a_producer_that_was_closed_unused(service: StubService, put: Callable[..., RecordFuture]) -> None:
    producer = Producer()
    producer.close()
    with pytest.raises(ProducerClosedError):
        put(producer, "orders", b"after", "key")
    assert producer.metrics() == {}
