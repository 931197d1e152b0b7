"""put_table: the rows of tables, readers and frames, read back; what fails, and what the result says about it."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kplpy import InvalidRecordError, KplpyError, Producer, ProducerClosedError, RecordFuture, serializers
from kplpy.integrations import arrow
from kplpy.integrations.arrow import Columns, PutTableError, put_table
from kplpy.integrations.worker_producers import KEPT_IDLE, PlainOptions, worker_producer
from kplpy.local import LocalKinesis
from tests.integration.reading import read_all
from tests.local_stream import producing

ROWS = 7


pytestmark = pytest.mark.kinesis(streams={"orders": 2, "returns": 1}, limits=False)


@pytest.fixture
def producer(kinesis: LocalKinesis) -> Iterator[Producer]:
    with producing(kinesis) as made:
        yield made


def table(count: int = ROWS, **columns: Any) -> pa.Table:
    return pa.table({"data": [b"%d" % number for number in range(count)], "partitionKey": ["k"] * count} | columns)


class Stream:
    """An object with nothing but __arrow_c_stream__, as polars frames have."""

    def __init__(self, of: pa.Table) -> None:
        self._of = of

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._of.__arrow_c_stream__(requested_schema)


KINDS: dict[str, Callable[[Any], Any]] = {
    "Table": lambda rows: rows,
    "chunks": lambda rows: pa.concat_tables([rows.slice(0, 3), rows.slice(3, 0), rows.slice(3)]),
    "RecordBatch": lambda rows: rows.combine_chunks().to_batches()[0],
    "RecordBatchReader": lambda rows: rows.to_reader(),
    "__arrow_c_stream__": Stream,
    "iterable of batches": lambda rows: iter(rows.to_batches(max_chunksize=2)),
    "iterable of tables": lambda rows: [rows.slice(0, 3), rows.slice(3)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_of_each_kind_of_table_are_put_in_order(kinesis: LocalKinesis, producer: Producer, kind: str) -> None:
    result = put_table(producer, "orders", KINDS[kind](table()))
    assert [each.data for each in read_all(kinesis, "orders")] == table().column("data").to_pylist()
    assert (result.rows, result.delivered, result.failed, result.possible_duplicates) == (ROWS, ROWS, 0, 0)
    assert result.is_complete
    assert str(result) == "7 of 7 rows delivered, 0 failed"


@pytest.mark.examples
def test_a_pandas_frame_is_put_without_its_index(
    kinesis: LocalKinesis, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    monkeypatch.setattr(arrow, "FRAME_ROWS", 2)
    frame = pandas.DataFrame({"id": range(5), "partitionKey": ["k"] * 5, "text": ["a", None, "b", "c", "d"]})
    frame.index = list("vwxyz")
    assert put_table(producer, "orders", frame, columns=Columns(json="rest")).delivered == 5
    assert [json.loads(each.data) for each in read_all(kinesis, "orders")][:2] == [
        {"id": 0, "text": "a"},
        {"id": 1, "text": None},
    ]
    mixed = pandas.DataFrame({"data": [b"x", 1], "partitionKey": ["k", "k"]})
    with pytest.raises(InvalidRecordError, match="pyarrow cannot convert the data frame"):
        put_table(producer, "orders", mixed)


def test_all_parts_of_a_record_are_columns(kinesis: LocalKinesis, producer: Producer) -> None:
    rows = pa.table(
        {
            "payload": ["ä", "b"],
            "customer": [b"k", None],
            "explicitHashKey": [None, 5],
            "headers": pa.array([[("a", None)], [("b", "2")]], pa.map_(pa.string(), pa.string())),
        }
    )
    put_table(producer, "orders", rows, columns=Columns(data="payload", partition_key="customer"))
    one, other = sorted(read_all(kinesis, "orders"), key=lambda each: each.data, reverse=True)
    assert (one.data, one.partition_key, one.explicit_hash_key, one.headers) == ("ä".encode(), "k", None, {"a": None})
    assert (other.data, other.explicit_hash_key, other.headers) == (b"b", "5", {"b": "2"})


def test_a_null_key_and_no_key_column_make_records_without_a_key(kinesis: LocalKinesis, producer: Producer) -> None:
    put_table(producer, "orders", table(2, partitionKey=["k", None]))
    put_table(producer, "orders", pa.table({"data": [b"x"]}), columns=Columns(partition_key=None))
    keys = [each.partition_key for each in read_all(kinesis, "orders")]
    assert len(keys) == 3
    assert keys.count("k") == 1


def test_rows_go_to_the_streams_of_a_column(kinesis: LocalKinesis, producer: Producer) -> None:
    rows = table(stream=["orders", "returns", None, "orders", "no name!", "returns", "orders"])
    result = put_table(producer, None, rows)
    assert sorted(each.data for each in read_all(kinesis, "orders")) == [b"0", b"3", b"6"]
    assert [each.data for each in read_all(kinesis, "returns")] == [b"1", b"5"]
    assert [failure.row for failure in result.failures] == [2, 4]
    assert "the row's stream is null" in str(result.failures[0].error)
    assert (result.delivered, result.failed, dict(result.reasons)) == (5, 2, {"InvalidRecordError": 2})


def test_a_stream_for_the_whole_table_overrides_the_column(kinesis: LocalKinesis, producer: Producer) -> None:
    assert put_table(producer, "orders", table(stream=["returns"] * ROWS)).delivered == ROWS
    assert (len(read_all(kinesis, "orders")), len(read_all(kinesis, "returns"))) == (ROWS, 0)


def test_bad_rows_fail_alone_with_their_numbers(kinesis: LocalKinesis, producer: Producer) -> None:
    data = [b"0", None, b"2", b"3", b"4" * 2_000_000, b"5", b"6"]
    keys = ["k", "k", "x" * 257, "", "k", b"\xff".decode("latin-1"), "k"]
    result = put_table(producer, "orders", table(data=data, partitionKey=keys))
    assert [failure.row for failure in result.failures] == [1, 2, 3, 4]
    assert [each.data for each in read_all(kinesis, "orders")].count(b"6") == 1
    assert result.delivered == 3
    assert all(isinstance(failure.error, InvalidRecordError) for failure in result.failures)
    assert "data must be a bytes-like object, got NoneType" in str(result.failures[0].error)


def test_a_wrong_schema_puts_nothing(kinesis: LocalKinesis, producer: Producer) -> None:
    with pytest.raises(InvalidRecordError, match="its type is int64"):
        put_table(producer, "orders", table(data=range(ROWS)))
    with pytest.raises(InvalidRecordError, match="stream must be a stream's ARN or its name"):
        put_table(producer, "no name!", table())
    with pytest.raises(TypeError, match=r"table must be a pyarrow Table.*; got dict"):
        put_table(producer, "orders", {"data": [b"x"]})
    with pytest.raises(TypeError, match="got an iterable of int"):
        put_table(producer, "orders", [1])
    for arguments in ({"keep_failures": -1}, {"stop_after_failures": 0}, {"stop_after_failures": True}):
        with pytest.raises(ValueError, match="must be a whole number of at least"):
            put_table(producer, "orders", table(), **arguments)
    with pytest.raises(TypeError, match="columns must be a kplpy Columns"):
        put_table(producer, "orders", table(), columns={"data": "x"})  # type: ignore[arg-type]
    assert read_all(kinesis, "orders") == []


def test_a_reader_that_raises_leaves_an_account_of_the_rows_before(kinesis: LocalKinesis, producer: Producer) -> None:
    def batches() -> Iterator[Any]:
        yield from table(3).to_batches()
        raise OSError("the file ended")

    with pytest.raises(
        PutTableError, match="stream 'orders': stopped by OSError: the file ended; 3 of 3 rows"
    ) as raised:
        put_table(producer, "orders", batches())
    assert isinstance(raised.value.__cause__, OSError)
    assert (raised.value.result.delivered, raised.value.result.is_complete) == (3, False)
    assert len(read_all(kinesis, "orders")) == 3
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (str(copy), copy.result) == (str(raised.value), raised.value.result)


def test_a_later_schema_that_is_not_valid_leaves_an_account(producer: Producer) -> None:
    with pytest.raises(
        PutTableError, match=r"InvalidRecordError: the table has no column 'data'.*2 of 2 rows delivered"
    ):
        put_table(producer, "orders", [table(2), pa.table({"x": [1]})])


def test_a_closed_producer_is_reported(kinesis: LocalKinesis) -> None:
    closed = producing(kinesis)
    closed.close()
    with pytest.raises(ProducerClosedError):
        put_table(closed, "orders", table())

    def batches() -> Iterator[Any]:
        yield table(2)
        closing.close()
        yield table(2)

    closing = producing(kinesis)
    with pytest.raises(PutTableError, match=r"stopped by ProducerClosedError.*; 2 of 2 rows delivered"):
        put_table(closing, "orders", batches())


def test_failures_are_counted_exactly_and_kept_up_to_a_number(kinesis: LocalKinesis) -> None:
    with producing(kinesis) as producer:
        result = put_table(producer, "missing", table(500), keep_failures=3)
    assert (result.delivered, result.failed, [each.row for each in result.failures]) == (0, 500, [0, 1, 2])
    assert dict(result.reasons) == {"RejectedError (ResourceNotFoundException)": 500}
    with pytest.raises(
        PutTableError, match="stream 'missing': 0 of 500 rows delivered, 500 failed: 500 × RejectedError"
    ):
        result.raise_if_failed("missing")


def test_reading_stops_after_failures(producer: Producer) -> None:
    read = 0

    def batches() -> Iterator[Any]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield table(4, data=[b"x", None, b"x", b"x"])

    result = put_table(producer, "orders", batches(), stop_after_failures=2)
    assert (read, result.delivered, result.failed, result.is_complete) == (2, 6, 2, False)
    assert str(result).endswith("; not all rows were read")


def test_rows_that_may_be_twice_are_counted(kinesis: LocalKinesis, producer: Producer) -> None:
    producer.put_record("orders", b"first", "k").result()  # the shards are known, so the rows share an aggregate
    kinesis.faults.cut(accepted=True)
    result = put_table(producer, "orders", table())
    assert (result.delivered, result.possible_duplicates) == (ROWS, ROWS)
    assert "(7 possible duplicates)" in str(result)


def test_a_table_larger_than_the_buffer_waits_whatever_on_buffer_full_is(kinesis: LocalKinesis) -> None:
    count = 5_000
    with producing(kinesis, max_buffered_records=50, on_buffer_full="raise") as producer:

        async def put_in_a_loop() -> Any:
            return put_table(producer, "orders", table(count))

        assert asyncio.run(put_in_a_loop()).delivered == count
    # Without ordered=True, one request may overtake another.
    assert sorted(int(each.data) for each in read_all(kinesis, "orders")) == list(range(count))


def test_a_reader_is_read_no_further_than_the_window(
    kinesis: LocalKinesis, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "WINDOW_ROWS", 20)
    most = 0

    def batches() -> Iterator[Any]:
        nonlocal most
        for number in range(50):
            most = max(most, 10 * number - len(read_all(kinesis, "orders")))
            yield table(10)

    kinesis.faults.delay(0.05, times=5)
    assert put_table(producer, "orders", batches()).delivered == 500
    assert most <= 30


def test_serializers_of_the_producer_are_used(kinesis: LocalKinesis) -> None:
    with producing(kinesis, value_serializer=serializers.json, key_serializer=str) as producer:
        rows = pa.table({"data": ["x"], "partitionKey": ["k"]})
        result = put_table(producer, "orders", rows)
    assert result.failed == 1  # JSON has no bytes
    assert "value_serializer raised TypeError" in str(result.failures[0].error)


def test_each_part_of_a_traced_table_has_a_span(kinesis: LocalKinesis, monkeypatch: pytest.MonkeyPatch) -> None:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    with producing(kinesis, tracing="opentelemetry") as producer:
        assert put_table(producer, "orders", table(3)).delivered == 3
        assert put_table(producer, "orders", [table(2), table(4)]).delivered == 6
    counts = [str((span.attributes or {})["messaging.batch.message_count"]) for span in exporter.get_finished_spans()]
    assert sorted(counts) == ["2", "3", "4"]


def test_a_callback_cannot_put_a_table(kinesis: LocalKinesis) -> None:
    raised: list[BaseException] = []
    ended = threading.Event()

    def put(_: RecordFuture) -> None:
        try:
            put_table(slow, "orders", table())
        except BaseException as error:
            raised.append(error)
        ended.set()

    with producing(kinesis, record_max_buffered_time_ms=60_000) as slow:
        # Nothing is sent before the flush, so the callback runs on kplpy's thread, and not at once on this one.
        slow.put_record("orders", b"x", "k").add_done_callback(put)
        slow.flush()
        assert ended.wait(20)
    (error,) = raised
    assert isinstance(error, KplpyError)
    assert "would wait for itself" in str(error)


def test_a_worker_keeps_a_producer_for_each_set_of_options(kinesis: LocalKinesis) -> None:
    place = {"endpoint_url": kinesis.endpoint_url, "region_name": kinesis.region_name}
    options = [PlainOptions({**place, "record_max_buffered_time_ms": 20 + n}) for n in range(KEPT_IDLE + 1)]
    with worker_producer(options[0]) as first:
        assert put_table(first, "orders", table(1)).delivered == 1
    with worker_producer(PlainOptions({**place, "record_max_buffered_time_ms": 20})) as again:
        assert again is first
    with worker_producer(options[1]) as second:
        assert second is not first
        for each in options[2:]:
            with worker_producer(each):
                pass
    with worker_producer(options[0]) as renewed:  # the first was used least recently, and closed
        assert renewed is not first
    assert not first.health().is_open
    for each in options:
        with worker_producer(each) as producer:
            producer.close()
    with worker_producer(options[0]) as opened:
        assert opened.health().is_open
        opened.close()
