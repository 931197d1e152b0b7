"""The server's sockets: one port for HTTP/1.1 (aiohttp) and HTTP/2 (h2).

Java's asynchronous client needs HTTP/2.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import tempfile
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import trustme
from aiohttp import web

from kplpy.local.server import event_stream
from kplpy.local.server.http2 import Http2Protocol
from kplpy.local.server.service import MAX_BODY, Reply, Service

_READ_BUFFER = 1 << 20
DELIVERY_PATH = "/firehose/"
"""GET of this path and a delivery stream's name returns its records."""


class Server:
    """Serves a Service on a port. All methods run on the event loop.

    port: 0 takes a free port; start() sets the real one
    https: True serves TLS with a certificate that start() makes
    url: set by start()
    ca_bundle: path of the authority that signed the certificate, from start() to stop(); None for http
    """

    def __init__(self, service: Service, host: str, port: int, https: bool) -> None:
        self.service = service
        self.host, self.port, self.https = host, port, https
        self.url = ""
        self.ca_bundle: str | None = None
        self._certificates: tempfile.TemporaryDirectory[str] | None = None
        self._http1: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._connections: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()
        # Connections whose response is late, cut or missing because of a fault.
        self._faulty: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Listen on the port; raises OSError if the port is taken."""
        context = self._tls() if self.https else None
        self._http1 = http1 = web.Server(
            self._respond, access_log=None, keepalive_timeout=3600, read_bufsize=_READ_BUFFER, auto_decompress=False
        )
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: _FirstBytes(http1, lambda: Http2Protocol(self.service, self._stopped), self._connections),
            self.host,
            self.port,
            ssl=context,
            backlog=1024,
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        host = f"[{self.host}]" if ":" in self.host else "127.0.0.1" if self.host == "0.0.0.0" else self.host
        self.url = f"{'https' if self.https else 'http'}://{host}:{self.port}"

    async def stop(self) -> None:
        """Close the port and every connection; connections with a faulty response get half a second."""
        self._stopped.set()
        if self._listener is not None:
            # A connection that was accepted just now has to attach to the listener before the listener is closed, so
            # that it does not leak.
            for each in self._listener.sockets:
                asyncio.get_running_loop().remove_reader(each.fileno())
            await run_pending_callbacks()
            self._listener.close()
        await self._abort(self._connections - self._faulty)  # aiohttp would also wait for idle keep-alive connections
        if self._http1 is not None:
            await self._http1.shutdown(timeout=0.5)
        await self._abort(self._connections)
        if self._certificates is not None:
            self._certificates.cleanup()

    async def _abort(self, connections: Iterable[asyncio.Transport]) -> None:
        """Abort connections, because closing a TLS connection would wait for the client."""
        for each in list(connections):
            each.abort()
        await run_pending_callbacks()

    def _tls(self) -> ssl.SSLContext:
        authority = trustme.CA(organization_name="kplpy local Kinesis")
        names = {"localhost", "127.0.0.1", "::1", self.host, socket.gethostname()} - {"0.0.0.0", "::"}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*sorted(names)).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self._certificates = tempfile.TemporaryDirectory(prefix="kplpy-local-")
        path = Path(self._certificates.name) / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        self.ca_bundle = str(path)
        return context

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        if (request.content_length or 0) > MAX_BODY:
            return web.Response(status=413)
        try:
            body = await request.content.read()
        except ConnectionResetError:  # from the client or from stop(); aiohttp would log a traceback
            return web.Response(status=400)
        headers = request.headers
        if request.method == "GET" and request.path.startswith(DELIVERY_PATH):
            query = request.query
            name = request.path[len(DELIVERY_PATH) :]
            read = self.service.read_delivery_stream(name, query.get("after", "0"), query.get("limit", "10000"))
            return await self._send(request, read)
        reply = self.service.reply(
            request.method,
            headers.get("X-Amz-Target", ""),
            headers.get("Content-Type", ""),
            body,
            request.path,
            headers.get("Content-Encoding", ""),
        )
        if reply.delay or reply.transport:
            return await self._respond_with_fault(request, reply)
        return await self._send(request, reply)

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        if reply.again is not None:
            reply = await self.service.wait(reply, self._stopped, lambda: request.transport is not None)
        if reply.events is None:
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        await response.prepare(request)
        try:
            async for each in event_stream.messages(reply.events, reply.kind, self.service.clock, self._stopped):
                await response.write(each)
            await response.write_eof()
        except ConnectionResetError:  # the client has ended the subscription
            pass
        return response

    async def _respond_with_fault(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        """Send a response late, in part, or not at all."""
        if request.transport is not None:
            self._faulty.add(request.transport)
        seconds = reply.delay if reply.transport != "never" else None
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
            _cut(request.transport, reset=True)
        except asyncio.TimeoutError:
            pass
        if request.transport is not None:
            self._faulty.discard(request.transport)
        if reply.transport in ("refused", "cut_before", "cut_after"):
            _cut(request.transport, reset=True)
        elif reply.transport == "cut_answer":
            response = web.StreamResponse(status=reply.status, headers=reply.headers)
            response.content_length = len(reply.body)
            await response.prepare(request)
            await response.write(reply.body[: len(reply.body) // 2])
            _cut(request.transport, reset=False)
            return response
        return await self._send(request, reply)


def _cut(transport: asyncio.Transport | None, reset: bool) -> None:
    """Cut a connection.

    The client sees a reset if `reset` is True, else the end of the data.
    """
    connection = None if transport is None else transport.get_extra_info("socket")
    if transport is None or connection is None:
        return
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        connection.shutdown(socket.SHUT_RDWR)
    transport.abort()


async def run_pending_callbacks() -> None:
    """Let the loop finish what it has begun.

    Accepting a connection takes the loop three iterations, closing takes two.
    """
    for _ in range(5):
        await asyncio.sleep(0)


class _FirstBytes(asyncio.Protocol):
    """Chooses HTTP/1.1 or HTTP/2 by a connection's first bytes, with or without TLS."""

    def __init__(
        self,
        http1: Callable[[], asyncio.Protocol],
        http2: Callable[[], asyncio.Protocol],
        connections: weakref.WeakSet[asyncio.Transport],
    ) -> None:
        self._http1, self._http2 = http1, http2
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < 3 or self._transport is None:
            return
        protocol = self._http2() if self._received.startswith(b"PRI") else self._http1()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._received)
