"""The work of a sender: the requests and control-plane calls of streams that are ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from math import ceil
from typing import Protocol

from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.pipeline import Pipeline
from kplpy.rate_limited_log import RateLimitedLog
from kplpy.runtime.control_plane import ApplyResponse, ControlPlane, ControlPlaneCall, next_call
from kplpy.runtime.delivery import Delivery
from kplpy.runtime.planner import Planner
from kplpy.runtime.recent_errors import RecentErrors
from kplpy.runtime.stream import Stream


class Transport(ControlPlane, Protocol):
    """The interface to the service. Called by several sender threads at once."""

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        """Send the request, and return how it ended. An error of the service does not raise."""
        ...

    def close(self) -> None:
        """Close the client."""
        ...


class Sender:
    """Runs on the sender threads; on the scheduler or an application thread if no sender can be started.

    Bounds the senders of one stream, and the bytes of all requests in flight.

    on_arn: called with a stream's ARN once the service has reported it.
    errors: the log of what the transport raised.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        on_arn: Callable[[Stream, str], object],
        transport: Transport,
        planner: Planner,
        delivery: Delivery,
        errors: RateLimitedLog,
        recent_errors: RecentErrors,
        max_senders: int,
        max_inflight_bytes: int,
    ) -> None:
        self._streams = streams
        self._on_arn = on_arn
        self._transport = transport
        self._planner = planner
        self._delivery = delivery
        self._errors = errors
        self._recent_errors = recent_errors
        self._max_senders_per_stream = max(1, ceil(0.75 * max_senders))
        self._max_inflight_bytes = max_inflight_bytes
        self._inflight: dict[int, int] = {}  # thread → bytes of its request
        self._rotation = 0

    def has_work(self) -> bool:
        """Return True if a stream waits for a sender, and the bytes in flight allow one more request."""
        return self._may_send() and any(self._wants_sender(stream) for stream in list(self._streams.values()))

    def _wants_sender(self, stream: Stream) -> bool:
        return stream.ready and len(stream.senders) < self._max_senders_per_stream and stream.broken is None

    def _may_send(self) -> bool:
        return self._inflight_room() > 0

    def _inflight_room(self) -> int:
        return self._max_inflight_bytes - sum(list(self._inflight.values()))

    def unmark_thread(self, thread: int) -> None:
        """Note that the thread is in no request."""
        self._inflight.pop(thread, None)
        for stream in list(self._streams.values()):
            stream.senders.discard(thread)

    def send_one(self) -> bool:
        """Send one request, or make one control-plane call, of the next ready stream, and deliver the results.

        Return False if there is nothing to do.
        """
        streams = list(self._streams.values())
        self._rotation += 1
        for offset in range(len(streams)):
            stream = streams[(self._rotation + offset) % len(streams)]
            if self._wants_sender(stream) and self._may_send() and self._send_from(stream):
                return True
        return False

    def _send_from(self, stream: Stream) -> bool:
        try:
            return self._serve(stream)
        except BaseException as error:
            stream.mark_broken(error)
            raise

    def _serve(self, stream: Stream) -> bool:
        """Take the stream's next control-plane call or request, and do it. Return False if there was none."""
        with stream.locked_pipeline() as pipeline:
            if stream.broken is not None:
                return False
            now = time.monotonic()
            self._planner.drain(stream, now)
            request = None
            control_call = next_call(pipeline, self._transport, stream.name, stream.arn, now)
            if control_call is None:
                request = pipeline.next_request(now, self._inflight_room())
            self._planner.plan(stream, now)
            results = stream.take_results()
            busy = control_call is not None or request is not None
            if busy:
                stream.senders.add(threading.get_ident())
        try:
            if stream.ready:
                self._planner.wake_sender(stream)
            self._delivery.deliver(stream, results)
            if control_call is not None:
                self._call_control_plane(stream, pipeline, control_call)
            elif request is not None:
                self._send_request(stream, pipeline, request)
        finally:
            stream.senders.discard(threading.get_ident())
        return busy

    def _call_control_plane(self, stream: Stream, pipeline: Pipeline, control_call: ControlPlaneCall) -> None:
        end: BaseException | None = None
        try:
            apply = control_call.ask()
        except BaseException as failure:
            end = self._report_unexpected(control_call.description, failure)
            apply = control_call.on_error(repr(failure))
        if control_call.arn is not None:
            self._on_arn(stream, control_call.arn)
        if control_call.problem:
            self._recent_errors.note(stream.name, control_call.problem)
        self._apply_response(stream, pipeline, apply)
        if end is not None:
            raise end

    def _send_request(self, stream: Stream, pipeline: Pipeline, request: Request) -> None:
        end: BaseException | None = None
        me = threading.get_ident()
        self._inflight[me] = request.size
        try:
            if not request.is_sealed:
                compressed, end = self._compress(stream, request)
                if not self._seal(stream, pipeline, request, compressed):
                    if end is not None:
                        raise end
                    return
            try:
                exchange = self._transport.put_records(stream.name, stream.arn, request)
            except BaseException as failure:
                end = self._report_unexpected(f"sending to {stream.name}", failure)
                error = RequestError(type(failure).__name__, str(failure) or repr(failure), request.body_sent, failure)
                exchange = Exchange(request.started, time.monotonic(), request.wall, error=error)
        finally:
            self._inflight.pop(me, None)
        throttled = 0

        def judge(now: float) -> None:
            nonlocal throttled
            before = pipeline.totals.entries_throttled
            pipeline.request_ended(request, exchange, now)
            throttled = pipeline.totals.entries_throttled - before

        self._apply_response(stream, pipeline, judge)
        self._delivery.report_request(stream, exchange.error, throttled)
        if end is not None:
            raise end

    def _compress(self, stream: Stream, request: Request) -> tuple[list[bytes | None], BaseException | None]:
        """Return the compressed data, and an error to raise later. After an error the batches go uncompressed."""
        try:
            return request.compress(), None
        except BaseException as failure:
            end = self._report_unexpected(f"compressing for {stream.name}", failure)
            return [None] * len(request.to_compress), end

    def _seal(self, stream: Stream, pipeline: Pipeline, request: Request, compressed: list[bytes | None]) -> bool:
        """Set the batches' compressed data, and make the request fit. Return False if it must not be sent."""
        me = threading.get_ident()
        with stream.locked_pipeline():
            if pipeline is not stream.pipeline or stream.broken is not None:
                return False
            now = time.monotonic()
            space = self._inflight_room() + self._inflight[me]
            is_sendable = pipeline.seal(request, compressed, now, space)
            self._inflight[me] = request.size
            self._planner.plan(stream, now)
            results = stream.take_results()
        self._delivery.deliver(stream, results)
        return is_sendable

    def _apply_response(self, stream: Stream, pipeline: Pipeline, apply: ApplyResponse) -> None:
        """Hand the response to its pipeline, unless the pipeline was replaced meanwhile."""
        with stream.locked_pipeline():
            stream.senders.discard(threading.get_ident())
            now = time.monotonic()
            self._planner.drain(stream, now)
            if pipeline is not stream.pipeline or stream.broken is not None:
                return
            apply(now)
            self._planner.plan(stream, now)
            results = stream.take_results()
        self._delivery.deliver(stream, results)

    def _report_unexpected(self, doing: str, failure: BaseException) -> BaseException | None:
        """Log the failure. Return it instead if it must be raised later: Ctrl-C on an application thread."""
        if not isinstance(failure, Exception):
            return failure
        self._errors.say(f"{doing}: {type(failure).__name__}: {failure}", failure)
        return None
