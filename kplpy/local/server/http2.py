"""HTTP/2 for one connection, with the h2 library.

Java's asynchronous Kinesis client speaks only HTTP/2.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from kplpy.local.model.consumers import Subscription
from kplpy.local.server import event_stream
from kplpy.local.server.service import MAX_BODY, Reply, Service

_WINDOW = 16 << 20
_PREFACE = 24
"""Bytes that a client sends before its first frame."""
_FRAME_HEAD = 9
"""Bytes before a frame's payload: its length (3), type (1), flags (1) and stream (4)."""
_GOAWAY = 7


@dataclass
class _Request:
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class _GoawayFilter:
    """Removes a client's GOAWAY frames from its bytes.

    After a GOAWAY the client begins no requests, and still wants the responses to its open ones. The SDK for JavaScript
    sends it right after SubscribeToShard. h2 (4.4.1, python-hyper/h2#1181) would refuse to send these responses.
    """

    def __init__(self) -> None:
        self._head = b""  # the part of a frame's head that was received
        self._left = _PREFACE  # bytes of the preface or payload that are still to come
        self._is_goaway = False

    def remaining(self, data: bytes) -> bytes:
        """Return the bytes without GOAWAY frames. The start of a frame's head is kept until its end comes."""
        view, kept = memoryview(data), []
        while view:
            if not self._left:
                missing = _FRAME_HEAD - len(self._head)
                self._head, view = self._head + bytes(view[:missing]), view[missing:]
                if len(self._head) < _FRAME_HEAD:
                    break
                self._left, self._is_goaway = int.from_bytes(self._head[:3], "big"), self._head[3] == _GOAWAY
                if not self._is_goaway:
                    kept.append(memoryview(self._head))
                self._head = b""
            if not self._is_goaway:
                kept.append(view[: self._left])
            taken = min(self._left, len(view))
            self._left, view = self._left - taken, view[taken:]
        return b"".join(kept)


class Http2Protocol(asyncio.Protocol):
    """Handles one HTTP/2 connection on the event loop.

    It responds to a request when the request's HTTP/2 stream has ended. It sends as much of a response as the client's
    flow-control windows allow, and the rest when they grow.
    """

    def __init__(self, service: Service, stopped: asyncio.Event) -> None:
        self._service = service
        self._stopped = stopped
        self._transport: asyncio.Transport | None = None
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._filter = _GoawayFilter()
        self._requests: dict[int, _Request] = {}
        self._unsent: dict[int, bytes] = {}
        self._subscriptions: dict[int, asyncio.Task[None]] = {}  # by stream: what sends its events
        self._waits: dict[int, asyncio.Task[None]] = {}  # by stream: what waits for records of a queue

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._http.initiate_connection()
        self._http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
        self._http.increment_flow_control_window(_WINDOW)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._requests.clear()
        self._unsent.clear()
        for each in [*self._subscriptions.values(), *self._waits.values()]:
            each.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._http.receive_data(self._filter.remaining(data)):
                self._handle(event)
        except ProtocolError:
            self._flush()
            if self._transport is not None:
                self._transport.close()
            return
        self._flush()

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._requests[event.stream_id] = _Request({str(name): str(value) for name, value in event.headers})
        elif isinstance(event, DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            request = self._requests.get(event.stream_id)
            if request is not None:
                request.body += event.data
                if len(request.body) > MAX_BODY:
                    del self._requests[event.stream_id]
                    self._http.reset_stream(event.stream_id)
        elif isinstance(event, StreamEnded):
            request = self._requests.pop(event.stream_id, None)
            if request is not None:
                self._respond(event.stream_id, request)
        elif isinstance(event, StreamReset):
            self._requests.pop(event.stream_id, None)
            self._unsent.pop(event.stream_id, None)
            for tasks in (self._subscriptions, self._waits):
                if event.stream_id in tasks:
                    tasks[event.stream_id].cancel()
        elif isinstance(event, WindowUpdated):
            for stream in list(self._unsent):
                self._send(stream)

    def _respond(self, stream: int, request: _Request) -> None:
        headers = request.headers
        reply = self._service.reply(
            headers.get(":method", ""),
            headers.get("x-amz-target", ""),
            headers.get("content-type", ""),
            bytes(request.body),
            headers.get(":path", "/"),
            headers.get("content-encoding", ""),
        )
        if reply.transport in ("refused", "cut_before", "cut_after"):
            self._http.reset_stream(stream)
        elif reply.transport != "never":
            if reply.again is not None:
                self._waits[stream] = asyncio.ensure_future(self._respond_after_wait(stream, reply))
            elif reply.delay:
                asyncio.get_running_loop().call_later(reply.delay, self._start_late_response, stream, reply)
            else:
                self._start_response(stream, reply)

    async def _respond_after_wait(self, stream: int, reply: Reply) -> None:
        """Respond to a request that waits for records of a queue."""
        try:
            await asyncio.sleep(reply.delay)
            reply = await self._service.wait(reply, self._stopped, lambda: self._transport is not None)
        finally:
            del self._waits[stream]
        self._start_late_response(stream, reply)

    def _start_late_response(self, stream: int, reply: Reply) -> None:
        if self._transport is not None:
            self._start_response(stream, reply)
            self._flush()

    def _start_response(self, stream: int, reply: Reply) -> None:
        headers = [(":status", str(reply.status))]
        headers += [(name.lower(), value) for name, value in reply.headers.items()]
        if reply.events is not None:
            self._http.send_headers(stream, headers)
            self._subscriptions[stream] = asyncio.ensure_future(self._send_events(stream, reply, reply.events))
            return
        headers.append(("content-length", str(len(reply.body))))
        try:
            self._http.send_headers(stream, headers, end_stream=not reply.body)
            if reply.body:
                self._unsent[stream] = reply.body
                self._send(stream, cut=reply.transport == "cut_answer")
        except ProtocolError:
            pass  # the client has reset the stream

    async def _send_events(self, stream: int, reply: Reply, events: Subscription) -> None:
        """Send the events of a subscription, each once the client has taken the one before it."""
        try:
            async for each in event_stream.messages(events, reply.kind, self._service.clock, self._stopped):
                while self._unsent.get(stream):
                    await asyncio.sleep(0.01)
                self._unsent[stream] = each
                self._send(stream)
                self._flush()
            while self._unsent.get(stream):
                await asyncio.sleep(0.01)
            self._http.end_stream(stream)
            self._flush()
        except ProtocolError:
            pass  # the client has reset the stream
        finally:
            del self._subscriptions[stream]

    def _send(self, stream: int, cut: bool = False) -> None:
        """Send as much of a response as the client's flow-control windows allow."""
        body = self._unsent.pop(stream)
        if cut:
            self._http.reset_stream(stream)
            return
        while body:
            size = min(self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size)
            if size <= 0:
                self._unsent[stream] = body
                return
            is_last = len(body) <= size and stream not in self._subscriptions
            self._http.send_data(stream, body[:size], end_stream=is_last)
            body = body[size:]

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(self._http.data_to_send())
