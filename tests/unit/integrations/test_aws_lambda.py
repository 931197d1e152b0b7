"""flush_after flushes after the handler, in the time that is left, and reports what is left."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest

from kplpy import FlushTimeoutError, Producer, RecordFuture
from kplpy.integrations.aws_lambda import flush_after
from kplpy.metrics.sample import Window
from tests.stub_service import StubService, install


class Context:
    """Lambda's context, with the milliseconds that the test sets."""

    def __init__(self, milliseconds: int) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubService:
    return install(monkeypatch)


def waiting() -> Producer:
    """Return a producer that sends nothing for minutes unless it is flushed, and closes without a wait."""
    return Producer(record_max_buffered_time_ms=600_000, record_ttl_ms=None, close_timeout_ms=0)


def data(stub: StubService) -> list[bytes]:
    return [each.data for each in stub.sent()]


def test_each_invocation_ends_with_a_flush(stub: StubService) -> None:
    producer = waiting()

    @flush_after(producer)
    def handler(event: dict[str, bytes], context: Context) -> str:
        """Mine."""
        producer.put_record("orders", event["data"], "k")
        assert event["data"] not in data(stub)
        return "done"

    for number in range(3):
        assert handler({"data": b"%d" % number}, Context(60_000)) == "done"
        assert data(stub) == [b"%d" % n for n in range(number + 1)]
    assert handler({"data": b"by name"}, context=Context(60_000)) == "done"
    assert (handler.__name__, handler.__doc__) == ("handler", "Mine.")
    producer.close()


def test_without_a_context_it_takes_close_timeout(stub: StubService) -> None:
    with Producer(record_max_buffered_time_ms=600_000) as producer:

        @flush_after(producer)
        def handler(event: bytes, context: None) -> RecordFuture:
            return producer.put_record("orders", event, "k")

        assert handler(b"x", None).done()
        assert handler(b"y", context=None).done()


def test_the_handlers_error_is_raised_after_the_flush(stub: StubService) -> None:
    with Producer(record_max_buffered_time_ms=600_000) as producer:

        @flush_after(producer)
        def handler(event: None, context: Context) -> None:
            producer.put_record("orders", b"x", "k")
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            handler(None, Context(60_000))
        assert data(stub) == [b"x"]


@pytest.mark.parametrize("on_timeout", ["raise", "log"])
def test_records_without_outcome_in_time(stub: StubService, caplog: pytest.LogCaptureFixture, on_timeout: Any) -> None:
    """A late record is reported, stays buffered, and is delivered by the next invocation."""
    producers = [waiting(), waiting()]

    @flush_after(*producers, margin=0.5, on_timeout=on_timeout)
    def handler(event: bytes, context: Context) -> str:
        for producer in producers:
            producer.put_record("orders", event, "k")
        return "done"

    stub.hold()
    if on_timeout == "raise":
        with pytest.raises(FlushTimeoutError, match="2 records had no outcome by the end") as raised:
            handler(b"late", Context(600))
        assert raised.value.remaining == 2
    else:
        assert handler(b"late", Context(600)) == "done"
        assert "2 records had no outcome at the end of the invocation, and stay buffered" in caplog.text
    stub.let_go()
    assert handler(b"next", Context(60_000)) == "done"
    assert sorted(data(stub)) == [b"late", b"late", b"next", b"next"]
    for producer in producers:
        producer.close()


def test_without_time_left_it_does_not_wait(stub: StubService, caplog: pytest.LogCaptureFixture) -> None:
    """With less time than the margin, records are sent all the same, and the handler's own error is raised."""
    producer = waiting()

    @flush_after(producer, margin=5)
    def handler(event: None, context: Context) -> None:
        producer.put_record("orders", b"x", "k")
        raise LookupError("mine")

    stub.hold()
    with caplog.at_level(logging.ERROR), pytest.raises(LookupError):
        handler(None, Context(4_000))
    assert "1 records had no outcome" in caplog.text
    stub.await_waiting(1)
    stub.let_go()
    producer.close()


def test_bad_arguments_of_the_decorator() -> None:
    with Producer(region_name="us-east-1") as producer:
        with pytest.raises(TypeError, match="one or more Producers, got \\(\\)"):
            flush_after()
        with pytest.raises(TypeError, match="one or more Producers, got"):
            flush_after(lambda event, context: None)  # type: ignore[arg-type]  # without its parentheses
        with pytest.raises(ValueError, match="margin must be 0 seconds or more, got -1"):
            flush_after(producer, margin=-1)
        with pytest.raises(ValueError, match="on_timeout must be 'raise' or 'log', got 'ignore'"):
            flush_after(producer, on_timeout="ignore")  # type: ignore[arg-type]

        async def handler(event: None, context: Context) -> None: ...

        with pytest.raises(TypeError, match="is a coroutine function"):
            flush_after(producer)(handler)


class Keeping:
    def __init__(self) -> None:
        self.windows: list[Window] = []

    def emit(self, window: Window) -> None:
        self.windows.append(window)


def test_metrics_are_sent_before_the_environment_is_frozen(stub: StubService) -> None:
    sink = Keeping()
    with Producer(metrics_sink=sink) as producer:

        @flush_after(producer)
        def handler(event: int, context: Context) -> None:
            for _ in range(event):
                producer.put_record("orders", b"x", "k")

        for count in (3, 5):
            handler(count, Context(60_000))
            found = [window.find("UserRecordsPut", stream="orders") for window in sink.windows]
            assert [each.count for each in found if each is not None][-1] == count
    found = [window.find("UserRecordsPut", stream="orders") for window in sink.windows]
    assert sum(each.count for each in found if each is not None) == 8


def test_closing_right_after_the_metrics_were_sent_does_not_wait(stub: StubService) -> None:
    began = time.monotonic()
    with Producer(metrics_sink=Keeping(), close_timeout_ms=100_000) as producer:
        flush_after(producer)(lambda event, context: producer.put_record("orders", b"x", "k"))(b"", Context(60_000))
    assert time.monotonic() - began < 90


def test_a_sink_that_hangs_does_not_hold_an_invocation(stub: StubService) -> None:
    let_go = threading.Event()

    class Hanging:
        def emit(self, window: Window) -> None:
            let_go.wait(60)

    producer = Producer(metrics_sink=Hanging(), close_timeout_ms=0)
    try:

        @flush_after(producer)
        def handler(event: bytes, context: Context) -> RecordFuture:
            return producer.put_record("orders", event, "k")

        for _ in range(2):
            assert handler(b"x", Context(1000)).done()
    finally:
        let_go.set()
        producer.close()
