"""Spans for puts with OpenTelemetry (pip install 'kplpy[opentelemetry]'). It uses the API only.

Names and attributes are those of the semantic conventions for messaging spans. The span is the creation context of
its records, so its kind is PRODUCER. The conventions have no messaging.system for Kinesis; kplpy's metrics have the
same `aws.kinesis`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from kplpy.concurrency import new_rlock
from kplpy.futures.asyncio_bridge import Observer
from kplpy.headers import Headers, TracedHeaders
from kplpy.records import RecordResult, UserRecord
from kplpy.stream_names import is_delivery_stream, name_of
from kplpy.tracing.span import PutSpan

if TYPE_CHECKING:
    from kplpy.futures.record_future import RecordFuture
    from kplpy.validation import PutItem


class OpenTelemetryTracing:
    """Starts the spans of a producer's puts, below the current span of the thread or task.

    The tracer is that of the global tracer provider, also if the application sets the provider later.
    """

    def __init__(self, endpoint_url: str | None) -> None:
        self._tracer = trace.get_tracer("kplpy")
        self._attributes = {
            "messaging.system": "aws.kinesis",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
        }
        if endpoint_url is not None:
            self._attributes["server.address"] = urlsplit(endpoint_url).hostname or ""

    def record(self, stream: str, headers: Headers | None) -> OpenTelemetrySpan:
        """Start the span of one record. It links to the context that the headers bring along."""
        link = _context_in(headers)
        return self._start(stream, [] if link is None else [Link(link)], is_batch=False)

    def batch(self, stream: str) -> OpenTelemetrySpan:
        """Start the span of a put_records."""
        return self._start(stream, [], is_batch=True)

    def _start(self, stream: str, links: list[Link], is_batch: bool) -> OpenTelemetrySpan:
        name = stream
        if isinstance(stream, str) and stream.startswith("arn:"):
            name = name_of(stream)
        attributes = {**self._attributes, "messaging.destination.name": str(name)}
        if name != stream and is_delivery_stream(stream):
            attributes["messaging.system"] = "aws.firehose"
        span = self._tracer.start_span(f"send {name}", kind=SpanKind.PRODUCER, attributes=attributes, links=links)
        return OpenTelemetrySpan(span, is_batch)


class OpenTelemetrySpan(PutSpan):
    """The span of one put. See PutSpan."""

    def __init__(self, span: trace.Span, is_batch: bool) -> None:
        self._span = span
        self._is_batch = is_batch
        self._context: dict[str, str | None] = {}
        propagate.inject(self._context, trace.set_span_in_context(span))
        self._only_context = TracedHeaders(self._context, None) if self._context else None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            _fail(self._span, error)
            self._span.end()

    def headers_of(self, headers: Headers | None) -> Headers | None:
        """Return the headers with the span's context, or unchanged if they bring another context along.

        Headers that are not valid are returned as they are, to be refused.
        """
        if headers is None:
            return self._only_context
        if not self._context or not isinstance(headers, Mapping) or _context_in(headers) is not None:
            return headers
        return TracedHeaders(self._context, headers)

    def items_of(self, items: Iterable[PutItem]) -> Iterable[PutItem]:
        changed = map(self._with_context, items)
        return list(changed) if isinstance(items, Sized) else changed

    def _with_context(self, item: PutItem) -> PutItem:
        """Return the item with the span's context. An item that is not valid is returned as it is, to be refused."""
        if isinstance(item, UserRecord):
            item = item.data, item.partition_key, item.explicit_hash_key, item.headers
        if not isinstance(item, (tuple, list)) or not 2 <= len(item) <= 4:
            return item
        data, key, explicit_hash_key, headers = (*item, None, None)[:4]
        return data, key, explicit_hash_key, self.headers_of(headers)

    def follow(self, records: Sequence[RecordFuture]) -> None:
        span = self._span
        if self._is_batch and span.is_recording():
            span.set_attribute("messaging.batch.message_count", len(records))
        if not records or not span.is_recording():
            span.end()
            return
        end = _End(span, len(records))
        for record in records:
            record.add_done_callback(end)


class _End(Observer):
    """The callback of a put's records, which ends the span with the last one. Called by several threads.

    It does not make a failure count as seen by the application.
    """

    def __init__(self, span: trace.Span, records: int) -> None:
        self._span = span
        self._records = self._left = records
        self._failed = 0
        self._first: BaseException | None = None
        self._lock = new_rlock()  # a signal handler may put, and its record may end here

    def __call__(self, future: RecordFuture) -> None:
        outcome = future.peek()
        with self._lock:
            if isinstance(outcome, BaseException):
                self._failed += 1
                self._first = self._first or outcome
            self._left -= 1
            if self._left:
                return
        if self._first is not None:
            text = "" if self._records == 1 else f"{self._failed} of {self._records} records failed, the first: "
            _fail(self._span, self._first, text)
        elif self._records == 1 and isinstance(outcome, RecordResult) and outcome.shard_id:
            self._span.set_attribute("messaging.destination.partition.id", outcome.shard_id)
        self._span.end()


def _fail(span: trace.Span, error: BaseException, before: str = "") -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, f"{before}{error}"))


def _context_in(headers: Any) -> trace.SpanContext | None:
    """Return the valid span context in the headers, if there is one."""
    if not headers or not hasattr(headers, "items"):
        return None
    carrier = {name: value for name, value in headers.items() if isinstance(name, str) and isinstance(value, str)}
    found = trace.get_current_span(propagate.extract(carrier, _NOTHING)).get_span_context()
    return found if found.is_valid else None


_NOTHING = trace.set_span_in_context(trace.INVALID_SPAN)  # extract() returns the current span's context by default
