"""value_serializer and key_serializer: what goes through them, when, and what happens if one fails."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kplpy import InvalidRecordError, KplpyError, Producer, RecordFuture, UserRecord, serializers
from kplpy.core.exchange import RequestError
from kplpy.dead_letters import DeadLetterStream
from kplpy.integrations.logging import KinesisHandler
from tests.stub_service import PATIENCE, StubService, install

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> StubService:
    return install(monkeypatch)


def producing(**fields: Any) -> Producer:
    return Producer(**{"record_max_buffered_time_ms": 0, "metrics_level": "none", **fields})


def put_record(producer: Producer, data: Any, key: Any) -> RecordFuture:
    return producer.put_record("orders", data, key)


def put_records(producer: Producer, data: Any, key: Any) -> RecordFuture:
    return producer.put_records("orders", [(data, key)])[0]


def put_iterator(producer: Producer, data: Any, key: Any) -> RecordFuture:
    return producer.put_records("orders", iter([(data, key, None)]))[0]


def put_user_record(producer: Producer, data: Any, key: Any) -> RecordFuture:
    return producer.put_records("orders", [UserRecord(data, key)])[0]


def aput_record(producer: Producer, data: Any, key: Any) -> RecordFuture:
    return asyncio.run(producer.aput_record("orders", data, key))


def aput_records(producer: Producer, data: Any, key: Any) -> RecordFuture:
    return asyncio.run(producer.aput_records("orders", [(data, key)]))[0]


def aput_iterator(producer: Producer, data: Any, key: Any) -> RecordFuture:
    return asyncio.run(producer.aput_records("orders", iter([(data, key)])))[0]


WAYS: list[Callable[[Producer, Any, Any], RecordFuture]] = [
    *(put_record, put_records, put_iterator, put_user_record),
    *(aput_record, aput_records, aput_iterator),
]
ways = pytest.mark.parametrize("put", WAYS)


@ways
def test_each_put_serializes_once_on_the_putting_thread(service: StubService, put: Callable[..., RecordFuture]) -> None:
    calls: list[tuple[Any, threading.Thread]] = []

    def value(given: Any) -> bytes:
        calls.append((given, threading.current_thread()))
        return serializers.json(given)

    def key(given: Any) -> str:
        calls.append((given, threading.current_thread()))
        return f"customer-{given}"

    with producing(value_serializer=value, key_serializer=key) as producer:
        future = put(producer, {"id": 7}, 42)
        future.result(PATIENCE)
    assert [(each.data, each.partition_key) for each in service.sent()] == [(b'{"id":7}', "customer-42")]
    assert future.partition_key == "customer-42"
    assert calls == [({"id": 7}, threading.current_thread()), (42, threading.current_thread())]


@ways
@pytest.mark.parametrize("value", [None, b"bytes", "text", [1], 7])
def test_every_value_goes_through_the_serializer(
    service: StubService, put: Callable[..., RecordFuture], value: Any
) -> None:
    with producing(value_serializer=lambda given: repr(given).encode()) as producer:
        put(producer, value, "k").result(PATIENCE)
    assert [each.data for each in service.sent()] == [repr(value).encode()]


@ways
def test_no_key_is_not_serialized(service: StubService, put: Callable[..., RecordFuture]) -> None:
    def key(given: Any) -> str:
        raise AssertionError(f"called with {given!r}")

    with producing(key_serializer=key) as producer:
        put(producer, b"x", None).result(PATIENCE)
    (sent,) = service.sent()
    assert len(sent.partition_key) == 32


@pytest.mark.parametrize("returned", [bytearray(b"x"), memoryview(b"x")])
def test_a_serializer_may_return_any_bytes(service: StubService, returned: Any) -> None:
    with producing(value_serializer=lambda _: returned) as producer:
        producer.put_record("orders", 1, "k").result(PATIENCE)
        producer.put_records("orders", [(1, "k")])[0].result(PATIENCE)
    assert [each.data for each in service.sent()] == [b"x", b"x"]


class Bad(Exception):
    pass


def raises(_: Any) -> Any:
    raise Bad("cannot do this")


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"value_serializer": raises}, "value_serializer raised Bad: cannot do this; it was given dict: {'id': 7}"),
    ({"key_serializer": raises}, "key_serializer raised Bad: cannot do this; it was given str: 'k'"),
    ({"value_serializer": json.dumps}, "value_serializer must return bytes, got str: '{\"id\": 7}'"),
    ({"value_serializer": lambda _: None}, "value_serializer must return bytes, got NoneType: None"),
    ({"key_serializer": str.encode}, "key_serializer must return a str, got bytes: b'k'"),
    ({"key_serializer": lambda _: None}, "key_serializer must return a str, got NoneType: None"),
    ({"key_serializer": lambda _: ""}, "partition_key must have 1 to 256 characters, got 0"),
    ({"value_serializer": lambda _: b"x" * (1 << 20)}, "a record is at most 1048576 bytes"),
]


@ways
@pytest.mark.parametrize(("fields", "text"), FAULTS, ids=range(len(FAULTS)))
def test_a_serializer_that_fails_refuses_the_record_and_leaves_nothing(
    service: StubService, put: Callable[..., RecordFuture], fields: dict[str, Any], text: str
) -> None:
    with producing(**{"value_serializer": serializers.json, **fields}) as producer:
        with pytest.raises(InvalidRecordError) as raised:
            put(producer, {"id": 7}, "k")
        assert str(raised.value).removeprefix("item 0: ").startswith(text)
        assert isinstance(raised.value.__cause__, Bad) is ("raised Bad" in text)
        assert producer.outstanding_records == producer.outstanding_bytes == 0
    assert service.sent() == []


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def raises_with_its_value(given: Any) -> bytes:
    raise ValueError(given)


UNSHOWABLE: list[tuple[Any, Any, str]] = [
    (serializers.json, nested(), "value_serializer raised RecursionError: "),
    (serializers.json, {"a": Unshowable()}, "value_serializer raised TypeError: Unshowable has no form in JSON"),
    (raises_with_its_value, Unshowable(), "value_serializer raised ValueError; it was given Unshowable: <Unshowable>"),
    (lambda given: given, Unshowable(), "value_serializer must return bytes, got Unshowable: <Unshowable>"),
    (None, Unshowable(), "data must be a bytes-like object, got Unshowable: <Unshowable>"),
    (None, nested(), "data must be a bytes-like object, got list: [[[[...]]]]"),
]


@ways
@pytest.mark.parametrize(("serializer", "data", "text"), UNSHOWABLE, ids=range(len(UNSHOWABLE)))
def test_a_value_that_cannot_be_shown_is_refused_like_any_other(
    service: StubService, put: Callable[..., RecordFuture], serializer: Any, data: Any, text: str
) -> None:
    with producing(value_serializer=serializer) as producer:
        with pytest.raises(InvalidRecordError) as raised:
            put(producer, data, "k")
        assert str(raised.value).removeprefix("item 0: ").startswith(text)
        assert producer.outstanding_records == 0


def test_what_is_no_exception_comes_out_as_it_is(service: StubService) -> None:
    def interrupted(_: Any) -> bytes:
        raise KeyboardInterrupt

    with producing(value_serializer=interrupted) as producer:
        with pytest.raises(KeyboardInterrupt):
            producer.put_record("orders", 1, "k")
        assert producer.outstanding_records == 0


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("position", [0, 7, 1999])
def test_one_bad_item_refuses_a_list_and_is_named(service: StubService, position: int, asynchronous: bool) -> None:
    items: list[Any] = [(number, "k") for number in range(2000)]
    items[position] = ({1, 2}, "k")
    with producing(value_serializer=serializers.json) as producer:

        def aput_all(stream: str, given: Any) -> Any:
            return asyncio.run(producer.aput_records(stream, given))

        put = aput_all if asynchronous else producer.put_records
        with pytest.raises(InvalidRecordError, match=rf"^item {position}: value_serializer raised TypeError") as raised:
            put("orders", items)
        assert isinstance(raised.value.__cause__, TypeError)
        assert producer.outstanding_records == 0
    assert service.sent() == []


def test_an_iterator_is_serialized_part_by_part_by_its_serialized_size(service: StubService) -> None:
    """A part ends with 1 MiB of serialized data, so little is read ahead. The parts before a bad item stay accepted."""
    read: list[int] = []

    def items() -> Iterator[tuple[Any, str]]:
        for number in range(10):
            read.append(number)
            yield ("x" * 600_000 if number != 7 else {1}), "k"

    service.hold()
    fields: Any = {"value_serializer": serializers.json, "rate_limit": 1000}
    with producing(**fields, max_buffered_bytes=2_000_000, on_buffer_full="raise") as producer:
        futures = producer.put_records("orders", items())
        assert len(read) < 8
        assert sum(each.done() for each in futures) >= 1  # no buffer space
        service.let_go()
        producer.flush(timeout=PATIENCE)
    before = len(service.sent())
    refused = pytest.raises(InvalidRecordError, match=r"^item 7: value_serializer raised TypeError")
    with producing(**fields) as producer, refused:
        producer.put_records("orders", items())
    assert len(service.sent()) - before == 6


def test_items_in_their_forms(service: StubService) -> None:
    items: list[Any] = [
        *((0, 0), (1, 1, 5), [2, 2, None], UserRecord(3, 3, "7"), UserRecord(4)),  # type: ignore[arg-type]
    ]
    with producing(value_serializer=serializers.json, key_serializer=str) as producer:
        for each in producer.put_records("orders", items):
            each.result(PATIENCE)
        refused: list[Any] = [(1,), "ab", None, (1, 2, None, {}, 5)]
        for bad in refused:
            with pytest.raises(InvalidRecordError, match=r"^item 0: an item must be \(data, partition_key\)"):
                producer.put_records("orders", [bad])
    sent = sorted(service.sent(), key=lambda each: each.data)
    assert [each.data for each in sent] == [b"%d" % number for number in range(5)]
    assert [each.partition_key for each in sent[:4]] == ["0", "1", "2", "3"]
    assert [each.explicit_hash_key for each in sent[:4]] == [None, "5", None, "7"]


def test_headers_stay_with_the_serialized_record(service: StubService) -> None:
    headers = {"content-type": "application/json"}
    items: list[Any] = [(0, 0, None, headers), UserRecord(1, 1, headers=headers)]  # type: ignore[arg-type]
    service.hold()  # a delivered record gives up its headers
    with producing(value_serializer=serializers.json, key_serializer=str) as producer:
        futures = producer.put_records("orders", items)
        futures.append(producer.put_record("orders", 2, 2, headers=headers))
        futures.append(asyncio.run(producer.aput_record("orders", 3, 3, headers=headers)))
        futures.append(producer.put_record("orders", 4, headers=headers))
        assert [each.headers for each in futures] == [headers] * 5
        service.let_go()
        for each in futures:
            each.result(PATIENCE)
    assert sorted(each.data for each in service.sent()) == [b"%d" % number for number in range(5)]
    assert {each.partition_key for each in service.sent()} >= {"0", "1", "2", "3"}


def test_a_stream_has_a_largest_record_of_its_own(service: StubService) -> None:
    with producing(streams={"orders": {"max_user_record_size": 100}}) as producer:
        producer.put_record("others", b"x" * 100, "k").result(PATIENCE)
        producer.put_record("orders", b"x" * 99, "k").result(PATIENCE)
        with pytest.raises(InvalidRecordError, match=r"^a record is at most 100 bytes"):
            producer.put_record("orders", b"x" * 100, "k")


def test_a_long_list_is_not_limited_as_an_iterator_is(service: StubService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kplpy.validation.MAX_FROM_ITERATOR", 1000)
    with producing(value_serializer=serializers.json) as producer:
        items = [(number, "k") for number in range(1500)]
        assert len(producer.put_records("orders", items)) == 1500
        assert len(asyncio.run(producer.aput_records("orders", items))) == 1500
        with pytest.raises(KplpyError, match="at most 1,000 records of an iterator"):
            producer.put_records("orders", iter(items))


def test_streams_have_serializers_of_their_own(service: StubService) -> None:
    streams: Any = {
        "orders": {"value_serializer": serializers.json, "key_serializer": str},
        "lines": {"value_serializer": serializers.string},
        "raw": {"value_serializer": None},
    }
    with producing(value_serializer=lambda _: b"the producer's", streams=streams) as producer:
        producer.put_record("orders", {"id": 7}, 7).result(PATIENCE)
        producer.put_record(ARN, {"id": 8}, 8).result(PATIENCE)
        producer.put_record("lines", "grün", "k").result(PATIENCE)
        producer.put_record("raw", b"\xff", "k").result(PATIENCE)
        producer.put_record("others", None, "k").result(PATIENCE)
    assert [(each.stream, each.data) for each in service.sent()] == [
        ("orders", b'{"id":7}'),
        (ARN, b'{"id":8}'),
        ("lines", "grün".encode()),
        ("raw", b"\xff"),
        ("others", b"the producer's"),
    ]


OF_JSON = "set value_serializer=kplpy.serializers.json, or put json.dumps(data).encode()"
OF_OTHERS = (
    "put its bytes, or set value_serializer to a function that returns them "
    "(memoryview: a bytes-like object is required, not 'set')"
)
HINTS = [
    ("text", "put data.encode(), or set value_serializer=kplpy.serializers.string or .json"),
    *((data, OF_JSON) for data in ({"id": 7}, [1, 2], (1,), 7, 2.5, True, None)),
    ({8}, OF_OTHERS),
]


@ways
@pytest.mark.parametrize(("data", "hint"), HINTS)
def test_without_a_serializer_the_error_names_the_way(
    service: StubService, put: Callable[..., RecordFuture], data: Any, hint: str
) -> None:
    with producing() as producer, pytest.raises(InvalidRecordError) as raised:
        put(producer, data, "k")
    assert str(raised.value).removeprefix("item 0: ") == (
        f"data must be a bytes-like object, got {type(data).__name__}: {data!r}; {hint}"
    )


def test_dead_letters_and_log_records_are_not_serialized_again(
    service: StubService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kplpy.core.policy.DENIED_GRACE", 0.0)
    service.refuse = {"orders": RequestError("ResourceNotFoundException", "no stream", maybe_written=False)}
    fields: Any = {"value_serializer": serializers.json, "key_serializer": lambda given: f"key {given}"}
    with producing(**fields, on_failure=DeadLetterStream("failed")) as producer:
        assert producer.put_record("orders", {"id": 7}, 7).exception(PATIENCE)
        handler = KinesisHandler("logs", producer=producer, partition_key="web-1")
        handler.handle(logging.LogRecord("app", logging.INFO, __file__, 1, "a line", None, None))
        producer.flush(timeout=PATIENCE)
        assert handler.dropped == 0
    sent = {each.stream: (each.data, each.partition_key) for each in service.sent()}
    assert sent == {"failed": (b'{"id":7}', "key 7"), "logs": (b"a line", "web-1")}


def test_a_serializer_may_put_itself(service: StubService) -> None:
    def value(given: Any) -> bytes:
        if given == "outer":
            producer.put_record("orders", "inner", "k")
        return serializers.string(given)

    with producing(value_serializer=value) as producer:
        producer.put_record("orders", "outer", "k").result(PATIENCE)
        producer.flush(timeout=PATIENCE)
    assert sorted(each.data for each in service.sent()) == [b"inner", b"outer"]
