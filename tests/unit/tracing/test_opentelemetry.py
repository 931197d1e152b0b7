"""Config.tracing: spans that end with the outcome, and their context in the headers."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from kplpy import BufferFullError, ConfigError, InvalidRecordError, Producer, RecordFuture, UserRecord
from kplpy.core.exchange import RequestError
from tests.stub_service import PATIENCE, StubService, install

THEIRS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REFUSED = RequestError("InvalidArgumentException", "the reason", maybe_written=False)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubService]:
    service = install(monkeypatch, shards=2)
    yield service
    service.let_go()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """Have kplpy's spans made by this provider. The global one can be set only once in a process."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return provider


@pytest.fixture
def spans(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def producing(**knobs: Any) -> Producer:
    return Producer(**{"tracing": "opentelemetry", "record_max_buffered_time_ms": 0, **knobs})


def one(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def context_of(headers: Any) -> trace.SpanContext:
    return trace.get_current_span(extract(headers or {})).get_span_context()


def put(producer: Producer, **named: Any) -> RecordFuture:
    return producer.put_record("orders", b"x", "k", **named)


def aput(producer: Producer, **named: Any) -> RecordFuture:
    return asyncio.run(producer.aput_record("orders", b"x", "k", **named))


ways = pytest.mark.parametrize("way", [put, aput])


@ways
def test_a_put_has_a_span_that_ends_with_the_outcome(way: Any, service: StubService, spans: Any, provider: Any) -> None:
    service.hold()
    with producing(endpoint_url="https://kinesis.example:4567") as producer:
        with provider.get_tracer("app").start_as_current_span("checkout") as parent:
            future = way(producer)
        assert [each.name for each in spans.get_finished_spans()] == ["checkout"]
        service.let_go()
        result = future.result(PATIENCE)
    span = spans.get_finished_spans()[1]
    assert (span.name, span.kind) == ("send orders", SpanKind.PRODUCER)
    assert span.parent.span_id == parent.get_span_context().span_id
    assert dict(span.attributes) == {
        "messaging.system": "aws.kinesis",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": result.shard_id,
        "server.address": "kinesis.example",
    }
    assert span.status.status_code is StatusCode.UNSET
    (sent,) = service.sent()
    assert context_of(sent.headers).span_id == span.context.span_id
    assert context_of(sent.headers).trace_id == parent.get_span_context().trace_id


DELIVERY = "arn:aws:firehose:us-east-1:123456789012:deliverystream/logs"


def test_a_put_to_a_delivery_stream_has_a_span_and_sends_no_context(
    service: StubService, spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kplpy.aws.services.FirehoseTransport", lambda config: service)
    with producing() as producer:
        producer.put_record(DELIVERY, b"x").result(PATIENCE)
        (future,) = producer.put_records(DELIVERY, [(b"y", "k")])
        future.result(PATIENCE)
    for span in spans.get_finished_spans():
        assert span.name == "send logs"
        assert span.attributes["messaging.system"] == "aws.firehose"
        assert "messaging.destination.partition.id" not in span.attributes
    assert [each.headers for each in service.sent()] == [None, None]


@ways
def test_other_headers_stay_beside_the_context(way: Any, service: StubService, spans: Any) -> None:
    with producing() as producer:
        way(producer, headers={"a": "b", "flag": None}).result(PATIENCE)
    (sent,) = service.sent()
    assert sent.headers is not None
    assert set(sent.headers) == {"a", "flag", "traceparent"}


@ways
def test_a_context_of_the_callers_stays_and_is_linked(way: Any, service: StubService, spans: Any) -> None:
    headers = {"traceparent": THEIRS, "tracestate": "congo=t61rcWkgMzE"}
    with producing() as producer:
        way(producer, headers=headers).result(PATIENCE)
    assert [each.headers for each in service.sent()] == [headers]
    (link,) = one(spans).links
    assert link.context == context_of(headers)


def test_a_caller_s_broken_context_is_their_own(service: StubService, spans: Any) -> None:
    with producing() as producer:
        put(producer, headers={"traceparent": "nonsense"}).result(PATIENCE)
    assert [each.headers for each in service.sent()] == [{"traceparent": "nonsense"}]
    assert not one(spans).links


@ways
def test_a_failed_record_has_an_error_span(way: Any, service: StubService, spans: Any) -> None:
    service.refuse["orders"] = REFUSED
    with producing() as producer:
        error = way(producer).exception(PATIENCE)
    span = one(spans)
    assert span.attributes is not None
    assert span.attributes["error.type"] == "RecordRefusedError"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, str(error))


@ways
def test_a_put_that_raises_ends_its_span_with_the_error(way: Any, service: StubService, spans: Any) -> None:
    with producing() as producer, pytest.raises(InvalidRecordError):
        way(producer, explicit_hash_key="x")
    assert (one(spans).attributes or {})["error.type"] == "InvalidRecordError"
    assert one(spans).status.status_code is StatusCode.ERROR


def test_a_full_buffer_ends_the_span(service: StubService, spans: Any) -> None:
    service.hold()
    with producing(max_buffered_records=1, on_buffer_full="raise", close_timeout_ms=0) as producer:
        put(producer)
        with pytest.raises(BufferFullError):
            put(producer)
        assert (one(spans).attributes or {})["error.type"] == "BufferFullError"


def test_a_failure_that_nobody_looked_at_is_still_logged(
    service: StubService, spans: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service.refuse["orders"] = REFUSED
    with caplog.at_level(logging.WARNING, "kplpy"), producing() as producer:
        put(producer)
        producer.flush(timeout=PATIENCE)
    assert "InvalidArgumentException" in caplog.text
    assert one(spans).status.status_code is StatusCode.ERROR


# --- put_records ---


def puts(producer: Producer, items: Any) -> list[RecordFuture]:
    return producer.put_records("orders", items)


def aputs(producer: Producer, items: Any) -> list[RecordFuture]:
    return asyncio.run(producer.aput_records("orders", items))


batches = pytest.mark.parametrize("way", [puts, aputs])

ITEMS = [
    (b"1", "k"),
    (b"2", "k", None),
    [b"3", None],
    (b"4", "k", 7, {"a": "b"}),
    UserRecord(b"5", "k", headers={"a": "b"}),
    (b"6", "k", None, {"traceparent": THEIRS}),
]


@batches
@pytest.mark.parametrize("given", [list, iter])
def test_put_records_has_one_span_for_all(way: Any, given: Callable[[Any], Any], service: Any, spans: Any) -> None:
    with producing() as producer:
        for future in way(producer, given(ITEMS)):
            future.result(PATIENCE)
    span = one(spans)
    assert (span.name, span.kind) == ("send orders", SpanKind.PRODUCER)
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 6
    assert span.context is not None
    own = span.context.span_id
    sent = {each.data: each for each in service.sent()}
    assert [context_of(sent[b"%d" % n].headers).span_id for n in range(1, 6)] == [own] * 5
    assert sent[b"4"].explicit_hash_key == "7"
    assert (sent[b"4"].headers or {})["a"] == (sent[b"5"].headers or {})["a"] == "b"
    assert sent[b"6"].headers == {"traceparent": THEIRS}


@batches
def test_put_records_ends_with_the_last_outcome(way: Any, service: StubService, spans: Any) -> None:
    service.hold("orders")
    with producing() as producer:
        way(producer, [(b"x", "k")] * 3)
        assert not spans.get_finished_spans()
        service.refuse["orders"] = REFUSED
        service.let_go()
        producer.flush(timeout=PATIENCE)
    span = one(spans)
    assert (span.attributes or {})["error.type"] == "RecordRefusedError"
    assert (span.status.description or "").startswith("3 of 3 records failed, the first: a record of stream 'orders'")


@batches
def test_items_that_are_refused_end_the_span(way: Any, service: StubService, spans: Any) -> None:
    with producing() as producer:
        for bad in ("xk", [(b"x", "k"), None], [(b"x",)], [(b"x", "k", None, {"": "v"})]):
            with pytest.raises(InvalidRecordError):
                way(producer, bad)
            assert (spans.get_finished_spans()[-1].attributes or {})["error.type"] == "InvalidRecordError"
        assert way(producer, []) == []
    assert len(spans.get_finished_spans()) == 5
    assert service.sent() == []


# --- what the context must not refuse ---


def put_item(producer: Producer, item: tuple[Any, Any, Any, Any]) -> RecordFuture:
    return producer.put_record("orders", item[0], item[1], explicit_hash_key=item[2], headers=item[3])


def aput_item(producer: Producer, item: tuple[Any, Any, Any, Any]) -> RecordFuture:
    data, key, hash_key, headers = item
    return asyncio.run(producer.aput_record("orders", data, key, explicit_hash_key=hash_key, headers=headers))


single_items = pytest.mark.parametrize(
    "way",
    [
        put_item,
        aput_item,
        lambda producer, item: puts(producer, [item])[0],
        lambda producer, item: puts(producer, iter([item]))[0],
        lambda producer, item: aputs(producer, [item])[0],
        lambda producer, item: aputs(producer, iter([item]))[0],
    ],
    ids=["put", "aput", "list", "iterator", "async list", "async iterator"],
)


@single_items
@pytest.mark.parametrize(("headers", "with_context"), [(255, True), (256, False)])
def test_the_context_does_not_count_against_the_most_headers(
    way: Any, headers: int, with_context: bool, service: StubService, spans: Any
) -> None:
    own = {f"name {number}": "value" for number in range(headers)}
    with producing() as producer:
        way(producer, (b"x", "k", None, own)).result(PATIENCE)
    (sent,) = service.sent()
    assert sent.headers is not None
    assert sent.headers.keys() - own.keys() == ({"traceparent"} if with_context else set())
    assert {name: sent.headers[name] for name in own} == own
    assert one(spans).status.status_code is StatusCode.UNSET


@single_items
@pytest.mark.parametrize("own", [None, {"a": "b"}])
@pytest.mark.parametrize("key", ["k", None])
def test_a_record_that_fits_only_without_the_context_goes_without_it(
    way: Any, key: str | None, own: Any, service: StubService, spans: Any
) -> None:
    calls = []

    def value(size: int) -> bytes:
        calls.append(size)
        return b"x" * size

    limit = 1000
    with Producer(max_user_record_size=limit) as untraced:
        largest = limit
        while True:
            try:
                untraced.put_record("plain", b"x" * largest, key, headers=own)
                break
            except InvalidRecordError:
                largest -= 1
    with producing(max_user_record_size=limit, value_serializer=value) as producer:
        way(producer, (largest, key, None, own)).result(PATIENCE)
        way(producer, (largest - 300, key, None, own)).result(PATIENCE)
        with pytest.raises(InvalidRecordError, match=f"at most {limit} bytes"):
            way(producer, (largest + 1, key, None, own))
    assert calls == [largest, largest - 300, largest + 1]  # each value is serialized once
    sent = {len(each.data): each.headers for each in service.sent() if each.stream == "orders"}
    assert sent[largest] == own
    assert "traceparent" in (sent[largest - 300] or {})
    ended = Counter(each.status.status_code for each in spans.get_finished_spans())  # after result() returned
    assert ended == {StatusCode.UNSET: 2, StatusCode.ERROR: 1}


@single_items
@pytest.mark.parametrize("headers", [[("a", "b")], 7, "", {"": "x"}, {f"{number}": "" for number in range(257)}])
def test_bad_headers_are_refused_as_without_tracing(way: Any, headers: Any, service: StubService, spans: Any) -> None:
    texts = []
    for tracing in ("opentelemetry", None):
        with producing(tracing=tracing) as producer, pytest.raises(InvalidRecordError) as raised:
            way(producer, (b"x", "k", None, headers))
        texts.append(str(raised.value))
    assert texts[0] == texts[1]
    assert service.sent() == []


# --- off ---


@ways
def test_a_record_that_is_not_sampled_still_sends_the_context(way: Any, service: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(trace, "get_tracer", TracerProvider(sampler=ALWAYS_OFF).get_tracer)
    with producing() as producer:
        way(producer).result(PATIENCE)
    (sent,) = service.sent()
    assert context_of(sent.headers).is_valid
    assert not context_of(sent.headers).trace_flags.sampled


@ways
def test_without_an_sdk_records_stay_plain(way: Any, service: StubService, monkeypatch: Any) -> None:
    no_op = trace.NoOpTracerProvider()
    monkeypatch.setattr(trace, "get_tracer", no_op.get_tracer)
    with producing() as producer:
        future = way(producer)
        future.result(PATIENCE)
    assert type(future) is RecordFuture
    assert [each.headers for each in service.sent()] == [None]


@ways
def test_without_tracing_there_is_no_span(way: Any, service: StubService, spans: Any) -> None:
    with producing(tracing=None) as producer:
        way(producer).result(PATIENCE)
    assert spans.get_finished_spans() == ()
    assert [each.headers for each in service.sent()] == [None]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kplpy.tracing.factory.find_spec", {}.get)
    with pytest.raises(ConfigError, match=r"^tracing='opentelemetry' needs opentelemetry: pip install 'kplpy\["):
        producing()


def test_the_api_is_imported_only_when_it_is_used() -> None:
    program = "import sys, kplpy; kplpy.Producer(); print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")
